//! A node of the roster: its record, and what follows from it.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::endpoint::{Address, Allowed, Port};
use crate::errors::chain;
use crate::escape::haproxy;
use crate::name::Name;
use crate::record::{REASON, Record, SERVICES, Service, text};
use crate::sanitize::excerpt;
use crate::text::Text;

use super::{Availability, States};

/// A node as readers of the list see it.
#[derive(Debug, Clone)]
pub struct Node {
    /// The facts that it states.
    pub record: Record,
    /// The meaning of its state.
    pub availability: Availability,
    /// Its address, or why there is none.
    pub address: Result<Address, String>,
    /// The port of its service: `None` if it states none, or an error if the stated port is invalid.
    pub port: Result<Option<Port>, String>,
    /// The further services that it offers, by name.
    pub services: Box<[Offer]>,
    /// The service that this is, if it is one of a node: see [`Node::as_service`].
    pub service: Option<Box<Name>>,
    /// The store of its record.
    pub store: Text,
    /// The file, relative to the store's folder.
    pub path: Text,
    /// Its last sign of life, after a call of [`super::Roster::see`].
    pub last_seen: Option<Timestamp>,
    /// Whether two machines leave heartbeats under its instance-id, after the same call.
    pub contested: bool,
    /// Whether the record is from the last copy of a store that does not answer.
    pub stale: bool,
}

impl Node {
    pub(super) fn new(record: Record, store: Text, path: Text, stale: bool, states: &States) -> Node {
        Node {
            availability: states.of(record.state().as_deref()),
            address: address(&record),
            port: port(&record),
            services: offers(&record, states),
            service: None,
            store,
            path,
            last_seen: None,
            contested: false,
            stale,
            record,
        }
    }

    /// Makes its address unusable if records may not state it. `own` are the addresses of this machine, whose
    /// node is `id`.
    pub fn restrict(&mut self, allowed: &Allowed, own: &[IpAddr], id: Option<&str>) {
        let own = if id == Some(self.record.id().as_str()) { &[] } else { own };
        if let Ok(address) = self.address
            && let Err(error) = allowed.judge(address, own)
        {
            self.address = Err(format!("may not state its address: {error}"));
        }
    }
}

/// A service of a node, judged.
#[derive(Debug, Clone)]
pub struct Offer {
    /// What the record states.
    pub service: Service,
    /// The meaning of the service's own state.
    pub availability: Availability,
}

fn offers(record: &Record, states: &States) -> Box<[Offer]> {
    if !record.has(SERVICES) {
        return Box::default();
    }
    let judged = |service: Service| {
        let state = service.facts.get("state").and_then(text).filter(|state| !state.is_empty());
        Offer { availability: states.of(state.as_deref()), service }
    };
    record.services().good.into_iter().map(judged).collect()
}

impl Node {
    /// One of its services as a node: with the service's facts over its own, at its own address. If the node
    /// itself is less available than the service, so is the service.
    pub fn as_service(&self, offer: &Offer) -> Node {
        let mut record = self.record.of_service(&offer.service);
        if self.availability > offer.availability {
            let mut facts = record.facts();
            for fact in ["state", REASON] {
                match self.record.value(fact) {
                    Some(value) => facts.insert(fact.to_owned(), value),
                    None => facts.remove(fact),
                };
            }
            record = Record::new(facts).unwrap_or(record);
        }
        Node {
            availability: self.availability.max(offer.availability),
            address: self.address.clone(),
            port: port(&record),
            services: Box::default(),
            service: Some(Box::new(offer.service.name.clone())),
            store: self.store.clone(),
            path: self.path.clone(),
            last_seen: self.last_seen,
            contested: self.contested,
            stale: self.stale,
            record,
        }
    }

    /// The service of that name as a node, if it offers it.
    pub fn offered(&self, service: &str) -> Option<Node> {
        let offer = self.services.iter().find(|offer| offer.service.name.as_str() == service)?;
        Some(self.as_service(offer))
    }

    /// The services that are less available than the node itself, each with its state.
    pub fn ill_services(&self) -> impl Iterator<Item = (&Name, Option<String>)> {
        let worse = self.services.iter().filter(|offer| offer.availability > self.availability);
        worse.map(|offer| {
            let state = offer.service.facts.get("state").and_then(text);
            (&offer.service.name, state.map(|state| excerpt(&state)))
        })
    }
}

