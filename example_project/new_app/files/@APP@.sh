#!/bin/sh
# Counts the primes from A to B; the command line of a job is "A B". Writes "A B COUNT" to /app/out.
set -eu
cd /app
# shellcheck disable=SC2086  # the words of the command line
set -- ${ARGS:-}
[ $# -eq 2 ] || { echo "the command line must be two numbers, not '${ARGS:-}'" >&2; exit 2; }
mawk -v a="$1" -v b="$2" 'BEGIN {
    for (n = a; n <= b; n++) {
        prime = n > 1
        for (d = 2; prime && d * d <= n; d++) if (n % d == 0) prime = 0
        count += prime
    }
    printf "%d %d %d\n", a, b, count
}' > out.part
mv out.part out
echo 1 > fraction_done
