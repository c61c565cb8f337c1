//! Bounds the memory and time of libgit2 while it handles data from others.
//!
//! libgit2 reads many files of a repository into memory as a whole, however large they are. It may also never
//! finish with what a server sends: it resolves the objects of a pack after the last byte, and offers no way
//! to cancel. A pack of 200 bytes makes it loop forever, with more memory each time: `resolve_deltas` in its
//! indexer.c retries a delta whose result the pack already has. But it allocates all the time. So this module
//! is its allocator, and refuses memory once the work takes too long or too much. libgit2 then gives up with
//! an error.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Once;
use std::time::Instant;

/// What a store has too much of if libgit2 is refused memory.
pub const AT_ONCE: &str = "bytes that must be in memory at once";

/// The remaining allowance of the work on this thread.
#[derive(Clone, Copy)]
struct Allowance {
    bytes: usize,
    until: Option<Instant>,
    /// The first reason for a refusal.
    refused: Option<Refused>,
}

/// Why libgit2 was refused memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Refused {
    /// It used up its memory.
    Memory,
    /// It used up its time.
    Time,
}

thread_local! {
    static ALLOWANCE: Cell<Option<Allowance>> = const { Cell::new(None) };
}

/// Restores the previous allowance, even if the work panics.
struct Restore(Option<Allowance>);

impl Drop for Restore {
    fn drop(&mut self) {
        ALLOWANCE.set(self.0);
    }
}

/// Runs `act`, in which libgit2 may allocate that many bytes more than it has, and nothing after that moment.
/// Returns the result, and the reason if memory was refused.
pub fn within<T>(bytes: usize, until: Option<Instant>, act: impl FnOnce() -> T) -> (T, Option<Refused>) {
    install();
    let _before = Restore(ALLOWANCE.replace(Some(Allowance { bytes, until, refused: None })));
    let result = act();
    (result, ALLOWANCE.get().and_then(|allowance| allowance.refused))
}

/// Whether that many bytes may be allocated.
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

/// Subtracts the bytes taken and adds the bytes given back.
fn count(taken: usize, given_back: usize) {
    if let Some(mut allowance) = ALLOWANCE.get() {
        allowance.bytes = allowance.bytes.saturating_add(given_back).saturating_sub(taken);
        ALLOWANCE.set(Some(allowance));
    }
}

/// The allocator of libgit2 (git2/sys/alloc.h).
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
    // SAFETY: malloc accepts any size, and malloc_usable_size accepts any result of malloc.
    unsafe {
        let made = libc::malloc(size);
        count(libc::malloc_usable_size(made), 0);
        made
    }
}

/// # Safety
/// Same as for realloc of the C library.
unsafe extern "C" fn realloc(old: *mut c_void, size: usize, _: *const c_char, _: c_int) -> *mut c_void {
    // SAFETY: libgit2 passes null, or a pointer from these functions or (before they were set) from the C
    // library.
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
/// Same as for free of the C library.
unsafe extern "C" fn free(old: *mut c_void) {
    // SAFETY: libgit2 passes null, or a pointer from these functions or (before they were set) from the C
    // library.
    unsafe {
        count(0, libc::malloc_usable_size(old));
        libc::free(old);
    }
}

/// Makes these functions the allocator of libgit2.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let allocator = Allocator { malloc, realloc, free };
        // SAFETY: libgit2 copies the table. Its own functions also use the C library's allocator, so memory
        // of one may be freed by the other. A thread may read the table while it is written, but each pointer
        // is written whole, and old and new functions are interchangeable.
        unsafe {
            libgit2_sys::git_libgit2_opts(
                libgit2_sys::GIT_OPT_SET_ALLOCATOR as c_int,
                ptr::from_ref(&allocator).cast::<c_void>(),
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use git2::{ObjectType, Oid, Repository};

    use super::*;
    use crate::send_pack::deflated;

    /// A pack of a file, and a delta that makes the same file from it.
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

    fn indexed(bytes: usize, until: Option<Instant>) -> Option<Refused> {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let odb = repo.odb().unwrap();
        let (done, refused) = within(bytes, until, || {
            let mut writer = odb.packwriter()?;
            writer.write_all(&endless(1000)).map_err(|error| git2::Error::from_str(&error.to_string()))?;
            writer.commit().map(drop)
        });
        assert!(done.is_err());
        assert!(ask(usize::MAX), "what comes later is not bounded");
        refused
    }

    #[test]
    fn a_pack_that_is_put_together_for_ever_ends_with_its_memory_or_its_time() {
        assert_eq!(indexed(32 << 20, None), Some(Refused::Memory));
        let soon = Instant::now() + Duration::from_millis(50);
        assert_eq!(indexed(usize::MAX, Some(soon)), Some(Refused::Time));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(dir.path()).unwrap();
        let large = std::fs::File::create(dir.path().join("packed-refs")).unwrap();
        large.set_len(1 << 40).unwrap();
        let (found, refused) = within(1 << 20, None, || repo.find_reference("refs/heads/main").map(drop));
        assert_eq!((found.is_err(), refused), (true, Some(Refused::Memory)));
    }
}