/// A part of a record that readers of the list cannot use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The fact.
    pub fact: &'static str,
    /// The fault, as the end of a sentence that begins with the node.
    pub reason: String,
    /// The consequence.
    pub so: &'static str,
}

/// Decides whether the value of a fact is usable, or why it is not.
type Judge = fn(&str) -> Result<(), String>;

/// Facts that the server's line in haproxy.cfg takes from its node.
const HAPROXY_FACTS: [(&str, Judge); 3] = [
    ("backup", |text| haproxy::flag(text).map(drop).map_err(|error| error.reason.to_string())),
    ("check-port", |text| Port::parse(text).map(drop).map_err(|error| chain(&error))),
    ("weight", |text| haproxy::weight(text).map(drop).map_err(|error| error.reason.to_string())),
];

/// The faults of a record, as readers of the list judge it.
pub fn faults(record: &Record, states: &States, allowed: &Allowed) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |fact, reason, so| faults.push(Fault { fact, reason, so });
    let out = "no file lists it as a server";
    let judged = address(record).and_then(|address| {
        allowed.judge(address, &[]).map_err(|error| format!("may not state its address: {error}"))
    });
    if let Err(reason) = judged {
        add(stated_address(record).unwrap_or("address"), reason, out);
    }
    if let Err(reason) = port(record) {
        add("port", reason, "files that need its port leave it out");
    }
    for (fact, judge) in HAPROXY_FACTS {
        if let Some(Err(reason)) = record.text(fact).filter(|text| !text.is_empty()).map(|text| judge(&text))
        {
            add(fact, format!("has an unusable `{fact}`: {reason}"), "haproxy.cfg leaves it out");
        }
    }
    if let Some(Err(error)) = record.part().filter(|part| !part.is_empty()).map(|part| Name::parse(&part)) {
        add("nodepart", format!("has an unusable `nodepart`: {}", chain(&error)), out);
    }
    let services = record.services();
    for reason in services.problems {
        add(SERVICES, reason, "readers ignore it");
    }
    for service in &services.good {
        let of_service = record.of_service(service);
        let own = |fact: &str| service.facts.contains_key(fact);
        if let Some(reason) = port(&of_service).err().filter(|_| own("port")) {
            let reason = format!("offers the service `{}`, which {reason}", service.name);
            add(SERVICES, reason, "files that need its port leave it out");
        }
        for (fact, judge) in HAPROXY_FACTS.into_iter().filter(|(fact, _)| own(fact)) {
            if let Some(Err(reason)) =
                of_service.text(fact).filter(|text| !text.is_empty()).map(|text| judge(&text))
            {
                let reason = format!("has an unusable `{fact}` of its service `{}`: {reason}", service.name);
                add(SERVICES, reason, "haproxy.cfg leaves it out");
            }
        }
        if let Some(state) = of_service.state().filter(|state| own("state") && !states.knows(state)) {
            let reason =
                format!("has the unknown state `{}` of its service `{}`", excerpt(&state), service.name);
            add(SERVICES, reason, "it is treated as absent; define the state in [states] of presence.toml");
        }
    }
    if let Some(state) = record.state().filter(|state| !states.knows(state)) {
        let meant =
            states.nearest(&state).map(|known| format!(" (did you mean `{known}`?)")).unwrap_or_default();
        let reason = format!("has the unknown state `{}`{meant}", excerpt(&state));
        add("state", reason, "it is treated as absent; define the state in [states] of presence.toml");
    }
    faults
}

/// The fact that is the node's address, if it states one.
pub fn stated_address(record: &Record) -> Option<&'static str> {
    ["address", "ipv4", "ipv6"].into_iter().find(|fact| record.has(fact))
}

/// The first of `address`, `ipv4` and `ipv6` that exists. If it is unusable, the next one is not tried:
/// presence must not guess another address of a node that states a wrong one.
fn address(record: &Record) -> Result<Address, String> {
    let fact = stated_address(record).ok_or("has no `address`, `ipv4` or `ipv6`")?;
    let text = record.text(fact).ok_or_else(|| format!("has a `{fact}` that is not text"))?;
    Address::parse(&text).map_err(|error| format!("has an unusable `{fact}`: {}", chain(&error)))
}

