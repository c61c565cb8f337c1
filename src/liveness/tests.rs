use proptest::prelude::*;

use super::*;
use crate::store::Heartbeat;

/// The heartbeat interval of the fleet, and the longest allowed silence.
const INTERVAL: u64 = 5;
const MAX_AGE: Duration = Duration::from_secs(20);
const GAP: Duration = Duration::from_secs(INTERVAL + 10);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_000_000 + second).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An observer and a few nodes, second by second.
struct World {
    liveness: Liveness,
    now: u64,
    /// The heartbeats in each store.
    stores: Vec<Beats>,
    nodes: Vec<Node>,
    /// For each store: whether the observer can read it, and whether it takes any heartbeats.
    readable: Vec<bool>,
    writable: Vec<bool>,
}

struct Node {
    id: String,
    alive: bool,
    /// How far its clock is off, in seconds.
    clock: i64,
    /// The stores that it reaches.
    reaches: Vec<bool>,
    /// When one of its heartbeats last changed in a store as the observer has read it.
    heard: u64,
}

impl World {
    fn new(nodes: usize, stores: usize) -> World {
        let node = |number: usize| Node {
            id: format!("i-{number}"),
            alive: true,
            clock: 0,
            reaches: vec![true; stores],
            heard: 0,
        };
        World {
            liveness: Liveness::new(stores, GAP, BTreeMap::new()),
            now: 0,
            stores: vec![Beats::new(); stores],
            nodes: (0..nodes).map(node).collect(),
            readable: vec![true; stores],
            writable: vec![true; stores],
        }
    }

    /// One second: nodes beat at their phases, the observer beats at its own and reads every second.
    fn step(&mut self) {
        self.now += 1;
        let mut heard = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let due = self.now % INTERVAL == number as u64 % INTERVAL;
            for (place, store) in self.stores.iter_mut().enumerate() {
                if due && node.alive && node.reaches[place] && self.writable[place] {
                    let written = at(self.now as i64 + node.clock);
                    let before = store.insert(node.id.clone(), Heartbeat::Time(written));
                    // A clock that was set back may state the same second again, which looks like silence.
                    if self.readable[place] && before != Some(Heartbeat::Time(written)) {
                        heard.push(number);
                    }
                }
            }
        }
        let ids: Vec<String> = self.nodes.iter().map(|node| node.id.clone()).collect();
        let listed = ids.iter().map(|id| Listed { id, changed: None, last_seen: None });
        self.liveness.listed(listed);
        for place in 0..self.stores.len() {
            let reaches = self.readable[place];
            if self.now.is_multiple_of(INTERVAL) {
                let accepted = reaches && self.writable[place];
                if accepted {
                    self.stores[place].insert("i-me".to_owned(), Heartbeat::Time(at(self.now as i64)));
                }
                self.liveness.own_heartbeat(place, accepted, seconds(self.now));
            }
            if !reaches {
                self.liveness.unheard(place);
                continue;
            }
            self.liveness.heard(place, &self.stores[place].clone(), seconds(self.now), at(self.now as i64));
        }
        for number in heard {
            self.nodes[number].heard = self.now;
        }
    }

    fn run(&mut self, seconds: u64) {
        (0..seconds).for_each(|_| self.step());
    }

    fn silent(&self) -> Vec<&str> {
        let silent = |node: &&Node| self.liveness.silence(&node.id) > MAX_AGE;
        self.nodes.iter().filter(silent).map(|node| node.id.as_str()).collect()
    }
}

#[test]
fn a_dead_node_is_silent_after_max_age_and_one_beat() {
    let mut world = World::new(4, 1);
    world.run(12);
    world.nodes[1].alive = false;
    world.run(MAX_AGE.as_secs() - INTERVAL);
    assert_eq!(world.silent(), [""; 0], "not yet");
    world.run(2 * INTERVAL + 1);
    assert_eq!(world.silent(), ["i-1"]);
    world.nodes[1].alive = true;
    world.run(INTERVAL);
    assert_eq!(world.silent(), [""; 0]);
}

