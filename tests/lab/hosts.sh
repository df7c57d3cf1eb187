# shellcheck shell=bash
# What a lab host is, in whichever mode it runs. Sourced by `lab`.

# Writes down the hosts, makes the lab's own key, and describes all of it for programs (lab.json) and for ssh.
lab_describe_hosts() {
    local spec name suite index=10 address port
    ssh-keygen -q -t ed25519 -N '' -C lab-root -f "$DIR/root_key"
    mkdir "$DIR/hosts"
    printf '127.0.0.1 localhost\n' >"$DIR/etc-hosts"
    for spec in ${1//,/ }; do
        [[ $spec =~ ^([a-z0-9][a-z0-9-]{0,30})=([a-z]+)(\+no-module|\+oath|\+fail2ban)?$ ]] ||
            die "\`$spec\` is not NAME=SUITE, such as web1=bookworm or web1=bookworm+no-module"
        name=${BASH_REMATCH[1]} suite=${BASH_REMATCH[2]}
        index=$((index + 1))
        ((index < 255)) || die "too many hosts"
        mkdir "$DIR/hosts/$name" || die "host $name is named twice"
        case $MODE in
            namespaces) address=10.77.0.$index port=22 ;;
            loopback) address=127.0.77.$index port=2222 ;;
        esac
        echo "$suite" >"$DIR/hosts/$name/suite"
        echo "${BASH_REMATCH[3]}" >"$DIR/hosts/$name/variant"
        echo "$address" >"$DIR/hosts/$name/address"
        echo "$port" >"$DIR/hosts/$name/port"
        ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$DIR/hosts/$name/host_key"
        printf '%s %s\n' "$address" "$name" >>"$DIR/etc-hosts"
    done
    lab_write_ssh_files
    lab_write_json >"$DIR/lab.json"
}

# Two configurations for ssh: `ssh_config` with the lab's key, for people and scripts (ssh -F), and `system_ssh_config`,
# which stands for the machine's own on the controller's side: it knows the hosts and their keys, and nobody's identity.
lab_write_ssh_files() {
    local at name address port key where
    for at in "$DIR"/hosts/*; do
        name=${at##*/} address=$(cat "$at/address") port=$(cat "$at/port")
        key=$(cut -d' ' -f1,2 "$at/host_key.pub")
        for where in "$name" "$address"; do
            if [[ $port == 22 ]]; then echo "$where $key"; else echo "[$where]:$port $key"; fi
        done >>"$DIR/known_hosts"
        printf 'Host %s\n    HostName %s\n    Port %s\n' "$name" "$address" "$port" >>"$DIR/system_ssh_config"
    done
    printf 'Host *\n    GlobalKnownHostsFile %s\n' "$DIR/known_hosts" >>"$DIR/system_ssh_config"
    {
        cat "$DIR/system_ssh_config"
        printf '    UserKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n    ControlPath none\n'
        printf '    IdentityFile %s\n    IdentitiesOnly yes\n' "$DIR/root_key"
    } >"$DIR/ssh_config"
}

lab_write_json() {
    local at name separator=
    printf '{"mode":"%s","supervisor":%s,"dir":"%s","root_key":"%s","known_hosts":"%s","ssh_config":"%s","hosts":{' \
        "$MODE" "$$" "$DIR" "$DIR/root_key" "$DIR/known_hosts" "$DIR/ssh_config"
    for at in "$DIR"/hosts/*; do
        name=${at##*/}
        printf '%s"%s":{"suite":"%s","address":"%s","port":%s,"host_key":"%s"}' "$separator" "$name" \
            "$(cat "$at/suite")" "$(cat "$at/address")" "$(cat "$at/port")" "$(cut -d' ' -f1,2 "$at/host_key.pub")"
        separator=,
    done
    printf '}}\n'
}

# Makes the root file system $2 that of host $1, before its first boot.
host_personalise() {
    local name=$1 root=$2 variant deb
    same_directory "$root/etc" /etc && die "the root of $name is this machine's own: nothing is done"
    install -m 0600 "$DIR/hosts/$name/host_key" "$root/etc/ssh/ssh_host_ed25519_key"
    install -m 0644 "$DIR/hosts/$name/host_key.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    echo "$name" >"$root/etc/hostname"
    { cat "$DIR/etc-hosts"; echo "127.0.1.1 $name"; } >"$root/etc/hosts"
    install -d -m 0700 "$root/root" "$root/root/.ssh"
    install -d -m 0755 "$root/home"
    install -m 0600 "$DIR/root_key.pub" "$root/root/.ssh/authorized_keys"
    variant=$(cat "$DIR/hosts/$name/variant")
    case $variant in
        +no-module)
            chroot "$root" "${HOST_ENV[@]}" dpkg --force-unsafe-io --purge libpam-google-authenticator >/dev/null
            ;;
        +oath | +fail2ban)
            # Unpacked only: what the package of pam_oath does besides is to ask pam-auth-update for a profile that it does not
            # have, and Python's are for speed. /lib is a link, and stays one.
            for deb in "$(extra_dir "$(cat "$DIR/hosts/$name/suite")" "${variant#+}")"/*.deb; do
                dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root"
            done
            ;;
    esac
}

same_directory() { [[ $(stat -c %d:%i "$1") == "$(stat -c %d:%i "$2")" ]]; }

host_user() {
    local name=$1 login=$2 pubkey="" groups="" password="" sudo=no script
    shift 2
    while (($#)); do
        case $1 in
            --pubkey) pubkey=$(cat "$2"); shift 2 ;;
            --groups) groups=$2; shift 2 ;;
            --password) password=$2; shift 2 ;;
            --sudo) sudo=yes; shift ;;
            *) die "unknown argument \`$1\`" ;;
        esac
    done
    # shellcheck disable=SC2016 # The host's shell expands it.
    script='set -eu
login=$1 groups=$2 sudo=$3
useradd --create-home --shell /bin/bash ${groups:+--groups "$groups"} "$login"
home=$(getent passwd "$login" | cut -d: -f6)
IFS= read -r password
if [ -n "$password" ]; then printf "%s:%s\n" "$login" "$password" | chpasswd; fi
install -d -m 0700 -o "$login" -g "$login" "$home/.ssh"
cat >"$home/.ssh/authorized_keys"
chmod 0600 "$home/.ssh/authorized_keys"
chown "$login:$login" "$home/.ssh/authorized_keys"
if [ "$sudo" = yes ]; then
    printf "%s ALL=(ALL:ALL) NOPASSWD: ALL\n" "$login" >"/etc/sudoers.d/$login"
    chmod 0440 "/etc/sudoers.d/$login"
fi'
    printf '%s\n%s\n' "$password" "$pubkey" |
        "${MODE}_host" "$name" sh -c "$script" sh "$login" "$groups" "$sudo"
}
