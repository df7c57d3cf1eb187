# The program that is sent to a host. Reads one request on standard input, answers in lines of tab-separated fields;
# lines of file content begin with |. It knows files, groups and sshd's own tests; it does not know PAM.

say() {
  printf '%s' "$1"
  shift
  for field in "$@"; do printf '\t%s' "$field"; done
  printf '\n'
}

# Ends the request: staged files are removed, the lock is given back.
fail() {
  case $1 in
  protocol | busy | changed | late | link | stopped) say fail "$1" "$2" ;;
  *)
    # Whatever a write was for, this is what it failed for, and what to do about it.
    if short_of_room; then say fail disk-full "$2: $short; free some space"; else say fail "$1" "$2"; fi
    ;;
  esac
  clean_up
  exit 3
}

# Tells whether a disk that is written to has hardly any room left, for bytes or for files, and which.
short_of_room() {
  short=$(say_room | while IFS='	' read -r k free mount; do
    case $k in
    free) [ "$free" -ge 1024 ] || echo "$mount has $free KiB left" ;;
    inodes) [ "$free" -ge 64 ] || echo "$mount has room for $free more files" ;;
    esac
  done)
  short=${short%%"$nl"*}
  [ -n "$short" ]
}

# Says how many KiB and inodes are free where changes are written; some file systems have no number of inodes.
say_room() {
  list_room | while read -r free total inodes mount; do
    case $free in *[!0-9]*) ;; *) say free "$free" "$mount" ;; esac
    case $total$inodes in 0* | *[!0-9]*) ;; *) say inodes "$inodes" "$mount" ;; esac
  done
}

# Lists free KiB, inodes, free inodes and mount point; a - is not told. Where df cannot say all of it, it is asked twice.
list_room() {
  df -k --output=avail,itotal,iavail,target /etc /var/lib 2>/dev/null && return 0
  df -Pk /etc /var/lib 2>/dev/null | while read -r _ _ _ free _ mount; do echo "$free - - $mount"; done
  df -Pi /etc /var/lib 2>/dev/null | while read -r _ total _ free _ mount; do echo "- $total $free $mount"; done
}

clean_up() {
  [ -z "$stages" ] || rm -rf $stages
  # Backwards: a group may have been changed twice.
  while [ -n "$undo" ]; do
    step=${undo%%|*}
    undo=${undo#*|}
    set_members "${step%%:*}" "${step#*:}"
  done
  # A temporary member that cannot be removed now is removed by whoever comes next: what names it stays.
  [ -z "$txnew" ] || { drop_canary "$txnew" && rm -rf "$txnew"; }
  [ -z "$locked" ] || rm -rf "$LIB/lock"
}

stages= undo= txnew=
blanks=$IFS nl='
'

sum_of() {
  sum=$(sha256sum <"$1") || return 1
  sum=${sum%% *}
}

# ---------------------------------------------------------------- inspect

inspect() {
  logins= users= keys= everyone= evidence= known= known_version= seen= leavers=
  while IFS='	' read -r k a b; do
    case $k in
    login) logins="$logins $a" ;;
    leaver) leavers="$leavers $a" ;;
    user) users="$users $a" ;;
    keys) keys=1 ;;
    everyone) everyone=1 ;;
    known) known=$a known_version=$b ;;
    seen) seen="$seen $a=$b" ;;
    evidence) evidence="$evidence $a" ;;
    end) break ;;
    esac
  done
  machine=-
  [ -r /etc/machine-id ] && read -r machine </etc/machine-id
  read -r node </proc/sys/kernel/hostname
  say self "${SUDO_USER:-${LOGNAME:-$(id -un)}}"
  while read -r k uid _; do case $k in Uid:) break ;; esac; done </proc/self/status
  say host "$machine" "$node" "$uid" "$(date '+%s	%z')"
  inspect_system
  inspect_sshd
  inspect_accounts
  inspect_aside
  inspect_state
  inspect_transactions
  [ -z "$evidence" ] || inspect_evidence
  [ -z "$leavers" ] || inspect_leavers
}

inspect_system() {
  os=- osv=- like=-
  while IFS='=' read -r k v; do
    v=${v#[\"\']}
    v=${v%[\"\']}
    case $k in ID) os=$v ;; VERSION_ID) osv=$v ;; ID_LIKE) like=$v ;; esac
  done 2>/dev/null </etc/os-release
  say os "$os" "$osv" "$like"
  scan_processes
  how=none
  if [ -d /run/systemd/system ]; then how=systemd; elif [ -n "$cron_runs" ] && [ -d /etc/cron.d ]; then how=cron; fi
  say deadlines "$how"
  pm=- own=
  # Another distribution's may be installed as well.
  case "$os $like" in
  *debian* | *ubuntu*) own=apt-get ;;
  *suse*) own=zypper ;;
  *fedora* | *rhel*) own=dnf ;;
  *alpine*) own=apk ;;
  *arch*) own=pacman ;;
  esac
  for c in $own apt-get dnf zypper apk pacman; do
    if command -v "$c" >/dev/null 2>&1; then pm=$c; break; fi
  done
  say packages "$pm"
  find_module
  say module "${module:--}"
  if [ -n "$oath" ]; then
    if grep -q '[$]{USER}' "$oath"; then say oath "$oath" yes; else say oath "$oath" no; fi
  fi
  selinux=-
  [ -e /sys/fs/selinux/enforce ] && read -r selinux </sys/fs/selinux/enforce
  say selinux "$selinux"
  [ "$selinux" = - ] || [ ! -d "$GA" ] || {
    set -- $(ls -Zd "$GA" 2>/dev/null)
    say label "${1:--}"
  }
  if [ -r /etc/authselect/authselect.conf ]; then
    profile=
    read -r profile </etc/authselect/authselect.conf
    say pamowner "authselect ($profile)"
  elif [ -x /usr/sbin/pam-auth-update ]; then
    say pamowner pam-auth-update
  elif [ -x /usr/sbin/pam-config ]; then
    say pamowner pam-config
  fi
  for f in /etc/nologin /run/nologin; do
    [ ! -e "$f" ] || say nologin "$f"
  done
  log=0
  if [ -n "$SUDO_USER" ] && grep -rqsE '^[^#]*([[:space:],]log_(input|stdin)|LOG_INPUT)' /etc/sudoers /etc/sudoers.d; then
    # Of several settings for this account the last one counts; sudo knows whom each is for.
    log=$(sudo -l -U "$SUDO_USER" 2>/dev/null | awk 'BEGIN { RS = "[, \t\n]+"; input = stdin = 0 } { stated = 1 }
      $0 ~ /^!?log_input$/ { input = $0 !~ /^!/ } $0 ~ /^!?log_stdin$/ { stdin = $0 !~ /^!/ } /^LOG_INPUT:/ { tag = 1 }
      END { print !stated || input || stdin || tag ? 1 : 0 }')
  fi
  say sudolog "${log:-1}"
  say_room
}

find_module() {
  module= oath=
  for m in /lib/*/security /lib/security /lib64/security /usr/lib/*/security /usr/lib/security /usr/lib64/security; do
    [ -n "$module" ] || [ ! -e "$m/pam_google_authenticator.so" ] || module=$m/pam_google_authenticator.so
    [ -n "$oath" ] || [ ! -e "$m/pam_oath.so" ] || oath=$m/pam_oath.so
  done
}

inspect_sshd() {
  [ -n "$listeners" ] || {
    exe=$(command -v sshd || command -v sshd.pam) && default_config && listeners="0 $exe $conf
"
  }
  first=
  mains=
  while read -r pid exe conf opts; do
    [ -n "$pid" ] || continue
    say sshd "$pid" "$exe" "$conf" "${opts:--}"
    case " $mains " in *" $conf "*) ;; *) mains="$mains $conf" ;; esac
    [ -n "$first" ] || first="$exe $conf${opts:+ $opts}"
  done <<LIST
