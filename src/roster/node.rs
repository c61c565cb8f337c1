//! One node of the roster: its record, and what follows from it.

use jiff::Timestamp;

use crate::endpoint::{Address, Port};
use crate::errors::chain;
use crate::record::Record;
use crate::text::Text;

use super::{Availability, States};

/// A node, as those who read the list see it.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it says of itself.
    pub record: Record,
    /// What its state means.
    pub availability: Availability,
    /// Where it answers, or why that cannot be said.
    pub address: Result<Address, String>,
    /// The port of its service: none if it states none, or why what it states is no port.
    pub port: Result<Option<Port>, String>,
    /// The store that its record came from.
    pub store: Text,
    /// The file, below the store's folder.
    pub path: Text,
    /// Its last sign of life, if somebody has looked for it ([`super::Roster::see`]).
    pub last_seen: Option<Timestamp>,
    /// Whether the record came from the last copy of a store that does not answer now.
    pub stale: bool,
}

impl Node {
    pub(super) fn new(record: Record, store: Text, path: Text, stale: bool, states: &States) -> Node {
        Node {
            availability: states.of(record.state().as_deref()),
            address: address(&record),
            port: port(&record),
            store,
            path,
            last_seen: None,
            stale,
            record,
        }
    }
}

/// The first of `address`, `ipv4` and `ipv6` that there is. If it is no usable address, the next one is not tried:
/// a node that states a wrong address must not be reached at another one by guessing.
fn address(record: &Record) -> Result<Address, String> {
    let stated = ["address", "ipv4", "ipv6"].into_iter().find(|fact| record.has(fact));
    let fact = stated.ok_or("has no `address`, `ipv4` or `ipv6`")?;
    let text = record.text(fact).ok_or_else(|| format!("has a `{fact}` that is no text"))?;
    Address::parse(&text).map_err(|error| format!("has an unusable `{fact}`: {}", chain(&error)))
}

fn port(record: &Record) -> Result<Option<Port>, String> {
    if !record.has("port") {
        return Ok(None);
    }
    let text = record.text("port").ok_or("has a `port` that is no number")?;
    Port::parse(&text).map(Some).map_err(|error| format!("has an unusable `port`: {}", chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(facts: &str, expect: &str) {
        let text = format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"i"{facts}}}}}"#);
        let node = Node::new(
            Record::parse(text.as_bytes()).unwrap(),
            "s".into(),
            "i.json".into(),
            false,
            &States::default(),
        );
        let seen = match (&node.address, &node.port) {
            (Ok(address), Ok(Some(port))) => address.host_port(*port),
            (Ok(address), Ok(None)) => address.to_string(),
            (Err(reason), _) | (_, Err(reason)) => reason.clone(),
        };
        assert!(seen.contains(expect), "{facts}: {seen}");
    }

    #[test]
    fn the_first_stated_address_counts_and_no_other() {
        check(r#","address":"10.0.0.1","ipv4":"10.0.0.2","port":"80""#, "10.0.0.1:80");
        check(r#","ipv4":"10.0.0.2","ipv6":"2001:db8::1","port":80"#, "10.0.0.2:80");
        check(r#","ipv6":"2001:DB8:0::1","port":"80""#, "[2001:db8::1]:80");
        check(r#","ipv4":"10.0.0.2""#, "10.0.0.2");
        check("", "has no `address`");
        check(r#","address":"evil host","ipv4":"10.0.0.2""#, "unusable `address`");
        check(r#","address":"","ipv4":"10.0.0.2""#, "unusable `address`");
        check(r#","address":["10.0.0.1"]"#, "no text");
        check(r#","ipv4":"10.0.0.2","port":"+80""#, "unusable `port`");
        check(r#","ipv4":"10.0.0.2","port":70000"#, "unusable `port`");
    }
}
