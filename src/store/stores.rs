//! Several stores: one operation at all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::answer::Answer;
use super::together::{self, Task};
use super::{
    Applied, At, Edit, HistoryEvent, Look, Options, Rehearsal, Snapshot, Store, StoreError, StoreErrorKind,
    Version, open,
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
            Reading { url: error.url.clone(), snapshot: store.last_copy(false), error: Some(error) }
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

    /// The last `most` changes of one node or of all in each store, newest first. The results are in the order
    /// of the stores.
    pub fn history(
        &self,
        id: Option<&Name>,
        most: usize,
        deadline: Deadline,
    ) -> Vec<Result<Vec<HistoryEvent>, StoreError>> {
        let id = id.cloned();
        self.ask(self.tasks(deadline), move |store, deadline| store.history(id.as_ref(), most, deadline))
    }

    /// The nodes among `ids`, whose records are missing, that were withdrawn from at least one store. Ignores
    /// stores that cannot tell.
    pub fn withdrawn(&self, ids: &BTreeSet<Name>) -> BTreeSet<Name> {
        let deadline = Deadline::new(Limit::Read, self.options.connect);
        let ids = ids.clone();
        let told = self.ask(self.tasks(deadline), move |store, _| store.withdrawn(&ids));
        told.into_iter().flatten().flatten().collect()
    }

    /// Rehearses a publish at all stores, up to the change. The results are in the order of the stores.
    pub fn rehearse(&self) -> Vec<Result<Rehearsal, StoreError>> {
        let deadline = Deadline::new(Limit::Publish, self.options.publishing);
        self.ask(self.tasks(deadline), |store, deadline| {
            let (branch, untried) = store.rehearse(deadline)?;
            Ok(Rehearsal { url: store.url().to_owned(), branch, untried })
        })
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

/// The reading of one store.
#[derive(Debug)]
pub struct Reading {
    /// The store as the user named it, without secrets.
    pub url: String,
    /// The files, if the store or its last copy could be read.
    pub snapshot: Option<Snapshot>,
    /// Why the store could not be read; `snapshot`, if any, is then the last copy.
    pub error: Option<StoreError>,
}

/// A store after its look and before its reading.
pub struct PendingRead {
    store: Arc<dyn Store>,
    heartbeats: bool,
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
    for PendingRead { store, heartbeats, deadline, look, .. } in seen {
        // A store that could not be looked at is not asked again.
        let failed = match look {
            Ok(look) => {
                let (url, deadline) = (store.url().to_owned(), deadline.at_least(TO_READ));
                tasks.push(Task { url, store: look, deadline, alone: false });
                None
            }
            Err(error) => Some(error),
        };
        of.push((store, heartbeats, failed));
    }
    let mut readings = together::ask(tasks, connect, Look::read).into_iter();
    of.into_iter()
        .filter_map(|(store, heartbeats, failed)| {
            let reading = match failed {
                Some(error) => Err(error),
                None => readings.next()?,
            };
            let url = store.url().to_owned();
            Some(match reading {
                Ok(snapshot) => Reading { url, snapshot: Some(snapshot), error: None },
                Err(error) => Reading { url, snapshot: store.last_copy(heartbeats), error: Some(error) },
            })
        })
        .collect()
}
