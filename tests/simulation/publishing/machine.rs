//! A machine that publishes: its clock, its mirror, its memory on disk, and its connections to the server.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use git2::Oid;
use jiff::Timestamp;
use presence::change::Change;
use presence::name::Name;
use presence::record::Record;
use presence::store::git::inbox::{self, WaitingUpdate};
use presence::store::git::publish::{
    Connected, LoadEstimate, Mirror, NewBeat, NodeFiles, Port, Prepared, Push, Refs, RemoteRefs, Says,
    Snapshot, Standing, Wanted,
};
use presence::store::git::{GitError, Vanished};
use presence::store::{Edit, StoreErrorKind};
use presence_git::TransportError;
use presence_git::send_pack::Report;

use super::objects::{Content, FOLDER, Files, Present, path_of};
use super::server::{Request, is_branch};
use super::world::World;

/// The name of the limit of operations.
const SETTING: &str = "publishing";

/// Microseconds since 1970 at the start of each run.
const EPOCH: u64 = 1_700_000_000_000_000;

/// A machine. Its processes share the mirror.
#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) number: u8,
    /// How far its clock is from the true time, in microseconds.
    pub(crate) clock: Cell<i64>,
    disk: RefCell<Place>,
    /// The operation that holds the mirror's lock.
    lock: Cell<Option<u64>>,
}

impl Machine {
    pub(crate) fn new(number: usize) -> Rc<Machine> {
        Rc::new(Machine { number: u8::try_from(number).unwrap(), ..Machine::default() })
    }
}

/// The store's place in the state directory.
#[derive(Default, Clone)]
struct Place {
    present: Present,
    /// Whether the mirror's history is cut off.
    shallow: bool,
    heads: Option<RemoteRefs>,
    broken: (Refs, Duration),
    held: Option<(String, Oid)>,
    /// What the server confirmed, when, and the change that it confirmed.
    confirmed: Option<(Oid, Duration, Option<usize>)>,
    /// A process uses the mirror, or was killed while it did.
    in_use: bool,
    renewed: Option<Duration>,
}

/// An operation of a process on a machine.
pub(crate) struct Operation {
    pub(crate) world: Rc<World>,
    pub(crate) machine: Rc<Machine>,
    pub(crate) number: u64,
    /// The change, if it is one.
    pub(crate) publish: Option<usize>,
    /// The change whose confirmation it found.
    pub(crate) confirmed: Cell<Option<usize>>,
    pub(crate) started: Duration,
    pub(crate) limit: Duration,
    /// Whether this process was killed.
    pub(crate) killed: Cell<bool>,
    pub(crate) calls: Cell<u32>,
    /// Whether others may have pushed while the server listed its refs.
    pub(crate) torn: Cell<bool>,
    /// Whether it holds the mirror's lock.
    pub(crate) holds: Cell<bool>,
    /// A digest of the answers that it got, for the search.
    pub(crate) history: Cell<u64>,
}

/// The most calls of one operation: beyond that it runs in circles.
const MOST_CALLS: u32 = 20_000;

/// An open connection.
pub(crate) struct Session {
    refs: Refs,
    atomic: bool,
    opened_in: Duration,
}

impl Connected for Session {
    fn refs(&self) -> &Refs {
        &self.refs
    }

    fn is_atomic(&self) -> bool {
        self.atomic
    }

    fn opened_in(&self) -> Duration {
        self.opened_in
    }
}

fn peer() -> String {
    "server".to_owned()
}

fn closed() -> StoreErrorKind {
    StoreErrorKind::Git(GitError::Transport(TransportError::Closed { peer: peer() }))
}

impl Operation {
    fn left(&self) -> Duration {
        match self.world.plan.waits {
            true => self.end().saturating_sub(self.world.simulation.now()),
            // A search has no time: each call takes a part of it.
            false => self.limit.saturating_sub(self.limit / self.world.plan.calls * self.calls.get()),
        }
    }

    fn end(&self) -> Duration {
        self.started + self.limit
    }

    fn late(&self) -> StoreErrorKind {
        let seconds = self.limit.as_secs();
        StoreErrorKind::Git(GitError::Transport(TransportError::Late { peer: peer(), seconds, key: SETTING }))
    }