$listeners
LIST
  [ -n "$first" ] || return 0
  use_daemon "$first" "$mains"
  config_hash
  # What may be written to.
  for f in $mains /etc/ssh/sshd_config.d/00-fleetotp.conf /etc/pam.d/sshd /etc/pam.d/sudo /etc/pam.d/sudo-i "$LIB" "$GA" "$GA/current" "$GA/next"; do
    [ -L "$f" ] && say link "$f" "$(readlink -f "$f")"
  done
  say config "$all"
  say program "$sshd" "$program"
  printf '%s\n' "$sums"
  shared= names=
  for f in common-auth password-auth system-auth system-login system-remote-login base-auth; do
    pam_text "$f" && shared=$shared$text$nl names="$names $text"
  done
  # Ways past the code: what sudo asks nothing for, and services besides sshd that let somebody in.
  ways=
  for f in /etc/sudoers /etc/sudoers.d/* /usr/etc/sudoers /usr/etc/sudoers.d/*; do
    case $f in *~ | */sudoers.d/*.*) ;; *) [ -f "$f" ] && [ -r "$f" ] && ways=$ways$f$nl ;; esac
  done
  for f in login remote su su-l polkit-1 cockpit vsftpd proftpd pure-ftpd dovecot openvpn webmin xrdp-sesman gdm-password lightdm sddm; do
    pam_text "$f" && ways=$ways$text$nl
  done
  # Of the shared stacks only lines that name a second factor are of interest.
  each_of "$files$shared$ways" awk -v shared="$names " 'FILENAME ~ /^(\/usr)?\/etc\/sudoers/ {
      if (FNR == 1) held = ""
      if (held == "") at = FNR
      held = held $0
      if (sub(/\\$/, " ", held)) next
      if (held ~ /NOPASSWD|authenticate|exempt_group|targetpw|rootpw|runaspw|pam_(login_)?service|passprompt_override|requiretty|^[ \t]*[@#]include/) print "sudo\t" FILENAME "\t" at "\t" held
      held = ""
      next
    }
    index(shared, " " FILENAME " ") && /pam_google_authenticator/ { print "authline\t" FILENAME "\t" FNR "\t" $0 }
    FILENAME ~ /^\/etc\/pam\.d\/sudo(-i)?$/ && FNR == 1 { print "service\t" FILENAME }
    FILENAME ~ /\/pam\.d\// && FILENAME !~ /\/pam\.d\/sshd$/ && FILENAME !~ /^\/etc\/pam\.d\/sudo(-i)?$/ && !index(shared, " " FILENAME " ") {
      if (FNR == 1) print "service\t" FILENAME
      if ($0 ~ /^[ \t]*(@include|-?[Aa][Uu][Tt][Hh])[ \t]/) print "authline\t" FILENAME "\t" FNR "\t" $0
      next
    }
    index(shared, " " FILENAME " ") { if ($0 ~ /^[ \t]*-?[Aa][Uu][Tt][Hh][ \t][^#]*pam_(google_auth|oath|duo|yubico|u2f|radius|sss|ussh|exec|python|otp|privacyidea)/) print "mfa\t" FILENAME ": " $0; next }
    FNR == 1 { print "file\t" FILENAME } { print "|" $0 }'
  version=$known_version
  if [ "$all" != "$known" ] || [ "${version:--}" = - ]; then
    version=$("$sshd" -V 2>&1)
    version=${version##*OpenSSH_}
    version=${version%%[, ]*}
  fi
  say version "$version"
  # What was judged before and has not changed need not be judged again, but for those of whom nothing is to be left.
  [ "$all" = "$known" ] && [ -z "$keys$odd" ] && {
    say judged known
    [ -z "$leavers" ] || judge_users "$leavers" "$leavers"
    return 0
  }
  judge_users "$users $logins" "$logins"
}

# Tells what sshd does for each user of list $1, and which keys those of list $2 have.
judge_users() {
  homes= modes=$nl
  [ -z "$2" ] || homes=$(getent passwd $2)
  # What sshd looks at before it believes a key file (StrictModes), for the usual place at once.
  while IFS=: read -r _ _ _ _ _ h _; do
    [ -z "$h" ] || modes=$modes$h$nl$h/.ssh$nl$h/.ssh/authorized_keys$nl
  done <<LIST
$homes
LIST
  [ -z "$homes" ] || modes=$nl$(each_of "$modes" stat -L -c '%n	%u %g %a %s' 2>/dev/null)$nl
  key_kind=
  for u in $1; do
    effective "$u"
    if [ -n "$alike" ]; then
      say alike "$u" "$alike"
    else
      say effective "$u"
      printf '%s\n' "$t" | awk '/^(authenticationmethods|kbdinteractiveauthentication|challengeresponseauthentication|usepam|passwordauthentication|pubkeyauthentication|permitrootlogin|permitemptypasswords|authorizedkeysfile|authorizedkeyscommand|trustedusercakeys|allowusers|allowgroups|denyusers|denygroups|hostbasedauthentication|gssapiauthentication|kerberosauthentication|allowtcpforwarding|disableforwarding|permitopen|listenaddress|forcecommand|logingracetime|maxstartups|persource[a-z]*|error) / { print "|" $0 }'
    fi
    case " $2 " in *" $u "*) count_keys "$u" ;; esac
  done
}

# Where PAM finds the text of service $1: what the host has itself comes before what the distribution keeps (pam.d(5)).
pam_text() {
  for d in /etc /usr/lib /usr/etc; do
    text=$d/pam.d/$1
    [ ! -f "$text" ] || return 0
  done
  return 1
}

# Runs a command on every file of the list $1, one a line, after its other arguments: names may hold blanks.
each_of() {
  list=$1
  shift
  set -f
  IFS=$nl
  set -- "$@" $list
  IFS=$blanks
  set +f
  "$@"
}

# Whom to ask what sshd does: program, configuration and options of a daemon, blanks between.
use_daemon() {
  daemon=$1
  sshd=${1%% *}
  opts=${1#* }
  main=${opts%% *}
  opts=${opts#"$main"}
  mains=${2:-$main}
  forget_asked
}

# One hash over everything that decides what sshd does: its program and options, its configuration with all that it
# includes, PAM's text with all that it includes, the module, the groups; and over sudo's PAM text. After use_daemon.
config_hash() {
  find_module
  files=$conf_files
  for f in /etc/pam.d/sshd /usr/lib/pam.d/sshd /usr/etc/pam.d/sshd /etc/pam.d/sudo /etc/pam.d/sudo-i; do
    [ ! -f "$f" ] || files=$files$f$nl
  done
  beside=$stacks
  for f in /etc/security/access.conf /etc/security/access.d/*.conf /etc/security/time.conf; do
    [ ! -f "$f" ] || beside=$beside$f$nl
  done
  sums=$(each_of "$files$beside/etc/group$nl$module$nl$oath" sha256sum)
  # Whether there is another one is all that matters of a program, which takes a while to hash; who can choose what it holds can
  # have all else.
  program=$(cksum <"$sshd" 2>/dev/null) || program=$(sha256sum <"$sshd")
  all=$(printf '%s\n' "$daemon" "$program" "$sums" | sha256sum)
  all=${all%% *}
}

# What sshd would do for user $1 who comes from where this connection comes from: sshd -T -C, into t.
# Where the configuration tells users apart by fleetotp's
# groups only, all of a class are treated alike and sshd is asked once; alike then names the one who was asked for.
effective() {
  alike=
  kind=$1
  if [ -n "$simple" ] && [ "$1" != root ]; then
    kind=user
    [ -n "$classes" ] || read_classes
    case $enforced in *",$1,"*) kind=enforced ;; esac
    case $pending in *",$1,"*) kind=$kind-pending ;; esac
    [ "$1" = fleetotp-canary ] && kind=enforced
    case " $asked" in *" $kind="*)
      alike=${asked##*" $kind="}
      alike=${alike%% *}
      case $kind in
      user) t=$asked_user ;;
      enforced) t=$asked_enforced ;;
      user-pending) t=$asked_user_pending ;;
      enforced-pending) t=$asked_enforced_pending ;;
      esac
      return 0
      ;;
    esac
  fi
  t=$("$sshd" -T -f "$main" $opts -C "user=$1,host=$from,addr=$from,laddr=$here,lport=$port" 2>&1) || t="error $t"
  case $kind in
  user | enforced | user-pending | enforced-pending)
    asked="$asked $kind=$1"
    case $kind in
    user) asked_user=$t ;;
    enforced) asked_enforced=$t ;;
    user-pending) asked_user_pending=$t ;;
    enforced-pending) asked_enforced_pending=$t ;;
    esac
    ;;
  esac
}

# Reads who is in fleetotp's groups, once for all users: the shell reads byte by byte.
read_classes() {
  members_of fleetotp
  enforced=,$members,
  members_of fleetotp-pending
  pending=,$members,
  classes=1
}

# Forgets what sshd said: the configuration or a group has changed. Lists the files of the configuration, and tells
# whether it is simple: no Match but fleetotp's own and Match all, nobody allowed or denied by name. It is odd where
# what it includes cannot be told. Lists also what PAM's text for sshd and sudo includes, at whatever depth (pam.conf(5)).
forget_asked() {
  asked= classes= simple=1 odd= conf_files= more= stacks=
  for f in $mains /etc/ssh/sshd_config.d/*.conf; do
    [ -f "$f" ] && more=$more$f$nl
  done
  services='sshd sudo sudo-i'
  while [ -n "$more" ]; do
    conf_files=$conf_files$more
    said=$(each_of "$more" awk -v services="$services" '
      function scan(name, depth,  d, f, text, more, w) {
        if (name == "" || name in seen) return
        seen[name]
        for (d = 1; d <= 3; d++) {
          f = name ~ /^\// ? name : dir[d] name
          if ((getline text < f) <= 0) continue
          if (depth) print "stack", f
          do {
            while (text ~ /\\$/ && (getline more < f) > 0) text = substr(text, 1, length(text) - 1) " " more
            sub(/^[ \t]+/, "", text)
            split(text, w, /[ \t]+/)
            if (w[1] == "@include") scan(w[2], 1)
            else if (tolower(w[1]) ~ /^-?(auth|account|password|session)$/ && tolower(w[2]) ~ /^(include|substack)$/) scan(w[3], 1)
          } while ((getline text < f) > 0)
          close(f)
          return
        }
      }
      BEGIN {
        split("/etc/pam.d/ /usr/lib/pam.d/ /usr/etc/pam.d/", dir, " ")
        n = split(services, service, " ")
        for (i = 1; i <= n; i++) scan(service[i], 0)
      }
      { l = $0; sub(/^[ \t]+/, "", l); k = tolower(l) }
      k ~ /^match[ \t]+(all|group[ \t]+fleetotp(-pending)?)[ \t]*$/ { next }
      k ~ /^include[ \t]+\/etc\/ssh\/sshd_config\.d\/\*\.conf[ \t]*$/ { next }
      k ~ /^"?include/ { sub(/^"?[A-Za-z]+"?[ \t=]+/, "", l); print "include", l; next }
      k ~ /^"?(match|allowusers|allowgroups|denyusers|denygroups)/ { print "unlike" }
      END { print "whole" }')
    # What could not be read to its end is nothing to rely on.
    case "$nl$said" in *"${nl}whole") ;; *) simple= odd=1 ;; esac
    more= services=
    while read -r k patterns; do
      case $k in
      stack) stacks=$stacks$patterns$nl ;;
      include | unlike) simple= ;;
      esac
      [ "$k" = include ] || continue
      case $patterns in *[\"\'\\]*) odd=1 ;; esac
      set -f
      for pattern in $patterns; do
        case $pattern in /*) ;; *) pattern=/etc/ssh/$pattern ;; esac
        set +f
        IFS=$nl
        for f in $pattern; do
          case $nl$conf_files$more in *"$nl$f$nl"*) continue ;; esac
          [ -f "$f" ] && more=$more$f$nl
        done
        IFS=$blanks
        set -f
      done
      set +f
    done <<LIST
$said
LIST
  done
}

# Counts the public keys of login $1 by the settings in t: files, or a command or authority they may come from.
count_keys() {
  entry=
  set -f
  IFS=$nl
  for line in $homes; do
    case $line in "$1:"*) entry=$line ;; esac
  done
  IFS=: read -r _ _ uid gid _ home _ <<LIST
$entry
LIST
  # Few, since what is looked up in a long text costs some shells the square of its length.
  near=$nl
  for line in $modes; do
    case $line in "$home	"* | "$home/"*) near=$near$line$nl ;; esac
  done
  IFS=$blanks
  set +f
  [ -n "$home" ] || return 0
  if [ -z "$alike" ] || [ "$kind" != "$key_kind" ]; then
    key_kind=$kind
    key_settings=$(printf '%s\n' "$t" | grep -E '^(authorizedkeysfile|authorizedkeyscommand|trustedusercakeys|strictmodes) ')
  fi
  count=0 other=-
  while read -r k v; do
    case $k in
    authorizedkeysfile)
      for f in $v; do
        case $f in *%*) f=$(printf '%s' "$f" | sed "s|%h|$home|g; s|%u|$1|g; s|%U|$uid|g; s|%%|%|g") ;; esac
        case $f in none) continue ;; /*) ;; *) f=$home/$f ;; esac
        [ -f "$f" ] && believed "$f" || continue
        while read -r line || [ -n "$line" ]; do
          case $line in
          '#'*) ;;
          *ssh-rsa* | *ssh-ed25519* | *ecdsa-sha2* | *sk-*) count=$((count + 1)) ;;
          esac
        done <"$f"
      done
      ;;
    authorizedkeyscommand | trustedusercakeys) [ "$v" = none ] || other=$k ;;
    esac
  done <<LIST
$key_settings
LIST
  say keys "$1" "$count" "$other"
}

# Tells whether sshd would read key file $1: it and what it lies in, up to the home or /, must be the user's or root's
# and for nobody else to write (misc.c: safe_path). Debian lets the user's own group write. One that no key file is as
# long as is not read here either.
believed() {
  p=$1
  while :; do
    case $near in
    *"$nl$p	"*)
      m=${near#*"$nl$p	"}
      m=${m%%"$nl"*}
      ;;
    *) m=$(stat -L -c '%u %g %a %s' "$p" 2>/dev/null) || return 1 ;;
    esac
    read -r owner group mode size <<LIST
$m
LIST
    [ "$p" != "$1" ] || [ "$size" -le 1048576 ] || return 1
    case $key_settings in *"strictmodes no"*) return 0 ;; esac
    [ "$owner" = 0 ] || [ "$owner" = "$uid" ] || return 1
    case $mode in *[2367]) return 1 ;; esac
    case $mode in
    *[2367]?) case "$os $like" in *debian*) [ "$group" = "$gid" ] || return 1 ;; *) return 1 ;; esac ;;
    esac
    [ "$p" != "$home" ] && [ "$p" != / ] || return 0
    p=${p%/*}
    [ -n "$p" ] || p=/
  done
}

inspect_accounts() {
  [ -n "$logins$users" ] || return 0
  getent passwd $logins $users | while IFS=: read -r l _ uid gid _ home shell; do
    say account "$l" "$uid" "$gid" "${home:--}" "${shell:--}"
  done
  # Of shadow never the hash itself: only the dates (shadow(5)). Also who shares a uid, some accounts that nobody asked
  # about (they must be treated after a change as before), and fleetotp's groups.
  [ -z "$everyone" ] || say nss "$(sed -n 's/^passwd:[[:blank:]]*//p' /etc/nsswitch.conf 2>/dev/null)"
  awk -F: -v everyone="$everyone" -v want=" $logins " -v asked=" $logins $users " '
    function field(v) { return v == "" ? "-" : v }
    FILENAME == "/etc/passwd" {
      if (index(want, " " $1 " ")) id[$1] = $3
      names[$3] = names[$3] " " $1
      if (!index(asked, " " $1 " ") && (everyone || ($7 !~ /(nologin|false|sync|halt|shutdown)$/ && others++ < 16))) print "unmanaged\t" $1
    }
    FILENAME == "/etc/shadow" && index(want, " " $1 " ") { print "shadow\t" $1 "\t" ($2 ~ /^[!*]/ ? "locked" : "set") "\t" field($3) "\t" field($5) "\t" field($7) "\t" field($8) }
    FILENAME == "/etc/group" && $1 ~ /^fleetotp(-pending|-exempt)?$/ { print "group\t" $1 "\t" $3 "\t" field($4) }
    END { for (l in id) { c = split(names[id[l]], w, " "); for (i = 1; i <= c; i++) if (w[i] != l) print "shared\t" l "\t" w[i] } }
  ' /etc/passwd /etc/shadow /etc/group 2>/dev/null
}

