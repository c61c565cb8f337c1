use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

struct Fixture {
    dir: tempfile::TempDir,
    memory: Memory,
    target: Target,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::open(&dir.path().join("state"), "t").unwrap();
    let target = Target::plain(dir.path().join("out.cfg"), Duration::from_secs(10));
    Fixture { dir, memory, target }
}

impl Fixture {
    fn apply(&self, text: &str) -> Result<Done, TargetError> {
        self.target.apply(&self.memory, text.as_bytes(), &mut Vec::new())
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.target.path).unwrap()
    }

    fn reload_log(&self) -> usize {
        fs::read_to_string(self.dir.path().join("log")).map_or(0, |log| log.lines().count())
    }

    fn reload_by(&mut self, tail: &str) {
        let log = self.dir.path().join("log");
        self.target.reload =
            Some(Command::parse(&format!("sh -c 'echo x >> {}; {tail}'", log.display())).unwrap());
    }
}

#[test]
fn a_file_is_made_then_left_alone_and_keeps_its_mode() {
    let fixture = fixture();
    assert_eq!(fixture.apply("a\n").unwrap(), Done::Replaced);
    let mode = || fs::metadata(&fixture.target.path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o644);
    assert_eq!(fixture.apply("a\n").unwrap(), Done::Unchanged);
    fs::set_permissions(&fixture.target.path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(fixture.apply("b\n").unwrap(), Done::Replaced);
    assert_eq!((fixture.text().as_str(), mode()), ("b\n", 0o640));
    let stricter = Target { mode: Some(0o600), ..fixture.target.clone() };
    assert_eq!(stricter.apply(&fixture.memory, b"b\n", &mut Vec::new()).unwrap(), Done::Adjusted);
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_refused_file_never_takes_the_place() {
    let mut fixture = fixture();
    fixture.apply("good\n").unwrap();
    fixture.target.check = Some(Command::parse("grep -q good {}").unwrap());
    assert!(matches!(fixture.apply("bad\n"), Err(TargetError::Check { .. })));
    assert_eq!(fixture.text(), "good\n");
    let left = fs::read_dir(fixture.dir.path()).unwrap().count();
    assert_eq!(left, 2, "only the file and the state directory");
}

#[test]
fn a_file_that_was_found_right_is_not_read_again_until_it_changes() {
    let fixture = fixture();
    fixture.apply("a\n").unwrap();
    let later = SystemTime::now() + Duration::from_secs(100);
    let confirm = |last: &LastGood, now| fixture.target.confirm_at(&fixture.memory, last, now).unwrap();
    let good = LastGood::new(limits::Counts::new(), "a\n", None);
    fixture.memory.keep(&good, None).unwrap();
    // Too young to be known by its times.
    assert_eq!(confirm(&good, SystemTime::now()), Some(Done::Unchanged));
    assert_eq!(fixture.memory.last_good().unwrap().key, None);
    assert_eq!(confirm(&good, later), Some(Done::Unchanged));
    let known = fixture.memory.last_good().unwrap();
    assert!(known.key.is_some());
    // With a wrong digest, it shows whether the file is read.
    let unread = LastGood { digest: "other".into(), ..known };
    assert_eq!(confirm(&unread, later), Some(Done::Unchanged));
    assert_eq!(confirm(&LastGood { key: None, ..unread.clone() }, later), None);
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&fixture.target.path, "b\n").unwrap();
    assert_eq!(confirm(&unread, later), None);
    assert_eq!(confirm(&LastGood { key: unread.key, ..good }, later), None);
}

#[test]
fn a_failed_reload_is_owed_until_it_succeeds() {
    let mut fixture = fixture();
    fixture.reload_by("exit 1");
    assert!(matches!(fixture.apply("a\n"), Err(TargetError::Reload { .. })));
    assert_eq!(fixture.text(), "a\n");
    assert!(matches!(fixture.apply("a\n"), Err(TargetError::Reload { .. })));
    fixture.reload_by("exit 0");
    assert_eq!(fixture.apply("a\n").unwrap(), Done::Reloaded);
    assert_eq!(fixture.apply("a\n").unwrap(), Done::Unchanged);
    assert_eq!(fixture.reload_log(), 3);
}

#[test]
fn a_reload_that_is_held_is_owed() {
    let mut fixture = fixture();
    fixture.reload_by("exit 0");
    fixture.target.hold_reload = true;
    let held = |replaced| Done::Held(Held { replaced, why: None });
    assert_eq!(fixture.apply("a\n").unwrap(), held(true));
    assert_eq!(fixture.apply("a\n").unwrap(), held(false));
    assert_eq!(fixture.apply("b\n").unwrap(), held(true));
    assert_eq!((fixture.text().as_str(), fixture.reload_log()), ("b\n", 0));
    fixture.target.hold_reload = false;
    assert_eq!(fixture.apply("b\n").unwrap(), Done::Reloaded);
    assert_eq!(fixture.reload_log(), 1);
}

/// A check that does this after it has seen the new file. Nothing else runs between it and the replacement.
fn check_by(fixture: &mut Fixture, deed: &str) {
    fixture.target.check = Some(Command::parse(&format!("sh -c '{deed}'")).unwrap());
}

#[test]
fn the_reload_is_owed_before_the_replacement() {
    // The replacement fails. A run killed right after one owes the reload already.
    let mut fixture = fixture();
    fixture.reload_by("exit 0");
    let path = fixture.target.path.display().to_string();
    check_by(&mut fixture, &format!("mkdir -p {path}/x"));
    assert!(matches!(fixture.apply("a\n"), Err(TargetError::Io(_))));
    assert!(fixture.memory.owes_reload());

    // The reload cannot be recorded as owed: then nothing is replaced either.
    let mut fixture = self::fixture();
    fixture.apply("a\n").unwrap();
    fixture.reload_by("exit 0");
    let files = walkdir::WalkDir::new(fixture.dir.path()).into_iter().map(Result::unwrap);
    let lock = files.map(walkdir::DirEntry::into_path).find(|path| path.ends_with("lock")).unwrap();
    let memory = lock.parent().unwrap().display().to_string();
    check_by(&mut fixture, &format!("mkdir {memory}/reload-pending"));
    assert!(matches!(fixture.apply("b\n"), Err(TargetError::Io(_))));
    assert_eq!((fixture.text().as_str(), fixture.reload_log()), ("a\n", 0));
}

/// A HAProxy whose socket reports the process id in a file, which a reload command can change.
fn haproxy(socket: &Path, pid: &Path) {
    use std::io::{Read, Write};
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    let pid = pid.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).unwrap();
            let pid = fs::read_to_string(&pid).unwrap();
            // The client may have gone.
            let _ = stream.write_all(format!("Pid: {}\n\n", pid.trim()).as_bytes());
        }
    });
}

