//! Active nodes of one part with the same address and port: several records of one server.

use std::collections::BTreeMap;
use std::hash::Hasher;

use super::{Availability, Node};
use crate::threads;

/// Fewer nodes do not pay for a second thread.
const MANY: usize = 10_000;

/// The active nodes whose address and port another node of the same part, stacktype and deployment has too,
/// each with that node: of several, the one with the lowest instance-id. Values are indexes; the nodes are
/// ordered by id.
pub fn twins(nodes: &[Node]) -> BTreeMap<usize, usize> {
    let keys = threads::in_parts(nodes.len(), MANY, |part| {
        let begin = part.start;
        nodes[part]
            .iter()
            .enumerate()
            .filter_map(|(at, node)| Some((key(node)?, begin + at)))
            .collect::<Vec<_>>()
    });
    let mut keys: Vec<(u64, usize)> = keys.concat();
    keys.sort_unstable();
    let mut twins = BTreeMap::new();
    let mut begin = 0;
    for end in 1..=keys.len() {
        if keys.get(end).is_some_and(|(key, _)| *key == keys[begin].0) {
            continue;
        }
        let mut rest = keys[begin..end].iter().map(|(_, at)| *at);
        if let Some(first) = rest.next() {
            // If two keys collide, which is rare, no node is left out.
            let same = rest.filter(|at| place(&nodes[*at]) == place(&nodes[first]));
            twins.extend(same.map(|at| (at, first)));
        }
        begin = end;
    }
    twins
}

fn key(node: &Node) -> Option<u64> {
    let ([part, stacktype, deployment, service], address, port) = place(node)?;
    let mut hash = fnv::FnvHasher::default();
    for text in [part, stacktype, deployment, service] {
        hash.write(text.as_bytes());
        hash.write_u8(0xff);
    }
    match address {
        std::net::IpAddr::V4(ip) => hash.write(&ip.octets()),
        std::net::IpAddr::V6(ip) => hash.write(&ip.octets()),
    }
    hash.write_u16(port);
    Some(hash.finish())
}

type Place<'n> = ([std::borrow::Cow<'n, str>; 4], std::net::IpAddr, u16);

/// The place of an active node: where it serves which part.
fn place(node: &Node) -> Option<Place<'_>> {
    let (Availability::Active, Ok(address), Ok(Some(port))) = (node.availability, &node.address, &node.port)
    else {
        return None;
    };
    let part = node.record.part().filter(|part| !part.is_empty())?;
    let fact = |name| node.record.text(name).unwrap_or_default();
    let service = node.service.as_ref().map(|name| name.as_str()).unwrap_or_default();
    Some(([part, fact("stacktype"), fact("deployment"), service.into()], address.ip(), port.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::{Roster, Source, States};
    use crate::store::Snapshot;

    fn check(nodes: &[(&str, &str)], expect: &[&str]) {
        let files: Vec<(String, String)> = nodes
            .iter()
            .map(|(id, facts)| {
                let text = format!(
                    r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"app1","address":"10.0.0.1","port":"80"{facts}}}}}"#
                );
                (format!("{id}.json"), text)
            })
            .collect();
        let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
        let roster =
            Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default());
        let id = |at: usize| roster.nodes[at].record.id().as_str();
        let seen: Vec<String> = twins(&roster.nodes)
            .into_iter()
            .map(|(twin, first)| format!("{} {}", id(twin), id(first)))
            .collect();
        assert_eq!(seen, expect);
        assert_eq!(roster.problems.len(), expect.len());
    }

    #[test]
    fn of_two_records_of_one_server_the_least_id_counts() {
        check(&[("c", ""), ("a", ""), ("b", "")], &["b a", "c a"]);
        check(&[("a", r#","state":"draining""#), ("b", "")], &[]);
        check(&[("a", r#","port":"81""#), ("b", "")], &[]);
        check(&[("a", r#","address":"10.0.0.2""#), ("b", "")], &[]);
        check(&[("a", r#","nodepart":"app2""#), ("b", "")], &[]);
        check(&[("a", r#","deployment":"d2""#), ("b", "")], &[]);
        check(&[("a", r#","port":80"#), ("b", "")], &["b a"]);
    }
}