# Tells what revocations did to accounts of those who are asked about: what the end of an account was before, and where the
# files of its keys were.
inspect_aside() {
  for l in $logins; do
    [ -d "$LIB/revoked/$l" ] || continue
    [ -f "$LIB/revoked/$l/expired" ] && say aside "$l" expired -
    [ -f "$LIB/revoked/$l/places" ] && while IFS='	' read -r n f; do
      [ -e "$LIB/revoked/$l/$n" ] && say aside "$l" "$n" "$f"
    done <"$LIB/revoked/$l/places"
  done
}

inspect_state() {
  present=
  for slot in current next; do
    for f in "$GA/$slot"/*; do
      [ -f "$f" ] || continue
      l=${f##*/}
      case " $logins " in *" $l "*) present="$present $f" ;; *) say other "$slot" "$l" ;; esac
    done
  done
  for l in $logins; do
    for f in "$GA/current/$l"~* "$GA/next/$l"~*; do [ -e "$f" ] && say temporary "$f"; done
    for f in "$GA/current/$l.new" "$GA/next/$l.new"; do [ -e "$f" ] && is_oaths "$f" && say temporary "$f"; done
  done
  each_of "$files" stat -c 'stat	%a	%u	%g	%i	%s	%n' "$GA" "$GA/current" "$GA/next" "$LIB" "$LIB/tx" "$LIB/deadlines" $present 2>/dev/null
  reaper=
  [ -f "$LIB/reaper" ] && reaper=$LIB/reaper && is_armed && say armed yes
  [ -n "$present$reaper" ] || return 0
  sums=$(sha256sum $present $reaper)
  printf '%s\n' "$sums"
  same=
  # In the order of the files, but for those that have gone meanwhile.
  set -- $sums
  for f in $present; do
    l=${f##*/}
    slot=${f%/*}
    slot=${slot##*/}
    sum=
    if [ "$2" = "$f" ]; then
      sum=$1
      shift 2
    fi
    # A file that has not changed since it was last looked at, or is as it was just written, holds the secret that it held.
    case "$seen " in *" $slot/$l=$sum "*) [ ! -s "$f" ] || { same="$same $f"; continue; } ;; esac
    { IFS= read -r s
      n=1 stamp=
      case $s in
      '# FLEETOTP '*)
        # A users file of pam_oath: a stamp, then type, login, password, key, and what was used last.
        stamp=$s n=2
        read -r _ _ _ s _
        ;;
      esac
      fp=$(printf '%s' "$s" | sha256sum)
      s=
      say state "$slot" "$l" "${fp%% *}"
      scratch=0
      [ -z "$stamp" ] || say option 1 "$stamp"
      while IFS= read -r line || [ -n "$line" ]; do
        n=$((n + 1))
        case $line in
        '"'*) say option "$n" "$line" ;;
        [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]*) scratch=$((scratch + 1)) ;;
        esac
      done
      say lines "$n" "$scratch"
    } <"$f"
  done
  # The same for the others, all at once: the shell reads byte by byte.
  [ -z "$same" ] || awk '
    FNR == 1 {
      if (NR > 1) print "lines\t" n "\t" scratch
      parts = split(FILENAME, part, "/")
      print "state\t" part[parts - 1] "\t" part[parts] "\tseen"
      n = 1; scratch = 0; oath = /^# FLEETOTP /
      if (oath) print "option\t1\t" $0
      next
    }
    { n++ }
    oath && FNR == 2 { next }
    /^"/ { print "option\t" n "\t" $0; next }
    /^[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]/ { scratch++ }
    END { print "lines\t" n "\t" scratch }' $same
}

