//! Updates that wait to be merged into the branch, each on a ref of its own that nobody else writes.
//!
//! A publisher pushes its record to `refs/presence/inbox/<node>/<unique>`, a push that cannot lose a race.
//! From then on the update is durable, and readers include it. Any publisher may merge all waiting updates in
//! one commit.
//!
//! A publisher that offers a commit to the branch pushes the same update to the inbox as well. So it needs no
//! second push if it loses the race. The name of such a ref ends with `-` and the id of the offered commit.
//! If the branch has that commit, the update no longer waits, and the next push of any node deletes the ref.
//!
//! This module has the names of the refs; [`super::updates`] has their objects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hasher;

use git2::Oid;

use super::node_files::NodeFiles;
use crate::limits;
use crate::name::Name;

/// The prefix of updates' refs.
pub const PREFIX: &str = "refs/presence/inbox/";

/// A waiting update.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitingUpdate {
    /// Orders the updates of one node: its time by the author's clock, then a random number.
    unique: String,
    /// Whether its author checks later whether it was merged, and otherwise merges it.
    pub looked_after: bool,
    /// The node.
    pub id: Name,
    /// The ref's target: a commit of only this update.
    pub commit: Oid,
    /// The commit that was offered to the branch in the same push.
    pub offered: Option<Oid>,
}

impl WaitingUpdate {
    /// Its ref.
    pub fn name(&self) -> String {
        name(&self.id, &self.unique, self.looked_after, self.offered)
    }

    /// Its time in microseconds since 1970, by the author's clock.
    pub fn time(&self) -> u64 {
        u64::from_str_radix(&self.unique[..16], 16).unwrap_or_default()
    }
}

/// The updates among these refs, oldest first. Ignores refs with other names.
pub fn entries<'a>(refs: impl IntoIterator<Item = (&'a String, &'a Oid)>) -> Vec<WaitingUpdate> {
    let mut entries: Vec<WaitingUpdate> = refs
        .into_iter()
        .filter_map(|(name, oid)| {
            let (id, unique) = name.strip_prefix(PREFIX)?.split_once('/')?;
            let (unique, offered) = match unique.split_once('-') {
                Some((unique, offered)) => (unique, Some(Oid::from_str(offered).ok()?)),
                None => (unique, None),
            };
            let (unique, looked_after) = match unique.strip_suffix('+') {
                Some(unique) => (unique, true),
                None => (unique, false),
            };
            let usable = unique.len() == UNIQUE && unique.bytes().all(|byte| byte.is_ascii_hexdigit());
            let id = Name::parse(&id.replace('%', ".")).ok().filter(|_| usable)?;
            Some(WaitingUpdate { unique: unique.to_owned(), looked_after, id, commit: *oid, offered })
        })
        .collect();
    entries.sort();
    entries
}

/// The updates that one look considers, oldest first, within the limits for one node and for all. Of one node
/// the newest are kept. Of too many nodes a hash selects, so that no name is always left out.
pub fn select(mut entries: Vec<WaitingUpdate>) -> Vec<WaitingUpdate> {
    let mut of: HashMap<Name, usize> = HashMap::new();
    entries.reverse();
    entries.retain(|entry| {
        let count = of.entry(entry.id.clone()).or_default();
        *count += 1;
        *count <= limits::get().updates_of_node
    });
    entries.reverse();
    if entries.len() > limits::get().updates {
        let hash = |entry: &WaitingUpdate| {
            let mut hash = fnv::FnvHasher::default();
            hash.write(entry.unique.as_bytes());
            hash.write(entry.id.as_ref().as_bytes());
            hash.finish()
        };
        entries.sort_by_cached_key(hash);
        entries.truncate(limits::get().updates);
        entries.sort();
    }
    entries
}

/// Removes the refs of updates that no look considers. Returns their number.
pub fn trim(refs: &mut BTreeMap<String, Oid>) -> usize {
    let all: Vec<WaitingUpdate> = entries(&*refs);
    let count = all.len();
    let kept: HashSet<String> = select(all).iter().map(WaitingUpdate::name).collect();
    refs.retain(|name, _| !name.starts_with(PREFIX) || kept.contains(name));
    count - kept.len()
}