    /// A moment at which other processes run, and at which this one may be killed.
    async fn moment(&self, what: &'static str) {
        self.peril(what).await;
        self.world.simulation.pause().await;
    }

    /// The same before a step that no other machine sees. A search goes on at once: the orders of such steps make
    /// no difference, and a process that is killed before one might as well be killed after it.
    async fn own_moment(&self, what: &'static str) {
        match self.world.plan.waits {
            true => self.moment(what).await,
            false => self.calls.set(self.calls.get() + 1),
        }
    }

    /// A moment at which this process may be killed.
    async fn peril(&self, what: &'static str) {
        self.calls.set(self.calls.get() + 1);
        assert!(self.calls.get() < MOST_CALLS, "operation {} runs in circles at: {what}", self.number);
        if self.world.kills.get() > 0 && self.world.fault("kill", self.world.plan.kill) {
            self.world.kills.set(self.world.kills.get() - 1);
            self.killed.set(true);
            self.world.simulation.crash(self.world.simulation.current());
            self.world.simulation.wake_waiting();
            std::future::pending::<()>().await;
        }
    }

    /// Takes the time of an exchange with the server.
    async fn exchange(&self, what: &'static str) -> Result<(), StoreErrorKind> {
        self.moment(what).await;
        if !self.world.plan.waits {
            return Ok(());
        }
        let time = self.world.latency();
        if time >= self.left() {
            self.world.simulation.sleep(self.left()).await;
            return Err(self.late());
        }
        self.world.simulation.sleep(time).await;
        if self.world.is_down.get() {
            let source = std::io::ErrorKind::ConnectionRefused.into();
            let error = TransportError::Connect { peer: peer(), source };
            return Err(StoreErrorKind::Git(GitError::Transport(error)));
        }
        match self.world.fault("connection cut", self.world.plan.cut) {
            true => Err(closed()),
            false => Ok(()),
        }
    }

    /// The refs as a connection shows them: git lists branches first, and others may push in between.
    async fn advertisement(&self) -> Result<Refs, StoreErrorKind> {
        let mut refs = self.world.server.borrow().advertise(true);
        if self.world.fault("push while refs are listed", self.world.plan.torn) {
            self.torn.set(true);
            let time = self.world.latency().min(self.left());
            self.world.simulation.sleep(time).await;
            if self.left().is_zero() {
                return Err(self.late());
            }
        }
        refs.extend(self.world.server.borrow().advertise(false));
        Ok(refs)
    }

    fn say(&self, what: impl FnOnce() -> String) {
        self.world.simulation.event(|| format!("  op {}: {}", self.number, what()));
    }

    /// How far the operation is: what it does depends on the answers that it got. `None` if it does nothing more.
    pub(crate) fn state(&self) -> Option<u64> {
        (!self.killed.get()).then(|| self.history.get())
    }

    /// Adds an answer to the operation's history.
    pub(crate) fn learn(&self, answer: u64) {
        self.history.set(self.history.get().rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ answer);
    }
}

/// A process that runs an operation.
#[derive(Clone)]
pub(crate) struct Process(pub(crate) Rc<Operation>);

impl Deref for Process {
    type Target = Operation;

    fn deref(&self) -> &Operation {
        &self.0
    }
}

impl Port for Process {
    type Session = Session;
    type Mirror = OpenMirror;

    fn left(&self) -> Duration {
        self.0.left()
    }

    fn elapsed(&self) -> Duration {
        self.world.simulation.now() - self.started
    }