#[test]
fn a_reload_that_nobody_confirms_is_owed_and_tried_again_once_somebody_answers() {
    for at_run_time in [false, true] {
        let mut fixture = fixture();
        fixture.reload_by("exit 0");
        let socket = fixture.dir.path().join("no.sock");
        fixture.target.socket = Some(socket.clone());
        let state_file = fixture.dir.path().join("states");
        fixture.target.runtime = at_run_time.then(|| Runtime {
            socket: socket.clone(),
            state_file: Some(state_file.clone()),
            patience: Duration::ZERO,
        });
        for text in ["backend b\n", "backend b\n", "backend b\n server s 10.0.0.1:80\n"] {
            let error = fixture.apply(text).unwrap_err();
            assert!(matches!(error, TargetError::NotLoaded { .. }) && error.is_in_place(), "{error}");
            assert!(chain(&error).contains("its socket does not answer"), "{}", chain(&error));
        }
        assert_eq!(fixture.reload_log(), 3);
        // A new file gets new attempts, but a socket that is never there must not cause a storm of reloads.
        let text = fixture.text();
        let again = |fixture: &Fixture| fixture.apply(&text).unwrap_err();
        while matches!(again(&fixture), TargetError::NotLoaded { .. }) {}
        let error = again(&fixture);
        assert!(matches!(error, TargetError::NotAsked { .. }) && error.hint().is_some(), "{error}");
        assert!(chain(&error).contains("no.sock"), "{}", chain(&error));
        assert_eq!(fixture.reload_log(), 2 + 3);

        // Another command may help, and gets its own attempts.
        fixture.reload_by("true");
        while matches!(again(&fixture), TargetError::NotLoaded { .. }) {}
        assert_eq!(fixture.reload_log(), 2 + 3 + 3);

        // HAProxy answers, so that a reload can be confirmed. This one is not, and the next ones have no
        // effect.
        let pid = fixture.dir.path().join("pid");
        fs::write(&pid, "7").unwrap();
        haproxy(&socket, &pid);
        assert!(chain(&again(&fixture)).contains("the old process 7 still serves"));
        assert!(matches!(again(&fixture), TargetError::NotConverged { .. }));
        assert_eq!(fixture.reload_log(), 2 + 3 + 3 + 1);
        // A corrected command is tried at once.
        fixture.reload_by(&format!("echo 8 > {}", pid.display()));
        let reloaded = fixture.apply(&text);
        if !at_run_time {
            assert_eq!(reloaded.unwrap(), Done::Reloaded);
        }
        assert_eq!(fixture.reload_log(), 2 + 3 + 3 + 2);
        assert!(!fixture.memory.owes_reload());
        if at_run_time {
            assert_eq!(fs::read_to_string(&state_file).unwrap(), "1\n");
        }
    }
}

