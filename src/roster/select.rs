//! Which nodes to select: by scope, or by the user's conditions.

use std::borrow::Cow;

use glob::Pattern;

use super::{Availability, Node, Roster};
use crate::record::{Facts, Record, text};

/// The point of view: the part, stacktype and deployment that a template is rendered for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Identity {
    /// The part, for example `lb1`.
    pub part: Option<String>,
    /// The stacktype, for example `lad1`.
    pub stacktype: Option<String>,
    /// The deployment.
    pub deployment: Option<String>,
}

impl Identity {
    /// The identity that the facts state.
    pub fn of(facts: &Facts) -> Identity {
        let fact =
            |name: &str| facts.get(name).and_then(text).map(Cow::into_owned).filter(|text| !text.is_empty());
        Identity { part: fact("nodepart"), stacktype: fact("stacktype"), deployment: fact("deployment") }
    }

    /// Whether the node is in this identity's scope: same deployment and same stacktype. A missing one is no
    /// condition: fleets of 2015 had no deployment, and a user's laptop has neither.
    pub fn sees(&self, node: &Node) -> bool {
        self.same_deployment(node) && self.same_stacktype(node)
    }

    /// Whether the node is in the same deployment.
    pub fn same_deployment(&self, node: &Node) -> bool {
        same(self.deployment.as_deref(), node, "deployment")
    }

    /// Whether the node has the same stacktype.
    pub fn same_stacktype(&self, node: &Node) -> bool {
        same(self.stacktype.as_deref(), node, "stacktype")
    }
}

impl Roster {
    /// Whether an active node of these parts is in scope.
    pub fn has_active(&self, who: &Identity, parts: &Pattern) -> bool {
        self.nodes.iter().any(|node| {
            node.availability == Availability::Active
                && who.sees(node)
                && parts.matches(&node.record.part().unwrap_or_default())
        })
    }
}

fn same(own: Option<&str>, node: &Node, fact: &str) -> bool {
    own.is_none_or(|own| node.record.text(fact).as_deref() == Some(own))
}

/// A selection of nodes. All given conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// Pairs of a fact and a glob pattern for its value. A node without the fact does not match.
    pub facts: Vec<(String, Pattern)>,
    /// States or availabilities, of which one must match.
    pub states: Vec<String>,
}

/// The text is not a selector.
#[derive(Debug, thiserror::Error)]
pub enum SelectorError {
    /// It does not have the form FACT=GLOB.
    #[error("`{0}` is not of the form FACT=GLOB")]
    NoEqualSign(String),
    /// The pattern is malformed.
    #[error("`{pattern}` is not a glob pattern")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// The position of the error.
        #[source]
        source: glob::PatternError,
    },
}

impl Selector {
    /// Adds a condition on a fact.
    pub fn fact(mut self, fact: &str, pattern: &str) -> Result<Selector, SelectorError> {
        let compiled = Pattern::new(pattern)
            .map_err(|source| SelectorError::BadPattern { pattern: pattern.to_owned(), source })?;
        self.facts.push((fact.to_owned(), compiled));
        Ok(self)
    }

    /// Adds a condition of the form FACT=GLOB.
    pub fn clause(self, clause: &str) -> Result<Selector, SelectorError> {
        let (fact, pattern) =
            clause.split_once('=').ok_or_else(|| SelectorError::NoEqualSign(clause.to_owned()))?;
        self.fact(fact, pattern)
    }

    /// Whether the node is selected.
    pub fn matches(&self, node: &Node) -> bool {
        self.matches_record(&node.record, node.availability)
    }

    /// Whether a node with that record is selected.
    pub fn matches_record(&self, record: &Record, availability: Availability) -> bool {
        let is_in = |state: &String| in_state(record, availability, state);
        self.facts
            .iter()
            .all(|(fact, pattern)| record.text(fact).is_some_and(|value| pattern.matches(&value)))
            && (self.states.is_empty() || self.states.iter().any(is_in))
    }
}

/// A condition names a state, or an availability that is not the name of a state.
fn in_state(record: &Record, availability: Availability, wanted: &str) -> bool {
    record.state().as_deref() == Some(wanted)
        || wanted.parse::<Availability>().is_ok_and(|wanted| availability == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roster::States;

    fn node(facts: &str) -> Node {
        let text = format!(r#"{{"filetype":"nodepresence","value":{{"instance-id":"i"{facts}}}}}"#);
        Node::new(
            Record::parse(text.as_bytes()).unwrap(),
            "s".into(),
            "i.json".into(),
            false,
            &States::default(),
        )
    }

    #[test]
    fn a_scope_is_one_deployment_and_one_stacktype() {
        let own = |deployment: Option<&str>| Identity {
            part: None,
            stacktype: Some("lad1".into()),
            deployment: deployment.map(str::to_owned),
        };
        let (a, b) = (node(r#","stacktype":"lad1","deployment":"d1""#), node(r#","stacktype":"lad1""#));
        assert!(own(Some("d1")).sees(&a) && !own(Some("d1")).sees(&b) && !own(Some("d2")).sees(&a));
        assert!(own(None).sees(&a) && own(None).sees(&b));
        assert!(!own(None).sees(&node(r#","stacktype":"lad2""#)) && !own(None).sees(&node("")));
    }

    #[test]
    fn conditions_are_globs_over_facts() {
        let app = node(r#","nodepart":"app1","state":"done","port":8080"#);
        let check = |clause: &str, expect: bool| {
            assert_eq!(Selector::default().clause(clause).unwrap().matches(&app), expect, "{clause}");
        };
        check("nodepart=app*", true);
        check("nodepart=app", false);
        check("port=80??", true);
        check("rack=*", false);
        assert!(Selector::default().clause("nodepart").is_err());
        assert!(Selector::default().clause("a=[").is_err());
        let state = |state: &str| Selector { states: vec![state.into()], ..Selector::default() };
        assert!(
            state("done").matches(&app) && state("active").matches(&app) && !state("draining").matches(&app)
        );
    }
}
