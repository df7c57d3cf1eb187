# shellcheck shell=bash
# Lab hosts where namespaces are not permitted (some containers): each a chroot of a copy of a cached root, its sshd on
# an address of its own out of 127.0.77.0/24, port 2222. Sourced by `lab`.
#
# What it cannot do: hosts see the machine's clock, processes share its process table, /proc in a host is a copy of the
# few files that programs here ask for, some tenths of a second old, names do not resolve on the controller's side, links
# cannot be slowed, disks cannot be filled, and `cut` closes the port instead of swallowing packets. `namespaces` is the
# mode to trust; this one is for having hosts at all.

# --- the machine's side

# Starts the keeper in the background; leaves its pid in UNSHARE_PID, as namespaces_start does.
loopback_start() {
    setsid bash "$LAB_SELF" --dir "$DIR" __keeper </dev/null 2>"$DIR/world.log" {LIFELINE}>&- &
    UNSHARE_PID=$!
}

loopback_stop() {
    local at
    # The keeper leads its process group: whatever it was just running ends with it.
    kill -KILL -- "-$UNSHARE_PID" 2>/dev/null || true
    for at in "$DIR"/hosts/*; do chroot_halt "${at##*/}"; done
    wait "$UNSHARE_PID" 2>/dev/null || true
}

loopback_exec() { exec setpriv --pdeathsig KILL -- "$@"; }

loopback_host() {
    local root=$DIR/hosts/$1/root
    shift
    exec chroot "$root" "${HOST_ENV[@]}" "$@"
}

loopback_reboot() {
    chroot_halt "$1"
    chroot_boot "$1"
}
loopback_cut() {
    : >"$DIR/hosts/$1/cut"
    chroot_signal "$1" KILL 'sshd*'
}
loopback_mend() {
    rm -f -- "$DIR/hosts/$1/cut"
    chroot "$DIR/hosts/$1/root" "${HOST_ENV[@]}" /usr/sbin/sshd
}
loopback_signal() { chroot_signal "$1" "$2"; }
loopback_slow() { die "a link cannot be slowed in mode loopback"; }
loopback_fill() { die "a disk cannot be filled in mode loopback"; }
loopback_drain() { :; }

# --- the keeper

keeper_main() {
    local at
    for at in "$DIR"/hosts/*; do
        chroot_make_root "${at##*/}"
        chroot_boot "${at##*/}"
    done
    copy_proc
    : >"$DIR/up"
    while sleep 0.3; do copy_proc; done
}

# Nothing may be mounted here, so every host gets copies: uptime, host name, and what tells its own
# processes apart. Files are renamed into place, since a host may be reading them.
copy_proc() {
    local at pid root live file exe
    for at in "$DIR"/hosts/*; do
        mkdir -p "$at/root/proc/sys/kernel" "$at/root/proc/self"
        # Whoever asks this is root: nothing else is run there.
        printf 'Uid:\t0\t0\t0\t0\n' >"$at/root/proc/self/status"
        cp "$at/root/etc/hostname" "$at/root/proc/sys/kernel/hostname"
        cp /proc/uptime "$at/root/proc/.uptime"
        mv -f "$at/root/proc/.uptime" "$at/root/proc/uptime"
    done
    live=" "
    while read -r pid root; do
        live+="$pid "
        at=$root/proc/$pid
        if [[ -e $at/root ]]; then
            # A daemon gives itself its title a moment after it was started.
            cmp -s "/proc/$pid/cmdline" "$at/cmdline" || cat "/proc/$pid/cmdline" >"$at/.new" 2>/dev/null || continue
            if [[ -s $at/.new ]]; then mv -f "$at/.new" "$at/cmdline"; fi
            continue
        fi
        rm -rf -- "$DIR/process"
        mkdir "$DIR/process"
        # It may have ended meanwhile.
        for file in comm cmdline stat status; do
            cat "/proc/$pid/$file" >"$DIR/process/$file" 2>/dev/null || continue 2
        done
        exe=$(readlink "/proc/$pid/exe") || continue
        ln -s "${exe#"$root"}" "$DIR/process/exe"
        ln -s / "$DIR/process/root"
        mv -T -- "$DIR/process" "$at" 2>/dev/null || true
    done < <(find /proc -maxdepth 2 -name root -path '/proc/[0-9]*' -lname "$DIR/hosts/*/root" -printf '%h %l\n' 2>/dev/null |
        sed 's|^/proc/||')
    for at in "$DIR"/hosts/*/root/proc/[0-9]*; do
        if [[ -d $at && $live != *" ${at##*/} "* ]]; then rm -rf -- "$at"; fi
    done
}

chroot_make_root() {
    local name=$1 root=$DIR/hosts/$1/root
    cp -a --reflink=auto "$(roots_dir)/$(cat "$DIR/hosts/$name/suite")" "$root"
    host_personalise "$name" "$root"
    printf 'Port %s\nListenAddress %s\n' "$(cat "$DIR/hosts/$name/port")" "$(cat "$DIR/hosts/$name/address")" \
        >"$root/etc/ssh/sshd_config.d/50-lab.conf"
    cp -- "$LAB_HOME/init" "$root/usr/local/sbin/lab-init"
}

# Boots a host and returns when its sshd listens.
chroot_boot() {
    local name=$1 root=$DIR/hosts/$1/root answer=
    same_directory "$root/etc" /etc && die "the root of $name is this machine's own: nothing is started"
    rm -rf -- "${root:?}"/run/* "$root/dev/log" "$DIR/hosts/$name/ready"
    mkfifo "$DIR/hosts/$name/ready"
    exec 4<>"$DIR/hosts/$name/ready"
    setsid chroot "$root" "${HOST_ENV[@]}" /usr/local/sbin/lab-init </dev/null >>"$DIR/hosts/$name/boot.log" 2>&1 &
    read -r -t 20 answer <&4 || true
    exec 4>&-
    [[ $answer == up && -s $root/run/sshd.pid ]] ||
        die "host $name did not boot: $(tail -n 5 "$DIR/hosts/$name/boot.log" | tr '\n' ' ')"
    if [[ -e $DIR/hosts/$name/cut ]]; then chroot_signal "$name" KILL 'sshd*'; fi
}

# Sends a signal to every process of a host, or to those whose name fits the pattern. They are known by their root
# directory: nothing else tells them from the machine's own.
chroot_signal() {
    local name=$1 signal=$2 pattern=${3:-*} process root
    for process in /proc/[0-9]*; do
        root=$(readlink "$process/root" 2>/dev/null) || continue
        [[ $root/ == "$DIR/hosts/$name/root/"* ]] || continue
        # shellcheck disable=SC2053 # A pattern is meant.
        [[ $(cat "$process/comm" 2>/dev/null) == $pattern ]] || continue
        kill "-$signal" "${process#/proc/}" 2>/dev/null || true
    done
}

chroot_halt() {
    local process
    # Twice: a process may have been starting another.
    chroot_signal "$1" KILL
    chroot_signal "$1" KILL
    for process in /proc/[0-9]*; do
        [[ $(readlink "$process/root" 2>/dev/null)/ == "$DIR/hosts/$1/root/"* ]] || continue
        while [[ -d $process && $(readlink "$process/root" 2>/dev/null)/ == "$DIR/hosts/$1/root/"* ]]; do sleep 0.01; done
    done
}
