//! A file to keep right: limits, check, replace, reload, and the memory of what is still to do.
//!
//! A target knows nothing of nodes but their numbers, and nothing of where its bytes come from.

mod attributes;
mod command;
mod file;
mod in_place;
pub mod limits;
mod memory;
mod runtime;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

pub use command::{BadCommand, Command, CommandError};
pub use file::{Owner, UnknownOwner};
pub use memory::{LastGood, Made, Memory, digest};
pub use runtime::{FailedServer, Followed, Runtime};

use crate::errors::{AtPath, PathError, chain};
use crate::haproxy::{self, ApplyError, NotLoaded, Serving};

/// So many reloads of one file may leave HAProxy as it was: a signal can be lost, and a process may be slow to start.
const MAX_VAIN: u32 = 3;

/// How long a reload is waited for. One that takes longer is found to have happened at the next run.
const LOADING: Duration = Duration::from_secs(5);

/// Under which name the memory has the process that had not loaded the file.
const SERVING: &str = "serving.json";

/// A file to keep right.
#[derive(Debug, Clone)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// Its mode; none keeps the one it has.
    pub mode: Option<u32>,
    /// Its owner; none keeps the one it has.
    pub owner: Option<Owner>,
    /// To write into the file that is there instead of replacing it: for a mount point. See [`TargetError::Mounted`].
    pub in_place: bool,
    /// Must succeed on the new file before it takes the old one's place.
    pub check: Option<Command>,
    /// Run after the file was replaced.
    pub reload: Option<Command>,
    /// A socket of the HAProxy that reads the file, its stats socket or its master's: it says whether a reload has happened.
    pub socket: Option<PathBuf>,
    /// A HAProxy that follows changes of servers without a reload.
    pub runtime: Option<Runtime>,
    /// Not to reload now, but to owe it: there were enough reloads lately.
    pub hold_reload: bool,
    /// How long check and reload may each take.
    pub command_limit: Duration,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The file was right already.
    Unchanged,
    /// Its bytes were right; mode or owner were set.
    Adjusted,
    /// It was replaced (or made).
    Replaced,
    /// It was right already; a reload that was still owed has succeeded.
    Reloaded,
    /// It is right, and HAProxy follows without a reload.
    Followed(Followed),
    /// It is right, and HAProxy could not follow without a reload, for this reason.
    ReloadedFor(String),
    /// It is right; a reload is owed, and was not run now.
    Held(Held),
}

/// What a reload that is owed is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whether the file was replaced now.
    replaced: bool,
    /// Why HAProxy cannot follow without it.
    why: Option<String>,
}

impl Held {
    /// What was done once that reload has succeeded.
    pub fn reloaded(self) -> Done {
        match self.why {
            Some(why) => Done::ReloadedFor(why),
            None if self.replaced => Done::Replaced,
            None => Done::Reloaded,
        }
    }

    /// What was done if somebody else has run that reload.
    pub fn settled(self) -> Done {
        if self.replaced { Done::Replaced } else { Done::Unchanged }
    }
}

impl Done {
    /// Whether there is nothing left to be done for this file by a later run.
    pub fn is_settled(&self) -> bool {
        match self {
            Done::Followed(followed) => followed.pending.is_empty() && followed.failed.is_empty(),
            Done::Held(_) => false,
            // Whether the reload has loaded what it should, only another look can say.
            Done::Reloaded | Done::ReloadedFor(_) => false,
            Done::Unchanged | Done::Adjusted | Done::Replaced => true,
        }
    }
}

impl fmt::Display for Done {
    /// What is said of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Done::Unchanged => f.write_str("unchanged"),
            Done::Adjusted => f.write_str("has got its mode and owner"),
            Done::Replaced => f.write_str("replaced"),
            Done::Reloaded => f.write_str("unchanged; the reload that was owed has succeeded"),
            Done::ReloadedFor(why) => write!(f, "reloaded: {why}"),
            Done::Held(_) => f.write_str("right; its reload is owed"),
            Done::Followed(followed) => {
                let steps: Vec<&str> =
                    followed.done.iter().chain(&followed.pending).map(String::as_str).collect();
                write!(f, "right, without a reload: {}", steps.join("; "))
            }
        }
    }
}