# Tells whether file $1 is one that pam_oath has left beside a state file, and no state file of somebody called so.
is_oaths() {
  ! getent passwd "${1##*/}" >/dev/null 2>&1
}

# Tells whether something runs the reaper.
is_armed() {
  case $how in
  systemd) [ -f /etc/systemd/system/fleetotp-boot.service ] && systemctl -q is-active fleetotp-reaper.timer ;;
  *) [ -f /etc/cron.d/fleetotp ] ;;
  esac
}

inspect_transactions() {
  for t in "$LIB"/tx/*; do
    [ -d "$t" ] || continue
    t=${t%.reverting}
    case $t in *.done | *.reverted | *.new) ;; *) say open "${t##*/}" ;; esac
  done
  for f in "$LIB"/deadlines/*; do
    [ -f "$f" ] || continue
    read -r due serial gen <"$f" && say deadline "${f##*/}" "$due" "$serial" "$gen"
  done
  for f in "$LIB"/ended/*; do
    [ -f "$f" ] && read -r how_ended _ <"$f" && say ended "${f##*/}" "$how_ended"
  done
  if [ -f "$LIB/witness" ]; then
    while IFS= read -r line; do last=$line; done <"$LIB/witness"
    say witness "$last"
  fi
}

# What is left of those who go: processes, logins that are not complete, ways that no login needs.
inspect_leavers() {
  for f in /etc/ssh/ssh_host_*_key.pub; do
    [ -f "$f" ] && read -r kind key _ <"$f" && say hostkey "$kind" "$key"
  done
  for l in $leavers; do
    uid=$(id -u "$l" 2>/dev/null) || uid=
    pids=
    [ -z "$uid" ] || pids_of "$uid"
    half_open_of "$l"
    set -- $pids
    running=$#
    set -- $half
    say leaver "$l" "$running" "$#"
    [ -e "/var/lib/systemd/linger/$l" ] && say way "$l" linger "/var/lib/systemd/linger/$l"
    for f in "/var/spool/cron/crontabs/$l" "/var/spool/cron/tabs/$l" "/var/spool/cron/$l"; do
      [ -f "$f" ] && say way "$l" cron "$f"
    done
    [ -z "$uid" ] || for f in /var/spool/cron/atjobs/* /var/spool/at/*; do
      [ -f "$f" ] && [ "$(stat -c %u "$f")" = "$uid" ] && say way "$l" at "$f"
    done
  done 2>/dev/null
}

# Processes of uid $1 in this root, by whatever of their uids, into pids. What is dead and only not yet waited for is none.
pids_of() {
  pids=
  for f in $(grep -lsE "^Uid:(.*[[:blank:]])?$1([[:blank:]]|\$)" /proc/[0-9]*/status); do
    p=${f%/status}
    [ "$p/root/" -ef / ] || continue
    grep -qs '^State:[[:blank:]]*[ZX]' "$f" || pids="$pids ${p#/proc/}"
  done
}

# sshd's own processes for logins of $1 that are not complete, and the monitors of complete ones, into half. They are
# root's, since a user can give a process of their own that title; so is the parent of the one that speaks with the
# network, which lives in another root and as another user.
half_open_of() {
  half= below=
  for p in /proc/[0-9]*; do
    read -r comm <"$p/comm" || continue
    case $comm in sshd | sshd[-.]*) ;; *) continue ;; esac
    title=
    read -r title <"$p/cmdline" || [ -n "$title" ] || continue
    case $title in
    sshd*": $1 ["*) ;;
    *) continue ;;
    esac
    case $(readlink "$p/exe") in */sshd | */sshd[-.]* | */sshd' '*) ;; *) continue ;; esac
    if is_roots "$p"; then half="$half ${p#/proc/}"; else below="$below ${p#/proc/}"; fi
  done 2>/dev/null
  for p in $below; do
    parent=
    while read -r k parent _; do case $k in PPid:) break ;; esac; done <"/proc/$p/status"
    case " $half " in *" $parent "*) half="$half $p" ;; esac
  done 2>/dev/null
}