    fn setting(&self) -> &'static str {
        SETTING
    }

    fn clock(&self) -> u64 {
        let now = u64::try_from(self.world.simulation.now().as_micros()).unwrap();
        (EPOCH + now).saturating_add_signed(self.machine.clock.get())
    }

    fn chance(&self) -> f64 {
        self.world.simulation.chance().f64()
    }

    async fn sleep(&self, wait: Duration) {
        self.own_moment("sleep").await;
        if self.world.plan.waits {
            self.world.sleep(wait.min(self.left())).await;
        }
    }

    async fn connect(&self) -> Result<Session, StoreErrorKind> {
        let asked = self.world.simulation.now();
        let result = self.exchange("connect").await;
        self.learn(u64::from(result.is_ok()));
        if let Err(error) = result {
            self.say(|| format!("cannot connect: {error}"));
            return Err(error);
        }
        let refs = self.advertisement().await?;
        self.learn(super::digest(&refs));
        self.say(|| format!("connects, sees {}", shown(&refs)));
        let opened_in = self.world.simulation.now() - asked;
        Ok(Session { refs, atomic: self.world.server.borrow().atomic, opened_in })
    }

    async fn push(
        &self,
        mirror: &OpenMirror,
        session: Session,
        push: &Push,
    ) -> Result<Report, StoreErrorKind> {
        assert!(!push.atomic || session.atomic, "the server has no atomic pushes");
        let missing = push.commits.iter().find(|(_, commit)| !mirror.has(*commit));
        assert!(missing.is_none(), "a push of a commit that is not here");
        self.say(|| format!("pushes {}", wanted(push)));
        let result = self.exchange("push").await;
        if let Err(error) = result {
            self.say(|| format!("pushes nothing: {error}"));
            self.learn(3);
            return Err(error);
        }
        let commits = push.commits.iter().map(|(_, commit)| *commit).collect();
        let request = Request { commands: push.commands.clone(), commits, atomic: push.atomic };
        let answer = self.world.receive(self.number, self.publish, request);
        let place = answer.clone();
        let wait = self.world.simulation.wait_for(move || place.borrow().is_some());
        let result = self.world.simulation.until(self.end(), wait).await;
        let report = answer.borrow_mut().take();
        self.peril("get the answer").await;
        let report = match (result, report) {
            (Some(()), Some(report)) => report,
            _ => {
                self.say(|| "has no answer to its push".to_owned());
                self.learn(4);
                return Err(self.late());
            }
        };
        if self.world.fault("answer lost", self.world.plan.answer_lost) {
            self.learn(3);
            return Err(closed());
        }
        let is_final = |(name, reason): &(String, String)| is_branch(name) && reason.contains("hook");
        if let Some(change) = self.publish.filter(|_| report.refused.iter().any(is_final)) {
            self.world.truth.borrow_mut().withdraw(change);
        }
        let refused: Vec<&String> = report.refused.iter().map(|(name, _)| name).collect();
        self.learn(super::digest(&(&report.unpack, refused)));
        self.say(|| format!("is answered {:?} {:?}", report.unpack, report.refused));
        Ok(report)
    }

    async fn leave(&self, _: Session) {
        self.own_moment("leave").await;
    }

    fn configured_branch(&self) -> Option<String> {
        None
    }

    fn shard(&self, _: &Name) -> String {
        "refs/presence/beats/000".to_owned()
    }

    fn load(&self, _: Duration, answer: Duration) -> LoadEstimate {
        self.world.load(answer)
    }

    async fn open_mirror(&self) -> Result<OpenMirror, StoreErrorKind> {
        self.own_moment("open the mirror").await;
        assert!(!self.holds.get(), "operation {} waits for a lock that it holds itself", self.number);
        let machine = self.machine.clone();
        let wait = self.world.simulation.wait_for(move || machine.lock.get().is_none());
        if self.world.simulation.until(self.end(), wait).await.is_none() {
            let (holder, seconds) = (None, self.limit.as_secs());
            let path = "lock".into();
            return Err(StoreErrorKind::Git(GitError::Locked { path, holder, seconds, key: SETTING }));
        }
        self.machine.lock.set(Some(self.number));
        self.holds.set(true);
        let mut disk = self.machine.disk.borrow_mut();
        if std::mem::replace(&mut disk.in_use, true) {
            // Somebody was killed while it used the mirror, perhaps because of the mirror.
            (disk.present, disk.shallow) = (Present::default(), false);
        }
        drop(disk);
        Ok(OpenMirror(self.clone()))
    }

    async fn discard_mirror(&self) -> Result<(), StoreErrorKind> {
        drop(self.open_mirror().await?);
        let mut disk = self.machine.disk.borrow_mut();
        (disk.present, disk.shallow) = (Present::default(), false);
        Ok(())
    }

    async fn renew_mirror(&self) -> Result<bool, StoreErrorKind> {
        let now = self.world.simulation.now();
        let renewed = self.machine.disk.borrow().renewed;
        if renewed.is_some_and(|renewed| now - renewed < Duration::from_secs(300)) {
            return Ok(false);
        }
        self.machine.disk.borrow_mut().renewed = Some(now);
        self.discard_mirror().await.map(|()| true)
    }

    fn is_confirmed(&self, record: &Record) -> bool {
        let now = self.world.simulation.now();
        let confirmed = self.machine.disk.borrow().confirmed;
        let fresh = confirmed.is_some_and(|(_, time, _)| now - time < self.world.plan.recheck);
        fresh && self.was_confirmed(record)
    }

    fn was_confirmed(&self, record: &Record) -> bool {
        let confirmed = self.machine.disk.borrow().confirmed;
        let confirmed = confirmed.filter(|(content, ..)| *content == content_of(record));
        self.confirmed.set(confirmed.and_then(|(.., change)| change));
        confirmed.is_some()
    }

    async fn forget_confirmed(&self) -> Result<(), StoreErrorKind> {
        self.own_moment("forget").await;
        self.machine.disk.borrow_mut().confirmed = None;
        Ok(())
    }

    async fn remember_confirmed(&self, record: &Record) {
        self.own_moment("remember").await;
        let now = self.world.simulation.now();
        self.machine.disk.borrow_mut().confirmed = Some((content_of(record), now, self.publish));
    }
}

