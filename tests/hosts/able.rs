//! Whether this machine allows network namespaces.

use std::sync::OnceLock;

use crate::namespaces::{self, Namespaces};
use crate::table::say;

/// True if it does. Otherwise prints a prominent message.
pub(crate) fn able() -> bool {
    static ABLE: OnceLock<bool> = OnceLock::new();
    let able = *ABLE.get_or_init(|| {
        let able = rustix::process::geteuid().is_root() && Namespaces::can_be_made();
        if able {
            namespaces::sweep();
        }
        able
    });
    if !able {
        say("SKIPPED: tests/hosts needs root and network namespaces (ip netns): nothing was tested");
    }
    able
}