# Lines that can prove a login with code and key in one connection.
inspect_evidence() {
  pattern="(Partial|Accepted) (keyboard-interactive/pam|publickey) for ($(printf '%s' "${evidence# }" | tr ' ' '|')) from "
  if [ -d /run/systemd/system ] && command -v journalctl >/dev/null 2>&1; then
    journalctl -q -o short-unix -S -15d _COMM=sshd + _COMM=sshd-session + _COMM=sshd-auth 2>/dev/null | grep -E "$pattern"
  else
    for f in /var/log/auth.log.1 /var/log/auth.log /var/log/secure /var/log/messages; do
      [ -f "$f" ] && grep -E "$pattern" "$f"
    done
  fi | tail -n 400 | sed 's/^/log	/'
}

# ---------------------------------------------------------------- collect

# Sends what sshd and the module have logged since a place: the journal's cursor, or a text log's first line (its hash
# names the file, wherever it was rotated to) and an offset. Changes nothing.
collect() {
  cursor= first= offset=0 cap=1000000
  while IFS='	' read -r k a b; do
    case $k in
    journal) cursor=$a ;;
    file) first=$a offset=$b ;;
    cap) cap=$a ;;
    end) break ;;
    esac
  done
  say clock "$(date '+%s	%z')"
  # The steps for which codes were taken: numbers of time, no secrets.
  for f in "$GA"/current/* "$GA"/next/*; do
    steps=$(grep -s '^" DISALLOW_REUSE ' "$f") && say used "${f#"$GA"/}" "${steps#'" DISALLOW_REUSE '}"
  done
  text=
  for f in /var/log/auth.log /var/log/secure /var/log/messages; do
    # Just rotated, it may be there under its number only.
    [ -z "$(ls "$f" "$f".[0-9]* "$f"-[0-9]* 2>/dev/null)" ] || { text=$f; break; }
  done
  if [ -d /run/systemd/system ] && command -v journalctl >/dev/null 2>&1 && { [ -d /var/log/journal ] || [ -z "$text" ]; }; then
    say log journal
    collect_journal
  elif [ -n "$text" ]; then
    say log "$text"
    collect_text
  else
    say log -
  fi
}

# From the cursor's own entry on: where it is not the first, something is missing before it.
collect_journal() {
  # The module's name is cut since its version 1.10.
  m='(pam_google_authenticator)' s='(pam_google_auth)'
  journalctl -q --no-pager -o json --output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_UID ${cursor:+"--cursor=$cursor"} \
    SYSLOG_IDENTIFIER=sshd + SYSLOG_IDENTIFIER=sshd-session + SYSLOG_IDENTIFIER=sshd-auth + \
    "SYSLOG_IDENTIFIER=sshd$s" + "SYSLOG_IDENTIFIER=sudo$s" + "SYSLOG_IDENTIFIER=sudo-i$s" + \
    "SYSLOG_IDENTIFIER=sshd$m" + "SYSLOG_IDENTIFIER=sudo$m" + "SYSLOG_IDENTIFIER=sudo-i$m" 2>/dev/null |
    LC_ALL=C awk -v cap="$cap" '{ print "|" $0; n += length($0) } n > cap { print "more"; exit }'
}

collect_text() {
  # Oldest first; the one that is written to has no number.
  logs="$(ls -tr "$text".[0-9]* "$text"-[0-9]* 2>/dev/null) $text"
  found=
  if [ -n "$first" ]; then
    for f in $logs; do
      begin_of "$f" && [ "$hash" = "$first" ] && found=$f
    done
    if [ -n "$found" ]; then
      length_of "$found"
      # It was written anew, or is another one that begins the same.
      [ "$bytes" -ge "$offset" ] || found=
    fi
  fi
  reading= previous=
  for f in $logs; do
    begin_of "$f" || continue
    if [ -n "$found" ] && [ "$f" = "$found" ]; then
      previous=$f previous_hash=$hash previous_from=$offset reading=1
      continue
    fi
    if [ -n "$first" ] && [ -z "$found" ] && [ -z "$reading" ]; then say gap "$line"; fi
    [ -z "$found" ] || [ -n "$reading" ] || continue
    reading=1
    # Once this one has a line, nothing is written to the one before any more: only now is that one read to its end.
    [ -z "$previous" ] || read_log "$previous" "$previous_hash" "$previous_from" 1 || return 0
    previous=$f previous_hash=$hash previous_from=0
  done
  [ -z "$previous" ] || read_log "$previous" "$previous_hash" "$previous_from" ''
}

unpacked() {
  case $1 in *.gz) gzip -dc <"$1" ;; *.xz) xz -dc <"$1" ;; *.bz2) bzip2 -dc <"$1" ;; *) cat "$1" ;; esac 2>/dev/null
}

# The first line of log $1 and its hash. A log without a whole line has none.
begin_of() {
  line=$(unpacked "$1" | head -n 1 | tr -d '\000\t')
  [ -n "$line" ] || return 1
  hash=$(printf '%s\n' "$line" | sha256sum) hash=${hash%% *}
}

length_of() {
  case $1 in *.gz | *.xz | *.bz2) bytes=$(unpacked "$1" | wc -c) ;; *) bytes=$(stat -c %s "$1") ;; esac
}

# Sends the lines of log $1, whose first line's hash is $2, from offset $3 on, each with its offset. $4: it is complete, so
# is its last line. Fails where there was more than may be sent.
read_log() {
  length_of "$1"
  unpacked "$1" | tail -c +$(($3 + 1)) | head -c $((bytes - $3)) | tr '\000' '?' |
    LC_ALL=C awk -v o="$3" -v size="$bytes" -v whole="$4" -v cap="$cap" -v hash="$2" '
      BEGIN { start = o }
      { n = length($0) + 1
        if (o + n > size) { if (!whole) exit; n-- }
        if ($0 ~ / (sshd(-session|-auth)?(\.pam)?|[A-Za-z0-9_-]+\(pam_google_auth(enticator)?\))\[[0-9]+\]: / &&
            $0 !~ /\]: (pam_|Starting session|Close session|Postponed |User child|Accepted key |Received disconnect|Disconnected from user |srclimit_)/) {
          printf "|%.0f %s\n", o, $0
          sent += n + 12
        }
        o += n
        if (sent > cap || o - start > 30 * cap) { more = 1; exit } }
      END { printf "at\t%s\t%.0f\n", hash, o; if (more) print "more"; exit more ? 3 : 0 }'
}

# ---------------------------------------------------------------- apply

take_lock() {
  [ -d "$LIB" ] || mkdir -m 700 "$LIB" || fail lock "cannot make $LIB"
  # What a controller that is gone asked for is still being finished: worth a moment.
  patience=15 doubt=
  until own_lock; do
    # Nobody has it: it cannot be made.
    [ -d "$LIB/lock" ] || own_lock || [ -d "$LIB/lock" ] || fail lock "cannot write to $LIB"
    [ -z "$locked" ] || break
    [ $patience -gt 0 ] || fail busy "another run (process ${holder:--}) is changing this host"
    patience=$((patience - 1))
    if lock_is_held; then
      doubt=
    elif [ -n "$doubt" ]; then
      clear_stale_lock
      doubt=
      continue
    else
      # Whoever has only just made it has not yet said who it is: nobody is taken for dead at the first look.
      doubt=1
    fi
    sleep 1
  done
  [ -s "$LIB/lock/pid" ] || fail write "cannot write to $LIB"
}

# Reads a request of $1 bytes to its end before anything is done: one that is cut off must not be half done. Then it is
# standard input once more, through a pipe: a here-document would put secrets into a file.
receive() {
  case $1 in '' | *[!0-9]*) fail protocol "a request has a length" ;; esac
  body=
  while [ ${#body} -lt "$1" ]; do
    part=$(dd bs=$(($1 - ${#body})) count=1 2>/dev/null; echo .)
    [ "$part" != . ] || fail protocol "the request is cut off"
    body=$body${part%.}
  done
  pipe=$LIB/lock/request
  mkfifo "$pipe" || fail write "cannot write to $LIB"
  (trap - TERM; printf '%s' "$body" >"$pipe") &
  exec <"$pipe"
  rm -f "$pipe"
  body= part=
}

# Carries out operations in the order given; stops at the first that fails.
apply() {
  take_lock
  receive "$1"
  count=0
  live= fresh= want= complete= judged_once= leaving=
  while IFS='	' read -r op a b c d e; do
    count=$((count + 1))
    case $op in
    run) run_command "$a" "$b" ;;
    expect) check_before "$a" "$b" ;;
    need) [ -e "$a" ] || fail need "$a is missing" ;;
    dirs) make_dirs "$a" "$b" ;;
    group) make_group "$a" ;;
    members) change_members "$a" "$b" "$c" ;;
    ungroup) drop_group "$a" "$b" ;;
    rmdirs) drop_dirs "$a" ;;
    leave) nothing_left; leaving=1 ;;
    put) put "$a" "$b" "$c" "$d" ;;
    move) move_file "$a" "$b" "$c" "$d" ;;
    del) check_before "$a" "$b"; [ "$c" = tx ] && into_transaction "$a" remove_now || rm -f "$a" ;;
    purge) purge "$a" ;;
    expire) expire_account "$a" ;;
    unexpire) restore_account "$a" ;;
    aside) move_keys_aside "$a" "$b" ;;
    terminate) terminate "$a" "$b" ;;
    flush) flush ;;
    tx) begin "$a" "$b" "$c" ;;
    canary) canary "$a" "$b" "$c" "$d" ;;
    sudo) try_sudo "$a" "$b" ;;
    same) expect_same "$a" "$b" ;;
    want) want="$want$a	$b	$c
" ;;
    judge) judge_now "$a" "$b" "$c" ;;
    go) go ;;
    confirm) confirm "$a" ;;
    pose) pose "$a" "$b" ;;
    rollback) revert "$a" || [ -d "$LIB/tx/$a.reverted" ] || fail rollback "change $a is not open"; say reverted "$a" ;;
    disarm) disarm ;;
    arm) arm ;;
    witness)
      # Time and signature, where the controller has a key: a signed line is a proof wherever it is kept.
      # A run leaves one, however many requests it takes.
      w="$a	$b	$c${d:+	$d}${e:+	$e}"
      if [ "$(tail -n 1 "$LIB/witness" 2>/dev/null)" != "$w" ]; then
        printf '%s\n' "$w" >>"$LIB/witness"
        note "witness of project $a: $b events, head $c${d:+, at $d}${e:+, signature $e}"
      fi
      ;;
    hash)
      use_daemon "$a"
      config_hash
      say config "$all"
      ;;
    end) complete=1; break ;;
    *) fail protocol "unknown operation" ;;
    esac
  done
  # A request that is cut off must not be half done.
  [ -n "$complete" ] || fail protocol "the request is cut off"
  flush
  undo=
  # The lock lies in it, and is given back with it.
  [ -z "$leaving" ] || rm -rf "$LIB"
  clean_up
}

# Installs packages. The command was shown in the plan.
run_command() {
  out=$(trap - PIPE TERM; sh -c "$2" 2>&1 </dev/null) || fail "$1" "$(printf '%s' "$out" | tail -n 3 | tr '\n\t' '  ')"
  say ran "$1"
}

# Makes directories with a mode, or gives it to those that are there; parents first, no blanks in paths.
make_dirs() {
  missing=
  for dir in $2; do
    if [ -d "$dir" ]; then chmod "$1" "$dir" || fail dir "cannot change $dir"; else missing="$missing $dir"; fi
  done
  [ -z "$missing" ] || mkdir -m "$1" $missing || fail dir "cannot make$missing"
  for dir in $2; do relabel "$dir"; done
}

make_group() {
  getent group "$1" >/dev/null 2>&1 && return 0
  groupadd -r "$1" >/dev/null 2>&1 || addgroup -S "$1" >/dev/null 2>&1 || fail group "cannot create group $1"
  say made "$1"
}

# Sets the whole list in one call: gpasswd takes the system's own lock and keeps gshadow in step. It refuses the list if
# one of those who are in it is no account any more; then one by one.
set_members() {
  classes=
  if command -v gpasswd >/dev/null 2>&1; then
    gpasswd -M "$2" "$1" >/dev/null 2>&1 && return 0
    add='gpasswd -a' remove='gpasswd -d'
  else
    add=addgroup remove=delgroup
  fi
  members_of "$1"
  for m in $(printf '%s' "$members" | tr ',' ' '); do
    case ",$2," in *",$m,"*) ;; *) $remove "$m" "$1" >/dev/null 2>&1 ;; esac
  done
  for m in $(printf '%s' "$2" | tr ',' ' '); do
    case ",$members," in *",$m,"*) ;; *) $add "$m" "$1" >/dev/null 2>&1 ;; esac
  done
}

# Group, members expected now, members wanted; - is nobody. Undone if a later operation of this request fails.
change_members() {
  members_of "$1" || fail members "group $1 does not exist"
  before=$2 after=$3
  [ "$before" = - ] && before=
  [ "$after" = - ] && after=
  [ "$members" = "$before" ] || fail changed "group $1 changed meanwhile"
  undo="$1:$before|$undo"
  set_members "$1" "$after"
  members_of "$1"
  [ "$members" = "$after" ] || fail members "the members of $1 did not change"
  say members "$1"
}

# Removes file $1 and whatever was being written to take its place.
purge() {
  flush
  for f in "$1" "$1"~?????? "$1.new" "$1.lock"; do
    case $f in *.new | *.lock) [ "$f" = "$1" ] || is_oaths "$f" || continue ;; esac
    [ -e "$f" ] || [ -L "$f" ] || continue
    rm -f "$f" || fail write "cannot remove $f"
  done
  # Or a power cut would bring it back.
  [ ! -d "${1%/*}" ] || settle "${1%/*}"
}

# Lets the account of login $1 be over since 1970-01-02: day 0 means never to some (shadow(5)).
expire_account() {
  # What it was before, for a new enrolment. If that is our own day already, what is noted stands.
  end_of "$1"
  [ "$day" = 1 ] || {
    mkdir -p "$LIB/revoked/$1" && echo "$day" >"$LIB/revoked/$1/expired" && settle "$LIB/revoked/$1/expired" "$LIB/revoked/$1"
  } || fail write "cannot write into $LIB/revoked/$1"
  usermod -e 1970-01-02 "$1" >/dev/null 2>&1 || chage -E 1 "$1" >/dev/null 2>&1 || fail expire "neither usermod nor chage could expire the account of $1"
  say expired "$1"
}

# Says when the account of login $1 ends, in days since 1970 (shadow(5)); - where it does not.
end_of() {
  day=$(getent shadow "$1") || fail expire "$1 has no line in shadow"
  day=${day%:*} day=${day##*:}
  case $day in '' | *[!0-9]*) day=- ;; esac
}

# Gives the account of login $1 the end back that it had before a revocation, if the revocation's still stands.
restore_account() {
  end_of "$1"
  [ "$day" = 1 ] && read -r old 2>/dev/null <"$LIB/revoked/$1/expired" || fail changed "the end of the account of $1 changed meanwhile"
  case $old in -) old=-1 ;; '' | *[!0-9]*) fail expire "$LIB/revoked/$1/expired is damaged" ;; esac
  chage -E "$old" "$1" >/dev/null 2>&1 || usermod -e "${old#-1}" "$1" >/dev/null 2>&1 || fail expire "neither chage nor usermod could change the end of the account of $1"
  rm -f "$LIB/revoked/$1/expired"
  rmdir "$LIB/revoked/$1" 2>/dev/null
  say restored "$1"
}

# Moves the files that sshd reads the keys of login $1 from out of its reach; $2 is the daemon to ask. A file that others
# read their keys from as well stays.
move_keys_aside() {
  entry=$(getent passwd "$1") || fail keys "$1 has no account"
  uid=${entry#*:*:} uid=${uid%%:*}
  home=${entry%:*} home=${home##*:}
  use_daemon "$2"
  effective "$1"
  real=$(cd -P "$home" 2>/dev/null && pwd -P) || real=
  aside=$LIB/revoked/$1
  mkdir -p "$aside" || fail write "cannot make $aside"
  set -f
  for f in $(printf '%s\n' "$t" | sed -n 's/^authorizedkeysfile //p'); do
    case $f in none) continue ;; /*%u* | /*%U* | /*%h* | %h*) ;; /*) continue ;; esac
    f=$(printf '%s' "$f" | sed "s|%h|$home|g; s|%u|$1|g; s|%U|$uid|g; s|%%|%|g")
    case $f in /*) ;; *) f=$home/$f ;; esac
    [ -e "$f" ] || [ -L "$f" ] || continue
    n=0
    while [ -e "$aside/$n" ] || [ -L "$aside/$n" ]; do n=$((n + 1)); done
    # Nobody is to lead this out of their home by a link, nor by one that comes after the look: what was looked at is the
    # directory that the move is made in.
    (
      cd -P "${f%/*}" 2>/dev/null || exit 2
      case $f in
      "$home"/*)
        place=$(pwd -P)/
        [ -n "$real" ] && [ "${place#"$real"/}" != "$place" ] || exit 3
        ;;
      esac
      mv "./${f##*/}" "$aside/$n" || { rm -f "$aside/$n"; exit 4; }
      # What nobody knows the place of, nobody can put back.
      printf '%s\t%s\n' "$n" "$f" >>"$aside/places" || { mv "$aside/$n" "./${f##*/}"; exit 4; }
    )
    case $? in
    0) ;;
    2) continue ;;
    3) fail keys "$f leads out of the home of $1" ;;
    *) fail keys "cannot move $f" ;;
    esac
    say moved "$f"
  done
  set +f
}

