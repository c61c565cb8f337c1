use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    for (bytes, wanted) in [(&b"a"[..], PRIVATE), (b"bb", READABLE)] {
        folder.replace("f", bytes, wanted, Lasting::Durable).unwrap();
        assert_eq!(folder.read("f", 2).unwrap().as_deref(), Some(bytes));
        assert_eq!(mode(&dir.path().join("f")), wanted);
    }
    assert_eq!(folder.read("f", 1).unwrap_err().source.to_string(), "it has more than 1 bytes");
    drop(folder.stage(".x").unwrap());
    assert_eq!(names(dir.path()), ["f"]);
    folder.remove("f").unwrap();
    folder.remove("f").unwrap();
    assert!(folder.read("f", 9).unwrap().is_none());
    assert!(folder.replace("no/f", b"", PRIVATE, Lasting::Cached).is_err());
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn what_is_there_already_keeps_its_name_from_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    let place = |text: &[u8]| {
        let mut staged = folder.stage("").unwrap();
        staged.fill(text, PRIVATE, Lasting::Cached).unwrap();
        staged.place_new(Path::new("f")).unwrap()
    };
    assert_eq!((place(b"first"), place(b"second")), (true, false));
    assert_eq!(
        (folder.read("f", 9).unwrap().as_deref(), names(dir.path())),
        (Some(&b"first"[..]), vec!["f".into()])
    );
}

#[test]
fn neither_links_nor_fifos_nor_folders_are_files() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    symlink("victim", at("link")).unwrap();
    fs::create_dir(at("folder")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    for (name, is) in [("link", NotPlain::Link), ("fifo", NotPlain::Other), ("folder", NotPlain::Other)] {
        for error in [
            folder.file(name).map(drop).unwrap_err(),
            folder.file_to_write(name).map(drop).unwrap_err(),
            folder.lock_file(name).map(drop).unwrap_err(),
            open_plain(&at(name)).map(drop).unwrap_err(),
        ] {
            assert_eq!(NotPlain::of(&error), Some(is), "{name}: {}", crate::errors::chain(&error));
            assert!(error.path.ends_with(name));
        }
    }
    // A link is replaced, and not what it leads to.
    folder.replace("link", b"new", PRIVATE, Lasting::Cached).unwrap();
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "precious");
    assert!(folder.sub(OsStr::new("victim"), 0o755).is_err());
    symlink("folder", at("other")).unwrap();
    assert!(folder.sub(OsStr::new("other"), 0o755).is_err());
    assert_eq!(folder.sub(OsStr::new("folder"), 0o755).unwrap().path(), at("folder"));
}

#[test]
fn what_is_done_stays_in_the_folder_that_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("mine")).unwrap();
    fs::create_dir(at("victim")).unwrap();
    let folder = Folder::open(&at("mine")).unwrap();
    let mut staged = folder.stage("").unwrap();
    fs::rename(at("mine"), at("moved")).unwrap();
    symlink("victim", at("mine")).unwrap();
    staged.fill(b"x", PRIVATE, Lasting::Durable).unwrap();
    staged.place(Path::new("f"), Lasting::Durable).unwrap();
    folder.replace("g", b"x", PRIVATE, Lasting::Durable).unwrap();
    assert_eq!((names(&at("victim")).len(), names(&at("moved"))), (0, vec!["f".to_owned(), "g".to_owned()]));
}

#[test]
fn a_folder_that_is_made_is_for_this_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let folder = Folder::private(&path).unwrap();
    let lock = folder.lock_file("lock").unwrap();
    assert_eq!((mode(&path), mode(&dir.path().join("a"))), (0o700, 0o700));
    assert_eq!(lock.metadata().unwrap().mode() & 0o7777, 0o600);
    Folder::private(&path).unwrap();
}

#[test]
fn leftovers_of_killed_runs_are_swept_and_other_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".presence-AbCdEf.x", ".presence-AbCd.f.x", ".presence-AbCdEf.y", ".presence-note.x", "x"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    Folder::open(dir.path()).unwrap().sweep(".x");
    assert_eq!(names(dir.path()), [".presence-AbCd.f.x", ".presence-AbCdEf.y", ".presence-note.x", "x"]);
}

/// Users of nobody's.
const OTHER: u32 = 65534;
const THIRD: u32 = 65533;

#[test]
fn a_link_of_another_user_leads_only_to_his_own_folders() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (name, owner) in [("root", 0), ("his", OTHER), ("third", THIRD)] {
        fs::create_dir_all(at(name).join("sub")).unwrap();
        chown(at(name), Some(owner), None).unwrap();
        chown(at(name).join("sub"), Some(owner), None).unwrap();
    }
    let link = |name: &str, target: &str, owner: u32| {
        symlink(target, at(name)).unwrap();
        lchown(at(name), Some(owner), None).unwrap();
    };
    link("ours", "his", 0);
    link("to-root", at("root").to_str().unwrap(), OTHER);
    link("to-his", "./his", OTHER);
    link("to-third", "his/../third", OTHER);
    link("twice", "to-his", THIRD);
    link("loop", "loop", 0);
    let opens = |path: &str| Folder::open(&at(path)).map(drop).map_err(|error| crate::errors::chain(&error));
    for path in
        ["root", "his/sub", "ours", "ours/sub", "to-his", "to-his/sub", "to-his/../his", "root/../ours"]
    {
        assert_eq!(opens(path), Ok(()), "{path}");
    }
    for path in ["to-root", "to-root/sub", "to-third", "to-third/sub", "to-his/../root", "twice"] {
        let told = opens(path).unwrap_err();
        assert!(
            told.contains("in the path belongs to user 6553") && told.contains("chown -h root"),
            "{path}: {told}"
        );
    }
    assert!(opens("loop").unwrap_err().contains("symbolic links"));
    assert!(opens("none").unwrap_err().contains("No such file") && opens("to-his/none").is_err());
    // As the user himself, his links lead where he may go.
    lchown(at("to-root"), Some(0), None).unwrap();
    assert_eq!(opens("to-root"), Ok(()));
}
