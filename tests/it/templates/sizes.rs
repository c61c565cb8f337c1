//! Every built-in template for fleets of 0 to 10,000 nodes, judged by the program that reads its output.

use super::fleet::{Fleet, listed, mixed};
use crate::judges::{haproxy, hosts, nagios, nginx, prometheus, properties, shell, yaml};

const SIZES: [usize; 5] = [0, 1, 3, 1_000, 10_000];

fn fleets() -> impl Iterator<Item = (usize, Fleet)> {
    SIZES.into_iter().map(|size| (size, mixed(size, 7)))
}

#[test]
fn haproxy_takes_every_size_without_a_warning() {
    for (size, fleet) in fleets() {
        let outcome = fleet.render("haproxy", &[]);
        haproxy::accepts(outcome.good());
        let seen: Vec<&str> =
            outcome.good().lines().filter_map(|line| line.strip_prefix("    server ")).collect();
        let mut expect = listed(&fleet, "app");
        expect.sort_by(|a, b| (&a.part, &a.id).cmp(&(&b.part, &b.id)));
        assert_eq!(seen.len(), expect.len(), "{size}");
        for (line, node) in seen.iter().zip(&expect) {
            assert!(line.starts_with(&format!("{} ", node.id)), "{line} is not {node:?}");
            assert_eq!(line.ends_with(" weight 0"), node.availability == "draining", "{line}");
            assert_eq!(line.ends_with(" disabled"), node.availability == "down", "{line}");
        }
    }
}

#[test]
fn nginx_takes_every_size() {
    for (_, fleet) in fleets() {
        let outcome = fleet.render("nginx-upstream", &[]);
        nginx::accepts(outcome.good());
        let servers = outcome.good().lines().filter(|line| line.ends_with(":1;") || line.ends_with(":8080;"));
        let active = listed(&fleet, "app").iter().filter(|node| node.availability == "active").count();
        assert_eq!(servers.count(), active);
    }
}

#[test]
fn lists_of_nodes_hold_everybody_with_an_address() {
    for (size, fleet) in fleets() {
        let present = listed(&fleet, "").len();
        let portless = fleet
            .files
            .iter()
            .filter(|file| file.text.contains("\"port\":\"080\"") || !file.text.contains("\"port\""));
        assert!(size < 1_000 || portless.count() > 10);
        let hosts = hosts::read(fleet.render("hosts", &[]).good()).len() - 4;
        let groups = prometheus::groups(fleet.render("prometheus-sd", &[]).good()).len();
        assert!(hosts >= present && hosts == groups, "{size}: {hosts} {groups} {present}");
        if let Some(objects) = nagios::objects(fleet.render("nagios", &[]).good()) {
            assert_eq!(objects.values().filter(|(kind, _)| kind == "host").count(), hosts);
        }
    }
}

/// For any number of nodes, the application's files name one database, or the one of the variable if no
/// database is active.
#[test]
fn a_database_is_named_in_every_size() {
    let fleets: Vec<Fleet> = fleets().map(|(_, fleet)| fleet).collect();
    let expect = fleets.iter().map(|fleet| {
        let first = listed(fleet, "db").into_iter().find(|node| node.availability == "active");
        first.map_or(("db.example.org".to_owned(), "5432".to_owned()), |node| (node.address, node.port))
    });
    let expect: Vec<(String, String)> = expect.collect();
    let texts = |template: &str| -> Vec<String> {
        let text = |fleet: &Fleet| fleet.render(template, &[("db_host", "db.example.org")]).good().to_owned();
        fleets.iter().map(text).collect()
    };
    let word = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let yaml = yaml::read(&texts("database.yml"));
    let yaml =
        yaml.iter().map(|file| &file["production"]).map(|file| (word(&file["host"]), word(&file["port"])));
    assert_eq!(yaml.collect::<Vec<_>>(), expect);
    let shell = shell::variables(&texts("database.env"));
    let shell = shell.iter().map(|file| (file["DATABASE_HOST"].clone(), file["DATABASE_PORT"].clone()));
    assert_eq!(shell.collect::<Vec<_>>(), expect);
    let java = properties::read(&texts("database.properties"));
    let java = java.iter().map(|file| (file["db.host"].clone(), file["db.port"].clone()));
    assert_eq!(java.collect::<Vec<_>>(), expect);
    for (text, (host, port)) in texts("pgbouncer").iter().zip(&expect) {
        assert!(text.contains(&format!("* = host='{host}' port={port}\n")), "{text}");
    }
}
