#!/bin/sh
# Deploys an app from the machine at which one works, without GitHub Actions; from cron or a git hook, too.
#
#   deploy.sh USER@SERVER APP [REF]         the server fetches REF (the branch of its deploy table unless given) and builds it
#   deploy.sh --here USER@SERVER APP        the files of this directory are sent there, and built there
#   deploy.sh --built USER@SERVER APP       the same with node_modules and .next, for an app with `steps = []`
#
# What belongs to this machine is never sent: .git, .env, .env.local, .env.*.local.
#
# PORT=2222 deploy.sh …                     another port than 22 for ssh
# HEALTH=https://example.com/api/health     is asked afterwards, as the world sees it
#
# The server's key has to be known to ssh already: log in once by hand. It ends with 0 only if the new release serves;
# a deploy that fails has said why, and shown the last lines of what did not get healthy.
set -eu

usage() {
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0" >&2
    exit 2
}

sent=
case ${1-} in
    --here | --built)
        sent=$1
        shift
        ;;
esac
case $# in 2 | 3) ;; *) usage ;; esac
server=$1 app=$2 ref=${3-}
[ -z "$sent" ] || [ -z "$ref" ] || usage

on_server() {
    ssh -p "${PORT:-22}" -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=20 \
        -o ServerAliveInterval=15 -o ServerAliveCountMax=8 "$server" infissi-ctl "$@"
}

# The words go through a shell there, unless the key is a restricted one: nothing in them may mean something to it.
for word in "$app" "$ref"; do
    case $word in
        -* | *[!A-Za-z0-9._/-]*)
            echo "deploy.sh: $word cannot be an app or a ref" >&2
            exit 2
            ;;
    esac
done

if [ -n "$sent" ]; then
    # Whole before any of it is sent: a pipe would hide that tar failed.
    archive=$(mktemp)
    trap 'rm -f "$archive"' EXIT
    set -- --exclude=./.git --exclude=./.env --exclude=./.env.local --exclude='./.env.*.local'
    [ "$sent" = --built ] || set -- "$@" --exclude=./node_modules --exclude=./.next
    tar -czf "$archive" "$@" .
    on_server deploy "$app" --from - --wait 20m < "$archive"
elif [ -n "$ref" ]; then
    on_server deploy "$app" --ref "$ref" --wait 20m
else
    on_server deploy "$app" --wait 20m
fi

if [ -n "${HEALTH-}" ]; then
    if ! curl --fail --silent --show-error --max-time 10 --retry 5 --retry-delay 3 "$HEALTH"; then
        echo "deploy.sh: $HEALTH is not well; the last lines of $app:" >&2
        on_server logs "$app" -n 50 --no-follow >&2
        exit 1
    fi
    echo
fi