/// Why a target is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The file, or the memory of it, could not be read or written. The old file stands.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The path is a link. The old file stands.
    #[error("`{}` is a link, and links are not followed", .0.display())]
    Link(PathBuf),
    /// The path is a directory or a device.
    #[error("`{}` is no plain file", .0.display())]
    NotAFile(PathBuf),
    /// Something is mounted on that very file, so that it cannot be replaced. The old file stands.
    #[error("`{}` is a mount point, such as docker makes of `-v FILE:FILE`, and cannot be replaced; the old file stands", .0.display())]
    Mounted(PathBuf),
    /// The check command refused the new file. The old file stands.
    #[error("the new `{}` was refused by its check; the old file stands", path.display())]
    Check {
        /// The target.
        path: PathBuf,
        /// What the command did.
        #[source]
        source: CommandError,
    },
    /// The new file is in place, and the reload command failed. It is owed until it succeeds.
    #[error("`{}` is in place, but its reload failed; it will be tried again at the next run", path.display())]
    Reload {
        /// The target.
        path: PathBuf,
        /// What the command did.
        #[source]
        source: CommandError,
    },
    /// The new file is in place, the reload command succeeded, and HAProxy goes on with the old one. The reload is owed until
    /// another process serves.
    #[error("`{}` is in place, but its reload failed; it will be tried again at the next run", path.display())]
    NotLoaded {
        /// The target.
        path: PathBuf,
        /// Which process serves.
        #[source]
        source: NotLoaded,
    },
    /// The file is in place, and whether HAProxy follows cannot be asked at that socket, now or after a reload.
    #[error("`{}` is in place, but whether HAProxy follows is not known", path.display())]
    NotAsked {
        /// The target.
        path: PathBuf,
        /// Why it cannot be asked.
        #[source]
        source: ApplyError,
    },
    /// The file is in place, and what runs is another one however often it is reloaded.
    #[error("`{}` is in place, but HAProxy does not follow, nor did {MAX_VAIN} reloads help: {why}", path.display())]
    Unfollowed {
        /// The target.
        path: PathBuf,
        /// What the next reload would have been for.
        why: String,
    },
}

impl TargetError {
    /// Whether the new file is in place all the same.
    pub fn is_in_place(&self) -> bool {
        match self {
            TargetError::Reload { .. }
            | TargetError::NotLoaded { .. }
            | TargetError::NotAsked { .. }
            | TargetError::Unfollowed { .. } => true,
            TargetError::Io(_)
            | TargetError::Link(_)
            | TargetError::NotAFile(_)
            | TargetError::Mounted(_)
            | TargetError::Check { .. } => false,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            TargetError::Io(error) => error.hint(),
            TargetError::Link(path) => Some(format!(
                "name the file that `{}` points to, or leave out -o to print to stdout",
                path.display()
            )),
            TargetError::Mounted(_) => Some(
                "mount the folder instead of the file; or write into the file with --in-place (in a [[render]] table: in-place = true), where readers can see it half written"
                    .into(),
            ),
            TargetError::NotAFile(_) => Some("name a file, or leave out -o to print to stdout".into()),
            TargetError::Check { source: CommandError::Start { .. }, .. } => {
                Some("see that the program is installed and in PATH".into())
            }
            TargetError::Check { .. } => Some(
                "see what the check says above; nothing was changed"
                    .into(),
            ),
            TargetError::Unfollowed { .. } => Some(
                "see that `socket` is that of the HAProxy which reads this file, and that it answers (`presence doctor` asks it); then reload HAProxy by hand"
                    .into(),
            ),
            TargetError::NotAsked { source, .. } => source.hint(),
            TargetError::NotLoaded { .. } => Some(
                "HAProxy's log says why: a port that is taken, for one. If the command is no reload of the HAProxy at `socket`, mend that".into(),
            ),
            TargetError::Reload { source: CommandError::Start { .. }, .. } => {
                Some("see that the program is installed and in PATH, then run the same command again".into())
            }
            TargetError::Reload { .. } => {
                Some("fix what the command complains of, then run the same command again".into())
            }
        }
    }
}