#[test]
fn a_confirmed_reload_leaves_no_states_behind() {
    let mut fixture = fixture();
    let at = |name: &str| fixture.dir.path().join(name);
    let (socket, pid, states) = (at("a.sock"), at("pid"), at("states"));
    fs::write(&pid, "7").unwrap();
    haproxy(&socket, &pid);
    fixture.target.socket = Some(socket.clone());
    let runtime = Runtime { socket, state_file: Some(states.clone()), patience: Duration::ZERO };
    fixture.target.runtime = Some(runtime);
    let filled = "1\n# filled right before the reload\n";
    let read = || fs::read_to_string(&states).unwrap();
    // The command stands for a HAProxy that loads what it finds.
    let fill = format!("printf \"{filled}\" > {}", states.display()).replace('\n', "\\n");

    // Nobody confirms: HAProxy may still load the file.
    fixture.reload_by(&fill);
    assert!(matches!(fixture.apply("a\n"), Err(TargetError::NotLoaded { .. })));
    assert_eq!(read(), filled);
    // It was late, or somebody reloaded it.
    fs::write(&pid, "8").unwrap();
    let _ = fixture.apply("a\n");
    assert_eq!((fixture.reload_log(), fixture.memory.owes_reload(), read().as_str()), (1, false, "1\n"));

    fixture.reload_by(&format!("{fill}; echo 9 > {}", pid.display()));
    let _ = fixture.apply("b\n");
    assert_eq!((fixture.reload_log(), fixture.memory.owes_reload(), read().as_str()), (2, false, "1\n"));
}

#[test]
fn another_socket_knows_nothing_of_the_process_at_the_first_one() {
    let mut fixture = fixture();
    let at = |name: &str| fixture.dir.path().join(name);
    for (name, number) in [("a", "7"), ("b", "8")] {
        fs::write(at(&format!("{name}.pid")), number).unwrap();
        haproxy(&at(&format!("{name}.sock")), &at(&format!("{name}.pid")));
    }
    let (first, second) = (at("a.sock"), at("b.sock"));
    fixture.reload_by("exit 0");
    fixture.target.socket = Some(first);
    assert!(matches!(fixture.apply("a\n"), Err(TargetError::NotLoaded { .. })));
    fixture.target.socket = Some(second);
    assert!(matches!(fixture.apply("a\n"), Err(TargetError::NotLoaded { .. })));
    assert_eq!(fixture.reload_log(), 2);
}

#[test]
fn a_link_is_not_followed_and_leftovers_are_swept() {
    let fixture = fixture();
    let other = fixture.dir.path().join("other");
    fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&other, &fixture.target.path).unwrap();
    assert!(matches!(fixture.apply("a\n"), Err(TargetError::Link(_))));
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    fs::remove_file(&fixture.target.path).unwrap();
    let left = fixture.dir.path().join(".presence-AbCdEf.out.cfg");
    let foreign = fixture.dir.path().join(".presence-notes.about.out.cfg");
    fs::write(&left, "").unwrap();
    fs::write(&foreign, "").unwrap();
    fixture.apply("a\n").unwrap();
    assert!(!left.exists() && foreign.exists());
}

