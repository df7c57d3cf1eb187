#!/bin/sh
# Checks this evidence pack with sha256sum, ssh-keygen, awk and nothing of fleetotp's. It reads only, but for a temporary
# directory of its own.
#
#   sh verify.sh [ALLOWED_SIGNERS]
#
# ALLOWED_SIGNERS is a file as ssh-keygen(1) reads it, that you have from somewhere else than this pack: a public key that
# came with the pack proves only that the pack is in itself whole, not who made it.
#
# 0: everything that could be checked is right.  1: something is wrong.  2: this machine lacks a program.
set -u
LC_ALL=C
export LC_ALL

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 2
held=${1:-}
case $held in '' | /*) ;; *) held=$PWD/$held ;; esac
cd -- "$here" || exit 2

wrong=0
good() { printf 'ok     %s\n' "$*"; }
bad() {
    printf 'WRONG  %s\n' "$*"
    wrong=1
}
note() { printf 'note   %s\n' "$*"; }
for program in sha256sum awk sort find mktemp; do
    command -v "$program" >/dev/null || {
        echo "verify.sh needs $program" >&2
        exit 2
    }
done
work=$(mktemp -d) || exit 2
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM

# -- files ----------------------------------------------------------------------------------------------------------------
# Paths in a pack are letters, digits and ./_- only, so that lists of them are plain lines.
if [ ! -f MANIFEST.sha256 ]; then
    bad "MANIFEST.sha256 is missing: nothing can be checked"
    exit 1
fi
if sha256sum --strict --quiet -c MANIFEST.sha256 >"$work/sums" 2>&1; then
    good "$(awk 'END { print NR }' MANIFEST.sha256) files are those of the manifest"
else
    while IFS= read -r line; do bad "$line"; done <"$work/sums"
fi
awk '{ sub(/^[0-9a-f]+ [ *]/, ""); print }' MANIFEST.sha256 | sort >"$work/listed"
find . ! -type d ! -path ./MANIFEST.sha256 ! -path ./MANIFEST.sha256.sig | sed 's|^\./||' | sort >"$work/found"
awk 'NR == FNR { listed[$0]; next } !($0 in listed)' "$work/listed" "$work/found" >"$work/extra"
if [ -s "$work/extra" ]; then
    while IFS= read -r file; do bad "$file is in no manifest: it was added later"; done <"$work/extra"
else
    good "nothing was added"
fi

if [ -f NARROWED.txt ]; then
    while IFS= read -r line; do note "$line"; done <NARROWED.txt
fi

# -- signature ------------------------------------------------------------------------------------------------------------
# Prints the principals of a file of allowed signers that match a signature.
signature() {
    signers=$1
    who=$(ssh-keygen -Y find-principals -f "$signers" -s MANIFEST.sha256.sig 2>/dev/null | head -n 1)
    if [ -n "$who" ] && ssh-keygen -Y verify -f "$signers" -I "$who" -n fleetotp-pack -s MANIFEST.sha256.sig \
        <MANIFEST.sha256 >"$work/ssh" 2>&1; then
        return 0
    fi
    return 1
}
if [ ! -f MANIFEST.sha256.sig ]; then
    if [ -n "$held" ] || [ -f allowed_signers ]; then
        bad "MANIFEST.sha256.sig is missing"
    else
        note "this pack was made without a signing key: who changes a file can change the manifest as well"
    fi
elif ! command -v ssh-keygen >/dev/null; then
    bad "ssh-keygen is not on this machine: the signature was not checked"
elif [ -n "$held" ]; then
    if signature "$held"; then
        good "the manifest is signed by $who, a signer of $held"
    else
        bad "the manifest's signature is not good for any signer of $held"
    fi
elif signature allowed_signers; then
    good "the manifest is signed by $who, whose key is in this pack"
    note "whether that key is theirs, only a file of allowed signers from elsewhere can tell: sh verify.sh FILE"
    ssh-keygen -l -f allowed_signers 2>/dev/null | while IFS= read -r line; do note "  $line"; done
else
    bad "the manifest's signature is not good"
fi

# -- event log ------------------------------------------------------------------------------------------------------------
# A line of the log is {"event":BODY,"hash":"HASH"}; HASH is the SHA-256 of the line before's HASH followed by BODY. Every
# pair is written to a file of its own, so that one sha256sum checks a thousand of them.
log=log/events.jsonl
if [ -f "$log" ]; then
    mkdir "$work/links"
    # shellcheck disable=SC2016 # awk's own variables.
    split='
        function fault(what) { print what >faults }
        /^\{"export":/ {
            if (match($0, /"previous":"[0-9a-f]+"/)) last = substr($0, RSTART + 12, RLENGTH - 13)
            if (match($0, /"from":[0-9]+/)) next_seq = substr($0, RSTART + 7, RLENGTH - 7) + 0
            next
        }
        /^\{"head":/ { next }
        /^\{"event":/ {
            if (!match($0, /,"hash":"[0-9a-f]+"\}$/)) { fault("line " NR " has no hash"); next }
            hash = substr($0, RSTART + 9, RLENGTH - 11)
            body = substr($0, 10, RSTART - 10)
            if (!match(body, /"seq":[0-9]+,"v":[0-9]+\}$/)) fault("line " NR " has no number")
            seq = substr(body, RSTART + 6) + 0
            if (seq != next_seq) fault("line " NR " holds event " seq " where " next_seq " is due")
            next_seq = seq + 1
            n++
            file = dir "/" seq
            printf "%s%s", last, body >file
            close(file)
            print hash "  " file >sums
            last = hash
            next
        }
        { fault("line " NR " is not a line of a log") }
        END { print n + 0, last >end }'
    : >"$work/faults"
    : >"$work/links.sha256"
    awk -v dir="$work/links" -v sums="$work/links.sha256" -v faults="$work/faults" -v end="$work/end" "$split" "$log"
    if [ -s "$work/faults" ]; then
        while IFS= read -r line; do bad "$log: $line"; done <"$work/faults"
    fi
    if [ -s "$work/links.sha256" ] && ! sha256sum --strict --quiet -c "$work/links.sha256" >"$work/broken" 2>/dev/null; then
        sed "s|^$work/links/|$log: the hash does not follow at event |; s|: FAILED\$||" "$work/broken" |
            head -n 20 >"$work/told"
        while IFS= read -r line; do bad "$line"; done <"$work/told"
    elif [ ! -s "$work/faults" ]; then
        read -r count hash <"$work/end"
        good "the log is one chain of $count events, and ends in $hash"
        if [ -f log/head ]; then
            read -r size head <log/head
            if [ "$head" = "$hash" ]; then
                good "that is the head which the pack names, event $size"
            else
                bad "the pack names another head: $head, event $size"
            fi
        fi
    fi
fi

echo
if [ "$wrong" = 0 ]; then
    echo "Everything that could be checked here is right."
else
    echo "This pack is not as it was made."
fi
exit "$wrong"
