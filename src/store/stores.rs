//! Several stores: one operation at all of them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::answer::Answer;
use super::together::{self, Task};
use super::{
    Applied, At, Condition, Edit, Look, Moment, Options, Reached, Rehearsal, Snapshot, Step, Store,
    StoreError, StoreErrorKind, Version, git, open,
};
use crate::deadline::{Deadline, Limit};
use crate::name::Name;

/// The least time for reading after a look: most data is on this machine already.
const TO_READ: Duration = Duration::from_secs(2);

/// Stores that were opened once, in the order of the configuration. A clone has the same stores.
#[derive(Clone)]
pub struct Stores {
    all: Vec<Arc<dyn Store>>,
    options: Arc<Options>,
}

impl Stores {
    /// Opens the stores of these URLs and paths. A store that cannot be reached is an error of each operation.
    pub fn open(urls: &[String], options: Options) -> Stores {
        let options = Arc::new(options);
        Stores { all: urls.iter().map(|url| open(url, &options)).collect(), options }
    }

    /// Only the store at that place; none if there is no such place.
    pub fn only(&self, place: usize) -> Stores {
        Stores { all: self.all.get(place).cloned().into_iter().collect(), options: self.options.clone() }
    }

    /// None of these stores.
    pub fn none(&self) -> Stores {
        Stores { all: Vec::new(), options: self.options.clone() }
    }

    /// These stores, then the others.
    pub fn and(&self, others: &Stores) -> Stores {
        let all = self.all.iter().chain(&others.all).cloned().collect();
        Stores { all, options: self.options.clone() }
    }

