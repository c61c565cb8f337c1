//! The same records give the same bytes, whatever their order, their store, the machine and the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fleet::{Fleet, STATES, mixed};
use crate::fixture::machine::{Machine, bare_repository, git};

/// All built-in templates, with their required variables.
pub(crate) const TEMPLATES: [&str; 9] = [
    "database.env",
    "database.properties",
    "database.yml",
    "haproxy.cfg",
    "hosts",
    "nagios.cfg",
    "nginx-upstream.conf",
    "pgbouncer.ini",
    "prometheus-sd.json",
];

const VARS: [(&str, &str); 1] = [("db_host", "db.example.org")];

/// A node with facts that are sometimes missing or wrong.
fn facts() -> impl Strategy<Value = Value> {
    let part = prop::sample::select(vec![
        "app", "app1", "app2", "APP2", "appx", "app-é", "db1", "db10", "db2", "null",
    ]);
    let address = prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "2001:db8::1", "0.0.0.0", "x"]);
    let port = prop::sample::select(vec![json!("80"), json!(8080), json!("+1"), json!(null)]);
    let state = prop::sample::select(STATES.map(|(state, _)| state).to_vec());
    let hostname =
        prop::option::of(prop::sample::select(vec!["web", "WEB", "db", "a.b", "localhost", "é", "a\nb"]));
    let path = prop::option::of(prop::sample::select(vec!["/", "/a", "/b", "x"]));
    (part, address, prop::option::of(port), state, hostname, path).prop_map(
        |(part, address, port, state, hostname, path)| {
            let mut facts =
                json!({ "nodepart": part, "address": address, "stacktype": "lad1", "deployment": "fed1" });
            let stated = [("state", state), ("hostname", hostname), ("check-path", path)];
            for (fact, value) in stated {
                if let Some(value) = value {
                    facts[fact] = value.into();
                }
            }
            if let Some(port) = port {
                facts["port"] = port;
            }
            facts
        },
    )
}

/// Nodes, and the same nodes in another order.
fn nodes() -> impl Strategy<Value = (Vec<Value>, Vec<Value>)> {
    let ids = prop::collection::btree_set("[a-c][0-9]{1,2}", 0..9);
    let nodes = ids.prop_flat_map(|ids| {
        let count = ids.len();
        (Just(ids), prop::collection::vec(facts(), count)).prop_map(|(ids, nodes)| {
            let named = ids.into_iter().zip(nodes).map(|(id, mut facts)| {
                facts["instance-id"] = id.into();
                facts
            });
            named.collect::<Vec<Value>>()
        })
    });
    nodes.prop_flat_map(|nodes| (Just(nodes.clone()), Just(nodes).prop_shuffle()))
}

fn fleet(nodes: &[Value]) -> Fleet {
    let mut fleet = Fleet::default();
    nodes.iter().for_each(|facts| fleet.add(facts));
    fleet
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_and_the_folders_of_the_files_do_not_matter((nodes, shuffled) in nodes()) {
        let (first, second) = (fleet(&nodes), fleet(&shuffled));
        let mut deep = second.clone();
        for (number, file) in deep.files.iter_mut().enumerate() {
            file.path = format!("{}/{}", number % 3, file.path);
        }
        for template in TEMPLATES {
            let render = |fleet: &Fleet| {
                let outcome = fleet.render(template, &VARS);
                (outcome.text.map_err(|error| error.to_string()), outcome.reports)
            };
            let (text, reports) = render(&first);
            prop_assert_eq!(&(text.clone(), reports), &render(&second));
            prop_assert_eq!(&text, &render(&deep).0);
        }
    }
}

/// What a balancer renders: the output of each template.
fn rendered(machine: &Machine, store: &Path, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let render = |template: &str| {
        let store = store.to_str().unwrap();
        let state = machine.path("states").join(format!("{}", fastrand::u64(..)));
        let args =
            ["render", template, "--set", "db_host=db.example.org", "-q", "--store", store, "--state-dir"];
        let mut command = machine.command(&[&args[..], &[state.to_str().unwrap()]].concat());
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{template}: {}", String::from_utf8_lossy(&output.stderr));
        (template.to_owned(), String::from_utf8(output.stdout).unwrap())
    };
    TEMPLATES.into_iter().map(render).collect()
}

#[test]
fn neither_the_store_nor_the_machine_nor_the_time_matters() {
    let machine = Machine::new("lb1");
    let fleet = mixed(40, 11);
    let write = |folder: &Path, files: &mut dyn Iterator<Item = (usize, &super::fleet::File)>, deep: bool| {
        for (number, file) in files {
            let path = if deep { folder.join(format!("{}/x", number % 4)) } else { folder.to_owned() };
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(&file.path), &file.text).unwrap();
        }
    };
    let (plain, reverse, inside) = (machine.path("plain"), machine.path("reverse"), machine.path("inside"));
    write(&plain, &mut fleet.files.iter().enumerate(), false);
    write(&reverse, &mut fleet.files.iter().enumerate().rev(), true);
    write(&inside.join("it/presence/all"), &mut fleet.files.iter().enumerate(), true);
    let bare = machine.path("bare.git");
    bare_repository(&bare);
    git(&inside, &["init", "--quiet", "--initial-branch=main"]);
    git(&inside, &["add", "."]);
    git(&inside, &["commit", "--quiet", "--message", "all"]);
    git(&inside, &["push", "--quiet", bare.to_str().unwrap(), "main"]);

    let expect = rendered(&machine, &plain, &[]);
    assert!(expect["haproxy.cfg"].lines().filter(|line| line.starts_with("    server ")).count() > 10);
    for store in [&reverse, &inside, &bare] {
        assert_eq!(rendered(&machine, store, &[]), expect, "{}", store.display());
    }
    let elsewhere = [
        ("LC_ALL", "tr_TR.UTF-8"),
        ("LANG", "de_DE.ISO-8859-1"),
        ("TZ", "Asia/Kathmandu"),
        ("COLUMNS", "20"),
    ];
    let later =
        [("PRESENCE_NOW", "2036-02-29T23:59:60Z"), ("HOME", "/"), ("USER", "somebody"), ("HOSTNAME", "x")];
    for variables in [elsewhere, later] {
        assert_eq!(rendered(&machine, &plain, &variables), expect, "{variables:?}");
    }
}

/// A server's id follows from its instance-id: other nodes that come or go do not change it.
#[test]
fn ids_stay_when_others_come_and_go() {
    let ids = |nodes: &mut dyn Iterator<Item = usize>| -> BTreeMap<String, String> {
        let mut fleet = Fleet::default();
        nodes.for_each(|number| fleet.add(&super::fleet::node("app1", number).into()));
        let text = fleet.render("haproxy", &[]).text.unwrap();
        let servers = text.lines().filter_map(|line| line.strip_prefix("    server "));
        servers
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                (words[0].to_owned(), words[3].to_owned())
            })
            .collect()
    };
    let all = ids(&mut (0..500));
    assert_eq!(all.len(), 500);
    for (id, number) in ids(&mut (0..500).filter(|number| number % 3 == 1)) {
        assert_eq!(all[&id], number);
    }
}
