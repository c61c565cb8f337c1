//! `nagios.cfg`, read back from Nagios.

use std::collections::{BTreeMap, BTreeSet};

use super::{Model, assert_reported, hostile, is_name, is_something};
use crate::judges::nagios::objects;
use crate::templates::fleet::Fleet;

/// The host that Nagios must know: its alias, address and group.
fn expected(model: &Model<'_>) -> Option<(String, String, Option<String>)> {
    // In any directive, `null` cancels the inherited value.
    let usable = |name: &String| is_name(name) && name != "null";
    (model.availability != "absent" && usable(&model.id)).then_some(())?;
    let alias = match model.facts.get("hostname").filter(|value| is_something(value)) {
        None => model.id.clone(), // Nagios' own default
        Some(_) => model.text("hostname").filter(|name| is_alias(name))?,
    };
    let group = match model.facts.get("nodepart").filter(|value| is_something(value)) {
        None => None,
        Some(_) => Some(model.text("nodepart").filter(usable)?),
    };
    Some((alias, model.address?.to_string(), group))
}

/// The valid content of a directive: no control characters, no macro, nothing that Nagios removes or
/// interprets.
fn is_alias(text: &str) -> bool {
    !text.contains(|character: char| character.is_control() || character == '$')
        && text.trim_matches(' ') == text
        && !text.ends_with('\\')
        && text != "null"
}

#[test]
fn nagios_knows_what_the_rules_say_and_nothing_else() {
    let (fleet, nodes) = hostile();
    let outcome = fleet.render("nagios", &[]);
    let models: Vec<Model<'_>> = nodes.iter().filter_map(Model::of).collect();
    let asked = || models.iter().filter(|model| model.in_scope());
    let config = outcome.good();
    assert_reported(&outcome.reports, asked().filter(|model| expected(model).is_none()));

    let Some(objects) = objects(config) else { return };
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut hosts = 0;
    for model in asked() {
        if model.availability != "absent"
            && model.address.is_some()
            && let Some(part) = model.text("nodepart").filter(|part| is_name(part) && part != "null")
        {
            groups.entry(part).or_default();
        }
        let Some((alias, address, group)) = expected(model) else { continue };
        let (_, host) = &objects[&model.id];
        assert_eq!(host["alias"], alias);
        assert_eq!(
            host["address"].parse::<std::net::IpAddr>().unwrap(),
            address.parse::<std::net::IpAddr>().unwrap()
        );
        assert_eq!(host["check_command"], "check-host-alive");
        if let Some(group) = group {
            groups.entry(group).or_default().insert(model.id.clone());
        }
        hosts += 1;
    }
    assert_eq!(objects.len(), hosts + groups.len(), "objects that nobody stated");
    for (name, members) in groups {
        let (_, group) = &objects[&format!("group {name}")];
        let seen: BTreeSet<String> = group
            .get("members")
            .map(|members| members.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        assert_eq!(seen, members, "{name}");
        assert_eq!(group["alias"], format!("nodes of the part {name}"));
    }
}

/// A node that leaves in order triggers no alarm; a wedged one does.
#[test]
fn nagios_is_silent_about_those_who_leave() {
    let mut fleet = Fleet::default();
    for (number, state) in ["done", "draining", "drained", "wedged", "setup"].into_iter().enumerate() {
        let mut facts = crate::templates::fleet::node("app1", number);
        facts.insert("instance-id".into(), state.into());
        facts.insert("state".into(), state.into());
        fleet.add(&facts.into());
    }
    let Some(objects) = objects(fleet.render("nagios", &[]).good()) else { return };
    let loud = |id: &str| objects[id].1["notifications_enabled"] == "1";
    assert!(loud("done") && loud("wedged") && !loud("draining") && !loud("drained"));
    assert!(!objects.contains_key("setup"));
}