/// A ref name for the next update of that node, which is offered to the branch with the commit `offered`, if
/// any. The name is never reused: it has the clock, `now` in microseconds since 1970, kept ahead of the times of
/// its `earlier` updates, and a random number. The clock may have been set back since, by any time. A time that no
/// clock shows is ignored: it cannot be the node's own.
pub fn next(
    id: &Name,
    (now, random): (u64, u32),
    earlier: impl IntoIterator<Item = u64>,
    looked_after: bool,
    offered: Option<Oid>,
) -> String {
    let last = earlier.into_iter().filter(|time| *time < LATEST).max();
    let now = now.max(last.map_or(0, |last| last + 1));
    name(id, &format!("{now:016x}{random:08x}"), looked_after, offered)
}

/// The time before which a clock may be, in microseconds since 1970.
const LATEST: u64 = u64::MAX / 2;

/// The digits of [`WaitingUpdate::unique`].
const UNIQUE: usize = 24;

/// Names may have dots where git forbids them in refs (git-check-ref-format(1)). They never have a `%`, which
/// replaces the dots.
fn name(id: &Name, unique: &str, looked_after: bool, offered: Option<Oid>) -> String {
    let looked_after = if looked_after { "+" } else { "" };
    let offered = offered.map(|oid| format!("-{oid}")).unwrap_or_default();
    format!("{PREFIX}{}/{unique}{looked_after}{offered}", id.as_ref().replace('.', "%"))
}

/// The meaning of an update.
#[derive(Debug, Clone, PartialEq)]
pub enum Says {
    /// The wanted files of the node.
    Files(NodeFiles),
    /// It concerns another folder.
    Elsewhere,
    /// No reader would accept it: it is not an update of presence.
    Junk,
    /// Its objects are missing: it was just merged, or is not fetched yet.
    Lost,
}

/// A glob for all refs of that node.
pub(super) fn of(id: &Name) -> String {
    format!("{PREFIX}{}/*", id.as_ref().replace('.', "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 365 * 24 * 60 * 60 * 1_000_000;

    #[test]
    fn a_name_is_read_back_and_orders_by_time() {
        let id = Name::parse("i-1.lock").unwrap();
        let now = 1_800_000_000_000_000;
        let first = next(&id, (now, u32::MAX), None, false, None);
        let second = next(&id, (now, 0), Some(now + YEAR), true, Some(Oid::ZERO_SHA1));
        for name in [&first, &second] {
            assert!(git2::Reference::is_valid_name(name), "{name}");
        }
        let oid = Oid::ZERO_SHA1;
        let refs = BTreeMap::from([
            (second.clone(), oid),
            (first.clone(), oid),
            ("refs/heads/main".into(), oid),
            (format!("{PREFIX}i-1/by-hand"), oid),
            (format!("{PREFIX}../{}", "0".repeat(UNIQUE)), oid),
        ]);
        let names: Vec<_> = entries(&refs).iter().map(WaitingUpdate::name).collect();
        assert_eq!(names, [first, second]);
    }

    #[test]
    fn an_update_comes_after_one_of_a_wrong_clock_but_not_after_a_time_that_no_clock_shows() {
        let id = Name::parse("i-1").unwrap();
        let earlier = next(&id, (30 * YEAR, u32::MAX), None, false, None);
        let later = next(&id, (0, 0), [u64::MAX, 30 * YEAR], false, None);
        assert!(later > earlier && !later.contains("/ffff"), "{later}");
    }

    fn entry(id: &str, number: u64, commit: Oid) -> WaitingUpdate {
        let id = Name::parse(id).unwrap();
        WaitingUpdate {
            unique: format!("{number:016x}00000000"),
            looked_after: false,
            id,
            commit,
            offered: None,
        }
    }

    #[test]
    fn a_flood_is_cut_down_and_the_newest_of_a_node_stay() {
        let zero = Oid::ZERO_SHA1;
        let mut all: Vec<WaitingUpdate> = (0..10).map(|number| entry("i-1", number, zero)).collect();
        all.extend((0..2 * limits::get().updates as u64).map(|number| entry(&format!("z{number}"), 5, zero)));
        all.sort();
        let few: Vec<WaitingUpdate> = (0..10).map(|number| entry("i-1", number, zero)).collect();
        assert_eq!(select(few.clone()), few[10 - limits::get().updates_of_node..]);
        let kept = select(all.clone());
        assert!(kept.len() == limits::get().updates && kept.is_sorted() && kept == select(all.clone()));
        let mut refs: BTreeMap<String, Oid> = all.iter().map(|entry| (entry.name(), zero)).collect();
        refs.insert("refs/presence/beats/000".into(), zero);
        refs.insert(format!("{PREFIX}i-1/by-hand"), zero);
        assert!(trim(&mut refs) > limits::get().updates);
        assert!(refs.len() == limits::get().updates + 1 && refs.contains_key("refs/presence/beats/000"));
    }
}
