//! Hosts whose `/etc` and `/var/lib` are file systems of their own, of a size that is set to the page and to the inode: a
//! disk that runs full is a real one, and which write it is that fails is the test's choice.

use crate::lab::Host;

/// One of the two file systems.
pub(crate) const PLACES: [&str; 2] = ["/etc", "/var/lib"];

const ROOM_AGAIN: &str =
    "for place in /etc /var/lib; do mount -o remount,size=64m,nr_inodes=100k $place; done";

/// What there is in `/var/lib` of fleetotp's.
const OURS: &str = "fleetotp google-authenticator fleetotp-canary";

/// What there is no more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scarce {
    /// Pages of 4 KiB.
    Space,
    /// Files.
    Inodes,
}

/// Where what runs out, and how much of it is still there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Full {
    pub(crate) place: &'static str,
    pub(crate) scarce: Scarce,
    pub(crate) left: u32,
}

/// Gives a host its two small disks. `df` there is a wrapper that can make a disk full once it has told its free space,
/// which is how a disk fills up after the host was looked at.
pub(crate) fn give_disks(host: Host<'_>) {
    host.sh(r#"set -e
        for place in /etc /var/lib; do
            mount -t tmpfs -o mode=0755 small /mnt
            for entry in $(ls -A $place); do
                # Which packages are there, is many small files and of no use here.
                case $entry in dpkg | apt) ;; *) cp -a $place/$entry /mnt/ ;; esac
            done
            mount --bind /mnt $place
            umount /mnt
        done
        # Its ticks would come in between. It is still there.
        kill -STOP $(cat /run/crond.pid)
        mv /usr/bin/df /usr/bin/df.real
        printf '%s\n' '#!/bin/sh' 'df.real "$@"; status=$?' \
            'case "$*" in *-Pi*) ! mv /run/full /run/full.now 2>/dev/null || sh /run/full.now ;; esac' \
            'exit $status' >/usr/bin/df
        chmod 755 /usr/bin/df"#);
}

fn script(full: Full) -> String {
    let Full {
        place,
        scarce,
        left,
    } = full;
    match scarce {
        Scarce::Space => format!(
            "set -- $(stat -f -c '%b %f' {place}); mount -o remount,size=$((($1 - $2 + {left}) * 4))k {place}"
        ),
        Scarce::Inodes => format!(
            "set -- $(stat -f -c '%c %d' {place}); mount -o remount,nr_inodes=$(($1 - $2 + {left})) {place}"
        ),
    }
}

/// Lets the disk be full as soon as the host was looked at.
pub(crate) fn full_after_look(host: Host<'_>, full: Full) {
    host.sh(&format!(
        "rm -f /run/full.now; echo \"{}\" >/run/full",
        script(full).replace('$', "\\$")
    ));
}

/// Gives both disks room again.
pub(crate) fn room_again(host: Host<'_>) {
    host.sh(ROOM_AGAIN);
}

/// Keeps what the small disks hold, under a name.
pub(crate) fn keep(host: Host<'_>, name: &str) {
    host.sh(&format!(
        "d=/dev/shm/{name}; rm -rf $d; mkdir $d; cp -a /etc $d/; cd /var/lib; \
         for e in {OURS}; do [ ! -e $e ] || cp -a $e $d/; done"
    ));
}

/// Makes room, and the small disks hold again what was kept. What still ran there is ended first.
pub(crate) fn restore(host: Host<'_>, name: &str) {
    host.sh(&format!(
        "kill -9 $(grep -lz '[f]leetotp/reaper' /proc/[0-9]*/cmdline | cut -d/ -f3) 2>/dev/null
         set -e; {ROOM_AGAIN}
         d=/dev/shm/{name}; cd /var/lib; ! diff -rq /etc/ssh $d/etc/ssh >/dev/null || same=yes
         rm -rf /run/full /run/full.now {OURS}
         for e in {OURS}; do [ ! -e $d/$e ] || cp -a $d/$e .; done
         find /etc -mindepth 1 -maxdepth 1 -exec rm -rf {{}} +; cp -a $d/etc/. /etc/
         [ -n \"$same\" ] || {{ kill -HUP $(cat /run/sshd.pid); sleep 0.3; }}"
    ));
}

/// Says where PAM's and sshd's text is not what was kept; nothing where it is, byte for byte.
pub(crate) fn texts_differ(host: Host<'_>, name: &str) -> String {
    host.sh(&format!(
        "for d in /etc/pam.d /etc/ssh; do diff -rq $d /dev/shm/{name}$d; done; true"
    ))
}

/// Looks at all that a change writes, and says what is neither as it was nor as it is to be; nothing where all is well.
///
/// `before` and `after` are names of what was kept. Accounts may have lines more than before, and each must be whole. Backups
/// of shadow(5)'s own tools (`/etc/group-`) are written in place by these, and may be cut off.
pub(crate) fn broken(host: Host<'_>, before: &str, after: &str) -> String {
    host.sh(&format!(
        r#"b=/dev/shm/{before} a=/dev/shm/{after}
        for f in passwd:7 shadow:9 group:4 gshadow:4; do
            n=${{f#*:}} f=/etc/${{f%:*}}
            awk -F: -v n=$n 'NF != n {{ print FILENAME " has a broken line: " $0 }}' $f
            [ -z "$(tail -c 1 $f)" ] || echo "$f ends within a line"
            grep -vxFf $f $b$f | grep -v ^fleetotp | sed "s|^|$f has lost |"
        done
        find /etc/pam.d /etc/ssh /etc/cron.d /var/lib/google-authenticator /var/lib/fleetotp/reaper \
            /var/lib/fleetotp/deadlines -type f 2>/dev/null | grep -v fleetotp-canary | while read -r f; do
            k=${{f#/var/lib}}
            cmp -s $f $b$k || cmp -s $f $a$k || echo "$f is half written: $(wc -c <$f) bytes"
        done
        ls -d /var/lib/fleetotp/lock 2>/dev/null
        find /etc /var/lib/google-authenticator /var/lib/fleetotp -name '.fleetotp*' 2>/dev/null
        true"#
    ))
}
