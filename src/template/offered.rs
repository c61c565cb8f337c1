//! The services that nodes offer, as nodes of their own, from which blocks choose by `service="api"`.

use std::collections::BTreeMap;

use super::context::Member;
use super::helpers::Pool;
use crate::roster::Node;

/// The services of all members as nodes of their own, and the members to which they belong.
#[derive(Debug, Default)]
pub(super) struct Offered {
    pub(super) nodes: Vec<Node>,
    /// The roster index of each one's node, and whether that is in scope.
    of: Vec<(u32, bool)>,
}

impl Offered {
    /// The services of these members, in the order of the members, then by name.
    pub(super) fn by(members: &[Member<'_>]) -> Offered {
        let mut offered = Offered::default();
        for member in members.iter().filter(|member| !member.node.services.is_empty()) {
            for offer in &member.node.services {
                offered.nodes.push(member.node.as_service(offer));
                offered.of.push((member.at, member.in_scope));
            }
        }
        offered
    }

    /// They as members, by the name of the service. `twins` are those that are one server with others, by index.
    pub(super) fn pools(&self, twins: &BTreeMap<u32, u32>) -> BTreeMap<&str, Pool<'_>> {
        let mut pools: BTreeMap<&str, Pool<'_>> = BTreeMap::new();
        for ((index, node), (at, in_scope)) in (0..).zip(&self.nodes).zip(&self.of) {
            let Some(name) = &node.service else { continue };
            let pool = pools.entry(name.as_str()).or_default();
            let (availability, place) = (node.availability, pool.members.len());
            pool.members.push(Member { node, in_scope: *in_scope, availability, place, at: *at });
            let first = twins.get(&index).and_then(|first| self.of.get(*first as usize));
            pool.twins.extend(first.map(|(first, _)| (*at, *first)));
        }
        pools
    }
}
