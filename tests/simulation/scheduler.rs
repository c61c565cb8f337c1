//! Runs tasks in virtual time, in one thread: what runs next, what fails and how long it takes come from
//! [`Chance`] alone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::chance::Chance;
use crate::tally::Tally;
use crate::trace::Trace;

/// A task of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Task(u64);

type Work = Pin<Box<dyn Future<Output = ()>>>;

type Condition = Rc<dyn Fn() -> bool>;

/// One run: its tasks, its time, its chance, its trace. Clones are the same run.
#[derive(Clone)]
pub(crate) struct Simulation(Rc<Inner>);

struct Inner {
    chance: Chance,
    now: Cell<Duration>,
    /// The work of each task; `None` while it runs.
    tasks: RefCell<BTreeMap<Task, Option<Work>>>,
    runnable: RefCell<Vec<Task>>,
    /// Those of them that let others run first.
    paused: RefCell<BTreeSet<Task>>,
    /// What tasks wait for, other than time.
    conditions: RefCell<BTreeMap<Task, Condition>>,
    /// Whether only the order of paused tasks is left to chance.
    in_order: Cell<bool>,
    /// How often another task may still go on although the last one could; `None` for any number.
    switches: Cell<Option<u32>>,
    last: Cell<Option<Task>>,
    timers: RefCell<BTreeSet<(Duration, u64, Task)>>,
    /// The task that runs now.
    current: Cell<Option<Task>>,
    numbers: Cell<u64>,
    trace: RefCell<Trace>,
    tally: RefCell<Tally>,
    /// The faults that may happen, by number; `None` for all.
    only: Option<BTreeSet<u64>>,
    faults: Cell<u64>,
    /// The states that a search has seen.
    known: RefCell<HashSet<u64>>,
}

impl Simulation {
    /// A run with these decisions. `only` are the faults that may happen, `None` for all.
    pub(crate) fn new(chance: Chance, only: Option<&BTreeSet<u64>>, recording: bool) -> Simulation {
        Simulation(Rc::new(Inner {
            chance,
            now: Cell::default(),
            tasks: RefCell::default(),
            runnable: RefCell::default(),
            paused: RefCell::default(),
            conditions: RefCell::default(),
            in_order: Cell::default(),
            switches: Cell::default(),
            last: Cell::default(),
            timers: RefCell::default(),
            current: Cell::default(),
            numbers: Cell::default(),
            trace: RefCell::new(Trace::new(recording)),
            tally: RefCell::default(),
            only: only.cloned(),
            faults: Cell::default(),
            known: RefCell::default(),
        }))
    }

    /// The time since the start of the run.
    pub(crate) fn now(&self) -> Duration {
        self.0.now.get()
    }

    /// The source of all decisions.
    pub(crate) fn chance(&self) -> &Chance {
        &self.0.chance
    }

    /// Records an event.
    pub(crate) fn event(&self, what: impl FnOnce() -> String) {
        self.0.trace.borrow_mut().event(self.now(), what);
    }

    /// Adds to the count of something that the report shows.
    pub(crate) fn count(&self, what: &'static str, number: u64) {
        *self.0.tally.borrow_mut().counts.entry(what).or_default() += number;
    }

    /// Whether a fault of that kind happens now. All faults are decided here, so that the shrinker can leave
    /// out those that do not matter.
    pub(crate) fn fault(&self, kind: &'static str, probability: f64) -> bool {
        if !self.chance().happens(probability) {
            return false;
        }
        let number = self.0.faults.replace(self.0.faults.get() + 1);
        if self.0.only.as_ref().is_some_and(|only| !only.contains(&number)) {
            return false;
        }
        *self.0.tally.borrow_mut().faults.entry(kind).or_default() += 1;
        self.event(|| format!("FAULT {number}: {kind}"));
        true
    }

    /// The number of faults, with those that were left out.
    pub(crate) fn faults(&self) -> u64 {
        self.0.faults.get()
    }

