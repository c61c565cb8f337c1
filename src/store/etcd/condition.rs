//! What is to be said about a cluster, for `presence doctor`.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::Cluster;
use super::client::Act;
use super::wire::{AlarmRequest, AlarmResponse, Empty, StatusResponse};
use crate::deadline::Deadline;
use crate::store::{Condition, Soundness};

/// A clock may differ by this many seconds: the time of an answer is in whole seconds.
const TOLERANCE: i64 = 5;

/// A database this much larger than its content should be defragmented.
const WASTE: u64 = 4;
const SMALL: u64 = 256 * MIB;

const MIB: u64 = 1024 * 1024;

/// The quota of a database unless `quota-backend-bytes` says otherwise.
const QUOTA: u64 = 2 * 1024 * MIB;

impl Cluster {
    /// The members, the quorum, the space and the clocks.
    pub(super) fn conditions(&self, deadline: Deadline) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let endpoints = &self.client.address().endpoints;
        let (mut members, mut leaders) = (Vec::new(), Vec::new());
        for (place, endpoint) in endpoints.iter().enumerate() {
            let asked = self.client.call_member(place, "/v3/maintenance/status", &Empty {}, deadline);
            let (status, date): (StatusResponse, Option<String>) = match asked {
                Ok(answer) => answer,
                Err(error) => {
                    let hint = error.hint();
                    conditions.push(Condition { soundness: Soundness::Bad, text: error.to_string(), hint });
                    continue;
                }
            };
            members.push((endpoint, status.header.member_id, status.header.cluster_id));
            leaders.push(status.leader);
            conditions.push(member(endpoint, &status));
            conditions.extend(space(endpoint, &status));
            conditions.extend(clock(endpoint, date.as_deref(), (self.clock)()));
        }
        conditions.extend(same_cluster(&members));
        conditions.push(quorum(endpoints.len(), &leaders));
        conditions.extend(self.alarms(deadline));
        conditions
    }

    fn alarms(&self, deadline: Deadline) -> Vec<Condition> {
        let request = AlarmRequest { action: "GET" };
        let answer =
            self.client.call::<AlarmResponse>("/v3/maintenance/alarm", &request, Act::Read, deadline);
        let Ok(AlarmResponse { alarms }) = answer else { return Vec::new() };
        let alarm = |alarm: super::wire::Alarm| {
            let name = crate::sanitize::excerpt(&alarm.alarm);
            Condition {
                soundness: Soundness::Bad,
                text: format!("member {:x}: the alarm {name} is on", alarm.member_id),
                hint: Some(match name.as_str() {
                    "NOSPACE" => {
                        "run `etcdctl compact REVISION`, `etcdctl defrag --cluster` and `etcdctl alarm \
                                  disarm`"
                            .to_owned()
                    }
                    _ => "`etcdctl alarm list`; a member with a corrupt database must be replaced".to_owned(),
                }),
            }
        };
        alarms.into_iter().map(alarm).collect()
    }
}

fn member(endpoint: &str, status: &StatusResponse) -> Condition {
    let version = crate::sanitize::excerpt(&status.version);
    match status.leader {
        0 => Condition {
            soundness: Soundness::Bad,
            text: format!("{endpoint}: etcd {version} without a leader"),
            hint: Some("more than half of the members must run and reach each other".to_owned()),
        },
        _ => Condition {
            soundness: Soundness::Good,
            text: format!("{endpoint}: etcd {version} at revision {}", status.header.revision),
            hint: None,
        },
    }
}

