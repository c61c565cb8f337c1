//! The attributes of a file besides bytes, mode and owner: access control lists, security labels, user
//! attributes (xattr(7)).
//!
//! A file that replaces another one is a new file, and has none of them unless they are copied.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, StatxAttributes, StatxFlags, XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, statx,
};
use rustix::io::Errno;

use crate::folder::Folder;

/// The most bytes of a list or value in the kernel (xattr(7)).
const MAX: usize = 64 * 1024;

/// The access control list (acl(5)).
const ACL: &str = "system.posix_acl_access";

/// The list that files get which are created in a folder.
const DEFAULT_ACL: &str = "system.posix_acl_default";

/// Attributes that vouch for the bytes of the old file, and not for the new ones.
const OF_THE_BYTES: [&str; 3] = ["security.capability", "security.evm", "security.ima"];

/// Copies the attributes of the old file to the new one. Returns a sentence about each one that could not be
/// kept.
///
/// Call this before the mode is set, since the mode also changes what an access control list allows.
pub(super) fn keep(old: &File, new: &File) -> io::Result<Vec<String>> {
    let names = list(old)?;
    let mut lost = Vec::new();
    for name in names.iter().filter(|name| !OF_THE_BYTES.contains(&name.as_str())) {
        if let Err(error) = copy(old, new, name) {
            let error = io::Error::from(error);
            lost.push(format!("the attribute `{name}`{} could not be kept: {error}", meaning(name)));
        }
    }
    // Every file created in the folder gets the folder's default list, which may allow more than the old file
    // did.
    if !names.iter().any(|name| name == ACL) && list(new)?.iter().any(|name| name == ACL) {
        fremovexattr(new, ACL)?;
    }
    Ok(lost)
}

/// Gives a new file the folder's list for new files, as if another program had created the file with this
/// mode. True if the folder has such a list, which then determines the mode too.
pub(super) fn inherit(folder: &File, new: &File, mode: u32) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let list = match value(folder, DEFAULT_ACL) {
        Ok(list) => list,
        // An unreadable folder does not tell.
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS | Errno::BADF) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    fsetxattr(new, ACL, &list, XattrFlags::empty())?;
    // acl(5): the list's own rights, without those that the creator does not ask for.
    let allowed = new.metadata()?.permissions().mode() & mode;
    new.set_permissions(std::fs::Permissions::from_mode(allowed))?;
    Ok(true)
}

/// What prevents even root from replacing the file of that name: the file or its folder, and its flag (chattr(1)).
pub(super) fn protection(folder: &Folder, name: &OsStr) -> Option<(PathBuf, &'static str)> {
    let file = (Path::new(name), folder.at(name), AtFlags::SYMLINK_NOFOLLOW);
    let itself = (Path::new(""), folder.path().to_owned(), AtFlags::EMPTY_PATH);
    [file, itself].into_iter().find_map(|(name, path, how)| {
        let found = statx(folder, name, how, StatxFlags::empty()).ok()?.stx_attributes;
        let flags = [(StatxAttributes::IMMUTABLE, "immutable"), (StatxAttributes::APPEND, "append-only")];
        let flag = flags.into_iter().find(|(flag, _)| found.contains(*flag))?.1;
        Some((path, flag))
    })
}

fn copy(old: &File, new: &File, name: &str) -> Result<(), Errno> {
    let value = value(old, name)?;
    // Not every user may set an attribute that the new file has already, such as a label.
    if self::value(new, name).is_ok_and(|known| known == value) {
        return Ok(());
    }
    fsetxattr(new, name, &value, XattrFlags::empty())
}

fn value(file: &File, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; MAX];
    let length = fgetxattr(file, name, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// The names of the file's attributes, sorted; empty if the file system does not support attributes.
fn list(file: &File) -> io::Result<Vec<String>> {
    let mut list = vec![0; MAX];
    let length = match flistxattr(file, &mut list[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<String> = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    Ok(names)
}

fn meaning(name: &str) -> &'static str {
    match name {
        ACL => " (an access control list)",
        "security.selinux" => " (the SELinux label)",
        _ => "",
    }
}