#[test]
fn what_was_looked_at_is_what_is_changed() {
    // The folder's owner exchanges the file after the look.
    let mut fixture = fixture();
    fixture.apply("a\n").unwrap();
    let path = fixture.target.path.clone();
    let victim = fixture.dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
    let place = Location::open(&path).unwrap();
    let found = place.current().unwrap().unwrap();
    fs::rename(&path, fixture.dir.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(&victim, &path).unwrap();
    assert!(file::adjust(&path, found.handle().unwrap(), Some(0o640), None).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&victim), mode(&fixture.dir.path().join("moved"))), (0o600, 0o640));
    // Writing in place does not overwrite another file either.
    fixture.target.in_place = true;
    assert!(in_place::write(&fixture.memory, &place, &found, b"new\n").is_err());
    fs::remove_file(&path).unwrap();
    fs::hard_link(&victim, &path).unwrap();
    let error = in_place::write(&fixture.memory, &place, &found, b"new\n").unwrap_err();
    assert!(chain(&error).contains("another process has just replaced the file"), "{}", chain(&error));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_file_that_keeps_its_place_is_written_over_and_a_killed_run_is_finished() {
    use std::os::unix::fs::MetadataExt;
    let mut fixture = fixture();
    fixture.target.in_place = true;
    assert_eq!(fixture.apply("a long one\n").unwrap(), Done::Replaced);
    let inode = || fs::metadata(&fixture.target.path).unwrap().ino();
    let before = inode();
    assert_eq!(fixture.apply("b\n").unwrap(), Done::Replaced);
    assert_eq!((fixture.text().as_str(), inode()), ("b\n", before));
    assert_eq!(fixture.apply("b\n").unwrap(), Done::Unchanged);
    // Killed while it wrote.
    fixture.memory.begin_in_place(b"new and whole\n").unwrap();
    fs::write(&fixture.target.path, "new an").unwrap();
    fixture.target.recover(&fixture.memory).unwrap();
    assert_eq!((fixture.text().as_str(), inode()), ("new and whole\n", before));
    fixture.apply("c\n").unwrap();
    assert_eq!(fixture.memory.in_place(), None);
    fixture.target.recover(&fixture.memory).unwrap();
    assert_eq!(fixture.text(), "c\n");
    let left: Vec<_> = fs::read_dir(fixture.dir.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "only the file and the state directory: {left:?}");
    let mut fixture = fixture;
    fixture.target.check = Some(Command::parse("grep -q good {}").unwrap());
    assert!(matches!(fixture.apply("bad\n"), Err(TargetError::Check { .. })));
    assert_eq!(fixture.text(), "c\n");
}