fn space(endpoint: &str, status: &StatusResponse) -> Option<Condition> {
    let (size, in_use) = (status.db_size, status.db_size_in_use);
    let doubtful = |text: String, hint: &str| {
        Some(Condition { soundness: Soundness::Doubtful, text, hint: Some(hint.to_owned()) })
    };
    match () {
        () if size > QUOTA / 4 * 3 => doubtful(
            format!(
                "{endpoint}: the database has {} MiB; the usual quota is {} MiB",
                size / MIB,
                QUOTA / MIB
            ),
            "set `auto-compaction-retention`, run `etcdctl defrag`, or raise `quota-backend-bytes`",
        ),
        () if size > SMALL && size / WASTE > in_use => doubtful(
            format!("{endpoint}: {} of {} MiB of the database are in use", in_use / MIB, size / MIB),
            "run `etcdctl defrag`",
        ),
        () => None,
    }
}

/// The clock of a member, by the time of its answer.
fn clock(endpoint: &str, date: Option<&str>, now: Option<Timestamp>) -> Option<Condition> {
    let time = rfc2822::parse(date?).ok()?.timestamp();
    let ahead = time.as_second() - now?.as_second();
    (ahead.abs() > TOLERANCE).then(|| Condition {
        soundness: Soundness::Doubtful,
        text: format!(
            "{endpoint}: its clock is {} s {} this machine's",
            ahead.abs(),
            if ahead > 0 { "ahead of" } else { "behind" }
        ),
        hint: Some("set both by NTP; leases do not depend on clocks, the times of records do".to_owned()),
    })
}

fn same_cluster(members: &[(&String, u64, u64)]) -> Option<Condition> {
    let (first, _, cluster) = members.first()?;
    let (other, ..) = members.iter().find(|(_, _, other)| other != cluster)?;
    Some(Condition {
        soundness: Soundness::Bad,
        text: format!("{first} and {other} are members of different clusters"),
        hint: Some("name the members of one cluster in --store".to_owned()),
    })
}

fn quorum(named: usize, leaders: &[u64]) -> Condition {
    let followers = leaders.iter().filter(|leader| **leader != 0).count();
    let text = format!("{followers} of {named} named members have a leader");
    match followers {
        0 => Condition {
            soundness: Soundness::Bad,
            text,
            hint: Some("`etcdctl endpoint status --cluster` shows each member".to_owned()),
        },
        _ if followers < named => Condition {
            soundness: Soundness::Doubtful,
            text,
            hint: Some("start the others: the cluster may lose its quorum with one more".to_owned()),
        },
        _ => Condition { soundness: Soundness::Good, text, hint: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_found() {
        let now: Timestamp = "2026-11-28T12:38:28Z".parse().unwrap();
        let say = |date| clock("h:1", date, Some(now)).map(|found| found.text);
        assert_eq!(say(Some("Sat, 28 Nov 2026 12:38:30 GMT")), None);
        assert_eq!(say(Some("x")), None);
        let text = say(Some("Sat, 28 Nov 2026 12:39:28 GMT")).unwrap();
        assert_eq!(text, "h:1: its clock is 60 s ahead of this machine's");
    }

    #[test]
    fn a_cluster_that_is_nearly_lost_is_found() {
        assert_eq!(quorum(3, &[7, 7, 7]).soundness, Soundness::Good);
        assert_eq!(quorum(3, &[7, 7]).soundness, Soundness::Doubtful);
        assert_eq!(quorum(3, &[0]).soundness, Soundness::Bad);
        let (a, b) = ("a:1".to_owned(), "b:1".to_owned());
        assert_eq!(same_cluster(&[(&a, 1, 5), (&b, 2, 5)]), None);
        assert!(same_cluster(&[(&a, 1, 5), (&b, 2, 6)]).is_some());
    }

    #[test]
    fn a_database_near_its_quota_is_found() {
        let of = |db_size, db_size_in_use| {
            space("h:1", &StatusResponse { db_size, db_size_in_use, ..StatusResponse::default() })
        };
        assert_eq!(of(MIB, MIB), None);
        assert!(of(1700 * MIB, 1700 * MIB).unwrap().text.contains("1700 MiB"));
        assert!(of(1000 * MIB, 100 * MIB).unwrap().hint.unwrap().contains("defrag"));
    }
}
