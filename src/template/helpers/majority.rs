//! `{{majority "check-path" part="app1" as="haproxy_path" default="/"}}`: the value of a fact that most nodes
//! state, escaped for a format.
//!
//! Some formats have only one value for all nodes. One wrong or hostile node must not decide it. So each
//! address has one vote: one machine may have written many records.

use std::collections::BTreeMap;

use handlebars::{Context, Handlebars, Helper, HelperDef, RenderContext, RenderError, ScopedJson};
use serde_json::Value;

use super::Shared;
use super::choice::{argument, choose, other};
use super::escape::format;
use super::shared::MANY;
use crate::endpoint::Address;
use crate::roster::Availability;
use crate::template::context::Member;
use crate::threads;

pub(super) struct Majority<'a>(pub(super) Shared<'a>);

impl HelperDef for Majority<'_> {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let fact = argument(h, 0)?;
        let choice = choose(&self.0, h, &["default", "as"])?;
        let spell = match h.hash_get("as").and_then(|name| name.value().as_str()) {
            None => None,
            Some(name) => Some(format(name).ok_or_else(|| other(format!("there is no format `{name}`")))?),
        };
        let count = |members: &[&Member<'_>]| {
            let mut votes: BTreeMap<Option<String>, Vec<Address>> = BTreeMap::new();
            for member in members.iter().filter(|member| member.availability == Availability::Active) {
                let Ok(address) = member.node.address else { continue };
                let said = member.node.record.text(&fact).map(|value| value.into_owned());
                let vote = match (said, spell) {
                    (Some(value), Some(spell)) => match spell(&value) {
                        Ok(spelt) => Some(spelt),
                        Err(reason) => {
                            let (store, path) = (&member.node.store, &member.node.path);
                            self.0.warn(format!("{store}: {path}: its `{fact}` is ignored: {reason}"));
                            continue;
                        }
                    },
                    (said, _) => said,
                };
                votes.entry(vote).or_default().push(address);
            }
            votes
        };
        let mut votes: BTreeMap<Option<String>, Vec<Address>> = BTreeMap::new();
        let parts = threads::in_parts(choice.given.len(), MANY, |part| count(&choice.given[part]));
        for (vote, addresses) in parts.into_iter().flatten() {
            votes.entry(vote).or_default().extend(addresses);
        }
        for addresses in votes.values_mut() {
            addresses.sort_unstable();
            addresses.dedup();
        }
        // In a tie, the lowest value wins, by the order of the map.
        let winner =
            votes.into_iter().rev().max_by_key(|(_, addresses)| addresses.len()).and_then(|(value, _)| value);
        match (winner, h.hash_get("default")) {
            (Some(value), _) => Ok(ScopedJson::Derived(Value::String(value))),
            (None, Some(default)) => Ok(ScopedJson::Derived(default.value().clone())),
            (None, None) => Err(other(format!("most nodes of `{}` have no `{fact}`", choice.question))),
        }
    }
}
