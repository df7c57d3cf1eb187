#!/usr/bin/env bash
# Prints side by side, measured in one run on the same lab hosts: the floor (parallel `ssh HOST true`), a first rollout,
# and runs that change nothing; and which share of the time that hosts took went into which phase.
# Hosts and controller share this machine's cores, so the controller's own CPU is printed as well: that of fleetotp and of
# every ssh that it waited for (of an ssh that stays as a master, up to its login).
#
#   tests/bench/bench.sh [-n HOSTS] [-a ADMINS] [-p PARALLEL] [-r REPEATS] [-b BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup.sh

hosts=40 admins=10 parallel=20 repeats=5 binary=
while (($#)); do
    case $1 in
        -n) hosts=$2 ;;
        -a) admins=$2 ;;
        -p) parallel=$2 ;;
        -r) repeats=$2 ;;
        -b) binary=$2 ;;
        *) echo "bench.sh [-n HOSTS] [-a ADMINS] [-p PARALLEL] [-r REPEATS] [-b BINARY]" >&2; exit 64 ;;
    esac
    shift 2
done

setup_machine
if [[ -z $binary ]]; then
    cargo build --release --locked
    binary=$PWD/target/release/fleetotp
fi
FLEETOTP_LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fleetotp-bench.XXXXXX")
export FLEETOTP_LAB_DIR
project=$FLEETOTP_LAB_DIR/project
trap 'tests/lab/lab down 2>/dev/null; rm -rf -- "$FLEETOTP_LAB_DIR"' EXIT

now_ms() { echo $(($(date +%s%N) / 1000000)); }
start=$(now_ms)
tests/lab/lab up --count "$hosts" --background >/dev/null
echo "$hosts hosts up in $(($(now_ms) - start)) ms"
seq -f 'web%g' "$hosts" >"$FLEETOTP_LAB_DIR/bench-hosts"
ssh-keygen -q -t ed25519 -N '' -f "$FLEETOTP_LAB_DIR/admin"
while read -r host; do
    for n in $(seq "$admins"); do echo "useradd -m -s /bin/sh admin$n; mkdir -m 700 /home/admin$n/.ssh; echo '$(cat "$FLEETOTP_LAB_DIR/admin.pub")' >/home/admin$n/.ssh/authorized_keys; chown -R admin$n: /home/admin$n/.ssh"; done |
        tests/lab/lab host "$host" -- sh -s
done <"$FLEETOTP_LAB_DIR/bench-hosts"

"$binary" init "$project" >/dev/null
{
    printf 'all:\n  vars: {ansible_user: root, ansible_ssh_private_key_file: %s}\n  hosts:\n' "$FLEETOTP_LAB_DIR/root_key"
    sed 's/.*/    &:/' "$FLEETOTP_LAB_DIR/bench-hosts"
    echo 'admins:'
    for n in $(seq "$admins"); do echo "  admin$n: {name: Admin $n}"; done
    printf 'realms:\n  all: {hosts: all, policy: bench}\npolicies:\n  bench: {issuer: Example Corp}\n'
} >"$project/inventory.yml"

floor() {
    tests/lab/lab exec -- xargs -P "$parallel" -I HOST ssh -F "$FLEETOTP_LAB_DIR/ssh_config" root@HOST true <"$FLEETOTP_LAB_DIR/bench-hosts"
}
rollout() {
    (cd "$project" && "$OLDPWD/tests/lab/lab" exec -- "$binary" play "$OLDPWD/tests/rollout.yml" -f "$parallel" --profile -o json)
}

# Prints the phases of the run that was last: seconds of all hosts together, share, longest. `unchanged`: it must have changed nothing.
phases() {
    python3 - "$1" "$FLEETOTP_LAB_DIR/bench.out" <<'END'
import json, sys
document = json.load(open(sys.argv[2]))
for p in document["profile"]["phases"]:
    longest = p["longest"] or {"seconds": 0, "host": "-"}
    print(f'    {p["phase"]:<8} {p["seconds"]:8.2f} s {p["share"]:6.1%}   longest {longest["seconds"]:.2f} s ({longest["host"]})')
if sys.argv[1] == "unchanged" and any(s["changed"] for s in document["stats"].values()):
    sys.exit("error: the last run changed something")
END
}

# Runs a command once, into the log, and prints its milliseconds, wall and CPU.
time_once() {
    local start
    start=$(now_ms)
    "$@" >"$FLEETOTP_LAB_DIR/bench.out" 2>"$FLEETOTP_LAB_DIR/bench.log" || { echo "$* failed:" >&2; tail -n 20 "$FLEETOTP_LAB_DIR/bench.log" >&2; exit 1; }
    local wall=$(($(now_ms) - start))
    # In this very shell: the program was its child.
    times >"$FLEETOTP_LAB_DIR/bench.times"
    echo "$wall $(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); s += 60 * t[1] + t[2] } printf "%d", 1000 * s }' "$FLEETOTP_LAB_DIR/bench.times")"
}
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
part() { local n=$1; shift; printf '%s\n' "$@" | cut -d' ' -f"$n"; }
times_of() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
# What it is, then wall and CPU of each time.
line() {
    local what=$1 wall cpu
    shift
    wall=$(median $(part 1 "$@")) cpu=$(median $(part 2 "$@"))
    printf '%-34s %6s ms %6s x the floor;  controller %6s ms of CPU %6s x   (%s)\n' "$what" "$wall" "$(times_of "$wall" "$base")" \
        "$cpu" "$(times_of "$cpu" "$base_cpu")" "$(part 1 "$@" | paste -sd' ')"
}

echo "$hosts hosts, $admins admins, $parallel at a time, on $(nproc) cores"
floors=() seconds=()
floors+=("$(time_once floor)")
first=$(time_once rollout)
shares=$(phases changed)
# Alternately, so that a busy machine hits both alike.
for ((i = 0; i < repeats; i++)); do
    floors+=("$(time_once floor)")
    seconds+=("$(time_once rollout)")
done
base=$(median $(part 1 "${floors[@]}")) base_cpu=$(median $(part 2 "${floors[@]}"))
line "floor: $parallel x ssh HOST true" "${floors[@]}"
line "first rollout, proved and confirmed" "$first"
echo "$shares"
line "a rollout that changes nothing" "${seconds[@]}"
phases unchanged
