//! Services in templates: which nodes offer them, what a template sees of them, and the safety limits.

use std::fs;

use serde_json::{Map, Value, json};

use super::fleet::{Fleet, node};
use crate::fixture::machine::Machine;
use crate::judges::haproxy;

fn offering(part: &str, number: usize, services: Value) -> Map<String, Value> {
    let mut facts = node(part, number);
    facts.insert("services".into(), services);
    facts
}

#[test]
fn a_template_goes_through_the_services_and_their_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let fleet = Fleet::of([
        &offering("app1", 1, json!({"api": {"port": "9", "weight": "5"}, "web": {}})),
        &offering("app1", 2, json!({"api": {"state": "wedged"}})),
        &offering("app2", 3, json!({"api": {"port": "7"}})),
        &offering("db1", 4, json!({"api": {}})),
        &node("app1", 5),
    ]);
    let check = |text: &str, expect: &str| {
        fs::create_dir_all(directory.path().join("common")).unwrap();
        fs::write(directory.path().join("common/t.hbs"), text).unwrap();
        let dirs = [directory.path().to_owned()];
        let seen = fleet.render_as(&super::fleet::balancer(), &dirs, "t", &[]);
        assert_eq!(seen.good(), expect, "{text}");
    };
    check("{{#services part=\"app*\"}}{{part}}/{{service}} {{/services}}", "app1/api app1/web app2/api \n");
    check("{{#services service=\"w*\"}}{{part}}/{{service}} {{else}}none{{/services}}", "app1/web \n");
    check("{{#services part=\"x\"}}{{service}}{{else}}none{{/services}}", "none\n");
    check(
        "{{#nodes part=\"app*\" service=\"api\"}}{{instance-id}}:{{port}} {{availability}} {{service}}; {{/nodes}}",
        "i-00001:9 active api; i-00002:1 down api; i-00003:7 active api; \n",
    );
    check("{{#nodes service=\"api\" weight=\"5\"}}{{instance-id}}{{/nodes}}", "i-00001\n");
    check(
        "{{count service=\"api\"}} {{count service=\"api\" availability=\"active\"}} {{count service=\"x\"}}",
        "4 3 0\n",
    );
    check("{{first \"port\" part=\"app2\" service=\"api\"}} {{first \"port\" part=\"app2\"}}", "7 1\n");
    check("{{require service=\"api\" min=3}}{{majority \"port\" service=\"api\" default=\"-\"}}", "1\n");
    // In a block over parts there is no service.
    check(
        "{{#parts part=\"app*\"}}{{part}}{{#if service}}/{{service}}{{/if}}:{{#nodes part=part service=service}} {{port}}{{/nodes}};{{/parts}}",
        "app1: 1 1 1;app2: 1;\n",
    );
}

/// HAProxy reads both, and no backend takes the id of another.
#[test]
fn without_services_the_file_is_the_same_and_with_them_it_is_accepted() {
    let plain: Vec<Map<String, Value>> = (0..20).map(|number| node("app1", number)).collect();
    let services = |number: usize| {
        let name = |service: usize| format!("s{service}");
        (0..number % 5)
            .map(|service| (name(service), json!({"port": format!("{}", 100 + service)})))
            .collect()
    };
    let offering: Vec<_> =
        (0..20).map(|number| offering("app1", number, Value::Object(services(number)))).collect();
    let text = Fleet::of(&plain).render("haproxy", &[]).good().to_owned();
    let with = Fleet::of(&offering).render("haproxy", &[]).good().to_owned();
    haproxy::accepts(&with);
    assert_eq!(with.strip_prefix(&text).map(|rest| rest.matches("\nbackend app1::s").count()), Some(4));
    assert_eq!(with.matches(":100 id ").count(), 16);
}

#[test]
fn two_hundred_services_are_accepted() {
    let fleet: Vec<_> = (0..20)
        .map(|number| {
            let services =
                (0..10).map(|service| (format!("s{number}-{service}"), json!({"port": "9"}))).collect();
            offering("app1", number, Value::Object(services))
        })
        .collect();
    let text = Fleet::of(&fleet).render("haproxy", &[]).good().to_owned();
    haproxy::accepts(&text);
    assert_eq!(text.matches("\nbackend app1::").count(), 200);
}

#[test]
fn the_limits_treat_a_service_as_a_question_of_its_own() {
    let machine = Machine::new("lb1");
    let list = machine.path("list");
    fs::create_dir(&list).unwrap();
    let put = |number: usize, services: Value| {
        let mut facts = offering("app1", number, services);
        facts.insert("ipv4".into(), format!("192.0.2.{number}").into());
        let text = json!({ "filetype": "nodepresence", "value": facts }).to_string();
        fs::write(list.join(format!("i-{number:05}.json")), text).unwrap();
    };
    let machine = machine.store(list.display());
    let good = json!({"api": {"port": "9090"}});
    let ill = json!({"api": {"port": "9090", "state": "wedged"}});
    (1..=4).for_each(|number| put(number, good.clone()));
    let render = || machine.run(&["render", "haproxy", "-o", "haproxy.cfg"]);
    let servers = |ending: &str| {
        let text = fs::read_to_string(machine.path("haproxy.cfg")).unwrap();
        let of_service = text.split("\nbackend app1::api\n").nth(1).unwrap_or_default().to_owned();
        of_service.lines().filter(|line| line.starts_with("    server ") && line.ends_with(ending)).count()
    };
    render().code(0);
    assert_eq!(servers(" check"), 4);
    // One service is ill: it alone is out.
    put(1, ill.clone());
    render().code(0);
    assert_eq!((servers(" check"), servers(" disabled")), (3, 1));
    // All are ill at once, perhaps because of something that they share: their last good servers stay.
    (1..=4).for_each(|number| put(number, ill.clone()));
    let outcome = render();
    assert!(outcome.stderr.contains("app1 service=api"), "{}", outcome.stderr);
    assert_eq!(servers(" check"), 3);
    // They are not offered any more.
    (1..=4).for_each(|number| put(number, json!({})));
    render();
    let text = fs::read_to_string(machine.path("haproxy.cfg")).unwrap();
    assert!(text.contains("\nbackend app1\n") && text.matches("\n    server ").count() >= 4, "{text}");
}