    /// Whether there are no stores.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The number of stores.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The stores as the user named them, without secrets.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|store| store.url())
    }

    /// Looks at all stores, with a new deadline. Keeps their order.
    pub fn look(&self, heartbeats: bool) -> Vec<PendingRead> {
        self.look_until(heartbeats, Deadline::new(Limit::Read, self.options.reading))
    }

    /// Looks at all stores as they were at a past moment. Keeps their order.
    pub fn look_back(&self, at: &At) -> Vec<PendingRead> {
        git::see_tags();
        let deadline = self.looking_back();
        let moment = at.clone();
        let looks =
            self.ask(self.tasks(deadline), move |store, deadline| store.look(&moment, false, deadline));
        let pending = self.all.iter().zip(looks).map(|(store, look)| PendingRead {
            store: store.clone(),
            heartbeats: false,
            is_past: true,
            connect: self.options.connect,
            deadline,
            look,
        });
        pending.collect()
    }

    /// Looks at all stores. Keeps their order.
    ///
    /// A store without a last copy gets the time of a publish, whatever the other stores do. Its first fetch
    /// transfers the whole list, and would start again from zero each time if it were cut short.
    fn look_until(&self, heartbeats: bool, deadline: Deadline) -> Vec<PendingRead> {
        let Options { publishing, reading, .. } = *self.options;
        let deadlines: Vec<(bool, Deadline)> = self
            .all
            .iter()
            .map(|store| match store.has_copy() {
                true => (false, deadline),
                false if publishing > reading => (true, Deadline::new(Limit::Publish, publishing)),
                false => (true, deadline),
            })
            .collect();
        let tasks = self.all.iter().zip(&deadlines).map(|(store, (alone, deadline))| Task {
            url: store.url().to_owned(),
            store: store.clone(),
            deadline: *deadline,
            alone: *alone,
        });
        let looks =
            self.ask(tasks.collect(), move |store, deadline| store.look(&At::Latest, heartbeats, deadline));
        let seen = self.all.iter().zip(deadlines).zip(looks);
        let connect = self.options.connect;
        seen.map(|((store, (_, deadline)), look)| PendingRead {
            store: store.clone(),
            heartbeats,
            is_past: false,
            connect,
            deadline,
            look,
        })
        .collect()
    }

    /// Reads all stores, with a new deadline. Keeps their order. A failing store gives an entry with its error
    /// and its last copy.
    pub fn read(&self, heartbeats: bool) -> Vec<Reading> {
        self.read_until(heartbeats, Deadline::new(Limit::Read, self.options.reading))
    }

    /// Reads all stores. See [`Stores::read`].
    pub fn read_until(&self, heartbeats: bool, deadline: Deadline) -> Vec<Reading> {
        read_pending(self.look_until(heartbeats, deadline))
    }

    /// The last copies of all stores. Asks no store.
    pub fn last_copies(&self) -> Vec<Reading> {
        let copy = |store: &Arc<dyn Store>| {
            let error = StoreError { url: store.url().to_owned(), kind: StoreErrorKind::NotYet };
            let (url, snapshot) = (error.url.clone(), store.last_copy(false));
            Reading { url, snapshot, moment: None, error: Some(error) }
        };
        self.all.iter().map(copy).collect()
    }

    /// Makes one change in all stores, and with `beat` also writes the node's heartbeat of that time. The
    /// results are in the order of the stores.
    pub fn apply(
        &self,
        edit: &Edit<'_>,
        author: &str,
        beat: Option<Timestamp>,
        deadline: Deadline,
    ) -> Vec<Result<Applied, StoreError>> {
        let (edit, author) = ((*edit).to_owned(), author.to_owned());
        self.ask(self.tasks(deadline), move |store, deadline| {
            store.apply(&edit.borrow(), &author, beat, deadline)
        })
    }

    /// Writes a heartbeat to all stores, and returns the heartbeats that were replaced, in the order of the
    /// stores.
    pub fn beat(
        &self,
        id: &Name,
        author: &str,
        time: Timestamp,
        deadline: Deadline,
    ) -> Vec<Result<Option<Timestamp>, StoreError>> {
        let (id, author) = (id.clone(), author.to_owned());
        self.ask(self.tasks(deadline), move |store, deadline| store.beat(&id, &author, time, deadline))
    }

    /// Visits the history of each store, newest first, with a copy of `visitor`. Returns these, in the order of
    /// the stores.
    pub fn history<V: Visitor>(&self, visitor: &V) -> Vec<Result<V, StoreError>> {
        let visitor = visitor.clone();
        let walked = self.ask(self.tasks(self.looking_back()), move |store, deadline| {
            let mut walked = Walked { steps: 0, visitor: visitor.clone() };
            let reached = store.history(deadline, &mut |step| {
                walked.steps += 1;
                walked.visitor.visit(step)
            })?;
            match reached {
                Reached::Deadline if !walked.visitor.cut() => {
                    Err(StoreError { url: store.url().to_owned(), kind: StoreErrorKind::late(deadline) })
                }
                Reached::Deadline | Reached::End => Ok(walked),
            }
        });
        walked.into_iter().map(|walked| Ok(walked?.visitor)).collect()
    }

    /// The deadline of an operation that looks back and begins now. It may have to fetch the whole history.
    fn looking_back(&self) -> Deadline {
        Deadline::new(Limit::History, self.options.looking_back)
    }

    /// The nodes among `ids`, whose records are missing, that were withdrawn from at least one store. Ignores
    /// stores that cannot tell.
    pub fn withdrawn(&self, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
        let deadline = Deadline::new(Limit::Read, self.options.connect);
        let ids = ids.clone();
        let told = self.ask(self.tasks(deadline), move |store, _| store.withdrawn(&ids));
        told.into_iter().flatten().flatten().collect()
    }

    /// Whether the first store returns from [`Stores::wait`] at a change itself.
    pub fn waits(&self) -> bool {
        self.all.first().is_some_and(|store| store.capabilities().is_ok_and(|able| able.waits))
    }

    /// Waits until the first store has another version, or for that time. See [`Store::wait`].
    pub fn wait(&self, since: &Version, interval: Duration, within: Duration) -> Result<bool, StoreError> {
        match self.all.first() {
            Some(store) => store.wait(since, interval, Deadline::new(Limit::Read, within)),
            None => Ok(false),
        }
    }

    /// Rehearses a publish at all stores, up to the change. The results are in the order of the stores.
    pub fn rehearse(&self) -> Vec<Result<Rehearsal, StoreError>> {
        let deadline = Deadline::new(Limit::Publish, self.options.publishing);
        self.ask(self.tasks(deadline), |store, deadline| {
            let (branch, untried) = store.rehearse(deadline)?;
            Ok(Rehearsal { url: store.url().to_owned(), branch, untried })
        })
    }

    /// The conditions of the services behind the stores, with the URL of each store.
    pub fn conditions(&self) -> Vec<(String, Condition)> {
        let deadline = Deadline::new(Limit::Read, self.options.reading);
        let found =
            self.ask(self.tasks(deadline), |store, deadline| Ok(Conditions(store.conditions(deadline))));
        let found = self.urls().zip(found).filter_map(|(url, found)| Some((url, found.ok()?)));
        let of_each = found.flat_map(|(url, Conditions(found))| {
            found.into_iter().map(move |condition| (url.to_owned(), condition))
        });
        of_each.collect()
    }

    /// Waits for what the stores still write on this machine. See [`Store::finish`].
    pub fn finish(&self) {
        self.all.iter().for_each(|store| store.finish());
    }

    /// One task per store, with a common deadline.
    fn tasks(&self, deadline: Deadline) -> Vec<Task<Arc<dyn Store>>> {
        let task = |store: &Arc<dyn Store>| {
            let url = store.url().to_owned();
            Task { url, store: store.clone(), deadline, alone: false }
        };
        self.all.iter().map(task).collect()
    }

    fn ask<S: Send + 'static, T: Answer + Send + 'static>(
        &self,
        tasks: Vec<Task<S>>,
        act: impl Fn(S, Deadline) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Vec<Result<T, StoreError>> {
        together::ask(tasks, self.options.connect, act)
    }
}

