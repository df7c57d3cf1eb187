#!/usr/bin/env bash
# Prints time and peak memory of the commands that look at every token, with 10 000 of them, of the reports of a million tokens
# on hosts, and of rollouts on 10 000 simulated hosts with 100 admins. Needs neither root nor hosts. The last take a quarter of an hour.
#
#   tests/bench/scale.sh [-b BINARY]
set -euo pipefail
cd "$(dirname "$0")/../.."
if [[ ${1:-} == -b ]]; then
    binary=$(realpath -- "$2")
else
    cargo build --release --locked
    binary=$PWD/target/release/fleetotp
fi
# What fills the ledgers need not be fast; what is measured is the release build.
FLEETOTP_BENCH_BINARY=$binary exec cargo test --locked --test it -- --nocapture --test-threads 1 --include-ignored scale
