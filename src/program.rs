//! Which build of the program this is.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Identifies the installed build that runs: its version, and the file that it was started from. Memories
/// that only the same program may use contain it. `None` if the system does not tell.
pub(crate) fn build() -> Option<String> {
    let found = fs::metadata("/proc/self/exe").ok()?;
    Some(format!(
        "{} {}-{}-{}-{}.{:09}",
        env!("CARGO_PKG_VERSION"),
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec()
    ))
}
