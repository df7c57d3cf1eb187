# Shared by the program that is sent to a host and by the reaper that stays there while a deadline is open.
# POSIX sh: runs under dash, bash and busybox. Lines that begin with # and leading blanks are removed before sending.

LIB=/var/lib/fleetotp
GA=/var/lib/google-authenticator
PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
LC_ALL=C
export PATH LC_ALL
umask 077
locked= booting=

# Seconds since boot, whole. Monotonic: setting the clock does not move it.
read_uptime() {
  read -r up _ </proc/uptime
  up=${up%%.*}
}

# Reads proc_pid_stat(5) of process $1: its start in clock ticks since boot (field 22) and where its stack begins (field 28),
# which is another place once it has executed a program (address space layout randomisation).
start_of() {
  start= stack=
  IFS= read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  # Split into words on purpose, after the name, which may hold anything; the first is field 3. Looked for from the end:
  # from the beginning some shells try each length anew.
  named=${stat%") "*}
  set -- ${stat#"$named) "}
  start=${20} stack=${26}
}

# Tells whether the process that took the lock is still there. A number alone does not: after a reboot somebody else has it.
lock_is_held() {
  holder= since=
  read -r holder since 2>/dev/null <"$LIB/lock/pid" || :
  [ -n "$holder" ] && start_of "$holder" 2>/dev/null && [ "$start" = "$since" ]
}

# Takes the lock if nobody has it.
own_lock() {
  [ -z "$locked" ] || return 0
  mkdir "$LIB/lock" 2>/dev/null || return 1
  locked=1
  start_of $$
  echo "$$ $start" >"$LIB/lock/pid"
}

# Removes what a program that was killed has left: its lock and its staged files.
clear_stale_lock() {
  rm -rf /etc/pam.d/.fleetotp.* /etc/ssh/.fleetotp.* /etc/ssh/sshd_config.d/.fleetotp.*
  rm -rf "$GA"/*/.fleetotp.* "$LIB"/.fleetotp.* "$LIB"/deadlines/.fleetotp.*
  rm -rf "$LIB/lock"
}

# Lists who is in group $1, into members.
members_of() {
  members=
  while IFS=: read -r g _ _ m; do
    [ "$g" = "$1" ] && members=$m && return 0
  done </etc/group
  return 1
}

# Whether user $1 is listed in group $2.
in_group() {
  members_of "$2" || return 1
  case ",$members," in *",$1,"*) return 0 ;; esac
  return 1
}

# Says what happened in the host's own log.
note() {
  logger -t fleetotp -p authpriv.notice -- "$1" 2>/dev/null || :
}

# Tells whether process directory $1 was started by root in this root. Everybody can give a process any name, title and
# argument, and start a program that is root (setuid) under it: only the real uid tells.
is_roots() {
  ruid=
  while read -r k ruid _; do case $k in Uid:) break ;; esac; done <"$1/status"
  [ "$ruid" = 0 ] && [ "$1/root/" -ef / ]
}

# Where sshd's configuration is if nobody says: SUSE's sshd reads the distribution's own file where the host has none.
default_config() {
  conf=/etc/ssh/sshd_config
  [ -f "$conf" ] || [ ! -f "/usr$conf" ] || conf=/usr$conf
}

# Lists this root's running sshd listeners, one a line: pid, program, configuration, options as -oKEY=VALUE. Also tells
# whether cron runs.
# A listener's title is "sshd: /usr/sbin/sshd -D [listener] ..." since 8.2 and the bare command line before. Alpine's sshd
# that has PAM is called sshd.pam.
scan_processes() {
  listeners=
  cron_runs=
  for p in /proc/[0-9]*; do
    set -f
    read -r comm <"$p/comm" || continue
    case $comm in
    cron | crond)
      # busybox's does not read /etc/cron.d.
      is_roots "$p" || continue
      for exe in /usr/sbin/cron /usr/sbin/crond; do
        [ -L "$exe" ] || [ ! "$p/exe" -ef "$exe" ] || cron_runs=1
      done
      [ -n "$cron_runs" ] || case $(readlink "$p/exe") in *busybox*) ;; *) cron_runs=1 ;; esac
      ;;
    sshd | sshd.*)
      # A title is one argument; only an untitled process has zero bytes to replace.
      read -r title <"$p/cmdline" || [ -n "$title" ] || continue
      case $title in
      sshd*": "*"[listener]"*) title=${title#*: } ;;
      sshd*": "*) continue ;;
      esac
      case $title in
      *"[listener]"*) ;;
      /*) title=$(tr '\0' ' ' <"$p/cmdline") || continue ;;
      *) continue ;;
      esac
      is_roots "$p" || continue
      # What runs is known by the kernel. After an upgrade there is another program in its place.
      exe=
      for usual in /usr/sbin/sshd /usr/sbin/sshd.pam /usr/sbin/sshd.krb5; do
        [ -L "$usual" ] || [ ! "$p/exe" -ef "$usual" ] || exe=$usual
      done
      [ -n "$exe" ] || exe=$(readlink "$p/exe")
      exe=${exe% (deleted)}
      case $exe in
      /*/sshd | /*/sshd.pam | /*/sshd.krb5) ;;
      *) continue ;;
      esac
      default_config
      previous= opts= held=
      # The title is split into words on purpose; globbing is off for that. An option of several words cannot be told
      # from what follows it, and is left out.
      for word in $title; do
        case $word in
        -* | '[listener]') opts=$opts$held held= ;;
        *) [ "$previous" = -o ] || held= ;;
        esac
        case $previous in -f) conf=$word ;; -o) held=" -o$word" ;; esac
        case $word in -f?*) conf=${word#-f} ;; -o?*) held=" $word" ;; esac
        previous=$word
      done
      opts=$opts$held
      [ -x "$exe" ] || exe=$(command -v sshd) || continue
      listeners="$listeners${p#/proc/} $exe $conf$opts
"
      ;;
    esac
  done 2>/dev/null
  set +f
}

