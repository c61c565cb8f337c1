# The commands of CONTRIBUTING.md, RELEASING.md and fuzz/README.md under short names. `just` lists them.

# Lists the recipes.
default:
    @just --list

# Builds the program.
build:
    cargo build --locked --release

# Formats and lints, as CI does.
check:
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets --quiet -- --deny warnings

# The quick round: needs only Rust and a C compiler.
quick:
    cargo test --locked --workspace --lib

# Everything that CI does. Installs Debian packages that the tests need.
test:
    tests/run.sh

# Counts instructions; compare the figures before and after a change.
bench:
    cargo bench --bench instructions

# Runs one fuzz target, such as `record`; needs nightly and cargo-fuzz.
fuzz target seconds="1800":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# Checks licenses, sources and advisories of the dependencies; needs cargo-deny.
deny:
    cargo deny --workspace --all-features check

# Checks that the oldest supported Rust builds presence.
msrv:
    rustup toolchain install 1.89 --profile minimal
    cargo +1.89 check --locked --workspace --all-features --tests
