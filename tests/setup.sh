# shellcheck shell=bash
# What the tests, the demo and the benchmark need on a machine. Sourced from the project's directory.

FLEETOTP_CACHE=${FLEETOTP_CACHE:-/var/cache/fleetotp-lab}
ANSIBLE_CORE="ansible-core>=2.19,<2.20"
CARGO_DENY_VERSION=0.20.2

tell() { echo "setup: $*"; }
refuse() {
    echo "error: $*" >&2
    exit 1
}

setup_rust() {
    command -v cargo >/dev/null || refuse "cargo is missing: install Rust, then run this again"
}

# Packages that are missing, by the program each is needed for.
missing_packages() {
    local pair
    for pair in debootstrap:debootstrap oathtool:oathtool zbarimg:zbar-tools pdftoppm:poppler-utils qpdf:qpdf age:age busybox:busybox \
        ssh:openssh-client sshd:openssh-server systemctl:systemd ip:iproute2 tc:iproute2 unshare:util-linux mount:mount cc:gcc make:make python3:python3; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done | sort -u
    # Libraries have no program by which to know them.
    if ! compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; then echo libfaketime; fi
    # A venv needs its own package on Debian.
    if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then echo python3-venv; fi
}

# Checks what cannot be installed, then installs what can.
setup_machine() {
    local missing mode
    ((EUID == 0)) ||
        refuse "this needs root: the lab runs real sshd and PAM on hosts of its own. Without root: make check"
    missing=$(missing_packages | xargs)
    if [[ -n $missing ]]; then
        command -v apt-get >/dev/null || refuse "missing on this machine: $missing (and there is no apt to install them)"
        tell "installing by apt: $missing"
        apt-get update -qq
        # shellcheck disable=SC2086 # One word per package is meant.
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    fi
    mode=$(tests/lab/lab mode)
    case $mode in
        namespaces) tell "lab hosts run in network namespaces" ;;
        loopback) tell "network namespaces are not permitted here: lab hosts are chroots on 127.0.77.x" ;;
    esac
}

# ansible-core is a referee for inventories and host patterns.
setup_ansible() {
    local venv=$FLEETOTP_CACHE/ansible
    if [[ -z ${FLEETOTP_TEST_ANSIBLE:-} ]]; then
        if ! "$venv/bin/ansible-inventory" --version 2>/dev/null | grep -q 'core 2\.19'; then
            tell "installing by pip into $venv: $ANSIBLE_CORE"
            rm -rf -- "$venv"
            python3 -m venv "$venv"
            "$venv/bin/pip" install --quiet --disable-pip-version-check "$ANSIBLE_CORE"
        fi
        FLEETOTP_TEST_ANSIBLE=$venv/bin
    fi
    export FLEETOTP_TEST_ANSIBLE
}

find_cargo_deny() {
    CARGO_DENY=$(command -v cargo-deny || true)
    if [[ -z $CARGO_DENY && -x $FLEETOTP_CACHE/tools/bin/cargo-deny ]]; then
        CARGO_DENY=$FLEETOTP_CACHE/tools/bin/cargo-deny
    fi
    [[ -n $CARGO_DENY ]]
}

# Built once, unoptimised (it checks in a second all the same), and kept outside the clone.
setup_cargo_deny() {
    find_cargo_deny && return 0
    tell "building cargo-deny once into $FLEETOTP_CACHE/tools"
    CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_STRIP=true cargo install --quiet --locked --debug --root "$FLEETOTP_CACHE/tools" \
        --target-dir "$FLEETOTP_CACHE/tools/target" "cargo-deny@$CARGO_DENY_VERSION" ||
        tell "cargo-deny could not be built: licences will not be checked"
    rm -rf -- "$FLEETOTP_CACHE/tools/target"
}