/// The mirror, and its lock.
pub(crate) struct OpenMirror(Process);

impl Deref for OpenMirror {
    type Target = Operation;

    fn deref(&self) -> &Operation {
        &self.0
    }
}

impl Drop for OpenMirror {
    fn drop(&mut self) {
        if !self.killed.get() {
            self.machine.disk.borrow_mut().in_use = false;
        }
        self.holds.set(false);
        self.machine.lock.set(None);
        self.world.simulation.wake_waiting();
    }
}

/// What a look found.
#[derive(Debug)]
pub(crate) struct Seen {
    refs: RemoteRefs,
    waiting: Vec<WaitingUpdate>,
}

/// What a reader sees: the number of each node's record.
#[derive(Debug)]
pub(crate) struct List(pub(crate) BTreeMap<u8, u32>);

impl Snapshot for List {
    fn is_damaged(&self) -> bool {
        false
    }
}

impl OpenMirror {
    fn files(&self, commit: Oid) -> Files {
        assert!(self.has(commit), "a commit is read that is not here");
        self.world.objects.get(commit).files.clone()
    }

    /// Whether the list has records at that commit.
    fn holds_records(&self, tip: Option<Oid>) -> bool {
        tip.filter(|tip| self.has(*tip)).is_some_and(|tip| has_records(&self.files(tip)))
    }

    fn remember_list(&self, branch: &str, tip: Option<Oid>) -> bool {
        let holds = self.holds_records(tip);
        if let Some(tip) = tip.filter(|_| holds) {
            self.machine.disk.borrow_mut().held = Some((branch.to_owned(), tip));
        }
        holds
    }

    /// Gets what is missing of these refs, and finds those that the server does not send. `known` are broken ones.
    fn download(&self, seen: &mut RemoteRefs, known: Refs) -> Result<(), StoreErrorKind> {
        let server = self.world.server.borrow();
        let mut disk = self.machine.disk.borrow_mut();
        if let Some(tip) = seen.tip
            && !disk.present.contains(&tip)
        {
            if !server.present.contains(&tip) {
                let source = Box::new(closed());
                return Err(StoreErrorKind::Git(GitError::Unsent { name: seen.branch.clone(), source }));
            }
            // A new mirror gets the newest commit alone.
            match disk.present.is_empty() {
                true => {
                    disk.shallow = self.world.objects.get(tip).parent.is_some();
                    disk.present.insert(tip);
                }
                false => self.world.objects.bring(&mut disk.present, tip),
            }
        }
        let mut found = Refs::new();
        for (name, oid) in &seen.others {
            match server.present.contains(oid) {
                true => drop(disk.present.insert(*oid)),
                false if disk.present.contains(oid) => {}
                false => drop(found.insert(name.clone(), *oid)),
            }
        }
        if !found.is_empty() {
            let all = known.into_iter().chain(found.clone()).collect();
            disk.broken = (all, self.world.simulation.now());
            seen.others.retain(|name, _| !found.contains_key(name));
            seen.broken.extend(found);
        }
        let doubtful = |entry: &WaitingUpdate| {
            entry.offered.is_some_and(|offered| Some(offered) != seen.tip && !disk.present.contains(&offered))
        };
        if disk.shallow && inbox::entries(&seen.others).iter().any(doubtful) {
            let mut at = seen.tip;
            while let Some(id) = at {
                disk.present.insert(id);
                at = self.world.objects.get(id).parent;
            }
            disk.shallow = false;
        }
        Ok(())
    }

