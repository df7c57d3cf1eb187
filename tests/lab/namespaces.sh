# shellcheck shell=bash
# Lab hosts as Linux namespaces, the normal mode. Sourced by `lab`.
#
# machine ── unshare ── world (pid 1 of its own pid namespace; bridge 10.77.0.1; tmpfs over /mnt)
#                        └─ one set of namespaces per host, root = overlay of a cached root and a tmpfs
# The world's end ends every process, mount and interface in it: the kernel cleans up, not this script.

WORLD=/mnt
HOST_DISK=192m

# Reads the calling shell's own process id as the /proc mounted at $1 knows it.
# No subshell may stand between: it would name itself.
own_pid_in() { read -r OWN_PID _ <"$1/self/stat"; }

# --- the machine's side

# Starts the world in the background; leaves the pid of its `unshare` in UNSHARE_PID.
namespaces_start() {
    unshare --net --mount --pid --fork --kill-child=KILL --propagation private -- \
        bash "$LAB_SELF" --dir "$DIR" __world </dev/null 2>"$DIR/world.log" {LIFELINE}>&- &
    UNSHARE_PID=$!
}

namespaces_stop() {
    # Killing the world itself (not unshare) lets unshare return only when everything inside is gone.
    kill -KILL "$(cat "$DIR/world" 2>/dev/null || echo "$UNSHARE_PID")" 2>/dev/null || true
    wait "$UNSHARE_PID" 2>/dev/null || true
    if [[ -n ${CONTROLLER_PID:-} ]]; then
        kill -KILL "$CONTROLLER_PID" 2>/dev/null || true
        wait "$CONTROLLER_PID" 2>/dev/null || true
    fi
}

# Runs a command inside the world, from the machine's side.
in_world() {
    nsenter -t "$(cat "$DIR/world")" --net --mount --pid -- bash "$LAB_SELF" --dir "$DIR" "$@"
}

# Keeps a view of the machine in which the hosts' names resolve and ssh knows their keys, with the lab's network. It ends
# with the supervisor, however that ends; what is mounted on the machine meanwhile is seen in it.
namespaces_controller() {
    local world
    read -r world <"$DIR/world"
    nsenter --net="/proc/$world/ns/net" -- unshare --mount --propagation slave -- setpriv --pdeathsig KILL -- \
        sh -c 'mount --bind "$1/etc-hosts" /etc/hosts && mount --bind "$1/system_ssh_config" /etc/ssh/ssh_config &&
            echo $$ >"$1/controller.new" && mv "$1/controller.new" "$1/controller" && exec sleep infinity' sh "$DIR" \
        </dev/null >/dev/null 2>>"$DIR/world.log" {LIFELINE}>&- &
    CONTROLLER_PID=$!
    until [[ -e $DIR/controller ]]; do
        kill -0 "$CONTROLLER_PID" 2>/dev/null || die "the controller's side did not come up: $(cat "$DIR/world.log")"
        sleep 0.01
    done
}

namespaces_exec() { exec "$LAB_HOME/enter" "$DIR" exec -- "$@"; }
namespaces_host() {
    local name=$1
    shift
    exec "$LAB_HOME/enter" "$DIR" host "$name" -- "$@"
}

# --- inside the world

world_main() {
    local name jobs=() spec failed=0
    own_pid_in /proc
    echo "$OWN_PID" >"$DIR/world.new"
    mount -t tmpfs -o mode=0755 lab "$WORLD"
    mkdir "$WORLD/machine-proc" "$WORLD/hosts"
    mount --bind /proc "$WORLD/machine-proc"
    mount -t proc proc /proc
    mv "$DIR/world.new" "$DIR/world"
    ip link set lo up
    # An address of its own: else it takes the lowest of its ports, another one when a host is booted again, and hosts
    # that know the old one answer to nobody for seconds.
    ip link add br0 address 02:00:00:4d:00:01 type bridge
    # The controller is 10.77.0.1. The many others are for login attempts: sshd 9.8 and later refuses an address
    # whose logins failed, and a test that means to fail has to come from somewhere else each time.
    { echo "addr add 10.77.0.1/16 dev br0"; printf 'addr add 10.77.1.%s/16 dev br0\n' {1..250}; } | ip -batch -
    ip link set br0 up
    for spec in "$DIR"/hosts/*; do
        name=${spec##*/}
        # No `&&` between them: it would switch off `set -e` in the first.
        {
            host_make_root "$name"
            host_boot "$name"
        } &
        jobs+=($!)
    done
    for spec in "${jobs[@]}"; do wait "$spec" || failed=1; done
    if ((failed)); then die "not every host came up"; fi
    : >"$DIR/up"
    stay
}

host_make_root() {
    local name=$1 at=$WORLD/hosts/$1 suite
    suite=$(cat "$DIR/hosts/$name/suite")
    mkdir -p "$at/disk" "$at/root"
    mount -t tmpfs -o "size=$HOST_DISK,mode=0755" "lab-$name" "$at/disk"
    mkdir "$at/disk/upper" "$at/disk/work"
    mount -t overlay "lab-$name" -o "lowerdir=$(roots_dir)/$suite,upperdir=$at/disk/upper,workdir=$at/disk/work" "$at/root"
    host_personalise "$name" "$at/root"
    cp -- "$LAB_HOME/init" "$at/root/usr/local/sbin/lab-init"
}

