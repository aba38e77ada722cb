#!/bin/sh
# x -> r x (1 - x): 2000 steps to settle, then the next 120 values, one "r x" a line. ARGS is the job's command line: r.
set -eu
cd /app
case "${ARGS# }" in ''|*[!0-9.]*) echo "the command line must be a number from 0 to 4, not '${ARGS:-}'" >&2; exit 2;; esac
LC_ALL=C mawk -v r="${ARGS# }" 'BEGIN {
    if (r < 0 || r > 4) { print "r must be from 0 to 4" > "/dev/stderr"; exit 2 }
    x = 0.4
    for (i = 0; i < 2000; i++) x = r * x * (1 - x)
    for (i = 0; i < 120; i++) { x = r * x * (1 - x); printf "%s %.6f\n", r, x }
}' > out.part
mv out.part out
echo 1 > fraction_done
