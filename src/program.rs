//! Which build of the program this is.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Names this very build, where it is installed now: its version, and the file it was started from. Whatever is
/// remembered as made by the same program has this to prove it. None if the system does not tell.
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
