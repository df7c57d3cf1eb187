#!/usr/bin/env bash
# Shows a whole enrolment on real hosts: three machines, a rollout, a confirmed admin, a login with a code.
#
# Installs what is missing (after saying so), builds, brings up a lab, works in ./fleetotp-demo. Without root it shows
# the plan and the sheets only.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/setup.sh

DEMO=$PWD/fleetotp-demo
FLEETOTP=$PWD/target/debug/fleetotp
LAB=$PWD/tests/lab/lab

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# Shows a command as a person would type it, then runs it where the lab's hosts are reachable.
show() {
    printf '$ fleetotp %s\n' "$*"
    (cd "$DEMO" && "$LAB" exec -- "$FLEETOTP" "$@")
}

build() {
    title "Building"
    cargo build --locked
}

start_lab() {
    title "Three hosts: Debian 12, 13 and 11"
    FLEETOTP_LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fleetotp-demo-lab.XXXXXX")
    export FLEETOTP_LAB_DIR
    trap 'end_lab' EXIT
    "$LAB" up --hosts web1=bookworm,web2=trixie,db1=bullseye --background
    ssh-keygen -q -t ed25519 -N '' -C alice -f "$FLEETOTP_LAB_DIR/alice"
    for host in web1 web2 db1; do
        "$LAB" user "$host" alice --pubkey "$FLEETOTP_LAB_DIR/alice.pub"
    done
}

end_lab() { "$LAB" down 2>/dev/null || rm -rf -- "$FLEETOTP_LAB_DIR"; }

# --- the steps of the program; the project directory is ./fleetotp-demo

step_init() {
    title "A project: identity, ledger, vault"
    rm -rf -- "$DEMO"
    mkdir -m 0700 "$DEMO"
    show init
    cp -r examples/demo/. "$DEMO/"
}

step_plan() {
    title "What a rollout would do"
    show play "$PWD/playbooks/rollout.yml" --check --diff
}

step_rollout() {
    title "The rollout"
    show play "$PWD/playbooks/rollout.yml"
}

# The secret of the sheet, by reading its QR code as a phone does.
sheet_secret() {
    local sheet=$1 page=$FLEETOTP_LAB_DIR/sheet
    pdftoppm -r 150 -png -singlefile "$sheet" "$page"
    zbarimg --quiet --raw "$page.png" | sed -n 's/.*[?&]secret=\([A-Z2-7]*\).*/\1/p'
}

step_confirm() {
    local sheet
    title "Alice scans her sheet and confirms"
    sheet=$(find "$DEMO" -name '*.pdf' | head -n 1)
    echo "her sheet: $sheet"
    SECRET=$(sheet_secret "$sheet")
    oathtool --totp --base32 - <<<"$SECRET" | show confirm alice
}

step_login() {
    local code
    title "Alice logs in: key and code"
    sleep $((31 - $(date +%s) % 30)) # A code works once: wait for the next.
    code=$(oathtool --totp --base32 - <<<"$SECRET")
    printf '#!/bin/sh\necho "$CODE"\n' >"$FLEETOTP_LAB_DIR/askpass"
    chmod 0700 "$FLEETOTP_LAB_DIR/askpass"
    echo '$ ssh alice@web1    (Verification code: '"$code"')'
    CODE=$code SSH_ASKPASS=$FLEETOTP_LAB_DIR/askpass SSH_ASKPASS_REQUIRE=force \
        "$LAB" exec -- ssh -o IdentitiesOnly=yes -i "$FLEETOTP_LAB_DIR/alice" -o NumberOfPasswordPrompts=1 \
        alice@web1 'echo "$(whoami) is in, on $(hostname)"'
    echo '$ ssh alice@web1    (without a code)'
    ! "$LAB" exec -- ssh -o BatchMode=yes -o IdentitiesOnly=yes -i "$FLEETOTP_LAB_DIR/alice" alice@web1 true
}

step_status() {
    title "Where everybody stands"
    show status
}

if ((EUID != 0)); then
    echo "The demo's hosts need root. Without it: building, and then plan and sheets only."
    build
    step_init
    step_plan
    exit 0
fi
setup_rust
setup_machine
build
tests/lab/lab roots
start_lab
step_init
step_plan
step_rollout
step_confirm
step_login
step_status
