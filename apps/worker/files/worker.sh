#!/bin/sh
# Writes /app/in in upper case to /app/out. Bytes only (LC_ALL=C), so that every host gives the same result.
set -eu
LC_ALL=C
export LC_ALL
cd /app
tr '[:lower:]' '[:upper:]' < in > out.part
mv out.part out
echo 1 > fraction_done
