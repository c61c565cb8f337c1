//! The thread of an agent for one store: it does one job after the other.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use presence::agent::core::{Complaint, Event, Job, JobResult};
use presence::change::Change;
use presence::name::Name;
use presence::record::Record;
use presence::store::{Applied, Heartbeat, Outcome, StoreError, StoreErrorKind};

use super::list::Mood;
use super::world::{Balancer, World, whole};

/// How long a store may take, and for how long a thread waits for one that hangs.
const LATE: Duration = Duration::from_secs(20);

pub(super) type Queue = Rc<RefCell<VecDeque<Job>>>;
pub(super) type Inbox = Rc<RefCell<VecDeque<Event>>>;

/// The thread of one store.
pub(super) struct Worker {
    pub(super) world: Rc<World>,
    pub(super) at: usize,
    pub(super) store: usize,
    pub(super) queue: Queue,
    pub(super) inbox: Inbox,
}

impl Worker {
    pub(super) async fn work(self) {
        loop {
            let queue = self.queue.clone();
            self.world.sim.wait_for(move || !queue.borrow().is_empty()).await;
            let Some(job) = self.queue.borrow_mut().pop_front() else { continue };
            let result = self.run(job).await;
            self.inbox.borrow_mut().push_back(Event::Answer(self.store, Box::new(result)));
            if let Some(agent) = self.balancer().agent.get() {
                self.world.sim.wake(agent);
            }
        }
    }

    fn balancer(&self) -> &Balancer {
        &self.world.balancers[self.at]
    }

    /// Waits as long as the store takes. An error if it does not do its work.
    async fn ask(&self, writes: bool) -> Result<(), StoreErrorKind> {
        let (sim, list) = (&self.world.sim, &self.world.lists[self.store]);
        let chance = sim.chance().f64();
        let mood = list.borrow().mood();
        match mood {
            Mood::Away => {
                sim.sleep(Duration::from_millis(20)).await;
                return Err(StoreErrorKind::NotYet);
            }
            Mood::Slow => sim.sleep(Duration::from_secs_f64(0.5 + 14.0 * chance)).await,
            Mood::Hangs => {
                sim.sleep(LATE).await;
                if list.borrow().mood() == Mood::Hangs {
                    return Err(late());
                }
            }
            Mood::Up | Mood::Refuses => sim.sleep(Duration::from_secs_f64(0.01 + 0.1 * chance)).await,
        }
        if self.world.fault("operation failed", 0.002) {
            return Err(late());
        }
        match list.borrow().mood() {
            Mood::Away => Err(StoreErrorKind::NotYet),
            Mood::Refuses if writes => Err(StoreErrorKind::NoHistory),
            _ => Ok(()),
        }
    }

    async fn run(&self, job: Job) -> JobResult {
        match job {
            Job::Announce { record, heartbeat } => {
                let asked = self.ask(true).await;
                let result = asked.map(|()| self.apply(&record, heartbeat));
                let lost = result.is_ok() && self.world.fault("answer lost", 0.002);
                match result {
                    Ok(applied) if !lost => JobResult::Announced {
                        record: Some(record),
                        applied: Some(applied),
                        beat: heartbeat.then_some(true),
                        rival: heartbeat.then_some(false),
                        complaints: Vec::new(),
                    },
                    result => {
                        let error = self.error(result.err().unwrap_or_else(late));
                        JobResult::Announced {
                            record: Some(record),
                            applied: None,
                            beat: heartbeat.then_some(false),
                            rival: None,
                            complaints: vec![Complaint::of_store(&error)],
                        }
                    }
                }
            }
            Job::Withdraw(id) => {
                let (applied, complaints) = match self.ask(true).await {
                    Ok(()) => (Some(self.remove(&id)), Vec::new()),
                    Err(kind) => (None, vec![Complaint::of_store(&self.error(kind))]),
                };
                JobResult::Announced { record: None, applied, beat: None, rival: None, complaints }
            }
            Job::Look { known } => match self.ask(false).await {
                Ok(()) if self.world.lists[self.store].borrow().is_version(known.as_ref()) => {
                    self.has_read(Some(self.world.lists[self.store].borrow().version()));
                    JobResult::Looked(None)
                }
                asked => self.read(asked),
            },
            Job::Read => {
                let asked = self.ask(false).await;
                self.read(asked)
            }
        }
    }

    fn read(&self, asked: Result<(), StoreErrorKind>) -> JobResult {
        let list = self.world.lists[self.store].borrow();
        let mut copies = self.balancer().copies.borrow_mut();
        self.has_read(asked.is_ok().then(|| list.version()));
        JobResult::Looked(Some(match asked {
            Ok(()) => {
                let reading = list.read();
                copies.insert(self.store, reading.snapshot.clone().unwrap_or_default());
                reading
            }
            Err(kind) => list.fail(kind, copies.get(&self.store).cloned()),
        }))
    }

    fn has_read(&self, version: Option<usize>) {
        let now = self.world.sim.now();
        if self.balancer().promptness.borrow_mut().read(self.store, version, now) {
            let (name, store) = (&self.balancer().name, self.store + 1);
            self.world
                .sim
                .event(|| format!("{name} reads version {} of store {store}", version.unwrap_or(0)));
        }
    }

    fn remove(&self, id: &Name) -> Applied {
        let mut list = self.world.lists[self.store].borrow_mut();
        list.remove(id.as_str(), true, self.world.sim.now());
        let outcome = Some(Outcome::Merged(Change::Left));
        Applied { url: list.url.clone(), outcome, gone: None, stays: None, beat: Ok(None), asked: true }
    }

    fn apply(&self, record: &Record, heartbeat: bool) -> Applied {
        let mut list = self.world.lists[self.store].borrow_mut();
        let (id, text) = (record.id().to_string(), String::from_utf8(record.to_bytes()).unwrap());
        let is_new = list.get(&id).is_none();
        let changed = list.put(&id, &text, self.world.sim.now());
        let mut beat = Ok(None);
        if heartbeat {
            let now = whole(self.world.wall(self.balancer().clock.get(), Duration::ZERO));
            beat = Ok(list.beats.insert(id, Heartbeat::Time(now)).map(Heartbeat::last));
        }
        let change = if is_new { Change::Joined } else { Change::Moved };
        let outcome = changed.then_some(Outcome::Merged(change));
        Applied { url: list.url.clone(), outcome, gone: None, stays: None, beat, asked: true }
    }

    fn error(&self, kind: StoreErrorKind) -> StoreError {
        self.world.lists[self.store].borrow().error(kind)
    }
}

fn late() -> StoreErrorKind {
    StoreErrorKind::Behind { seconds: LATE.as_secs() }
}
