//! Whether two paths name one file, whatever links lead to it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Whether both paths are the same name in the same folder. The folders may be reached through links, `..` or
/// mounts. If the last component is a link, it is not followed.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let (one, other) = (resolved(one), resolved(other));
    if one == other {
        return true;
    }
    let folder = |path: &Path| {
        let found = fs::metadata(path.parent()?).ok()?;
        Some((found.dev(), found.ino()))
    };
    one.file_name() == other.file_name() && folder(&one).is_some_and(|id| folder(&other) == Some(id))
}

/// The path with the links of its existing folders followed.
fn resolved(path: &Path) -> PathBuf {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    for ancestor in folder.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(ancestor), folder.strip_prefix(ancestor)) {
            return plain(&real.join(rest)).join(name);
        }
    }
    plain(folder).join(name)
}

/// The path without `.` and `..`, by its text only, for folders that do not exist.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            component => plain.push(component),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_many_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("real/sub")).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        for (one, other, same) in [
            ("real/f", "real/f", true),
            ("real/f", "link/f", true),
            ("real/./sub/../f", "link//f", true),
            ("real/new/f", "link/new/f", true),
            ("real/new/../f", "link/f", true),
            ("real/f", "real/g", false),
            ("real/f", "real/sub/f", false),
        ] {
            assert_eq!(is_same_file(&at(one), &at(other)), same, "{one} {other}");
        }
        assert!(!is_same_file(Path::new("/nonexistent/a"), Path::new("/nonexistent/b")));
    }
}