fn port(record: &Record) -> Result<Option<Port>, String> {
    if !record.has("port") {
        return Ok(None);
    }
    let text = record.text("port").ok_or("has a `port` that is not a number")?;
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
    fn a_record_is_judged_as_its_readers_judge_it() {
        let check = |facts: &str, expect: &[&str]| {
            let text = format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"i",{facts}}}}}"#);
            let faults =
                faults(&Record::parse(text.as_bytes()).unwrap(), &States::default(), &Allowed::default());
            let seen: Vec<String> =
                faults.iter().map(|fault| format!("{}: {}", fault.fact, fault.reason)).collect();
            assert_eq!(seen.len(), expect.len(), "{facts}: {seen:?}");
            for (seen, expect) in seen.iter().zip(expect) {
                assert!(seen.contains(expect), "{facts}: {seen} does not say {expect}");
            }
        };
        check(r#""address":"10.0.0.1","port":"80","nodepart":"app1","state":"done""#, &[]);
        check(r#""address":"web1.example.net""#, &["address: has an unusable `address`: `web1.example.net`"]);
        check(r#""ipv4":"10.0.0.2/24""#, &["ipv4: "]);
        check(r#""address":"fe80::1%eth0""#, &["zone id"]);
        check(r#""address":"0.0.0.0""#, &["unspecified"]);
        check(r#""address":"127.0.0.1""#, &["address: may not state its address: `127.0.0.1` is a loopback"]);
        check(r#""port":"8080/tcp""#, &["address: has no `address`", "port: has an unusable `port`"]);
        check(r#""ipv4":"10.0.0.1","port":"70000""#, &["out of range"]);
        check(
            r#""ipv4":"10.0.0.1","weight":"257","backup":"maybe","check-port":"0""#,
            &[
                "backup: has an unusable `backup`: it is neither `yes` nor `no`",
                "check-port: has an unusable `check-port`",
                "weight: has an unusable `weight`: it is not a whole number from 0 to 256",
            ],
        );
        check(r#""ipv4":"10.0.0.1","weight":256,"backup":true,"check-port":8080"#, &[]);
        check(r#""ipv4":"10.0.0.1","nodepart":"app/1""#, &["nodepart: has an unusable `nodepart`"]);
        check(
            r#""ipv4":"10.0.0.1","state":"runing""#,
            &["state: has the unknown state `runing` (did you mean `running`?)"],
        );
        check(r#""ipv4":"10.0.0.1","state":"bogus""#, &["unknown state `bogus`"]);
    }

    #[test]
    fn a_service_is_no_more_available_than_its_node() {
        let node = |facts: &str| {
            let text = format!(
                r#"{{"filetype":"nodepresence","value":{{"instance-id":"i","ipv4":"10.0.0.1","port":"1"{facts}}}}}"#
            );
            let record = Record::parse(text.as_bytes()).unwrap();
            Node::new(record, "s".into(), "i.json".into(), false, &States::default())
        };
        let check = |facts: &str, expect: &[&str]| {
            let node = node(facts);
            let seen: Vec<String> = node
                .services
                .iter()
                .map(|offer| {
                    let service = node.as_service(offer);
                    let state = service.record.state().unwrap_or("-".into()).into_owned();
                    let place = format!(
                        "{}:{:?}",
                        service.address.unwrap(),
                        service.port.map(|port| port.map(Port::get))
                    );
                    format!("{} {place} {state} {}", offer.service.name, service.availability)
                })
                .collect();
            assert_eq!(seen, expect, "{facts}");
        };
        check("", &[]);
        check(r#","services":{"a":{"port":"9"}}"#, &["a 10.0.0.1:Ok(Some(9)) - active"]);
        check(
            r#","state":"draining","services":{"a":{"port":"9","state":"done"},"b":{"state":"wedged"}}"#,
            &["a 10.0.0.1:Ok(Some(9)) draining draining", "b 10.0.0.1:Ok(Some(1)) wedged down"],
        );
        check(
            r#","state":"wedged","services":{"a":{"state":"done","address":"127.0.0.1"}}"#,
            &["a 10.0.0.1:Ok(Some(1)) wedged down"],
        );
        let ill = node(r#","services":{"a":{"state":"wedged"},"b":{"state":"done"}}"#);
        let told: Vec<_> = ill.ill_services().map(|(name, state)| (name.to_string(), state)).collect();
        assert_eq!(told, [("a".to_owned(), Some("wedged".to_owned()))]);
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
        check(r#","address":["10.0.0.1"]"#, "not text");
        check(r#","ipv4":"10.0.0.2","port":"+80""#, "unusable `port`");
        check(r#","ipv4":"10.0.0.2","port":70000"#, "unusable `port`");
    }
}
