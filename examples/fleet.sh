#!/bin/sh
# Builds presence, lets four nodes put their names on one list (a git repository below target/), and shows what a load
# balancer and an application make of it. Needs Rust and nothing else; changes nothing outside target/.
set -eu
cd "$(dirname "$0")/.."

cargo build --locked --quiet
bin=$PWD/target/debug/presence
demo=$PWD/target/fleet
rm -rf "$demo"
mkdir -p "$demo"
cd "$demo"

# Each node has its own facts; all of them share one list.
export PRESENCE_STATE_DIR="$demo/state" PRESENCE_CONFIG="$demo/presence.toml"
: > presence.toml
unset PRESENCE_STORE PRESENCE_FOLDER PRESENCE_NODEINFO

node() { # instance-id part address port
    mkdir -p "$1"
    echo "$1" > "$1/instance-id.txt"
    echo "$2" > "$1/nodepart.txt"
    echo "$3" > "$1/address.txt"
    echo "$4" > "$1/port.txt"
    echo lad1 > "$1/stacktype.txt"
    echo demo > "$1/deployment.txt"
    "$bin" publish --nodeinfo "$1"
}

# Says the command, then runs it.
run() {
    printf '\n$ presence %s\n' "$*"
    "$bin" "$@"
}

echo "Four nodes publish:"
node i-lb1 lb1 192.0.2.10 80
node i-app1 app1 192.0.2.21 8080
node i-app2 app1 2001:db8::22 8080
node i-db1 db1 192.0.2.31 5432

run list
run render haproxy --nodeinfo i-lb1 | sed -n '/^\$/p;/^frontend/,$p'
run render database.yml --nodeinfo i-app1

echo
echo "One application server is drained:"
run state draining --nodeinfo i-app2
run render haproxy --nodeinfo i-lb1 | grep -e '^\$' -e ' server '

echo
echo "All of it is in $demo; the list itself is a git repository:"
if command -v git > /dev/null; then
    echo "$ git -C $demo/state/store.git log --oneline"
    git -C state/store.git log --oneline
fi