    /// The branch of the list, by the rule of the program.
    fn choose(head: &str, refs: &Refs) -> Result<String, StoreErrorKind> {
        let branches: Vec<&String> = refs.keys().filter(|name| is_branch(name)).collect();
        match branches[..] {
            _ if refs.contains_key(head) => Ok(head.to_owned()),
            [] => Ok(head.to_owned()),
            [only] => Ok(only.clone()),
            _ => Err(StoreErrorKind::Git(GitError::NoBranch { head: None, there: String::new() })),
        }
    }
}

impl Mirror for OpenMirror {
    type Seen = Seen;
    type Read = List;

    fn remembered(&self) -> Option<RemoteRefs> {
        self.machine.disk.borrow().heads.clone()
    }

    async fn note(&mut self, refs_seen: &RemoteRefs) -> Result<(), StoreErrorKind> {
        let kept =
            RemoteRefs { elsewhere: Refs::new(), left_out: 0, broken: Refs::new(), ..refs_seen.clone() };
        self.machine.disk.borrow_mut().heads = Some(kept);
        Ok(())
    }

    fn broken(&self) -> Refs {
        let disk = self.machine.disk.borrow();
        let (broken, time) = &disk.broken;
        let fresh = self.world.simulation.now().saturating_sub(*time) < Duration::from_secs(300);
        if fresh { broken.clone() } else { Refs::new() }
    }

    fn has(&self, oid: Oid) -> bool {
        self.machine.disk.borrow().present.contains(&oid)
    }

    async fn fetch(&mut self, wanted: Wanted<'_>) -> Result<RemoteRefs, StoreErrorKind> {
        self.exchange("fetch").await?;
        let refs = self.advertisement().await?;
        self.learn(super::digest(&refs));
        let head = self.world.server.borrow().head.clone();
        let branch = OpenMirror::choose(&head, &refs)?;
        let tip = refs.get(&branch).copied();
        let known = self.broken();
        let mut seen = RemoteRefs {
            tip,
            branch,
            others: Refs::new(),
            elsewhere: Refs::new(),
            left_out: 0,
            broken: Refs::new(),
        };
        for (name, oid) in refs {
            if is_branch(&name) {
                if name != seen.branch {
                    seen.elsewhere.insert(name, oid);
                }
                continue;
            }
            let is_update = name.starts_with(inbox::PREFIX);
            let is_wanted = match wanted {
                Wanted::Updates(shard) => is_update || shard == Some(name.as_str()),
                Wanted::Heartbeats | Wanted::Everything => true,
            };
            if is_wanted {
                let part = if known.get(&name) == Some(&oid) { &mut seen.broken } else { &mut seen.others };
                part.insert(name, oid);
            }
        }
        seen.left_out = inbox::trim(&mut seen.others);
        self.download(&mut seen, known)?;
        Mirror::note(self, &seen).await?;
        self.say(|| format!("fetches, broken: {:?}", seen.broken.keys()));
        Ok(seen)
    }

