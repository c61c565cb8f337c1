//! The services that a node offers: the fact `services`, an object with an object of facts for each.

use serde_json::{Map, Value};

use super::{Facts, Record};
use crate::errors::chain;
use crate::name::Name;
use crate::sanitize::excerpt;

/// The fact with the services of a node.
pub const SERVICES: &str = "services";

/// The fact of a service with its name.
pub const SERVICE: &str = "service";

/// The most services of a node. Each one may be a backend of a balancer, and one record must not make thousands.
pub const MAX_SERVICES: usize = 64;

/// Facts that a service cannot state: they say which node it is on, and where that is. A reader restricts the
/// addresses of nodes, and a service has no other.
const OF_THE_NODE: [&str; 10] = [
    "address",
    "deployment",
    "hostname",
    "instance-id",
    "ipv4",
    "ipv6",
    "nodepart",
    SERVICE,
    SERVICES,
    "stacktype",
];

/// A service of a node, as its record states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Its own facts.
    pub facts: Facts,
}

/// The services of a record.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Services {
    /// Those that can be used, by name.
    pub good: Vec<Service>,
    /// What is wrong with others, each as the end of a sentence that begins with the node.
    pub problems: Vec<String>,
}

impl Record {
    /// The services that the node offers.
    pub fn services(&self) -> Services {
        match self.value(SERVICES) {
            None => Services::default(),
            Some(Value::Object(services)) => Services::of(services),
            // A fact of this name was any text before there were services.
            Some(_) => Services::default(),
        }
    }

    /// The record of one of the node's services: the service's facts over the node's.
    pub fn of_service(&self, service: &Service) -> Record {
        let mut facts = self.facts();
        facts.remove(SERVICES);
        facts.extend(service.facts.clone());
        facts.insert(SERVICE.to_owned(), service.name.as_str().into());
        // The instance-id is the node's.
        Record::new(facts).unwrap_or_else(|_| self.clone())
    }
}

impl Services {
    fn of(services: Map<String, Value>) -> Services {
        let mut found = Services::default();
        if services.len() > MAX_SERVICES {
            let count = services.len();
            found.problems.push(format!(
                "states {count} services; presence uses none, since at most {MAX_SERVICES} are allowed"
            ));
            return found;
        }
        // The order is that of the names.
        for (name, facts) in services {
            let name = match Name::parse(&name) {
                Ok(name) => name,
                Err(error) => {
                    found.problems.push(format!(
                        "has an unusable service `{}`: {}",
                        excerpt(&name),
                        chain(&error)
                    ));
                    continue;
                }
            };
            let Value::Object(facts) = facts else {
                found.problems.push(format!("has a service `{name}` that is not an object of facts"));
                continue;
            };
            let mut facts: Facts = facts.into_iter().collect();
            for fact in OF_THE_NODE {
                if facts.remove(fact).is_some() {
                    found
                        .problems
                        .push(format!("states `{fact}` for its service `{name}`: presence ignores it"));
                }
            }
            found.good.push(Service { name, facts });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(json: &str) -> Services {
        let text = format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"i","port":"1","services":{json}}}}}"#
        );
        Record::parse(text.as_bytes()).unwrap().services()
    }

    #[test]
    fn a_services_facts_lie_over_those_of_its_node() {
        let text = r#"{"filetype":"nodepresence","value":{"instance-id":"i","nodepart":"app1","port":"1","weight":"5",
            "services":{"api":{"port":"9090"},"web":{}}}}"#;
        let record = Record::parse(text.as_bytes()).unwrap();
        let services = record.services();
        assert_eq!(services.problems, Vec::<String>::new());
        let shown: Vec<String> = services
            .good
            .iter()
            .map(|service| serde_json::to_string(&record.of_service(service).facts()).unwrap())
            .collect();
        assert_eq!(
            shown,
            [
                r#"{"instance-id":"i","nodepart":"app1","port":"9090","service":"api","weight":"5"}"#,
                r#"{"instance-id":"i","nodepart":"app1","port":"1","service":"web","weight":"5"}"#,
            ]
        );
    }

    #[test]
    fn a_service_costs_only_itself() {
        let seen =
            services(r#"{"a":{"address":"127.0.0.1","nodepart":"db1","x":"1"},"b c":{},"d":"text","e":{}}"#);
        let names: Vec<&str> = seen.good.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["a", "e"]);
        assert_eq!(seen.good[0].facts, Facts::from([("x".to_owned(), "1".into())]));
        assert_eq!(seen.problems.len(), 4, "{:?}", seen.problems);
        for not in ["\"text\"", "null", "[]", "7", "{}"] {
            assert_eq!(services(not), Services::default(), "{not}");
        }
        let many = |count: usize| {
            let all: Vec<String> = (0..count).map(|number| format!("\"s{number}\":{{}}")).collect();
            services(&format!("{{{}}}", all.join(",")))
        };
        assert_eq!(many(MAX_SERVICES).good.len(), MAX_SERVICES);
        assert_eq!((many(MAX_SERVICES + 1).good.len(), many(MAX_SERVICES + 1).problems.len()), (0, 1));
    }
}