impl Target {
    /// Makes the file hold these bytes: check, replace, reload. Killed at any point, the file is the old or the new
    /// one, and the next run does what is left. What is not as it was before is said in `warnings`, in sentences about the
    /// file.
    pub fn apply(
        &self,
        memory: &Memory,
        bytes: &[u8],
        warnings: &mut Vec<String>,
    ) -> Result<Done, TargetError> {
        file::sweep(&self.path);
        self.recover(memory)?;
        let old = file::current(&self.path)?;
        if let Some(old) = &old
            && old.bytes == bytes
        {
            return self.stand(memory, bytes, &old.metadata);
        }
        let staged = self.stage(old.as_ref(), bytes, memory.dir(), warnings)?;
        if let Some(runtime) = &self.runtime {
            runtime.forget()?;
        }
        self.check(staged.path())?;
        let before = old.as_ref().map(|old| old.bytes.as_slice());
        let why = self.needs_reload(before, bytes);
        if self.reload.is_some() && why.is_some() {
            // Before the replacement: killed after it, the next run would see the right bytes and reload nothing.
            memory.owe_reload()?;
        }
        match &old {
            Some(old) if self.in_place => {
                in_place::write(memory, &self.path, &old.bytes, bytes)?;
                file::adjust(&self.path, &old.metadata, self.mode, self.owner)?;
            }
            _ => file::replace(staged, &self.path)?,
        }
        memory.follows()?;
        match self.settle(memory, before.unwrap_or(bytes), bytes, why)? {
            Done::Unchanged | Done::Reloaded => Ok(Done::Replaced),
            Done::Held(held) => Ok(Done::Held(Held { replaced: true, ..held })),
            done => Ok(done),
        }
    }

    /// Finishes what a run began that was killed while it wrote into the file. Before anybody takes the file as it is.
    pub fn recover(&self, memory: &Memory) -> Result<(), TargetError> {
        in_place::recover(memory, &self.path)?;
        Ok(())
    }

