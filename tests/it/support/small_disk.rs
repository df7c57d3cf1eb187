//! Hosts whose `/etc` and `/var/lib` are file systems of their own, of a size that is set to the page and to the inode: a
//! disk that runs full is a real one, and which write it is that fails is the test's choice. What the program is asked on
//! such a host is kept with what was there before and after, so that it can be asked again with the disk full.

use crate::lab::Host;

/// One of the two file systems.
pub(crate) const PLACES: [&str; 2] = ["/etc", "/var/lib"];

/// What there is no more of: pages of 4 KiB, files.
pub(crate) const SCARCE: [&str; 2] = ["space", "inodes"];

/// Sourced by all that runs on the host.
const COMMON: &str = r#"
OURS="pam.d ssh cron.d passwd shadow group gshadow passwd- shadow- group- gshadow-"
LIBS="fleetotp google-authenticator fleetotp-canary"
room_again() { for place in /etc /var/lib; do mount -o remount,size=64m,nr_inodes=100k $place; done; }
# Keeps what a change may write, under directory $1.
keep() {
    mkdir -p $1/etc $1/lib
    for e in $OURS; do [ ! -e /etc/$e ] || cp -a /etc/$e $1/etc/; done
    for e in $LIBS; do [ ! -e /var/lib/$e ] || cp -a /var/lib/$e $1/lib/; done
    cp -a /home $1/
}
is_kept() {
    for e in $OURS; do diff -rq /etc/$e $1/etc/$e || return 1; done
    for e in $LIBS; do [ ! -e /var/lib/$e ] && [ ! -e $1/lib/$e ] || diff -rq /var/lib/$e $1/lib/$e || return 1; done
    diff -rq /home $1/home
} >/dev/null 2>&1
# It is again what was kept; what still ran there is ended first: before a watcher whoever would start it once more.
restore() {
    room_again
    for ours in '[F]LEETOTP/1' '[f]leetotp/reaper'; do
        kill -9 $(grep -lz "$ours" /proc/[0-9]*/cmdline | cut -d/ -f3) 2>/dev/null
    done
    is_kept $1 && return
    diff -rq /etc/ssh $1/etc/ssh >/dev/null && same=yes || same=
    for e in $OURS; do rm -rf /etc/$e; [ ! -e $1/etc/$e ] || cp -a $1/etc/$e /etc/; done
    for e in $LIBS; do rm -rf /var/lib/$e; [ ! -e $1/lib/$e ] || cp -a $1/lib/$e /var/lib/; done
    rm -rf /home/*; cp -a $1/home/. /home/
    [ -n "$same" ] || { kill -HUP $(cat /run/sshd.pid); sleep 0.2; }
}
# Leaves so much room of a kind in a place.
squeeze() {
    case $2 in
    space) set -- $1 $3 $(stat -f -c '%b %f' $1); mount -o remount,size=$((($3 - $4 + $2) * 4))k $1 ;;
    inodes) set -- $1 $3 $(stat -f -c '%c %d' $1); mount -o remount,nr_inodes=$(($3 - $4 + $2)) $1 ;;
    esac
}
texts_are() { diff -rq /etc/pam.d $1/etc/pam.d && diff -rq /etc/ssh $1/etc/ssh; } >/dev/null
# Says what is neither as it was in $1 nor as it is to be in $2. Accounts may have lines more than before, and each must be
# whole. Backups of shadow(5)'s own tools (/etc/group-) are written in place by these, and may be cut off.
broken() {
    for f in passwd:7 shadow:9 group:4 gshadow:4; do
        n=${f#*:} f=/etc/${f%:*}
        awk -F: -v n=$n 'NF != n { print FILENAME " has a broken line: " $0 }' $f
        [ -z "$(tail -c 1 $f)" ] || echo "$f ends within a line"
        cut -d: -f1 $1$f | grep -v ^fleetotp | while read -r l; do
            grep -q "^$l:" $f || echo "$f has lost $l"
        done
    done
    find /etc/pam.d /etc/ssh /etc/cron.d /var/lib/google-authenticator /var/lib/fleetotp/reaper \
        /var/lib/fleetotp/deadlines -type f 2>/dev/null | grep -v fleetotp-canary | while read -r f; do
        k=${f#/var}
        # The end of a rotation moves a file into the old one's place.
        cmp -s $f $1$k || cmp -s $f $2$k || cmp -s $f $1/lib/google-authenticator/next/${f##*/} || echo "$f is half written: $(wc -c <$f) bytes"
    done
    ls -d /var/lib/fleetotp/lock 2>/dev/null
    find /etc /var/lib/google-authenticator /var/lib/fleetotp -name '.fleetotp*' 2>/dev/null
}
# The window of every open change is over, and the host looks.
tick() {
    for w in /var/lib/fleetotp/tx/*/window; do
        case $w in *.done/* | *.reverted/* | *.new/* | *'*'*) ;; *) echo '0 1' >$w.now && mv $w.now $w || echo '0 1' >$w ;; esac
    done 2>/dev/null
    [ ! -e /var/lib/fleetotp/reaper ] || /bin/sh /var/lib/fleetotp/reaper tick
}
# Says what a check still says after five seconds: the change's own watcher may be at work at this moment, with a lock and
# files that are not in their place yet.
lasting() {
    for _ in $(seq 50); do
        found=$("$@")
        [ -n "$found" ] || return 0
        sleep 0.1
    done
    echo "$found"
}
still_open() {
    ls /var/lib/fleetotp/tx 2>/dev/null | grep -vE '\.(done|reverted)$'
    grep -s fleetotp-canary /etc/passwd /etc/shadow /etc/group /etc/gshadow
    ls -d /var/lib/fleetotp-canary /var/lib/google-authenticator/*/fleetotp-canary* /var/lib/fleetotp/lock 2>/dev/null
}
"#;

