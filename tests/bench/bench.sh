#!/usr/bin/env bash
# Prints, side by side, the floor and a run: how long 20 parallel `ssh HOST true` take on the lab's hosts, and how long
# the given command takes on the same hosts.
#
#   tests/bench/bench.sh [-n HOSTS] [-r REPEATS] [-- COMMAND...]
#
# COMMAND runs on the controller's side of the lab's network, with BENCH_DIR naming the lab's directory (ssh_config,
# root_key, known_hosts, lab.json) and BENCH_HOSTS the hosts' names, one a line in $BENCH_DIR/bench-hosts. Without COMMAND
# only the floor is measured.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup.sh

hosts=40 repeats=3
while (($#)); do
    case $1 in
        -n) hosts=$2; shift 2 ;;
        -r) repeats=$2; shift 2 ;;
        --) shift; break ;;
        *) echo "bench.sh [-n HOSTS] [-r REPEATS] [-- COMMAND...]" >&2; exit 64 ;;
    esac
done

setup_machine
FLEETOTP_LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fleetotp-bench.XXXXXX")
export FLEETOTP_LAB_DIR BENCH_DIR=$FLEETOTP_LAB_DIR
trap 'tests/lab/lab down 2>/dev/null || rm -rf -- "$FLEETOTP_LAB_DIR"' EXIT

now_ms() { echo $(($(date +%s%N) / 1000000)); }
start=$(now_ms)
tests/lab/lab up --count "$hosts" --background >/dev/null
echo "$hosts hosts up in $(($(now_ms) - start)) ms"
seq -f 'web%g' "$hosts" >"$BENCH_DIR/bench-hosts"
BENCH_HOSTS=$(cat "$BENCH_DIR/bench-hosts")
export BENCH_HOSTS

floor() {
    tests/lab/lab exec -- sh -c 'xargs -P 20 -I HOST ssh -F "$BENCH_DIR/ssh_config" root@HOST true <"$BENCH_DIR/bench-hosts"'
}

# Measures a command `repeats` times and prints its times and their median.
measure() {
    local name=$1 times=() i start sorted
    shift
    for ((i = 0; i < repeats; i++)); do
        start=$(now_ms)
        "$@" >"$BENCH_DIR/bench.log" 2>&1 || { echo "$name failed:" >&2; tail -n 20 "$BENCH_DIR/bench.log" >&2; return 1; }
        times+=($(($(now_ms) - start)))
    done
    mapfile -t sorted < <(printf '%s\n' "${times[@]}" | sort -n)
    MEDIAN=${sorted[$((repeats / 2))]}
    printf '%-28s %6s ms   (%s)\n' "$name" "$MEDIAN" "${times[*]}"
}

measure "floor: 20 x ssh HOST true" floor
base=$MEDIAN
if (($#)); then
    measure "$1 ..." tests/lab/lab exec -- "$@"
    awk -v run="$MEDIAN" -v base="$base" 'BEGIN { printf "the run takes %.2f x the floor\n", run / base }'
fi