# Makes what was written survive a power cut: only these paths where sync can do that, else everything.
settle() {
  sync "$@" 2>/dev/null || sync
}

# Makes every running sshd read its configuration again. A HUP with a bad configuration kills the listener, so each
# is tested first (sshd(8): SIGHUP re-executes). Waits until it has done so: a busy sshd still takes connections with its
# earlier configuration after the signal was sent, and what they prove is nothing.
# $1 is a program with configuration and options that has just been tested.
reload_sshd() {
  scan_processes
  told=
  while read -r pid exe conf opts; do
    [ -n "$pid" ] || continue
    if [ "$1" = "$exe $conf${opts:+ $opts}" ] || "$exe" -t -f "$conf" $opts >/dev/null 2>&1; then
      start_of "$pid"
      told="$told $pid:$stack"
      kill -HUP "$pid"
    else
      note "sshd refuses $conf: not reloaded"
      return 1
    fi
  done <<LIST
$listeners
LIST
  tries=100
  for told in $told; do
    # Where the layout is not random nothing tells; then five seconds are enough.
    while start_of "${told%%:*}" && [ "$stack" = "${told#*:}" ] && [ "$tries" -gt 0 ]; do
      tries=$((tries - 1))
      sleep 0.05 || sleep 1
    done
  done
  return 0
}

# Starts sshd where none listens any more, by whatever the host has.
revive_sshd() {
  if [ -n "$booting" ]; then
    # systemd starts it after this, and would wait for this for ever if this waited for it.
    [ ! -d /run/systemd/system ] || return 0
    sleep 5
  fi
  scan_processes
  [ -z "$listeners" ] || return 0
  if [ -d /run/systemd/system ]; then
    # Where a socket listens there need be no sshd.
    systemctl -q is-active ssh.socket || systemctl -q is-active sshd.socket ||
      systemctl --no-block start ssh 2>/dev/null || systemctl --no-block start sshd 2>/dev/null
  elif command -v rc-service >/dev/null 2>&1; then
    rc-service sshd start >/dev/null 2>&1
  else
    $(command -v sshd) >/dev/null 2>&1
  fi
}

# Gives a file the SELinux context that its place asks for, where there is SELinux.
relabel() {
  [ -e /sys/fs/selinux/enforce ] && command -v restorecon >/dev/null 2>&1 && restorecon "$1" 2>/dev/null
  return 0
}