    /// Starts a task.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) -> Task {
        let task = Task(self.number());
        self.0.tasks.borrow_mut().insert(task, Some(Box::pin(work)));
        self.wake(task);
        task
    }

    /// Whether the task has neither ended nor crashed.
    pub(crate) fn is_running(&self, task: Task) -> bool {
        self.0.tasks.borrow().contains_key(&task)
    }

    /// Kills a task where it stands. True if it ran. A task that kills itself ends at its next `await`.
    pub(crate) fn crash(&self, task: Task) -> bool {
        let work = self.0.tasks.borrow_mut().remove(&task);
        // Dropped after the borrow: a value of the task may use the simulation.
        work.is_some()
    }

    /// The task that runs now.
    pub(crate) fn current(&self) -> Task {
        self.0.current.get().expect("only tasks ask")
    }

    /// Lets a task run that waits for something other than time.
    pub(crate) fn wake(&self, task: Task) {
        let mut runnable = self.0.runnable.borrow_mut();
        if !runnable.contains(&task) {
            runnable.push(task);
        }
    }

    /// Lets other tasks run first, perhaps.
    pub(crate) fn pause(&self) -> impl Future<Output = ()> + use<> {
        let (simulation, mut paused) = (self.clone(), false);
        poll_fn(move |_| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            simulation.wake(simulation.current());
            simulation.0.paused.borrow_mut().insert(simulation.current());
            Poll::Pending
        })
    }

    /// Waits for that long.
    pub(crate) fn sleep(&self, time: Duration) -> impl Future<Output = ()> + use<> {
        self.sleep_until(self.now() + time)
    }

    /// Waits until that time; at least once for other tasks.
    pub(crate) fn sleep_until(&self, end: Duration) -> impl Future<Output = ()> + use<> {
        let (simulation, mut waits) = (self.clone(), false);
        poll_fn(move |_| {
            if std::mem::replace(&mut waits, true) {
                return if simulation.now() >= end { Poll::Ready(()) } else { Poll::Pending };
            }
            simulation.wake_at(end);
            Poll::Pending
        })
    }

    /// The result of `work`; `None` if it has none at that time. It ends there, as in a crash.
    pub(crate) async fn until<T>(&self, end: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        self.wake_at(end);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.now() >= end => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits until `condition` holds. The code that makes it true wakes the task, or calls
    /// [`Simulation::wake_waiting`].
    pub(crate) fn wait_for<C: Fn() -> bool + 'static>(
        &self,
        condition: C,
    ) -> impl Future<Output = ()> + use<C> {
        let condition: Condition = Rc::new(condition);
        let mut waits = Waits { simulation: self.clone(), task: None };
        poll_fn(move |_| {
            if condition() {
                return Poll::Ready(());
            }
            let simulation = waits.simulation.clone();
            if waits.task.is_none() {
                waits.task = Some(simulation.current());
                simulation.0.conditions.borrow_mut().insert(simulation.current(), condition.clone());
            }
            Poll::Pending
        })
    }

    /// Lets those tasks run whose conditions hold now: something has changed that they may wait for.
    pub(crate) fn wake_waiting(&self) {
        let conditions = self.0.conditions.borrow();
        let ready = conditions.iter().filter(|(_, condition)| condition());
        let ready: Vec<Task> = ready.map(|(task, _)| *task).collect();
        drop(conditions);
        ready.into_iter().for_each(|task| self.wake(task));
    }

    /// From now on, only the order of paused tasks is left to chance. Other tasks go on first, one after the
    /// other: what they do before they pause must not concern others. At most `switches` times, another task
    /// goes on although the last one could.
    pub(crate) fn leave_only_pauses_to_chance(&self, switches: Option<u32>) {
        self.0.in_order.set(true);
        self.0.switches.set(switches);
    }

    /// What the next choices depend on besides the tasks: how many switches are left, and the last task.
    pub(crate) fn switches(&self) -> Option<(u32, Task)> {
        Some((self.0.switches.get()?, self.0.last.get()?))
    }

    /// The place of the next task among those that can run.
    fn choose(&self, runnable: &[Task]) -> usize {
        if !self.0.in_order.get() {
            return self.0.chance.below(runnable.len());
        }
        let paused = self.0.paused.borrow();
        if let Some(first) = runnable.iter().position(|task| !paused.contains(task)) {
            return first;
        }
        let last = self.0.last.get().and_then(|last| runnable.iter().position(|task| *task == last));
        let choice = match (last, self.0.switches.get()) {
            (Some(last), Some(0)) => last,
            _ => self.0.chance.below(runnable.len()),
        };
        if last.is_some_and(|last| last != choice) {
            self.0.switches.set(self.0.switches.get().map(|left| left.saturating_sub(1)));
        }
        self.0.last.set(Some(runnable[choice]));
        choice
    }

    /// Whether chance decides which task is next.
    pub(crate) fn is_at_choice(&self) -> bool {
        let paused = self.0.paused.borrow();
        self.0.runnable.borrow().iter().all(|task| paused.contains(task))
    }

    /// Runs one task until it waits. If none can run, time goes on to when one can. `None` if none ever can.
    pub(crate) fn step(&self) -> Option<Task> {
        let task = loop {
            let mut runnable = self.0.runnable.borrow_mut();
            if runnable.is_empty() {
                drop(runnable);
                self.go_on()?;
                continue;
            }
            let choice = self.choose(&runnable);
            let task = runnable.swap_remove(choice);
            self.0.paused.borrow_mut().remove(&task);
            if self.0.tasks.borrow().contains_key(&task) {
                break task;
            }
        };
        let work = self.0.tasks.borrow_mut().get_mut(&task).and_then(Option::take);
        let mut work = work.expect("a task that does not run is there");
        self.0.current.set(Some(task));
        let result = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.0.current.set(None);
        self.0.tally.borrow_mut().steps += 1;
        let mut tasks = self.0.tasks.borrow_mut();
        let dropped = match result {
            Poll::Ready(()) => {
                tasks.remove(&task);
                Some(work)
            }
            // It may have been killed meanwhile.
            Poll::Pending => match tasks.get_mut(&task) {
                Some(place) => place.replace(work),
                None => Some(work),
            },
        };
        drop(tasks);
        drop(dropped);
        Some(task)
    }

    /// Runs until that time, and calls `check` after every step.
    pub(crate) fn run(
        &self,
        end: Duration,
        mut check: impl FnMut(Task) -> Result<(), String>,
    ) -> Result<(), String> {
        self.0.timers.borrow_mut().insert((end, self.number(), Task(u64::MAX)));
        while self.now() < end {
            match self.step() {
                Some(task) => check(task)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Whether a search has been in this state before, in which case this run need not go on. States that the
    /// search passes again on its way to a new one are not asked about.
    pub(crate) fn is_known(&self, state: u64) -> bool {
        !self.chance().is_repeating() && !self.0.known.borrow_mut().insert(state)
    }

    /// Ends the run: drops all tasks. Returns what happened. The states that a search has seen go on to its
    /// next run.
    pub(crate) fn finish(self) -> Finished {
        loop {
            // What a task owned may start another one.
            let Some((_, work)) = self.0.tasks.borrow_mut().pop_first() else { break };
            drop(work);
        }
        Finished {
            chance: self.0.chance.take(),
            trace: self.0.trace.replace(Trace::new(false)),
            tally: self.0.tally.take(),
            known: self.0.known.take(),
            is_kept: Rc::strong_count(&self.0) > 1,
        }
    }

    /// Starts with the states that earlier runs of a search have seen.
    pub(crate) fn knowing(self, known: HashSet<u64>) -> Simulation {
        self.0.known.replace(known);
        self
    }

    fn wake_at(&self, time: Duration) {
        self.0.timers.borrow_mut().insert((time, self.number(), self.current()));
    }

    /// Advances the time to the next timer.
    fn go_on(&self) -> Option<()> {
        let mut timers = self.0.timers.borrow_mut();
        let (time, _, task) = timers.pop_first()?;
        self.0.now.set(self.now().max(time));
        self.wake(task);
        while timers.first().is_some_and(|(next, _, _)| *next <= time) {
            if let Some((_, _, task)) = timers.pop_first() {
                self.wake(task);
            }
        }
        Some(())
    }

    fn number(&self) -> u64 {
        let number = self.0.numbers.get();
        self.0.numbers.set(number + 1);
        number
    }
}

/// A task waits, and its condition is known as long as it does.
struct Waits {
    simulation: Simulation,
    task: Option<Task>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.simulation.0.conditions.borrow_mut().remove(&task);
        }
    }
}

/// What is left of a run.
pub(crate) struct Finished {
    pub(crate) chance: Chance,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    pub(crate) known: HashSet<u64>,
    /// Whether a value outlives the run that should have ended with its task, such as a lock.
    pub(crate) is_kept: bool,
}
