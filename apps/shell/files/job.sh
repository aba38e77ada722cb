#!/bin/sh
# Writes each line of `in` to `out` with its checksum in front. Usage: job.sh [SECONDS to wait per line]
# `state` is the number of lines that are done: wrapper reports a checkpoint whenever it changes, and
# after a restart the work goes on there.
set -eu
[ ! -e out ] || exit 0 # ended just before a restart
wait=${1:-0}
total=$(wc -l < in)
done=0
[ ! -e state ] || done=$(cat state)
: >> part
head -n "$done" part > part.new # lines after the last checkpoint are made again
mv part.new part
tail -n "+$((done + 1))" in | while IFS= read -r line || [ -n "$line" ]; do
    [ "$wait" = 0 ] || sleep "$wait"
    sum=$(printf '%s\n' "$line" | cksum)
    printf '%s %s\n' "${sum%% *}" "$line" >> part
    done=$((done + 1))
    echo "$done" > state.new
    mv state.new state
    printf '0.%03d\n' $((done * 999 / (total + 1))) > fraction_done
done
echo "job.sh: done" >&2
mv part out