/// The conditions of the service behind one store.
struct Conditions(Vec<Condition>);

impl Answer for Conditions {
    const OPERATION: &'static str = "conditions";

    fn brief(&self) -> String {
        format!("{} conditions", self.0.len())
    }
}

/// Takes the steps of a history, newest first.
pub trait Visitor: Clone + Send + Sync + 'static {
    /// Takes one step, and decides whether to go on.
    fn visit(&mut self, step: Step) -> ControlFlow<()>;

    /// Ends the walk at its deadline, before older steps. Returns whether the visited ones are of use alone.
    fn cut(&mut self) -> bool {
        false
    }
}

/// A visitor after its walk.
struct Walked<V> {
    steps: usize,
    visitor: V,
}

impl<V> Answer for Walked<V> {
    const OPERATION: &'static str = "history";

    fn brief(&self) -> String {
        format!("{} steps", self.steps)
    }
}

/// The reading of one store.
#[derive(Debug)]
pub struct Reading {
    /// The store as the user named it, without secrets.
    pub url: String,
    /// The files, if the store or its last copy could be read.
    pub snapshot: Option<Snapshot>,
    /// For a past moment, the version that the list had then.
    pub moment: Option<Moment>,
    /// Why the store could not be read; `snapshot`, if any, is then the last copy.
    pub error: Option<StoreError>,
}

/// A store after its look and before its reading.
pub struct PendingRead {
    store: Arc<dyn Store>,
    heartbeats: bool,
    /// The last copy does not replace a reading of the past.
    is_past: bool,
    /// The limit for the other stores once one has answered.
    connect: Duration,
    deadline: Deadline,
    look: Result<Look, StoreError>,
}

impl PendingRead {
    /// The store as the user named it, without secrets.
    pub fn url(&self) -> &str {
        self.store.url()
    }

    /// See [`Look::version`]; also `None` if the store does not answer.
    pub fn version(&self) -> Option<&Version> {
        self.look.as_ref().ok()?.version.as_ref()
    }

    /// See [`Look::moment`]; also `None` if the store does not know the moment.
    pub fn moment(&self) -> Option<&Moment> {
        self.look.as_ref().ok()?.moment.as_ref()
    }

    /// Why the look failed.
    pub fn into_error(self) -> Option<StoreError> {
        self.look.err()
    }

    /// The deadline for looking and reading together.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

/// Reads the stores after their looks. A failing store gives an entry with its error and its last copy.
pub fn read_pending(seen: Vec<PendingRead>) -> Vec<Reading> {
    let Some(connect) = seen.first().map(|pending| pending.connect) else { return Vec::new() };
    let mut of = Vec::with_capacity(seen.len());
    let mut tasks = Vec::with_capacity(seen.len());
    for PendingRead { store, heartbeats, is_past, deadline, look, .. } in seen {
        let moment = look.as_ref().ok().and_then(|look| look.moment.clone());
        // A store that could not be looked at is not asked again.
        let failed = match look {
            Ok(look) => {
                let (url, deadline) = (store.url().to_owned(), deadline.at_least(TO_READ));
                tasks.push(Task { url, store: look, deadline, alone: false });
                None
            }
            Err(error) => Some(error),
        };
        of.push((store, heartbeats, is_past, moment, failed));
    }
    let mut readings = together::ask(tasks, connect, Look::read).into_iter();
    of.into_iter()
        .filter_map(|(store, heartbeats, is_past, moment, failed)| {
            let reading = match failed {
                Some(error) => Err(error),
                None => readings.next()?,
            };
            let url = store.url().to_owned();
            Some(match reading {
                Ok(snapshot) => Reading { url, snapshot: Some(snapshot), moment, error: None },
                Err(error) => {
                    let copy = || store.last_copy(heartbeats);
                    let snapshot = if is_past { None } else { copy() };
                    Reading { url, snapshot, moment: None, error: Some(error) }
                }
            })
        })
        .collect()
}