#[test]
fn the_last_node_is_silent_although_nobody_else_beats() {
    let mut world = World::new(1, 1);
    world.run(12);
    world.nodes[0].alive = false;
    world.run(MAX_AGE.as_secs() + 2 * INTERVAL);
    assert_eq!(world.silent(), ["i-0"], "the observer's own heartbeats prove that the store takes some");
}

#[test]
fn a_store_that_takes_no_heartbeats_proves_nothing() {
    let mut world = World::new(4, 1);
    world.run(12);
    world.writable[0] = false;
    world.run(600);
    assert_eq!(world.silent(), [""; 0], "a full disk");
    assert!(!world.liveness.proves(0));
    world.writable[0] = true;
    world.run(2 * INTERVAL);
    assert_eq!(world.silent(), [""; 0], "each has as long as before");
    assert!(world.liveness.proves(0));
}

#[test]
fn a_store_that_refuses_the_observer_alone_proves_nothing_to_it() {
    let mut liveness = Liveness::new(1, GAP, BTreeMap::new());
    let listed = || [Listed { id: "i-1", changed: None, last_seen: None }].into_iter();
    liveness.listed(listed());
    for second in 0..100 {
        let beats = Beats::from([("i-2".to_owned(), Heartbeat::Time(at(second)))]);
        if second == 10 {
            liveness.own_heartbeat(0, false, seconds(10));
        }
        liveness.heard(0, &beats, seconds(second as u64), at(second));
        liveness.listed(listed());
    }
    assert!(liveness.silence("i-1") < seconds(11), "{:?}", liveness.silence("i-1"));
}

#[test]
fn a_node_is_silent_once_its_lease_has_ended_and_not_before() {
    let mut liveness = Liveness::new(1, GAP, BTreeMap::new());
    let listed = || [Listed { id: "i-1", changed: None, last_seen: None }].into_iter();
    liveness.listed(listed());
    for second in 0..100 {
        let held = second < 40;
        let beats = Beats::from([
            ("i-1".to_owned(), Heartbeat::Lease { held, last: at(second) }),
            ("i-2".to_owned(), Heartbeat::Lease { held: true, last: at(second) }),
        ]);
        liveness.heard(0, &beats, seconds(second as u64), at(second));
        liveness.listed(listed());
        let expect = if held { seconds(0) } else { seconds(second as u64 - 39) };
        assert_eq!(liveness.silence("i-1"), expect, "{second}");
    }
}

#[test]
fn a_node_that_reaches_only_the_store_that_is_away_is_not_silent() {
    let mut world = World::new(4, 2);
    world.run(12);
    world.nodes[1].reaches = vec![false, true];
    world.readable[1] = false;
    world.run(600);
    assert_eq!(world.silent(), [""; 0]);
    world.nodes[1].alive = false;
    world.readable[1] = true;
    world.run(MAX_AGE.as_secs() + 2 * INTERVAL);
    assert_eq!(world.silent(), ["i-1"]);
}

#[test]
fn a_store_that_is_away_proves_nothing_from_before_the_last_sign_of_life() {
    let mut world = World::new(4, 2);
    world.run(12);
    world.nodes[1].reaches = vec![false, false];
    world.run(MAX_AGE.as_secs() + 2 * INTERVAL);
    assert_eq!(world.silent(), ["i-1"]);
    world.readable[1] = false;
    world.nodes[1].reaches = vec![true, false];
    world.run(2 * INTERVAL);
    assert_eq!(world.silent(), [""; 0]);
    // It may reach the store that is away.
    world.nodes[1].reaches = vec![false, true];
    world.run(600);
    assert_eq!(world.silent(), [""; 0]);
}