# Ends all processes of login $1, whose uid is $2, and its logins that are not complete.
terminate() {
  case $2 in '' | *[!0-9]* | 0) fail uid "uid $2 is not to be ended" ;; esac
  [ "$(id -u "$1" 2>/dev/null)" = "$2" ] || fail uid "$1 has not uid $2 any more"
  while IFS=: read -r l _ u _; do
    [ "$u" != "$2" ] || [ "$l" = "$1" ] || fail uid "uid $2 is also that of $l"
  done </etc/passwd
  # Whoever forks meanwhile is met in the next round; what is left then is read by the next inspection.
  tries=15
  while [ $tries -gt 0 ]; do
    half_open_of "$1"
    pids_of "$2"
    [ -n "$half$pids" ] || break
    kill -9 $half $pids 2>/dev/null
    tries=$((tries - 1))
    sleep 0.1 || sleep 1
  done
  say ended "$1"
}

# Sends files as they are; takes no lock and changes nothing.
show() {
  while IFS='	' read -r k a; do
    case $k in
    file) show_file "$a" ;;
    under) for f in "$a"/*; do show_file "$f"; done ;;
    each) holders "$a" ;;
    witnesses) [ ! -f "$LIB/witness" ] || sed 's/^/|/' "$LIB/witness" ;;
    end) break ;;
    esac
  done
}

# Names everybody for whom there is a file: in pattern $1 %h is the home, %u the login.
holders() {
  getent passwd | while IFS=: read -r l _ _ _ _ h _; do
    rest=$1 path=
    while :; do
      case $rest in
      *%h*) path=$path${rest%%%h*}$h rest=${rest#*%h} ;;
      *) break ;;
      esac
    done
    rest=$path$rest path=
    while :; do
      case $rest in
      *%u*) path=$path${rest%%%u*}$l rest=${rest#*%u} ;;
      *) break ;;
      esac
    done
    [ ! -e "$path$rest" ] || say holder "$l" "$path$rest"
  done
}

# Sends file $1 as it is: its hash, its owner, how many names it has, its lines.
show_file() {
  [ -f "$1" ] && [ ! -L "$1" ] && [ "$(stat -c %s "$1")" -le 65536 ] && sum_of "$1" || return 0
  say shown "$1" "$sum" "$(stat -c '%u	%h' "$1")"
  while IFS= read -r line || [ -n "$line" ]; do printf '|%s\n' "$line"; done <"$1"
  line=
}

# Deletes group $1, whose members must be $2; - is nobody.
drop_group() {
  members_of "$1" || return 0
  [ "${members:--}" = "$2" ] || fail changed "group $1 changed meanwhile"
  groupdel "$1" >/dev/null 2>&1 || delgroup "$1" >/dev/null 2>&1
  members_of "$1" && fail members "group $1 could not be deleted"
  say dropped "$1"
}

# Deletes those of the directories in which nothing lies.
drop_dirs() {
  for dir in $1; do
    [ -d "$dir" ] || continue
    rmdir "$dir" 2>/dev/null || say left "$dir"
  done
}

# What is to end this program's last traces must not take a way back with it.
nothing_left() {
  nothing_open || fail open "something on this host still has a deadline"
  disarm
}

check_before() {
  if [ "$2" = any ]; then
    :
  elif [ "$2" = absent ]; then
    [ ! -e "$1" ] || fail changed "$1 appeared meanwhile"
  else
    [ -f "$1" ] && sum_of "$1" && [ "$sum" = "$2" ] || fail changed "$1 changed meanwhile"
  fi
  [ ! -L "$1" ] || fail link "$1 is a symbolic link"
}

# Gives file $1 the place of file $3, which is then gone: whoever opens that place finds the one or the other. Both must
# be what was seen; what a program wrote into $1 meanwhile is not lost.
move_file() {
  check_before "$1" "$2"
  check_before "$3" "$4"
  mv -f "$1" "$3" || fail write "cannot replace $3"
  relabel "$3"
  settle "${1%/*}" "${3%/*}"
  say moved "$1" "$3"
}

# Reads a file's content into a staged file beside its place: path, mode, hash it must have now, scope.
# Content lines: +text, =FROM-TO (lines kept from the file that is there), ~text (last line without newline), then a dot.
put() {
  check_before "$1" "$3"
  # One directory for all that goes to the same place, so that one mv can carry it there.
  stage=${1%/*}/.fleetotp.$$.$4
  case " $stages " in
  *" $stage "*) ;;
  *)
    mkdir "$stage" || fail write "cannot write beside $1"
    stages="$stages $stage"
    ;;
  esac
  new=$stage/${1##*/}
  whole= broken=
  while IFS= read -r line; do
    case $line in
    .) whole=1; break ;;
    +*) printf '%s\n' "${line#+}" || broken=1 ;;
    ~*) printf '%s' "${line#?}" || broken=1 ;;
    =*) sed -n "${line#=}p" "$1" || broken=1 ;;
    esac
  done >"$new" || fail write "cannot write beside $1"
  [ -n "$whole" ] || fail protocol "the request is cut off"
  # A full disk takes a part of a file without a word to the loop.
  [ -z "$broken" ] || fail write "cannot write beside $1"
  if [ "$3" != absent ] && [ "$4" = tx ] && owner=$(stat -c %u:%g "$1" 2>/dev/null) && [ "$owner" != 0:0 ]; then
    chown "$owner" "$new" || fail write "cannot give $1 its owner"
  fi
  [ "$2" = 600 ] || chmod "$2" "$new" || fail write "cannot give $1 its mode"
  if [ "$4" = tx ]; then
    into_transaction "$1" "$new"
    stagedtx="$stagedtx $new"
  else
    fresh="$fresh $new"
    live="$live$3	$1