    /// The new file, ready to be checked and to take the old one's place; for a file that keeps its place, a draft.
    fn stage(
        &self,
        old: Option<&file::Found>,
        bytes: &[u8],
        other: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<NamedTempFile, TargetError> {
        if old.is_some() && self.in_place {
            return Ok(file::draft_beside(&self.path, other, bytes)?);
        }
        if in_place::is_mount_point(&self.path) {
            return Err(TargetError::Mounted(self.path.clone()));
        }
        let (staged, lost) = file::stage(&self.path, bytes, old, self.mode, self.owner)?;
        warnings.extend(lost);
        Ok(staged)
    }

    /// Why the new file is of no use without a reload. If there was no file before, nobody knows what runs.
    fn needs_reload(&self, old: Option<&[u8]>, new: &[u8]) -> Option<String> {
        match (&self.runtime, old) {
            (Some(runtime), Some(old)) => runtime.needs_reload(old, new),
            _ => Some("it is new".to_owned()),
        }
    }

    /// Does what is left once the file is in place: the reload that is owed, else what HAProxy can do without one.
    fn settle(
        &self,
        memory: &Memory,
        old: &[u8],
        new: &[u8],
        why: Option<String>,
    ) -> Result<Done, TargetError> {
        let reload = |why: Option<String>| {
            let done = self.reload(memory, new)?;
            Ok(match (done, why) {
                (Done::Reloaded, Some(why)) if self.runtime.is_some() => Done::ReloadedFor(why),
                (Done::Held(held), why) if self.runtime.is_some() => Done::Held(Held { why, ..held }),
                (done, _) => done,
            })
        };
        if self.reload.is_some() && memory.owes_reload() && !self.was_reloaded_since(memory)? {
            if memory.reloads_in_vain() >= MAX_VAIN {
                let why = "the process of before still serves".to_owned();
                return Err(TargetError::Unfollowed { path: self.path.clone(), why });
            }
            return reload(why);
        }
        let Some(runtime) = &self.runtime else { return Ok(Done::Unchanged) };
        let why = match runtime.follow(memory, old, new) {
            runtime::Verdict::Followed(followed) => {
                memory.follows()?;
                let nothing = followed == Followed::default();
                return Ok(if nothing { Done::Unchanged } else { Done::Followed(followed) });
            }
            runtime::Verdict::Reload(why) => why,
            // The new file needs a reload. Without one there is nothing more to do, nor to know.
            runtime::Verdict::Unknown(error) if old != new => chain(&error),
            runtime::Verdict::Unknown(source) => {
                return Err(TargetError::NotAsked { path: self.path.clone(), source });
            }
        };
        // Another socket, another file, a hung process: nobody is helped by a reload a minute.
        if memory.reloads_in_vain() >= MAX_VAIN {
            return Err(TargetError::Unfollowed { path: self.path.clone(), why });
        }
        memory.owe_reload()?;
        reload(Some(why))
    }

    /// What [`Target::apply`] does with the bytes of the last good output, if the file holds them: next to nothing. None,
    /// and nothing done, if it does not. A file that has the key of one that was read and found right is not read again.
    pub fn confirm(&self, memory: &Memory, last: &LastGood) -> Result<Option<Done>, TargetError> {
        self.confirm_at(memory, last, SystemTime::now())
    }

    fn confirm_at(
        &self,
        memory: &Memory,
        last: &LastGood,
        now: SystemTime,
    ) -> Result<Option<Done>, TargetError> {
        let key = file::key(&self.path, now);
        let settled = self.runtime.is_none() && !memory.owes_reload();
        if settled && key.is_some() && key == last.key {
            file::sweep(&self.path);
            let found = std::fs::symlink_metadata(&self.path).at("look at", &self.path)?;
            return Ok(Some(match file::adjust(&self.path, &found, self.mode, self.owner)? {
                true => Done::Adjusted,
                false => Done::Unchanged,
            }));
        }
        match file::current(&self.path)? {
            Some(file::Found { bytes, metadata: found, .. }) if memory::digest(&bytes) == last.digest => {
                file::sweep(&self.path);
                if key.is_some() {
                    memory.keep(&LastGood { key, ..last.clone() }, None)?;
                }
                self.stand(memory, &bytes, &found).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Does what is left to do for a file whose bytes are right.
    fn stand(&self, memory: &Memory, bytes: &[u8], found: &std::fs::Metadata) -> Result<Done, TargetError> {
        let adjusted = file::adjust(&self.path, found, self.mode, self.owner)?;
        match self.settle(memory, bytes, bytes, None)? {
            Done::Unchanged if adjusted => Ok(Done::Adjusted),
            done => Ok(done),
        }
    }

    /// What `apply` would do, up to the check, without touching the file.
    pub fn rehearse(&self, bytes: &[u8]) -> Result<Done, TargetError> {
        let old = file::current(&self.path)?;
        if old.as_ref().is_some_and(|old| old.bytes == bytes) {
            return Ok(Done::Unchanged);
        }
        let staged = self.stage(old.as_ref(), bytes, &std::env::temp_dir(), &mut Vec::new())?;
        self.check(staged.path())?;
        Ok(Done::Replaced)
    }

    /// The bytes of the file now; none if there is no file.
    pub fn current(&self) -> Result<Option<Vec<u8>>, TargetError> {
        Ok(file::current(&self.path)?.map(|found| found.bytes))
    }

    /// Whether HAProxy was reloaded after it had not loaded the file: by hand, or later than it was waited for. Then
    /// nothing is owed any more.
    fn was_reloaded_since(&self, memory: &Memory) -> Result<bool, TargetError> {
        let (Some(socket), Some(before)) = (&self.socket, memory.note::<Serving>(SERVING)) else {
            return Ok(false);
        };
        let since = haproxy::serving(socket).is_some_and(|now| now != before);
        if since {
            memory.reloaded()?;
            memory.write_note::<Serving>(SERVING, None)?;
        }
        Ok(since)
    }

    fn check(&self, staged: &Path) -> Result<(), TargetError> {
        let Some(check) = &self.check else { return Ok(()) };
        check
            .run(staged, self.command_limit)
            .map_err(|source| TargetError::Check { path: self.path.clone(), source })
    }

    fn reload(&self, memory: &Memory, bytes: &[u8]) -> Result<Done, TargetError> {
        let Some(reload) = &self.reload else { return Ok(Done::Unchanged) };
        if self.hold_reload {
            return Ok(Done::Held(Held { replaced: false, why: None }));
        }
        if let Some(runtime) = &self.runtime {
            runtime.remember(memory, bytes);
        }
        let before = self.socket.as_deref().and_then(haproxy::serving);
        self.reloaded(memory, reload.run(&self.path, self.command_limit), before)?;
        Ok(Done::Reloaded)
    }

    /// Notes what came of a reload. `before` served until then.
    fn reloaded(
        &self,
        memory: &Memory,
        outcome: Result<(), CommandError>,
        before: Option<Serving>,
    ) -> Result<(), TargetError> {
        outcome.map_err(|source| TargetError::Reload { path: self.path.clone(), source })?;
        // Where HAProxy is followed at run time and did not answer before, the next look asks what runs.
        if let Some(socket) = &self.socket
            && (before.is_some() || self.runtime.is_none())
        {
            let loaded = haproxy::confirm(socket, before, LOADING.min(self.command_limit));
            if let Err(source) = loaded {
                memory.count_reload()?;
                // If it does not answer now, what it was before still says whether it has been reloaded.
                if before.is_some() {
                    memory.write_note(SERVING, before.as_ref())?;
                }
                return Err(TargetError::NotLoaded { path: self.path.clone(), source });
            }
        }
        memory.reloaded()?;
        // It was of an earlier try.
        memory.write_note::<Serving>(SERVING, None)?;
        if let Some(runtime) = &self.runtime {
            // Until it is seen to follow.
            memory.count_reload()?;
            if before.is_some()
                && let Some(bytes) = self.current()?
            {
                runtime.reloaded(memory, &bytes)?;
            }
        }
        Ok(())
    }
}

/// Runs the reload that these files owe once for all of them: the command of the first one, which is that of the others
/// too. Gives what came of it for each.
pub fn reload_together(files: &[(&Target, &Memory)]) -> Vec<Result<(), TargetError>> {
    let Some((first, _)) = files.first() else { return Vec::new() };
    let serving = |target: &Target| target.socket.as_deref().and_then(haproxy::serving);
    let before: Vec<Option<Serving>> = files.iter().map(|(target, _)| serving(target)).collect();
    for (target, memory) in files {
        if let (Some(runtime), Ok(Some(bytes))) = (&target.runtime, target.current()) {
            runtime.remember(memory, &bytes);
        }
    }
    let outcome = match &first.reload {
        Some(reload) => reload.run(&first.path, first.command_limit),
        None => Ok(()),
    };
    let outcomes = files.iter().zip(before);
    outcomes.map(|((target, memory), before)| target.reloaded(memory, outcome.clone(), before)).collect()
}

/// Runs a check on a text that will be no file of its own, under that file name.
pub fn check_text(check: &Command, name: &str, text: &str, limit: Duration) -> Result<(), TargetError> {
    let dir = tempfile::tempdir().at("make a directory in", &std::env::temp_dir())?;
    let path = dir.path().join(name);
    std::fs::write(&path, text).at("write", &path)?;
    check.run(&path, limit).map_err(|source| TargetError::Check { path: name.into(), source })
}

#[cfg(test)]
mod tests {
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
        let target = Target {
            path: dir.path().join("out.cfg"),
            mode: None,
            owner: None,
            in_place: false,
            check: None,
            reload: None,
            socket: None,
            runtime: None,
            hold_reload: false,
            command_limit: Duration::from_secs(10),
        };
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
        // With a wrong digest: whether it is read can be seen.
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

    /// A check that does this once it has seen the new file, between which and its replacement nothing else is run.
    fn check_by(fixture: &mut Fixture, deed: &str) {
        fixture.target.check = Some(Command::parse(&format!("sh -c '{deed}'")).unwrap());
    }

    #[test]
    fn the_reload_is_owed_before_the_replacement() {
        // The replacement fails: whoever is killed right after one has owed the reload already.
        let mut fixture = fixture();
        fixture.reload_by("exit 0");
        let path = fixture.target.path.display().to_string();
        check_by(&mut fixture, &format!("mkdir -p {path}/x"));
        assert!(matches!(fixture.apply("a\n"), Err(TargetError::Io(_))));
        assert!(fixture.memory.owes_reload());

        // It cannot be owed: then nothing is replaced either.
        let mut fixture = self::fixture();
        fixture.apply("a\n").unwrap();
        fixture.reload_by("exit 0");
        let memory = fixture.memory.dir().display().to_string();
        check_by(&mut fixture, &format!("mkdir {memory}/reload-pending"));
        assert!(matches!(fixture.apply("b\n"), Err(TargetError::Io(_))));
        assert_eq!((fixture.text().as_str(), fixture.reload_log()), ("a\n", 0));
    }

    #[test]
    fn without_a_haproxy_to_talk_to_there_is_a_reload() {
        let mut fixture = fixture();
        fixture.reload_by("exit 0");
        fixture.target.runtime = Some(Runtime {
            socket: fixture.dir.path().join("no.sock"),
            state_file: Some(fixture.dir.path().join("states")),
            patience: Duration::ZERO,
        });
        assert_eq!(fixture.apply("backend b\n").unwrap(), Done::ReloadedFor("it is new".into()));
        let done = fixture.apply("backend b\n server s 10.0.0.1:80\n").unwrap();
        assert!(matches!(&done, Done::ReloadedFor(why) if why.contains("no.sock")), "{done:?}");
        assert_eq!(fixture.reload_log(), 2);
        // A socket that is never there makes no storm of reloads.
        let again = || fixture.apply("backend b\n server s 10.0.0.1:80\n");
        while matches!(again(), Ok(Done::ReloadedFor(_))) {}
        let error = again().unwrap_err();
        assert!(matches!(error, TargetError::Unfollowed { .. }) && error.hint().is_some(), "{error}");
        assert_eq!(fixture.reload_log(), 1 + 3);
        fixture.apply("backend b\n server s 10.0.0.2:80\n").unwrap();
        assert_eq!(fixture.reload_log(), 1 + 3 + 1, "another file is another matter");
        assert_eq!(fs::read_to_string(fixture.dir.path().join("states")).unwrap(), "1\n");
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
        let entries =
            [(1, 6, u32::MAX), (2, 4, 65534), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
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
        // What the folder gives to new files must not widen what the old one allowed.
        rustix::fs::removexattr(path, "system.posix_acl_access").unwrap();
        set(fixture.dir.path(), "system.posix_acl_default", &acl()).unwrap();
        assert_eq!(fixture.apply("c\n").unwrap(), Done::Replaced);
        assert_eq!(has("system.posix_acl_access"), None);
        assert_eq!(has("user.note").as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn a_rehearsal_touches_nothing() {
        let fixture = fixture();
        assert_eq!(fixture.target.rehearse(b"a\n").unwrap(), Done::Replaced);
        assert!(!fixture.target.path.exists());
    }

    #[test]
    fn owners_are_names_or_numbers() {
        assert_eq!(Owner::parse("root:0").unwrap(), Owner { uid: 0, gid: Some(0) });
        assert_eq!(Owner::parse("1234").unwrap(), Owner { uid: 1234, gid: None });
        assert!(Owner::parse("no-such-user").is_err());
    }
}