/// An access control list that lets user 65534 read, and others nothing.
fn acl() -> Vec<u8> {
    let entries = [(1, 6, u32::MAX), (2, 4, 65534), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let entry = |(tag, rights, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    2u32.to_le_bytes().into_iter().chain(entries.into_iter().flat_map(entry)).collect()
}

#[test]
fn attributes_are_kept_and_none_is_added() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let fixture = fixture();
    fixture.apply("a\n").unwrap();
    let path = &fixture.target.path;
    let set = |path: &Path, name: &str, value: &[u8]| setxattr(path, name, value, XattrFlags::empty());
    let has = |name: &str| {
        let mut value = [0; 100];
        getxattr(path, name, &mut value[..]).map(|length| value[..length].to_vec()).ok()
    };
    set(path, "user.note", b"x").unwrap();
    set(path, "system.posix_acl_access", &acl()).unwrap();
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(fixture.apply("b\n").unwrap(), Done::Replaced);
    assert_eq!(has("user.note").as_deref(), Some(&b"x"[..]));
    assert_eq!(has("system.posix_acl_access"), Some(acl()));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode(), mode);
    // The folder's list for new files must not allow more than the old file did.
    rustix::fs::removexattr(path, "system.posix_acl_access").unwrap();
    set(fixture.dir.path(), "system.posix_acl_default", &acl()).unwrap();
    assert_eq!(fixture.apply("c\n").unwrap(), Done::Replaced);
    assert_eq!(has("system.posix_acl_access"), None);
    assert_eq!(has("user.note").as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_new_file_gets_what_its_folder_has_for_new_files() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let list = |path: &Path| {
        let mut value = [0; 100];
        getxattr(path, "system.posix_acl_access", &mut value[..]).map(|length| value[..length].to_vec())
    };
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let fixture = fixture();
    let dir = fixture.dir.path();
    setxattr(dir, "system.posix_acl_default", &acl(), XattrFlags::empty()).unwrap();
    // As any program would make it.
    fs::write(dir.join("other"), "").unwrap();
    assert_eq!(fixture.apply("a\n").unwrap(), Done::Replaced);
    let path = &fixture.target.path;
    assert_eq!((list(path), mode(path)), (list(&dir.join("other")), mode(&dir.join("other"))));
    assert!(list(path).unwrap() == acl() && mode(path) == 0o640, "{:o}", mode(path));
    // A requested mode takes precedence.
    fs::remove_file(path).unwrap();
    let strict = Target { mode: Some(0o600), ..fixture.target.clone() };
    assert_eq!(strict.apply(&fixture.memory, b"a\n", &mut Vec::new()).unwrap(), Done::Replaced);
    assert_eq!(mode(path), 0o600);
}

#[test]
fn a_file_with_other_names_is_replaced_with_a_warning() {
    let mut fixture = fixture();
    fixture.apply("a\n").unwrap();
    let other = fixture.dir.path().join("other");
    fs::hard_link(&fixture.target.path, &other).unwrap();
    let mut warnings = Vec::new();
    assert_eq!(fixture.target.rehearse(b"b\n", &mut warnings).unwrap(), Done::Replaced);
    assert!(warnings.len() == 1 && warnings[0].contains("1 other name (a hard link)"), "{warnings:?}");
    let mut told = Vec::new();
    assert_eq!(fixture.target.apply(&fixture.memory, b"b\n", &mut told).unwrap(), Done::Replaced);
    assert_eq!((told, fs::read_to_string(&other).unwrap().as_str()), (warnings, "a\n"));
    // Written in place, all names have the new bytes.
    fs::remove_file(&other).unwrap();
    fs::hard_link(&fixture.target.path, &other).unwrap();
    fixture.target.in_place = true;
    let mut told = Vec::new();
    fixture.target.apply(&fixture.memory, b"c\n", &mut told).unwrap();
    assert_eq!((told, fs::read_to_string(&other).unwrap().as_str()), (vec![], "c\n"));
}

/// Sets or clears flags of a file or folder (chattr(1)); false if that is not permitted.
fn flags(path: &Path, flags: rustix::fs::IFlags) -> bool {
    let file = fs::File::open(path).unwrap();
    let Ok(others) = rustix::fs::ioctl_getflags(&file) else { return false };
    let mine = rustix::fs::IFlags::IMMUTABLE | rustix::fs::IFlags::APPEND;
    rustix::fs::ioctl_setflags(&file, others.difference(mine) | flags).is_ok()
}

#[test]
fn a_flag_that_stops_everybody_is_named() {
    use rustix::fs::IFlags;
    let fixture = fixture();
    fixture.apply("a\n").unwrap();
    let (dir, path) = (fixture.dir.path(), &fixture.target.path);
    for (place, flag, says) in [
        (path.as_path(), IFlags::IMMUTABLE, "chattr -i"),
        (path, IFlags::APPEND, "chattr -a"),
        (dir, IFlags::IMMUTABLE, "chattr -i"),
        (dir, IFlags::APPEND, "chattr -a"),
    ] {
        if !flags(place, flag) {
            continue;
        }
        let (rehearsed, applied) = (fixture.target.rehearse(b"b\n", &mut Vec::new()), fixture.apply("b\n"));
        let left = fs::read_dir(dir).unwrap().count();
        assert!(flags(place, IFlags::empty()));
        for error in [rehearsed.unwrap_err(), applied.unwrap_err()] {
            assert!(error.to_string().contains(&place.display().to_string()), "{error}");
            assert!(error.hint().unwrap().contains(says), "{error:?}");
        }
        assert_eq!((fixture.text().as_str(), left), ("a\n", 2), "nothing is left behind");
    }
}

#[test]
fn a_rehearsal_touches_nothing() {
    let fixture = fixture();
    assert_eq!(fixture.target.rehearse(b"a\n", &mut Vec::new()).unwrap(), Done::Replaced);
    assert!(!fixture.target.path.exists());
}

#[test]
fn owners_are_names_or_numbers() {
    assert_eq!(Owner::parse("root:0").unwrap(), Owner { uid: 0, gid: Some(0) });
    assert_eq!(Owner::parse("1234").unwrap(), Owner { uid: 1234, gid: None });
    assert!(Owner::parse("no-such-user").is_err());
}
