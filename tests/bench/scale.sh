#!/usr/bin/env bash
# Prints time and peak memory of the commands that look at every token, with 10 000 of them. Needs neither root nor hosts.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec cargo test --release --locked --test it scale:: -- --nocapture