# Boots a host and returns when its sshd listens.
host_boot() {
    local name=$1 at=$WORLD/hosts/$1 answer=
    rm -f -- "$at/ready"
    mkfifo "$at/ready"
    exec 4<>"$at/ready"
    setsid unshare --net --mount --uts --propagation private -- \
        bash "$LAB_SELF" --dir "$DIR" __network "$name" </dev/null >>"$DIR/hosts/$name/boot.log" 2>&1 &
    read -r -t 20 answer <&4 || true
    exec 4>&-
    [[ $answer == up ]] || die "host $name did not boot: $(tail -n 5 "$DIR/hosts/$name/boot.log" | tr '\n' ' ')"
}

host_boot_again() {
    # The old interface goes with its namespace, but later than its name is needed.
    ip link del "host$(sed 's/.*\.//' "$DIR/hosts/$1/address")" 2>/dev/null || true
    host_boot "$1"
}

# Inside the host's network, mount and uts namespaces, still among the world's processes.
host_network() {
    local name=$1 address index
    address=$(cat "$DIR/hosts/$name/address")
    index=${address##*.}
    hostname "$name"
    # The same hardware address after every reboot: others still know the old one for half a minute.
    ip link add eth0 address "$(printf '02:00:00:4d:%02x:%02x' $((index / 256)) $((index % 256)))" \
        type veth peer name "host$index" netns 1
    ip -batch - <<<"link set lo up
addr add $address/16 dev eth0
link set eth0 up
route add default via 10.77.0.1"
    nsenter --net=/proc/1/ns/net -- ip link set "host$index" master br0 \
        "$([[ -e $DIR/hosts/$name/cut ]] && echo down || echo up)"
    exec unshare --pid --fork --kill-child=KILL -- bash "$LAB_SELF" --dir "$DIR" __root "$name"
}

# Process 1 of the host: gives the host its own view of the file system and becomes its init.
host_enter_root() {
    local name=$1 root=$WORLD/hosts/$1/root node
    own_pid_in "$WORLD/machine-proc"
    echo "$OWN_PID" >"$DIR/hosts/$name/pid.new"
    mv "$DIR/hosts/$name/pid.new" "$DIR/hosts/$name/pid"
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=0755,size=16m run "$root/run"
    mount -t tmpfs -o mode=0755,size=1m dev "$root/dev"
    mkdir "$root/dev/pts" "$root/dev/shm"
    for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
        # shellcheck disable=SC2086 # Three words are meant.
        set -- $node
        mknod -m 0666 "$root/dev/$1" c "$2" "$3"
    done
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
    mount -t tmpfs -o mode=1777,size=16m shm "$root/dev/shm"
    cd "$root" || die "the root of $name is gone"
    pivot_root . .
    umount -l .
    exec chroot . "${HOST_ENV[@]}" /usr/local/sbin/lab-init
}

# --- what can be done to a host, inside the world

host_link() {
    local device
    device=host$(sed 's/.*\.//' "$DIR/hosts/$1/address")
    if [[ $2 == down ]]; then : >"$DIR/hosts/$1/cut"; else rm -f -- "$DIR/hosts/$1/cut"; fi
    ip link set "$device" "$2"
}

# Slows what the host receives and sends. A kernel without netem gets a narrow link instead: one in which a full
# packet takes the given time.
host_slow() {
    local device delay=$2 ms
    device=host$(sed 's/.*\.//' "$DIR/hosts/$1/address")
    tc qdisc del dev "$device" root 2>/dev/null || true
    if [[ $delay == 0 ]]; then return; fi
    [[ $delay =~ ^([0-9]+)ms$ ]] || die "\`$delay\` is not a delay: write 200ms, or 0 to end it"
    ms=${BASH_REMATCH[1]}
    if tc qdisc add dev "$device" root netem delay "${ms}ms" 2>/dev/null; then
        say "$1: every packet to it takes ${ms} ms more (netem)"
    else
        tc qdisc add dev "$device" root tbf rate "$((12000000 / ms))bit" burst 1600 latency 60s
        say "$1: no netem in this kernel, so its link is narrow: $((12000 / ms)) kbit/s, a full packet takes ${ms} ms"
    fi
}

# Takes all space of the host's disk, or gives it back.
host_fill() {
    local disk=$WORLD/hosts/$1/disk
    if [[ $2 == off ]]; then rm -f -- "$disk/ballast"; return; fi
    fallocate -l "$(df --output=avail -B1 "$disk" | tail -n 1)" "$disk/ballast" 2>/dev/null ||
        dd if=/dev/zero of="$disk/ballast" bs=4k 2>/dev/null || true
}

# --- the commands of this mode, from the machine's side

namespaces_reboot() {
    local pid
    pid=$(cat "$DIR/hosts/$1/pid")
    kill -KILL "$pid"
    while [[ -d /proc/$pid ]]; do sleep 0.01; done
    in_world __inside host_boot_again "$1"
}

namespaces_cut() { in_world __inside host_link "$1" down; }
namespaces_mend() { in_world __inside host_link "$1" up; }
namespaces_slow() { in_world __inside host_slow "$1" "${2:?give a delay such as 200ms}"; }
namespaces_fill() { in_world __inside host_fill "$1" on; }
namespaces_drain() { in_world __inside host_fill "$1" off; }
namespaces_signal() { nsenter -t "$(cat "$DIR/hosts/$1/pid")" --pid -- sh -c "kill -$2 -1"; }