    async fn standing(
        &mut self,
        branch: &str,
        tip: Option<Oid>,
        refs: &Refs,
    ) -> Result<Standing, StoreErrorKind> {
        if self.remember_list(branch, tip) {
            return Ok(Standing::Sound);
        }
        let server = self.world.server.borrow();
        let elsewhere = refs.iter().filter(|(name, _)| is_branch(name) && *name != branch);
        for (name, oid) in elsewhere {
            if server.present.contains(oid) && has_records(&self.world.objects.get(*oid).files) {
                let (branch, list, folder) = (branch.to_owned(), name.clone(), FOLDER.to_owned());
                return Err(StoreErrorKind::Git(GitError::OtherBranch { branch, list, folder }));
            }
        }
        let mut disk = self.machine.disk.borrow_mut();
        let Some((_, known)) = disk.held.clone() else { return Ok(Standing::Sound) };
        if let Some(tip) = tip {
            if disk.shallow {
                self.world.objects.bring(&mut disk.present, tip);
            }
            if self.world.objects.descends(&disk.present, tip, known) {
                disk.held = None;
                return Ok(Standing::Sound);
            }
        }
        let how = match tip {
            Some(_) => Vanished::Emptied { branch: branch.to_owned(), folder: FOLDER.to_owned() },
            None => Vanished::Branch(branch.to_owned()),
        };
        Ok(Standing::Gone(StoreErrorKind::Git(GitError::Gone { how, memory: "held".into() })))
    }

    async fn note_list(&mut self, refs_seen: &RemoteRefs) -> Result<(), StoreErrorKind> {
        self.remember_list(&refs_seen.branch, refs_seen.tip);
        Ok(())
    }

    fn files_of(&self, edit: &Edit<'_>) -> Result<NodeFiles, StoreErrorKind> {
        let mut files = BTreeMap::new();
        let mut states = None;
        if let Edit::Put(record) = edit {
            files.insert(format!("{}.json", record.id()), content_of(record));
            states = Some((*record).clone());
        }
        Ok(NodeFiles { id: edit.id().clone(), files, states })
    }

    fn states(&self, wanted: &NodeFiles, present: &NodeFiles) -> bool {
        wanted.files == present.files
    }

    fn contains(&self, tip: Option<Oid>, commits: &[Option<Oid>]) -> Result<Vec<bool>, StoreErrorKind> {
        let disk = self.machine.disk.borrow();
        let has = |commit: &Option<Oid>| match (*commit, tip) {
            (Some(commit), Some(tip)) => {
                commit == tip || self.world.objects.descends(&disk.present, tip, commit)
            }
            _ => false,
        };
        Ok(commits.iter().map(has).collect())
    }

    fn judge(&self, update: &WaitingUpdate) -> Result<Says, StoreErrorKind> {
        if !self.has(update.commit) {
            return Ok(Says::Lost);
        }
        let file = format!("{}.json", update.id);
        Ok(match self.files(update.commit).get(&path_of(update.id.as_ref())) {
            Some(content) => {
                let files = match Content::of(*content) {
                    Content::Empty => BTreeMap::new(),
                    _ => BTreeMap::from([(file, *content)]),
                };
                Says::Files(NodeFiles { id: update.id.clone(), files, states: None })
            }
            None => Says::Junk,
        })
    }

