# The reaper: reverts unconfirmed changes and deletes secrets whose time is over, without any controller.
# Called with: boot (before or right after sshd starts), tick (every 15 seconds, by a systemd timer), minute (by cron,
# every minute: four ticks), watch ID (while one change is open).

# Tells whether login $2 has got in with the code of state file $1: a step of it is marked as used, and the login is one
# that sshd asks for its key first. Of anybody else a code may be marked without a key.
was_used() {
  # pam_oath writes place, code and time behind the key.
  grep -qE '^(" DISALLOW_REUSE [0-9]|HOTP/.*[[:blank:]][0-9]{6}[[:blank:]]+[0-9]{4}-)' "$1" && in_group "$2" fleetotp
}

# Tells whether $1 is a users file of pam_oath, which asks for a code where there is no file and does not where it is
# empty: so slot next is emptied instead of removed.
is_users_file() {
  head -n 1 "$1" 2>/dev/null | grep -q '^# FLEETOTP '
}

# Deletes secrets whose deadline has passed, if they are still the generation the deadline was made for. The next one of a
# rotation that was used here takes the place of the current one instead. A deadline goes only when a later look finds its
# secret gone: a login that was under way may have written the file once more.
expire_secrets() {
  now=$(date +%s)
  for f in "$LIB"/deadlines/*; do
    [ -f "$f" ] || continue
    read -r due _ <"$f" || continue
    case $due in '' | *[!0-9]*) continue ;; esac
    [ "$now" -ge "$due" ] || continue
    # A controller may be bringing the next generation: read again when nobody can.
    own_lock || return 0
    read -r due serial gen <"$f" 2>/dev/null && [ "$now" -ge "$due" ] || continue
    name=${f##*/}
    slot=${name%%.*}
    login=${name#*.}
    case $slot in current | next) ;; *) continue ;; esac
    file=$GA/$slot/$login
    if [ -f "$file" ] && grep -qF " serial=$serial gen=$gen " "$file"; then
      if [ "$slot" = next ] && was_used "$file" "$login"; then
        mv -f "$file" "$GA/current/$login" || continue
        ! is_users_file "$GA/current/$login" || printf '' >"$file"
        relabel "$GA/current/$login"
        settle "$GA/next" "$GA/current"
        note "the overlap of $login ended ($serial generation $gen): its new code, used here, has replaced the old one"
        continue
      fi
      if [ "$slot" = next ] && is_users_file "$file"; then printf '' >"$file"; else rm -f "$file" "$file"~??????; fi
      note "the enrolment of $login ($serial generation $gen) expired and its secret was deleted"
    else
      rm -f "$f"
    fi
  done
}

# Deletes one-time secrets in slot next: once the code in them is used, or their time is over. Notes which, for the
# controller. They take nobody's place. As above, a deadline goes at a later look.
end_once() {
  now=$(date +%s)
  for f in "$LIB"/deadlines/once.*; do
    [ -f "$f" ] && read -r due serial gen <"$f" || continue
    case $due in '' | *[!0-9]*) continue ;; esac
    login=${f##*/once.}
    file=$GA/next/$login
    ending=
    [ "$now" -lt "$due" ] || ending=expired
    # The module has taken the code out.
    grep -qsF " serial=$serial gen=$gen " "$file" && ! grep -q '^[0-9]\{8\}$' "$file" && ending=used
    [ -n "$ending" ] || continue
    own_lock || return 0
    [ "$(cat "$f" 2>/dev/null)" = "$due $serial $gen" ] || continue
    if grep -qsF " serial=$serial gen=$gen " "$file"; then
      mkdir -p "$LIB/ended"
      # A full disk: the file of a code that was used holds none any more, and waits until that can be told.
      told=$LIB/ended/$serial.$login
      [ -s "$told" ] || echo "$ending $now" >"$told" || [ "$ending" = expired ] || continue
      rm -f "$file" "$file"~??????
      note "the one-time code $serial of $login was $ending and is deleted"
    else
      rm -f "$f"
    fi
  done
}

# Removes the reaper if it is no longer needed and nobody else is at work.
retire() {
  nothing_open && own_lock && disarm
}

# Reverts every open change whose window is over, or all of them with "boot".
expire_changes() {
  read_uptime
  for t in "$LIB"/tx/*; do
    [ -d "$t" ] || continue
    id=${t##*/}
    case $id in
    *.done | *.reverted) drop_canary "$t" ; continue ;;
    *.new)
      # Somebody who is gone was preparing it.
      if [ "$1" = boot ] || [ ! -d "$LIB/lock" ]; then drop_canary "$t" && rm -rf "$t"; fi
      continue
      ;;
    *.reverting) revert "${id%.reverting}" ; continue ;;
    esac
    read -r armed due <"$t/window" || armed=0 due=0
    # Less uptime than when armed: there was a reboot inside the window.
    if [ "$1" = boot ] || [ "$up" -ge "$due" ] || [ "$up" -lt "$armed" ]; then revert "$id"; fi
  done
}

# Removes what a program that was killed has left.
expire_lock() {
  [ ! -d "$LIB/lock" ] || lock_is_held || { sleep 1; lock_is_held; } || clear_stale_lock
}

case $1 in
boot)
  # What is no longer needed is removed by a tick, when the system is up.
  booting=1
  expire_lock
  expire_changes boot
  expire_secrets
  end_once
  ;;
tick)
  expire_lock
  expire_changes tick
  expire_secrets
  end_once
  retire
  ;;
minute)
  # Each in a process of its own: the reaper may be replaced, or have removed itself, meanwhile.
  for pause in 15 15 15 0; do
    [ -f "$LIB/reaper" ] || break
    /bin/sh "$LIB/reaper" tick
    sleep $pause
  done
  ;;
watch)
  case $2 in *[!A-Za-z0-9-]* | '') exit 1 ;; esac
  while [ -d "$LIB/tx/$2" ] || [ -d "$LIB/tx/$2.reverting" ]; do
    expire_changes tick
    sleep 1
  done
  retire
  ;;
esac
[ -z "$locked" ] || rm -rf "$LIB/lock"