"
  fi
}

# Moves staged files into place: one sync for all, each checked again just before.
flush() {
  [ -n "$live" ] || return 0
  settle $fresh
  fresh=
  while IFS='	' read -r before path; do
    [ -n "$path" ] && check_before "$path" "$before"
  done <<LIST
$live
LIST
  kept=
  for stage in $stages; do
    case $stage in
    *.live)
      mv -f "$stage"/* "${stage%/*}/" || fail write "cannot write into ${stage%/*}"
      rmdir "$stage"
      ;;
    *) kept="$kept $stage" ;;
    esac
  done
  stages=$kept
  while IFS='	' read -r _ path; do
    [ -n "$path" ] || continue
    relabel "$path"
    say wrote "$path"
  done <<LIST
$live
LIST
  live=
}

# ---------------------------------------------------------------- transactions

begin() {
  case $1 in *[!A-Za-z0-9-]* | '') fail protocol "bad transaction name" ;; esac
  for t in "$LIB"/tx/*; do
    [ -d "$t" ] || continue
    case $t in *.done | *.reverted) ;; *.new) drop_canary "$t"; rm -rf "$t" ;; *) fail busy "change ${t##*/} is still open on this host" ;; esac
  done
  # What an earlier change of this name has left would be taken for this one's.
  [ ! -e "$LIB/tx/$1.done" ] && [ ! -e "$LIB/tx/$1.reverted" ] || fail busy "change $1 was made on this host already"
  flush
  tx=$1
  window=$2
  use_daemon "$3"
  txnew=$LIB/tx/$1.new
  # Not by `:`, with which a shell ends where the file cannot be made (XCU 2.8.1).
  mkdir -p "$txnew" && printf '' >"$txnew/manifest" || fail write "cannot make $txnew"
  moves= want= same= files=0 stagedtx= places=
}

# Keeps what is there for a revert, and remembers what to move where.
into_transaction() {
  files=$((files + 1))
  if [ -e "$1" ]; then
    cp -p "$1" "$txnew/$files" || fail write "cannot keep a copy of $1"
    printf '%s\t%s\t%s\n' "$files" restore "$1" >>"$txnew/manifest"
  else
    printf '%s\t%s\t%s\n' "$files" remove "$1" >>"$txnew/manifest"
  fi || fail write "cannot remember how to take the change back"
  moves="$moves$2	$1
"
  places="$places ${1%/*}"
}

# Remembers what sshd does for user $1 now; lines whose key is in $2 may change.
expect_same() {
  effective "$1"
  # Whoever is treated alike before is of one class, and is so after.
  case " $same " in *" ${alike:-$1} "*) return 0 ;; esac
  may_differ=$2
  printf '%s\n' "$t" | grep -vE "^($2) " >"$txnew/same.$1" || [ $? = 1 ] || fail write "cannot write to $LIB"
  same="$same $1"
}

# Whoever stands for an admin must be let in as one: not by root's group, say. The group, if any, is put into picked.
pick_class() {
  picked=
  for l in $(printf '%s' "$2" | tr ',' ' '); do
    for g in $(id -nG "$l" 2>/dev/null); do
      case " $1 " in *" $g "*) picked=$g; return 0 ;; esac
    done
  done
}

# A member for the time of the proof: only from where this connection comes from and from this host itself, with public
# key $1, also in that one of groups $2 by which one of logins $3 is let in. It comes from addresses $4 as well.
canary() {
  class=
  if [ "$2" != - ]; then
    pick_class "$(printf '%s' "$2" | tr ',' ' ')" "$3"
    [ -n "$picked" ] || fail cannot-prove "AllowGroups lets no admin of this host in, so the change cannot be proved by logins"
    class=$picked
  fi
  pick_class "$(access_groups | tr '\n\t' '  ')" "$3"
  [ -z "$picked" ] || [ "$picked" = "$class" ] || class=${class:+$class,}$picked
  # First: whoever cleans up must know.
  echo fleetotp-canary >"$txnew/canary" || fail write "cannot write to $LIB"
  if command -v useradd >/dev/null 2>&1; then
    userdel fleetotp-canary >/dev/null 2>&1
    useradd -r -M -N -g fleetotp -d /var/lib/fleetotp-canary -s /bin/sh -e "$(date -d "@$(($(date +%s) + 172800))" +%Y-%m-%d)" fleetotp-canary >/dev/null 2>&1 || fail canary "cannot create the temporary member"
    [ -z "$class" ] || usermod -a -G "$class" fleetotp-canary >/dev/null 2>&1
  else
    adduser -S -D -H -h /var/lib/fleetotp-canary -s /bin/sh -G fleetotp fleetotp-canary >/dev/null 2>&1 || fail canary "cannot create the temporary member"
    for g in $(printf '%s' "$class" | tr ',' ' '); do addgroup fleetotp-canary "$g" >/dev/null 2>&1; done
  fi
  (
    umask 022
    mkdir -p /var/lib/fleetotp-canary/.ssh &&
      printf 'restrict,from="%s,%s,127.0.0.1,::1",command="echo fleetotp-canary-in" %s\n' "$from" "$here${4:+,$4}" "$1" >/var/lib/fleetotp-canary/.ssh/authorized_keys
  ) || fail canary "cannot write the temporary member's key"
}

# Tells what sudo, called with option $1 (- is none), says to the temporary member, who answers $2 once and then nothing. It
# may do nothing by sudo and has no password: sudo asks all the same before it says so. What the module asks is in the
# module's words; what comes after the code is in a word of this program's (sudo(8): SUDO_PROMPT).
try_sudo() {
  option=$1
  [ "$option" != - ] || option=
  cd / || :
  if setpriv --reuid fleetotp-canary --regid fleetotp --init-groups true 2>/dev/null; then
    said=$(printf '%s\n' "$2" | SUDO_PROMPT=fleetotp-goes-on timeout -k 5 20 setpriv --reuid fleetotp-canary --regid fleetotp --init-groups sudo -k -S $option true 2>&1)
  else
    said=$(printf '%s\n' "$2" | timeout -k 5 20 su -s /bin/sh -c "SUDO_PROMPT=fleetotp-goes-on exec sudo -k -S $option true" fleetotp-canary 2>&1)
  fi
  say sudo "$?" "$(printf '%s' "$said" | tr '\n\t' '  ' | tail -c 2000)"
}

# Makes the temporary member of open change $1 one of those whom $2 names.
pose() {
  case $1 in *[!A-Za-z0-9-]* | '') fail protocol "bad transaction name" ;; esac
  [ -f "$LIB/tx/$1/canary" ] || fail late "change $1 is not open any more: the host has reverted it"
  case $2 in
  member) class=fleetotp ;;
  pending) class=fleetotp-pending ;;
  other) class=$(id -gn nobody 2>/dev/null) ;;
  *) fail protocol "nobody is called $2" ;;
  esac
  said=$(usermod -g "$class" fleetotp-canary 2>&1) || fail canary "$(printf '%s' "$said" | tr '\n\t' '  ')"
}

