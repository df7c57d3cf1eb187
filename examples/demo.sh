#!/usr/bin/env bash
# Shows a whole enrolment on real hosts: three machines, a rollout, a confirmed admin, a login with a code.
#
# Installs what is missing (after saying so), builds, brings up a lab, works in ./fleetotp-demo. Where network namespaces
# are not permitted the hosts run on 127.0.77.x. Without root it shows what would be done and the sheets only.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/setup.sh

PROJECT=$PWD
DEMO=$PROJECT/fleetotp-demo
FLEETOTP=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/fleetotp
LAB=$PROJECT/tests/lab/lab

# Settings of the person who runs this must not change what is shown; sheets of a demo may be plain also in CI.
for variable in "${!FLEETOTP_@}"; do
    case $variable in FLEETOTP_LAB_MODE | FLEETOTP_LAB_MIRROR | FLEETOTP_CACHE) ;; *) unset "$variable" ;; esac
done
unset CI

bold='' plain=''
if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then bold=$'\e[1m' plain=$'\e[0m'; fi
step=0
title() {
    step=$((step + 1))
    printf '\n%s--- %s. %s%s\n' "$bold" "$step" "$1" "$plain"
    shift
    (($# == 0)) || printf '%s\n' "$@"
    echo
}
# Prints a command as a person would type it in the project's directory.
prompt() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
# Shows fleetotp at work where the lab's hosts are reachable.
fleetotp() {
    prompt "fleetotp $*"
    (cd "$DEMO" && on_network "$FLEETOTP" "$@")
}
on_network() { if [[ -n ${FLEETOTP_LAB_DIR:-} ]]; then "$LAB" exec -- "$@"; else "$@"; fi; }

build() {
    title "Building fleetotp"
    cargo build --locked
}

start_lab() {
    title "Three hosts come up: Debian 12, 13 and 11" \
        "Each has its own sshd and PAM. alice, bob and chloe have accounts and log in by key, as so far;" \
        "deploy is the automation account, with sudo."
    FLEETOTP_LAB_DIR=$(mktemp -d "${TMPDIR:-/tmp}/fleetotp-demo.XXXXXX")
    export FLEETOTP_LAB_DIR
    trap end_lab EXIT
    trap 'exit 130' INT TERM
    "$LAB" up --hosts web1=bookworm,web2=trixie,db1=bullseye --background >/dev/null
    local login host
    for login in deploy alice bob chloe; do
        ssh-keygen -q -t ed25519 -N '' -C "$login" -f "$FLEETOTP_LAB_DIR/$login"
        for host in web1 web2 db1; do
            if [[ $login == deploy ]]; then set -- --sudo; else set --; fi
            "$LAB" user "$host" "$login" --pubkey "$FLEETOTP_LAB_DIR/$login.pub" "$@"
        done
    done
    login web1 alice
}

end_lab() { "$LAB" down 2>/dev/null || rm -rf -- "$FLEETOTP_LAB_DIR"; }

# Thrown away by the next demo, keys and all.
make_project() {
    rm -rf -- "$DEMO"
    mkdir -m 0700 "$DEMO"
    cp examples/inventory.yml "$DEMO/"
    title "A project is made beside an Ansible inventory" \
        "The inventory is examples/inventory.yml: hosts as Ansible knows them, then admins, realms and policies."
    fleetotp init
    fleetotp inventory list
}

# Where the lab's hosts are and the key of the automation account: a second inventory source, as in any project.
add_lab() {
    {
        echo "all:"
        echo "  vars:"
        echo "    ansible_ssh_private_key_file: $FLEETOTP_LAB_DIR/deploy"
        [[ $("$LAB" mode) == namespaces ]] ||
            echo "    ansible_ssh_common_args: -F $FLEETOTP_LAB_DIR/system_ssh_config"
    } >"$DEMO/lab.yml"
    sed -i 's/^  - inventory\.yml$/&\n  - lab.yml/' "$DEMO/fleetotp.yml"
}

show_plan() {
    title "What a rollout would do" \
        "--check reads the hosts and changes nothing; --diff shows every byte. Here for one host."
    fleetotp play ../playbooks/rollout.yml --check --diff --limit web1
}

roll_out() {
    title "The rollout" \
        "A change to PAM and sshd is a transaction: the host undoes it by itself unless logins of a temporary member, with" \
        "a right and a wrong code, and then a fresh connection have shown in time that it does what it should."
    fleetotp play ../playbooks/rollout.yml
    title "Nobody is asked for a code yet" "Sheets are issued, and nothing is enforced before its admin has confirmed."
    login web1 alice
}

# The secret of a sheet, by reading its QR code as a phone does.
scan() {
    local page=$FLEETOTP_LAB_DIR/sheet
    pdftoppm -r 150 -png -singlefile "$1" "$page"
    zbarimg --quiet --raw "$page.png" 2>/dev/null | sed -n 's/.*[?&]secret=\([A-Z2-7]*\).*/\1/p'
    rm -f -- "$page.png"
}

code() { oathtool --totp --base32 - <<<"$SECRET"; }

confirm_alice() {
    local sheet
    title "Alice scans her sheet and confirms it with a code" \
        "Her phone is played by pdftoppm, zbarimg and oathtool. From now on her hosts in this realm ask for a code."
    sheet=$(sheet_of alice web)
    echo "her sheet: ${sheet#"$PROJECT/"}"
    SECRET=$(scan "$sheet")
    [[ -n $SECRET ]] || refuse "the QR code of $sheet could not be read"
    code | fleetotp confirm alice --realm web
}

# The path of an admin's sheet in a realm, from status and the project's directory.
sheet_of() {
    local id
    id=$(cd "$DEMO" && on_network "$FLEETOTP" status --output json --admins "$1" |
        python3 -c 'import json, sys
print(next(t["sheet"]["id"] for t in json.load(sys.stdin)["tokens"] if t["realm"] == sys.argv[1]))' "$2")
    echo "$DEMO/sheets/$id.pdf"
}

# Logs in with ssh. $3, if given, answers the prompt for a code; BatchMode stands for nobody there to answer.
login() {
    local host=$1 user=$2 answer=${3:-} options=(-o IdentitiesOnly=yes -i "$FLEETOTP_LAB_DIR/$2" -o ControlPath=none
        -o LogLevel=ERROR -F "$FLEETOTP_LAB_DIR/system_ssh_config")
    # shellcheck disable=SC2016 # The host's shell expands it.
    local command='echo "$(whoami) is in, on $(cat /etc/hostname)"'
    prompt "ssh $user@$host"
    if [[ -n $answer ]]; then
        printf '#!/bin/sh\necho "$ANSWER"\n' >"$FLEETOTP_LAB_DIR/askpass"
        chmod 0700 "$FLEETOTP_LAB_DIR/askpass"
        echo "Verification code: $answer"
        ANSWER=$answer SSH_ASKPASS=$FLEETOTP_LAB_DIR/askpass SSH_ASKPASS_REQUIRE=force DISPLAY=none \
            on_network ssh "${options[@]}" -o NumberOfPasswordPrompts=1 "$user@$host" "$command"
    else
        on_network ssh "${options[@]}" -o BatchMode=yes "$user@$host" "$command"
    fi
}

# Such a login must not succeed.
refused() { if login "$@"; then refuse "this login should have been refused"; fi; }

log_in() {
    local now
    title "Alice logs in: key and code" "(First her phone has to show the next code: on each host one works once.)"
    sleep $((31 - $(date +%s) % 30))
    now=$(code)
    login web1 alice "$now"
    title "And what no longer works" "The same code again; no code; a wrong code."
    refused web1 alice "$now"
    refused web1 alice
    refused web1 alice 000000
    title "Who was not enrolled, or has not confirmed, logs in as before"
    login web1 chloe
    login web1 deploy
}

show_status() {
    title "Where everybody stands"
    fleetotp status
}

say_end() {
    title "That was it" \
        "The hosts go now; the project stays in fleetotp-demo/. Alice's first sheet was removed when she confirmed it;" \
        "these are left, open one:"
    (cd "$DEMO/sheets" && ls -l -- *.pdf)
}

without_root() {
    cat <<'EOF'
This is not root. The demo's hosts are real sshd and PAM, and need it: run `sudo make demo` for all of it.
Without it: what the playbook would do, who would get what, and the sheets. No host is contacted.
EOF
    build
    make_project
    title "What a rollout would do" "(What would change on each host can only be said once the host was read.)"
    fleetotp play ../playbooks/rollout.yml --list-hosts --list-tasks
    fleetotp inventory show
    title "Tokens and sheets" "--no-push issues them without any host."
    fleetotp enroll --no-push
    show_status
    title "That was it" "Sheets are in fleetotp-demo/sheets/: open one."
    (cd "$DEMO/sheets" && ls -l -- *.pdf)
}

setup_rust
if ((EUID != 0)); then
    without_root
    exit 0
fi
setup_machine
build
tests/lab/lab roots
start_lab
make_project
add_lab
show_plan
roll_out
confirm_alice
log_in
show_status
say_end