# Removes the temporary member of transaction directory $1, if it has one.
drop_canary() {
  [ -f "$1/canary" ] || return 0
  read -r canary <"$1/canary"
  case $canary in fleetotp-canary) ;; *) return 0 ;; esac
  if command -v userdel >/dev/null 2>&1; then
    # Also while a login of it is still open.
    userdel -f "$canary" >/dev/null 2>&1
  else
    deluser "$canary" >/dev/null 2>&1
  fi
  rm -rf /var/lib/fleetotp-canary
  rm -f "$GA"/current/"$canary" "$GA"/next/"$canary" "$GA"/*/"$canary"~* "$GA"/*/"$canary".new "$GA"/*/"$canary".lock
  # A full disk keeps the account, without key and code; then the next tick removes it.
  grep -q "^$canary:" /etc/passwd && return 1
  rm -f "$1/canary"
}

# Puts copy $1 back at its place $2. On a full disk there is no room for a second file: then the copy gets that name
# besides, and where it lies on another disk it is written over.
put_back() {
  own=${2%/*}/.fleetotp.revert.$$
  if { cp -p "$1" "$own" 2>/dev/null || { rm -f "$own" && ln "$1" "$own" 2>/dev/null; }; } && mv -f "$own" "$2"; then
    relabel "$2"
  else
    rm -f "$own"
    [ -f "$1" ] && [ -f "$2" ] && write_over "$1" "$2"
  fi
}

# Writes $1 over $2 into the room that $2 has: emptied first, it could lose that to somebody else's log.
write_over() {
  length=$(wc -c <"$1") &&
    dd if="$1" of="$2" bs=65536 conv=notrunc 2>/dev/null &&
    dd if=/dev/null of="$2" bs=1 seek="$((length))" 2>/dev/null &&
    cmp -s "$1" "$2"
}

# Puts the PAM and sshd text of transaction $1 back as it was. Whoever renames the open transaction first, this or the
# confirmation, wins; the other finds it gone.
# What somebody else has begun to revert is done once more: that one may have been killed in the middle.
revert() {
  case $1 in *[!A-Za-z0-9-]* | '') return 1 ;; esac
  d=$LIB/tx/$1.reverting
  mv "$LIB/tx/$1" "$d" 2>/dev/null || [ -d "$d" ] || return 1
  kept= restored=
  [ -r "$d/manifest" ] || kept=1
  while IFS='	' read -r n action place; do
    # Another one has finished; a later change must not be touched.
    [ -d "$d" ] || return 0
    case $action in
    restore) put_back "$d/$n" "$place" && restored="$restored $place ${place%/*}" || kept=1 ;;
    remove) rm -f "$place" && restored="$restored ${place%/*}" || kept=1 ;;
    esac
  done <"$d/manifest"
  settle $restored
  reload_sshd
  revive_sshd
  drop_canary "$d"
  # What could not be put back is tried again by the next tick.
  [ -z "$kept" ] || { note "change $1 could not be reverted completely"; return 1; }
  mv "$d" "$LIB/tx/$1.reverted" 2>/dev/null
  note "change $1 was not confirmed and has been reverted"
}

# Tells whether there is no deadline for which the reaper must stay.
nothing_open() {
  for t in "$LIB"/tx/* "$LIB"/deadlines/*; do
    case $t in *.done | *.reverted | *.new | *'*') [ ! -f "$t/canary" ] || return 1 ;; *) return 1 ;; esac
  done
}

# Removes the reaper and what runs it once no deadline is open. Only with the lock: whoever has it may just have put
# the reaper there for a deadline that is yet to come.
disarm() {
  [ -n "$locked" ] && nothing_open || return 0
  if [ -f /etc/systemd/system/fleetotp-reaper.timer ]; then
    systemctl disable fleetotp-reaper.timer fleetotp-boot.service >/dev/null 2>&1
    systemctl --no-block stop fleetotp-reaper.timer >/dev/null 2>&1
    rm -f /etc/systemd/system/fleetotp-reaper.timer /etc/systemd/system/fleetotp-reaper.service /etc/systemd/system/fleetotp-boot.service
    systemctl daemon-reload >/dev/null 2>&1
  fi
  rm -f /etc/cron.d/fleetotp "$LIB/reaper"
}