/// Stands for timeout(1), which starts the program on a host: keeps what it is asked, and all that is there before and after.
const RECORDER: &str = r#"#!/bin/bash
case "$*" in *FLEETOTP/1*) ;; *) exec timeout.real "$@" ;; esac
. /opt/common
d=/opt/asked/$(date +%s%N)
mkdir -p $d
: >/opt/keeping.$$
printf '%s\0' "$@" >$d/args
keep $d/before
# The last word is held until all is kept: it may be followed by the next request at once, which changes what is there.
tee $d/in | timeout.real "$@" | {
    last=
    while IFS= read -r line || [ -n "$line" ]; do
        [ -z "$last" ] || printf '%s\n' "$last"
        last=
        case $line in done) last=$line ;; *) printf '%s\n' "$line" ;; esac
    done
    if grep -aq '^apply	' $d/in; then keep $d/after; else rm -rf $d; fi
    [ -z "$last" ] || printf '%s\n' "$last"
}
status=${PIPESTATUS[1]}
rm /opt/keeping.$$
exit $status
"#;

/// Gives a host its two small disks, and begins to keep what it is asked.
pub(crate) fn give_disks(host: Host<'_>) {
    host.write_file("/opt/common", "0600", COMMON);
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
        mkdir /opt/asked
        mv /usr/bin/timeout /usr/bin/timeout.real"#);
    host.write_file("/usr/bin/timeout", "0755", RECORDER);
}

/// The requests for changes that a host was asked since the last time, in their order.
pub(crate) fn asked(host: Host<'_>, command: &str) -> Vec<String> {
    host.sh(&format!(
        "while ls /opt/keeping.* >/dev/null 2>&1; do sleep 0.1; done; d=/opt/of-{command}; mv /opt/asked $d; mkdir /opt/asked; ls -d $d/*"
    ))
    .lines()
    .map(str::to_owned)
    .collect()
}

/// What a request does, by the operations in it.
pub(crate) fn operations(host: Host<'_>, request: &str) -> String {
    let seen = host.sh(&format!(
        "sed -n '/^apply\t/,$p' {request}/in | cut -f1 | grep -axE 'tx|pose|confirm|members|put|move|del|purge|rollback|expire|aside|terminate|witness' | sort -u"
    ));
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What became of a request that was asked again with a full disk.
#[derive(Debug)]
pub(crate) struct Asked {
    /// It was done.
    pub(crate) done: bool,
    /// What was said, without numbers and names of temporary files.
    pub(crate) said: String,
    /// What is wrong then, the disk still full; nothing where all is well.
    pub(crate) wrong: String,
}

/// Asks a request again, with so much room left.
pub(crate) fn ask_again(
    host: Host<'_>,
    request: &str,
    place: &str,
    scarce: &str,
    left: usize,
) -> Asked {
    let text = host.sh(&format!(
        r#". /opt/common
        restore {request}/before
        squeeze {place} {scarce} {left}
        xargs -0 -a {request}/args timeout.real <{request}/in >/opt/answer 2>/dev/null
        grep -aE '^(fail	|done$)' /opt/answer | head -n 1
        echo ==
        wrong() {{
            broken {request}/before {request}/after
            if grep -aqx done /opt/answer; then texts_are {request}/after || echo "the text is not what it is to be"
            else texts_are {request}/before || echo "the text is not what it was"; fi
        }}
        lasting wrong
        true"#
    ));
    let (answer, wrong) = text.split_once("==\n").expect("both parts");
    let answer = answer.trim();
    let said: String = answer
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .collect::<String>()
        .replace('\t', " ");
    Asked {
        done: answer == "done",
        said,
        wrong: wrong.to_owned(),
    }
}

/// Makes room, ends the window of whatever is open, and lets the host look. Says what is still left, and where the text is
/// neither that of `reverted` nor that of `done`; nothing where all is well.
pub(crate) fn after_the_window(host: Host<'_>, reverted: &str, done: &str) -> String {
    host.sh(&format!(
        r#". /opt/common
        room_again; tick
        wrong() {{ still_open; texts_are {reverted}/before || texts_are {done}/after || echo "the text is neither"; }}
        lasting wrong
        true"#
    ))
}

/// With a change open and so much room left its window ends. Says what is wrong: the text is to be as it was, with `at_once`
/// while the disk is still full, else the change may stay open until there is room for a file that it has deleted.
pub(crate) fn window_ends(
    host: Host<'_>,
    (opener, inside): (&str, &str),
    at_once: bool,
    place: &str,
    scarce: &str,
    left: usize,
) -> String {
    host.sh(&format!(
        r#". /opt/common
        restore {inside}/before
        squeeze {place} {scarce} {left}
        tick
        full() {{ texts_are {opener}/before || {{ ! {at_once} && [ -n "$(still_open)" ]; }} || echo "the text was not put back"; }}
        lasting full
        room_again; tick
        wrong() {{ still_open; texts_are {opener}/before || echo "the text is not what it was"; }}
        lasting wrong
        true"#
    ))
}
