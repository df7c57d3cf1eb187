#!/usr/bin/env bash
# Prints time and peak memory of the commands that look at every token, with 10 000 of them, and of the reports of a million
# tokens on hosts. Needs neither root nor hosts.
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
