//! `hosts`: which node has which name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Model, assert_reported, hostile};
use crate::judges::hosts::{found, read};
use crate::templates::fleet::{Fleet, node};

/// RFC 1123, not a name of the machine itself, not a number; and here without a domain.
fn is_host(name: &str) -> bool {
    let letter = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let number = |character: char| character.is_ascii_digit();
    let name = name.to_lowercase();
    let hexadecimal =
        name.strip_prefix("0x").is_some_and(|digits| digits.chars().all(|digit| digit.is_ascii_hexdigit()));
    let own = ["localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"];
    let well_formed =
        (1..=63).contains(&name.len()) && name.chars().all(letter) && name.trim_matches('-') == name;
    well_formed && !name.chars().all(number) && !hexadecimal && !own.contains(&name.as_str())
}

#[test]
fn everybody_is_found_under_a_name_of_his_own() {
    let (fleet, nodes) = hostile();
    let outcome = fleet.render("hosts", &[]);
    let models: Vec<Model<'_>> = nodes.iter().filter_map(Model::of).collect();
    let present: Vec<&Model<'_>> = models
        .iter()
        .filter(|model| model.in_scope() && model.availability != "absent" && model.address.is_some())
        .collect();
    let (mut ids, mut hostnames) = (BTreeMap::new(), BTreeMap::new());
    for model in &present {
        *ids.entry(model.id.to_lowercase()).or_insert(0) += 1;
        if let Some(name) = model.text("hostname") {
            *hostnames.entry(name.to_lowercase()).or_insert(0) += 1;
        }
    }
    let names = |model: &Model<'_>| -> Option<Vec<String>> {
        (is_host(&model.id) && ids[&model.id.to_lowercase()] == 1).then_some(())?;
        let own = |name: &String| {
            is_host(name) && !ids.contains_key(&name.to_lowercase()) && hostnames[&name.to_lowercase()] == 1
        };
        Some(model.text("hostname").filter(own).into_iter().chain([model.id.clone()]).collect())
    };
    let mut expect: BTreeMap<String, (IpAddr, Vec<String>)> = BTreeMap::new();
    for model in &present {
        if let Some(names) = names(model) {
            expect.insert(model.id.clone(), (model.address.unwrap(), names));
        }
    }
    let listed = read(outcome.good());
    let own: Vec<&str> = listed[..4].iter().flat_map(|(_, names)| names).map(String::as_str).collect();
    assert_eq!(
        own,
        ["localhost", "localhost", "ip6-localhost", "ip6-loopback", "ip6-allnodes", "ip6-allrouters"]
    );
    let seen: BTreeMap<String, (IpAddr, Vec<String>)> =
        listed[4..].iter().map(|line| (line.1.last().unwrap().clone(), line.clone())).collect();
    for (id, line) in &expect {
        assert_eq!(seen.get(id), Some(line));
    }
    assert_eq!(listed.len() - 4, expect.len());

    // A node that is listed without its host name is also reported.
    let reported = models.iter().filter(|model| {
        let named = model.facts.get("hostname").is_none_or(|name| name.is_null() || name == "");
        let whole = expect.get(&model.id).is_some_and(|(_, names)| names.len() == 2 || named);
        model.in_scope() && !whole
    });
    assert_reported(&outcome.reports, reported);

    // The C library reads the whole file for each name, so only some are looked up.
    let some = || expect.values().step_by(13);
    let asked: Vec<String> = some().flat_map(|(_, names)| names.clone()).collect();
    if let Some(found) = found(outcome.good(), &asked) {
        for (address, names) in some() {
            assert!(names.iter().all(|name| found[name] == *address), "{names:?}");
        }
    }
}

#[test]
fn nobody_is_found_under_the_name_of_another() {
    let fleet = |facts: &[(&str, &str)]| {
        let mut fleet = Fleet::default();
        for (number, (id, hostname)) in facts.iter().enumerate() {
            let mut facts = node("app1", number);
            facts.insert("instance-id".into(), (*id).into());
            facts.insert("hostname".into(), (*hostname).into());
            fleet.add(&facts.into());
        }
        fleet
    };
    #[track_caller]
    fn check(fleet: &Fleet, domain: &str, expect: &[&str], reports: usize) {
        let outcome = fleet.render("hosts", &[("hosts_domain", domain)]);
        let seen: Vec<String> = read(outcome.good())[4..].iter().map(|(_, names)| names.join(" ")).collect();
        assert_eq!(seen, expect);
        assert_eq!(outcome.reports.len(), reports, "{:?}", outcome.reports);
    }
    check(&fleet(&[("i-1", "web"), ("i-2", "db")]), "", &["web i-1", "db i-2"], 0);
    check(&fleet(&[("i-1", "web"), ("i-2", "WEB")]), "", &["i-1", "i-2"], 2);
    check(&fleet(&[("i-1", "web"), ("i-2", "I-1")]), "", &["web i-1", "i-2"], 1);
    check(&fleet(&[("i-1", "i-1"), ("i-2", "localhost")]), "", &["i-1", "i-2"], 1);
    check(&fleet(&[("i-1", "a"), ("I-1", "b"), ("i-2", "c")]), "", &["c i-2"], 2);
    check(&fleet(&[("i-1", "deb.debian.org"), ("web.example.org", "x")]), "", &["i-1"], 2);
    let own = ["deb.debian.org", "a.example.org", "b.Sub.Example.NET"];
    let named = fleet(&[("i-1", own[0]), ("i-2", own[1]), ("i-3", own[2])]);
    check(&named, "example.org, .sub.example.net", &["i-1", "a.example.org i-2", "b.Sub.Example.NET i-3"], 1);
}
