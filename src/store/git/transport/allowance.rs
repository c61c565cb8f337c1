//! Bounds what libgit2 takes, in memory and in time, while it works on what a server has sent.
//!
//! libgit2 puts the objects of a pack together when the last byte has come, and asks nobody whether to go on. A pack of
//! 200 bytes makes it do so for ever, with more memory each time (`resolve_deltas` in its indexer.c: a difference that makes
//! an object which the pack has already is tried again and again). But it asks for memory all the while. So memory is given
//! out here, and there is no more of it once the work takes too long or too much: then libgit2 gives up, with an error.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use super::TransportError;
use super::address::Address;
use super::error::remember;
use super::until;
use crate::limits;

/// What the work on this thread may still take.
#[derive(Clone, Copy)]
struct Allowance {
    bytes: usize,
    until: Option<Instant>,
    /// What it was refused for.
    refused: Option<Refused>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Refused {
    Memory,
    Time,
}

thread_local! {
    static ALLOWANCE: Cell<Option<Allowance>> = const { Cell::new(None) };
}

/// Takes the allowance away, also if the work panics.
struct Given;

impl Drop for Given {
    fn drop(&mut self) {
        ALLOWANCE.set(None);
    }
}

/// Lets libgit2 work on what the server of that URL sends. Its errors are those of [`super::take_last_error`].
///
/// The work may go on for some time after the deadline: nobody waits for it any more, but the next operation finds what
/// it has made.
pub(in crate::store::git) fn bounded<T>(
    url: &str,
    act: impl FnOnce() -> Result<T, git2::Error>,
) -> Result<T, git2::Error> {
    let limits = limits::get();
    let afterwards = Duration::from_secs(limits.working_seconds);
    within(url, limits.working_bytes, until::deadline().map(|deadline| deadline.end() + afterwards), act)
}

fn within<T>(
    url: &str,
    bytes: usize,
    until: Option<Instant>,
    act: impl FnOnce() -> Result<T, git2::Error>,
) -> Result<T, git2::Error> {
    let _given = Given;
    ALLOWANCE.set(Some(Allowance { bytes, until, refused: None }));
    let result = act();
    if result.is_err()
        && let Some(refused) = ALLOWANCE.get().and_then(|allowance| allowance.refused)
    {
        let peer = Address::parse(url).map_or_else(|_| "the server".to_owned(), |address| address.peer());
        let late = until::deadline().map(|deadline| (deadline.within().as_secs(), deadline.limit().key()));
        remember(match (refused, late) {
            (Refused::Time, Some((seconds, key))) => TransportError::Late { peer, seconds, key },
            _ => TransportError::excess(&peer, ("bytes that have to be in memory at once", bytes as u64)),
        });
    }
    result
}

/// Asks for so many bytes. False if the work has had enough.
fn ask(bytes: usize) -> bool {
    let Some(mut allowance) = ALLOWANCE.get() else { return true };
    let refused = if bytes > allowance.bytes {
        Refused::Memory
    } else if allowance.until.is_some_and(|until| Instant::now() > until) {
        Refused::Time
    } else {
        return true;
    };
    allowance.refused.get_or_insert(refused);
    ALLOWANCE.set(Some(allowance));
    false
}

/// Counts what was taken and what was given back.
fn count(taken: usize, given_back: usize) {
    if let Some(mut allowance) = ALLOWANCE.get() {
        allowance.bytes = allowance.bytes.saturating_add(given_back).saturating_sub(taken);
        ALLOWANCE.set(Some(allowance));
    }
}

/// What libgit2 calls for memory (git2/sys/alloc.h).
#[repr(C)]
struct Allocator {
    malloc: extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

extern "C" fn malloc(size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    if !ask(size) {
        return ptr::null_mut();
    }
    // SAFETY: any size is one that malloc takes, and malloc_usable_size takes whatever it gives.
    unsafe {
        let made = libc::malloc(size);
        count(libc::malloc_usable_size(made), 0);
        made
    }
}

/// # Safety
/// As realloc of the C library.
unsafe extern "C" fn realloc(old: *mut c_void, size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    // SAFETY: libgit2 hands in what it got of these functions, or of the C library's before they were set, or null.
    let before = unsafe { libc::malloc_usable_size(old) };
    if !ask(size.saturating_sub(before)) {
        return ptr::null_mut();
    }
    // SAFETY: as above.
    unsafe {
        let made = libc::realloc(old, size);
        if !made.is_null() {
            count(libc::malloc_usable_size(made), before);
        }
        made
    }
}

/// # Safety
/// As free of the C library.
unsafe extern "C" fn free(old: *mut c_void) {
    // SAFETY: libgit2 hands in what it got of these functions, or of the C library's before they were set, or null.
    unsafe {
        count(0, libc::malloc_usable_size(old));
        libc::free(old);
    }
}

/// Makes these the functions that libgit2 gets its memory of.
pub(super) fn install() {
    let allocator = Allocator { malloc, realloc, free };
    // SAFETY: libgit2 copies the table. Its own functions are those of the C library too, so what was got of the one may be
    // given back to the other. It could be read while it is written, each pointer of it whole: old and new do the same.
    unsafe {
        libgit2_sys::git_libgit2_opts(
            libgit2_sys::GIT_OPT_SET_ALLOCATOR as c_int,
            ptr::from_ref(&allocator).cast::<c_void>(),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use git2::{ObjectType, Oid, Repository};

    use super::super::take_last_error;
    use super::*;
    use crate::deadline::{Deadline, Limit};

    fn deflated(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// A file, and the same file once more as the difference from itself.
    fn endless(size: u16) -> Vec<u8> {
        let file = vec![b'x'; usize::from(size)];
        let oid = Oid::hash_object(ObjectType::Blob, &file).unwrap();
        let [low, high] = [size & 0x7f | 0x80, size >> 7].map(|bits| bits as u8);
        let [first, second] = size.to_le_bytes();
        let delta = [low, high, low, high, 0xb0, first, second];
        let head = [0xb0 | (size & 15) as u8, (size >> 4) as u8];
        let entries =
            [&head[..], &deflated(&file), &[0x70 | delta.len() as u8], oid.as_bytes(), &deflated(&delta)];
        let mut pack = [b"PACK\0\0\0\x02\0\0\0\x02", &entries.concat()[..]].concat();
        let sum = sha1_smol::Sha1::from(&pack).digest().bytes();
        pack.extend(sum);
        pack
    }

    fn indexed(bytes: usize, until: Option<Instant>) -> Option<TransportError> {
        install();
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let odb = repo.odb().unwrap();
        let done = within("git://h/p", bytes, until, || {
            let mut writer = odb.packwriter()?;
            writer.write_all(&endless(1000)).map_err(|error| git2::Error::from_str(&error.to_string()))?;
            writer.commit().map(drop)
        });
        assert!(done.is_err());
        assert!(ask(usize::MAX), "what comes later is not bounded");
        take_last_error()
    }

    #[test]
    fn a_pack_that_is_put_together_for_ever_ends_with_its_memory() {
        let error = indexed(32 << 20, None);
        assert!(matches!(error, Some(TransportError::TooMuch { most: 0x200_0000, .. })), "{error:?}");
    }

    #[test]
    fn a_pack_that_is_put_together_for_ever_ends_with_its_time() {
        let deadline = Deadline::new(Limit::Read, Duration::from_millis(50));
        let error = until::until(deadline, || indexed(usize::MAX, Some(deadline.end())));
        assert!(matches!(error, Some(TransportError::Late { key: "read", .. })), "{error:?}");
    }
}
