# shellcheck shell=bash
# The lab's root file systems: made by debootstrap once per suite, kept between runs. Sourced by `lab`.

LAB_SUITES=(bullseye bookworm trixie)
LAB_PACKAGES="openssh-server libpam-google-authenticator sudo cron rsyslog pamtester"

# Debian 13's packages ask for systemd or for the small systemd-standalone-sysusers: a host without systemd takes the latter.
root_packages() {
    case $1 in
        trixie) echo "$LAB_PACKAGES systemd-standalone-sysusers" ;;
        *) echo "$LAB_PACKAGES" ;;
    esac
}

# Raise it when build_root changes what a root holds.
LAB_ROOT_VERSION=1

roots_dir() { echo "${FLEETOTP_LAB_ROOTS:-/var/cache/fleetotp-lab}"; }

root_stamp() { printf '%s %s %s\n' "$LAB_ROOT_VERSION" "$1" "$(root_packages "$1")"; }

root_is_current() {
    local dir stamp
    dir=$(roots_dir)
    [[ -d $dir/$1 ]] && stamp=$(cat "$dir/$1.stamp" 2>/dev/null) && [[ $stamp == "$(root_stamp "$1")" ]]
}

# Prints the Debian mirror that the machine's own package lists come from. apt itself is asked, so every format of
# its configuration is understood.
debian_mirror() {
    local uri
    while read -r uri; do
        case $uri in
            *security*) ;;
            *debian/ | *debian) echo "$uri"; return ;;
        esac
    done < <(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null)
    die "found no Debian mirror in this machine's apt configuration: set FLEETOTP_LAB_MIRROR=URL"
}

# Builds the root of one suite. Done under a lock, beside the final place, and renamed when whole.
build_root() {
    local suite=$1 dir work started=$SECONDS mirror
    dir=$(roots_dir)
    mkdir -p "$dir"
    (
        flock 9
        root_is_current "$suite" && exit 0
        say "building the root of $suite (once; about half a minute) ..."
        work=$dir/$suite.new
        rm -rf -- "$work"
        mirror=${FLEETOTP_LAB_MIRROR:-$(debian_mirror)}
        if ! { debootstrap --variant=minbase "$suite" "$work" "$mirror" &&
            install_packages "$suite" "$work"; } >"$dir/$suite.log" 2>&1; then
            tail -n 5 "$dir/$suite.log" >&2
            rm -rf -- "$work"
            die "the root of $suite could not be built: the whole log is $dir/$suite.log"
        fi
        # What makes a machine that machine is made anew for each host.
        rm -f -- "$work"/etc/ssh/ssh_host_* "$work/var/lib/dbus/machine-id"
        : >"$work/etc/machine-id"
        echo localhost >"$work/etc/hostname"
        # The kernel's log is the machine's, not the host's.
        sed -i '/imklog/d' "$work/etc/rsyslog.conf"
        make_package_source "$work"
        rm -rf -- "$work"/var/lib/apt/lists/* "$work"/var/cache/apt/*.bin "$work"/var/cache/apt/archives/*.deb
        rm -rf -- "${dir:?}/$suite.old"
        if [[ -e $dir/$suite ]]; then mv -- "$dir/$suite" "$dir/$suite.old"; fi
        mv -- "$work" "$dir/$suite"
        root_stamp "$suite" >"$dir/$suite.stamp"
        rm -rf -- "$dir/$suite.old"
        say "root of $suite ready after $((SECONDS - started)) s"
    ) 9>"$dir/$suite.lock"
}

# Installs the lab's packages by the root's own apt, which resolves what debootstrap cannot.
install_packages() {
    local suite=$1 root=$2
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 0755 "$root/usr/sbin/policy-rc.d"
    # shellcheck disable=SC2046 # One word per package is meant.
    chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -c '
        apt-get update -q && apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \
            -o APT::Keep-Downloaded-Packages=true "$@"' sh $(root_packages "$suite") || return 1
    rm -f -- "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"
}

# Leaves the module's package as a package source inside the root: a host is not connected to anything outside the
# lab, and has to be able to install what is missing all the same.
make_package_source() {
    local root=$1 repo=$1/srv/packages deb
    mkdir -p "$repo"
    for deb in "$root"/var/cache/apt/archives/{libpam-google-authenticator,libqrencode4}_*.deb; do
        [[ -f $deb ]] || continue
        cp -- "$deb" "$repo/"
        {
            dpkg-deb -f "$deb"
            printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
                "${deb##*/}" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
        } >>"$repo/Packages"
    done
    [[ -s $repo/Packages ]] || die "apt left no package of the module in the new root"
    rm -f -- "$root"/etc/apt/sources.list.d/*
    echo 'deb [trusted=yes] file:/srv/packages ./' >"$root/etc/apt/sources.list"
}

# What a host may have besides, by the word behind its suite.
extra_packages() {
    case $1 in
        oath) echo libpam-oath ;;
        fail2ban) echo fail2ban iproute2 ;;
        *) die "\`$1\` is nothing that a host can have besides: oath, fail2ban" ;;
    esac
}

# Where the packages of extra $2 for suite $1 are kept.
extra_dir() { echo "$(roots_dir)/$1.$2"; }

# Fetches them once. They are kept beside the root, not in it: most hosts have no such thing, and another one in the roots
# would make everybody build them anew. apt works on directories of its own, so the machine may be of another suite.
ensure_extra() {
    local suite=$1 extra=$2 dir work
    dir=$(roots_dir)
    (
        flock 9
        [[ -d $(extra_dir "$suite" "$extra") ]] && exit 0
        work=$dir/$suite.$extra.new
        rm -rf -- "$work"
        mkdir -p "$work"/apt/{lists,archives/partial}
        echo "deb ${FLEETOTP_LAB_MIRROR:-$(debian_mirror)} $suite main" >"$work/apt/sources.list"
        local options=(-q -o "Dir::State::status=$dir/$suite/var/lib/dpkg/status" -o "Dir::State::lists=$work/apt/lists"
            -o "Dir::Cache=$work/apt" -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o APT::Sandbox::User=root -o Acquire::Languages=none)
        # shellcheck disable=SC2046 # One word per package is meant.
        if ! { apt-get "${options[@]}" update &&
            apt-get "${options[@]}" -y --no-install-recommends --download-only install $(extra_packages "$extra") &&
            mv -- "$work"/apt/archives/*.deb "$work/"; } >"$dir/$suite.$extra.log" 2>&1; then
            tail -n 5 "$dir/$suite.$extra.log" >&2
            rm -rf -- "$work"
            die "the packages for $extra could not be fetched: the whole log is $dir/$suite.$extra.log"
        fi
        rm -rf -- "$work/apt"
        mv -- "$work" "$(extra_dir "$suite" "$extra")"
    ) 9>"$dir/$suite.$extra.lock"
}

# Makes sure that the roots of the given suites, or of `all`, are there.
ensure_roots() {
    local suite suites=("$@")
    if [[ $* == all ]]; then suites=("${LAB_SUITES[@]}"); fi
    for suite in "${suites[@]}"; do
        [[ " ${LAB_SUITES[*]} " == *" $suite "* && $suite != *" "* ]] ||
            die "\`$suite\` is not a suite of the lab: ${LAB_SUITES[*]}"
        root_is_current "$suite" || build_root "$suite"
    done
}