    fn prepare(&self, tip: Option<Oid>, edits: &[NodeFiles]) -> Result<Option<Prepared>, StoreErrorKind> {
        let mut files = tip.map(|tip| self.files(tip)).unwrap_or_default();
        let (mut changes, mut written) = (BTreeMap::new(), BTreeMap::new());
        for edit in edits {
            let path = path_of(edit.id.as_ref());
            let (before, after) = (files.get(&path).copied(), edit.files.values().next().copied());
            if before == after {
                continue;
            }
            let change = match (before, after) {
                (_, None) => Change::Left,
                (None, _) => Change::Joined,
                _ => Change::Rewritten,
            };
            match after {
                Some(content) => drop(files.insert(path, content)),
                None => drop(files.remove(&path)),
            }
            changes.insert(edit.id.clone(), change);
            written.insert(edit.id.clone(), edit.files.clone());
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let commit = self.write(tip, files);
        Ok(Some(Prepared { commit, changes, files: written }))
    }

    fn repeat(&self, tip: Option<Oid>) -> Result<Prepared, StoreErrorKind> {
        let commit = self.write(tip, tip.map(|tip| self.files(tip)).unwrap_or_default());
        Ok(Prepared { commit, changes: BTreeMap::new(), files: BTreeMap::new() })
    }

    fn write_update(&self, files: &NodeFiles) -> Result<Oid, StoreErrorKind> {
        let content = files.files.values().next().copied().unwrap_or(Content::Empty.oid());
        Ok(self.write(None, Files::from([(path_of(files.id.as_ref()), content)])))
    }

    fn write_beat(
        &self,
        base: Option<Oid>,
        beat: NewBeat<'_>,
    ) -> Result<(Oid, Option<Timestamp>), StoreErrorKind> {
        let mut beats = base.map(|base| self.files(base)).unwrap_or_default();
        let time = Content::Beat(beat.time.as_second());
        let replaced = beats.insert(beat.id.as_ref().to_owned(), time.oid());
        let replaced = replaced.map(|replaced| match Content::of(replaced) {
            Content::Beat(time) => Timestamp::from_second(time).unwrap(),
            other => panic!("{other:?} among heartbeats"),
        });
        Ok((self.write(None, beats), replaced))
    }

    fn observe(&self, refs_seen: &RemoteRefs, _: bool) -> Result<Seen, StoreErrorKind> {
        let considered = inbox::select(inbox::entries(&refs_seen.others));
        let offered: Vec<Option<Oid>> = considered.iter().map(|update| update.offered).collect();
        let is_merged = self.contains(refs_seen.tip, &offered)?;
        let waiting = considered.into_iter().zip(is_merged).filter(|(_, merged)| !merged);
        Ok(Seen { refs: refs_seen.clone(), waiting: waiting.map(|(entry, _)| entry).collect() })
    }

    fn is_here(&self, seen: &Seen) -> bool {
        seen.refs.tip.iter().chain(seen.waiting.iter().map(|entry| &entry.commit)).all(|oid| self.has(*oid))
    }

    fn read(&self, seen: &Seen) -> Result<List, StoreErrorKind> {
        let mut files = seen.refs.tip.map(|tip| self.files(tip)).unwrap_or_default();
        for update in &seen.waiting {
            if let Says::Files(says) = self.judge(update)? {
                let path = path_of(update.id.as_ref());
                match says.files.values().next() {
                    Some(content) => drop(files.insert(path, *content)),
                    None => drop(files.remove(&path)),
                }
            }
        }
        let records = files.values().filter_map(|content| match Content::of(*content) {
            Content::Record(node, number) => Some((node, number)),
            _ => None,
        });
        Ok(List(records.collect()))
    }
}

impl OpenMirror {
    /// Makes a commit in the mirror. Its author and second are part of its id.
    fn write(&self, parent: Option<Oid>, files: Files) -> Oid {
        let salt = (self.0.clock() / 1_000_000) << 8 | u64::from(self.machine.number);
        let commit = self.world.objects.commit(parent, files, salt);
        self.machine.disk.borrow_mut().present.insert(commit);
        commit
    }
}

fn has_records(files: &Files) -> bool {
    files.keys().any(|path| path.starts_with(FOLDER))
}

/// The content of a record's file.
pub(crate) fn content_of(record: &Record) -> Oid {
    let number = record.text("number").and_then(|text| text.parse().ok()).unwrap();
    Content::Record(node_of(record.id().as_ref()), number).oid()
}

/// The number of a node.
pub(crate) fn node_of(id: &str) -> u8 {
    id.strip_prefix("i-").and_then(|number| number.parse().ok()).unwrap()
}

/// Refs for the trace, in short.
pub(crate) fn shown(refs: &Refs) -> String {
    let short = |name: &str| name.replace("refs/presence/inbox/", "inbox/").replace("refs/heads/", "");
    let refs: Vec<String> =
        refs.iter().map(|(name, oid)| format!("{} {}", short(name), &oid.to_string()[..6])).collect();
    format!("[{}]", refs.join(", "))
}

fn wanted(push: &Push) -> String {
    let short = |oid: Option<Oid>| oid.map_or("-".to_owned(), |oid| oid.to_string()[..6].to_owned());
    let commands = push.commands.iter().map(|command| {
        let name = command.name.replace("refs/presence/inbox/", "inbox/").replace("refs/heads/", "");
        format!("{name} {}..{}", short(command.old), short(command.new))
    });
    format!("{}[{}]", if push.atomic { "atomically " } else { "" }, commands.collect::<Vec<_>>().join(", "))
}