# Names the groups that pam_access lets in, where sshd's account stack asks it (access.conf(5)).
access_groups() {
  grep -qsE '^[[:space:]]*-?account[[:space:]].*pam_access\.so' /etc/pam.d/sshd /etc/pam.d/common-account /etc/pam.d/password-auth /etc/pam.d/system-auth || return 0
  cat /etc/security/access.conf /etc/security/access.d/*.conf 2>/dev/null | awk -F: '/^[ \t]*\+/ { gsub(/[(),]/, " ", $2); print $2 }'
}

# Lets the host revert by itself: at boot, every 15 seconds, and by a process that watches this one change. Everything is
# run by /bin/sh: /var may be mounted noexec, and SELinux lets no service run what lies there.
arm() {
  [ -s "$LIB/reaper" ] || fail changed "the reaper went away meanwhile"
  placed=
  if [ -d /run/systemd/system ]; then
    units=/etc/systemd/system
    place $units/fleetotp-reaper.service "$(printf '[Unit]\nDescription=fleetotp deadlines\n[Service]\nType=oneshot\nExecStart=/bin/sh %s/reaper tick' "$LIB")"
    place $units/fleetotp-reaper.timer "$(printf '[Unit]\nDescription=fleetotp deadlines\n[Timer]\nOnBootSec=5\nOnActiveSec=10\nOnUnitActiveSec=15\nAccuracySec=1\n[Install]\nWantedBy=timers.target')"
    # Early: sockets, sshd's among them, come before what services come after by default.
    place $units/fleetotp-boot.service "$(printf '[Unit]\nDescription=fleetotp revert after reboot\nDefaultDependencies=no\nRequiresMountsFor=%s\nAfter=local-fs.target\nConflicts=shutdown.target\nBefore=ssh.socket sshd.socket ssh.service sshd.service shutdown.target\n[Service]\nType=oneshot\nTimeoutStartSec=60\nExecStart=/bin/sh %s/reaper boot\n[Install]\nWantedBy=multi-user.target' "$LIB" "$LIB")"
    { [ -z "$placed" ] || systemctl daemon-reload; } && systemctl enable fleetotp-boot.service >/dev/null 2>&1 && systemctl enable --now fleetotp-reaper.timer >/dev/null 2>&1 || fail arm "systemd does not take the timer"
    [ -z "$placed" ] || settle $placed $units $units/multi-user.target.wants $units/timers.target.wants
  elif [ -d /etc/cron.d ]; then
    place /etc/cron.d/fleetotp "$(printf '@reboot root /bin/sh %s/reaper boot\n* * * * * root /bin/sh %s/reaper minute' "$LIB" "$LIB")"
    [ -z "$placed" ] || settle $placed /etc/cron.d
  else
    fail arm "this host has neither systemd nor cron"
  fi
}

# Writes file $1 with text $2, unless it has it, for a daemon that reads it at any moment.
place() {
  [ -f "$1" ] && [ "$(cat "$1")" = "$2" ] && return 0
  own=${1%/*}/.fleetotp.${1##*/}
  printf '%s\n' "$2" >"$own" && chmod 644 "$own" && mv -f "$own" "$1" || { rm -f "$own"; fail arm "cannot write $1"; }
  placed="$placed $1"
}

# Arms the dead man's switch, then makes the change: files in the order given, sshd last.
go() {
  flush
  # The temporary member needs its home until the change is confirmed or reverted: no longer ours to clean up.
  read_uptime
  printf '%s %s\n' "$up" "$((up + window))" >"$txnew/window" || fail write "cannot write to $LIB"
  arm
  # All of it is on the disk before the first file is changed: after a power cut there is a way back, and no file that
  # took another's place is empty.
  settle $stagedtx "$txnew"/* "$txnew"
  mv "$txnew" "$LIB/tx/$tx" || fail write "cannot open the change"
  txnew=
  settle "$LIB/tx"
  ((setsid /bin/sh "$LIB/reaper" watch "$tx" || /bin/sh "$LIB/reaper" watch "$tx") </dev/null >/dev/null 2>&1 &)
  while IFS='	' read -r new path; do
    [ -n "$path" ] || continue
    if [ "$new" = remove_now ]; then rm -f "$path"; else mv -f "$new" "$path" && relabel "$path"; fi || { revert "$tx"; fail write "cannot replace $path"; }
  done <<LIST
$moves
LIST
  settle $places
  rm -rf $stages
  stages=
  # The host was asleep, or as good as that: its own revert came before the last of these files.
  [ -d "$LIB/tx/$tx" ] || {
    mv "$LIB/tx/$tx.reverted" "$LIB/tx/$tx.reverting" 2>/dev/null
    revert "$tx"
    fail late "the change took longer than its window and was reverted"
  }
  judge || { revert "$tx"; fail "$why" "$what"; }
  # Where only the temporary member comes, sshd has nothing to read anew.
  [ -z "$moves" ] || reload_sshd "$daemon" || { revert "$tx"; fail reload "sshd did not take the new configuration"; }
  say opened "$tx" "$window"
}

# As effective, for a configuration that is new: what sshd does for a user is told by its extended test (sshd(8): -T).
effective_now() {
  effective "$1"
  case $t in 'error '*) why=test what=$(printf '%s' "${t#error }" | tr '\n\t' '  '); return 1 ;; esac
  tested=1
}

# Tests the new configuration before any sshd reads it.
judge() {
  forget_asked
  tested=
  for u in $same; do
    effective_now "$u" || return 1
    why=weaker
    printf '%s\n' "$t" | grep -vE "^($may_differ) " >"$LIB/tx/$tx/now" || [ $? = 1 ] || { why=write what="cannot write to $LIB"; return 1; }
    cmp -s "$LIB/tx/$tx/now" "$LIB/tx/$tx/same.$u" || {
      what="sshd would treat $u differently: $(diff "$LIB/tx/$tx/same.$u" "$LIB/tx/$tx/now" | grep '^[<>]' | head -n 4 | tr '\n\t' '  ')"
      return 1
    }
  done
  while IFS='	' read -r u k v; do
    [ -n "$k" ] || continue
    effective_now "$u" || return 1
    why=no-effect
    case "
$t
" in *"
$k $v
"*) ;; *)
      what="sshd gives $u not '$k $v' but '$(printf '%s\n' "$t" | grep "^$k " | head -n 1)'"
      return 1
      ;;
    esac
  done <<LIST
$want
LIST
  # A HUP with a configuration that nobody has tested could be the listener's last.
  [ -n "$tested" ] || what=$("$sshd" -t -f "$main" $opts 2>&1) || {
    why=test what=$(printf '%s' "$what" | tr '\n\t' '  ')
    return 1
  }
}

# One check of what sshd does for a user now; a failure undoes the group change made in this request.
judge_now() {
  if [ -z "$judged_once" ]; then
    use_daemon "$b"
    judged_once=1
  fi
  effective "$a"
  case "
$t
" in *"
$c
"*) ;; *) fail no-effect "sshd gives $a not '$c'" ;;
  esac
}

# Whoever renames first wins: this, or the host's own revert.
confirm() {
  case $1 in *[!A-Za-z0-9-]* | '') fail protocol "bad transaction name" ;; esac
  mv "$LIB/tx/$1" "$LIB/tx/$1.done" 2>/dev/null || fail late "change $1 is not open any more: the host has reverted it"
  # Or a power cut would have it open again, and reverted.
  settle "$LIB/tx"
  drop_canary "$LIB/tx/$1.done"
  rm -f "$LIB/tx/$1.done"/same.* "$LIB/tx/$1.done/now"
  # Where nothing was changed there is nothing to keep.
  [ -s "$LIB/tx/$1.done/manifest" ] || [ -f "$LIB/tx/$1.done/canary" ] || rm -rf "$LIB/tx/$1.done"
  # Older copies than these are of no use to anybody.
  ls -1dt "$LIB"/tx/*.done "$LIB"/tx/*.reverted 2>/dev/null | tail -n +21 | while read -r t; do [ -f "$t/canary" ] || rm -rf "$t"; done
  say confirmed "$1"
  disarm
}

# ---------------------------------------------------------------- main

# A controller that is gone must not end this in the middle of a change: what was asked for completely is done
# completely. The end of its time is told and cleaned up after.
trap '' PIPE
trap 'fail stopped "it took longer than it may and was stopped"' TERM
set -- $connection
from=${1:-127.0.0.1} here=${3:-127.0.0.1} port=${4:-22}
say fleetotp 1
IFS='	' read -r request length
case $request in
inspect) inspect ;;
apply) apply "$length" ;;
show) show ;;
collect) collect ;;
ping) ;;
*) fail protocol "unknown request" ;;
esac
say done