#[test]
fn wrong_clocks_remove_nobody_and_are_told() {
    let mut world = World::new(8, 1);
    for (number, clock) in [(0, -15), (1, -3600), (2, 30 * 24 * 3600)] {
        world.nodes[number].clock = clock;
    }
    world.run(120);
    assert_eq!(world.silent(), [""; 0]);
    let Clocks::Others(wrong) = world.liveness.clocks() else { panic!("ours is right") };
    let told: Vec<String> = wrong.iter().map(|(id, offset)| format!("{id} {offset}")).collect();
    assert_eq!(told, ["i-0 about 15s behind", "i-1 about 1h behind", "i-2 about 720h ahead of"]);
    // If nearly all clocks differ from ours, ours is wrong.
    for node in &mut world.nodes {
        node.clock = 90;
    }
    world.run(60);
    assert!(
        matches!(world.liveness.clocks(), Clocks::Ours { of: 8, known: 9, .. }),
        "{:?}",
        world.liveness.clocks()
    );
}

#[test]
fn an_observer_that_starts_has_to_listen_first_and_knows_who_was_silent_before() {
    let old = Some(at(-7200));
    let before = BTreeMap::from([
        ("i-gone".to_owned(), Silent { last_seen: old, silent_for: seconds(25) }),
        ("i-back".to_owned(), Silent { last_seen: old, silent_for: seconds(25) }),
    ]);
    let mut liveness = Liveness::new(1, GAP, before);
    let listed = || {
        [("i-new", None), ("i-old", old), ("i-gone", old), ("i-back", Some(at(1)))]
            .into_iter()
            .map(|(id, last_seen)| Listed { id, changed: None, last_seen })
    };
    liveness.listed(listed());
    let silent = |liveness: &Liveness| -> Vec<&str> {
        ["i-new", "i-old", "i-gone", "i-back"]
            .into_iter()
            .filter(|id| liveness.silence(id) > MAX_AGE)
            .collect()
    };
    assert_eq!(silent(&liveness), ["i-gone"]);
    let saved = liveness.silent(listed(), MAX_AGE);
    assert_eq!(saved.keys().collect::<Vec<_>>(), ["i-gone"]);
    liveness.pardon(["i-gone"].into_iter());
    assert_eq!(silent(&liveness), [""; 0]);
}

#[test]
fn a_node_whose_clock_was_ahead_when_its_state_changed_is_heard_after_a_restart() {
    // Its heartbeats state earlier times, so the time of its last sign of life stays as it was.
    let ahead = Some(at(7200));
    let before = BTreeMap::from([("i-1".to_owned(), Silent { last_seen: ahead, silent_for: seconds(25) })]);
    let mut liveness = Liveness::new(1, GAP, before);
    let listed = || [Listed { id: "i-1", changed: None, last_seen: ahead }].into_iter();
    let beats = |second| Beats::from([("i-1".to_owned(), Heartbeat::Time(at(second)))]);
    liveness.listed(listed());
    liveness.heard(0, &beats(0), seconds(0), at(0));
    assert!(liveness.silence("i-1") > MAX_AGE, "nothing has changed yet");
    liveness.heard(0, &beats(10), seconds(10), at(10));
    liveness.listed(listed());
    assert_eq!(liveness.silence("i-1"), Duration::ZERO);
}

#[test]
fn a_new_record_and_a_new_state_are_signs_of_life() {
    let mut world = World::new(3, 1);
    world.run(60);
    let state = "2026-01-01T00:00:00".parse().unwrap();
    world.nodes.iter_mut().for_each(|node| node.alive = false);
    world.run(15);
    let late = [
        Listed { id: "i-late", changed: None, last_seen: None },
        Listed { id: "i-0", changed: Some(state), last_seen: None },
    ];
    world.liveness.listed(late.into_iter());
    assert_eq!(world.liveness.silence("i-late"), Duration::ZERO);
    assert_eq!(world.liveness.silence("i-0"), Duration::ZERO);
}

#[test]
fn an_observer_that_was_stopped_has_heard_nothing_meanwhile() {
    let mut world = World::new(4, 1);
    world.run(20);
    // The machine sleeps for an hour, in which nothing is written either.
    world.now += 3600;
    world.run(1);
    assert_eq!(world.silent(), [""; 0]);
}

/// A change of the world.
#[derive(Debug, Clone)]
enum Fault {
    Reaches(usize, usize, bool),
    Readable(usize, bool),
    Writable(usize, bool),
    Clock(usize, i64),
    Alive(usize, bool),
}

fn fault() -> impl Strategy<Value = Fault> {
    let node = 0..5usize;
    let store = 0..2usize;
    prop_oneof![
        (node.clone(), store.clone(), any::<bool>())
            .prop_map(|(node, store, on)| Fault::Reaches(node, store, on)),
        (store.clone(), any::<bool>()).prop_map(|(store, on)| Fault::Readable(store, on)),
        (store, any::<bool>()).prop_map(|(store, on)| Fault::Writable(store, on)),
        (node.clone(), -5000..5000i64).prop_map(|(node, clock)| Fault::Clock(node, clock)),
        (node, any::<bool>()).prop_map(|(node, on)| Fault::Alive(node, on)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// For any history: a node that is heard is not silent. Silence exceeds neither the time since the node
    /// was heard, nor the proven time of a store. Once all works again, exactly the dead nodes become silent
    /// in time.
    #[test]
    fn no_sequence_of_faults_makes_a_node_silent_that_is_heard(
        faults in prop::collection::vec((1..40u64, fault()), 0..30)
    ) {
        let mut world = World::new(5, 2);
        world.run(10);
        for (pause, fault) in faults {
            match fault {
                Fault::Reaches(node, store, on) => world.nodes[node].reaches[store] = on,
                Fault::Readable(store, on) => world.readable[store] = on,
                Fault::Writable(store, on) => world.writable[store] = on,
                Fault::Clock(node, clock) => world.nodes[node].clock = clock,
                Fault::Alive(node, on) => world.nodes[node].alive = on,
            }
            for _ in 0..pause {
                world.step();
                for node in &world.nodes {
                    let silence = world.liveness.silence(&node.id);
                    prop_assert!(
                        silence <= seconds(world.now - node.heard),
                        "{} is silent for {silence:?}, and was heard {} s ago", node.id, world.now - node.heard
                    );
                }
            }
        }
        world.readable = vec![true; 2];
        world.writable = vec![true; 2];
        world.nodes.iter_mut().for_each(|node| node.reaches = vec![true; 2]);
        // The first proof after the faults begins the count; the last of it comes with a heartbeat.
        world.run(2 * INTERVAL);
        for node in &world.nodes {
            if node.alive {
                prop_assert!(world.liveness.silence(&node.id) <= seconds(2 * INTERVAL));
            }
        }
        world.run(MAX_AGE.as_secs() + 1);
        for node in &world.nodes {
            prop_assert_eq!(world.liveness.silence(&node.id) > MAX_AGE, !node.alive, "{}", node.id);
        }
    }
}

#[test]
fn the_time_of_a_clock_is_told_with_its_size() {
    let offset = |bounds: &[(i64, Option<i64>, i64)]| {
        let mut known = super::clock::Bounds::default();
        for (written, before, now) in bounds {
            known.add(at(*written), before.map(at), at(*now));
        }
        known.offset().map(|offset| offset.to_string())
    };
    let steady: Vec<_> = (0..3).map(|beat| (beat * 5 - 15, Some(beat * 5 - 1), beat * 5)).collect();
    assert_eq!(offset(&steady).unwrap(), "about 15s behind");
    assert_eq!(offset(&steady[..2]), None, "it may have been on its way for long");
    let slow: Vec<_> = (0..3).map(|beat| (beat * 60 - 15, Some(beat * 60 - 60), beat * 60)).collect();
    assert_eq!(offset(&slow), None, "it may have been written just after the last reading");
    let right: Vec<_> = (0..3).map(|beat| (beat * 5, Some(beat * 5 - 1), beat * 5)).collect();
    assert_eq!(offset(&right), None);
}
