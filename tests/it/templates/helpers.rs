//! The template language: every helper, its `{{else}}`, and the treatment of missing values.

use std::fs;

use serde_json::{Map, Value, json};

use super::fleet::{Fleet, Outcome, balancer, node};

/// Two `app1`, one of them draining; a wedged `app2`, a `db1` and a `db2`; one absent, one in another
/// deployment, one in another stacktype, and one without an address.
fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    for facts in [
        json!({ "instance-id": "i-a1", "nodepart": "app1", "ipv4": "10.0.0.1", "port": "8080", "rack": "r1", "tags": ["x", "y"] }),
        json!({ "instance-id": "i-a2", "nodepart": "app1", "ipv6": "2001:DB8::2", "port": 8081, "state": "draining", "rack": "r2" }),
        json!({ "instance-id": "i-b1", "nodepart": "app2", "ipv4": "10.0.0.3", "port": "8080", "state": "wedged", "rack": "r1" }),
        json!({ "instance-id": "i-d1", "nodepart": "db2", "ipv4": "10.0.0.4", "port": "5432" }),
        json!({ "instance-id": "i-d2", "nodepart": "db1", "ipv4": "10.0.0.5", "port": "5433" }),
        json!({ "instance-id": "i-z1", "nodepart": "app1", "ipv4": "10.0.0.6", "port": "8080", "state": "setup" }),
        json!({ "instance-id": "i-o1", "nodepart": "app1", "ipv4": "10.0.1.1", "port": "8080", "deployment": "fed2" }),
        json!({ "instance-id": "i-o2", "nodepart": "app1", "ipv4": "10.0.1.2", "port": "8080", "stacktype": "lad2" }),
        json!({ "instance-id": "i-n1", "nodepart": "app1", "address": "evil host", "port": "8080" }),
    ] {
        let mut node: Map<String, Value> =
            json!({ "stacktype": "lad1", "deployment": "fed1" }).as_object().unwrap().clone();
        node.extend(facts.as_object().unwrap().clone());
        fleet.add(&node.into());
    }
    fleet
}

fn rendered(template: &str) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("common")).unwrap();
    fs::write(dir.path().join("common/x.hbs"), template).unwrap();
    let vars = [("site", "shop"), ("empty", ""), ("lines", "a\nb")];
    fleet().render_as(&balancer(), &[dir.path().to_owned()], "x", &vars)
}

#[track_caller]
fn check(template: &str, expect: &str) {
    assert_eq!(rendered(template).good().trim_end(), expect, "{template}");
}

/// The position and reason of the error.
#[track_caller]
fn refuse(template: &str, expect: &str) {
    let error = rendered(template).text.unwrap_err().to_string();
    let told = error.split_once("common/x.hbs").map_or(error.as_str(), |(_, told)| told);
    assert_eq!(told, expect, "{template}");
}

#[test]
fn nodes_are_those_in_scope_by_instance_id() {
    check("{{#nodes}}{{instance-id}} {{/nodes}}", "i-a1 i-a2 i-b1 i-d1 i-d2");
    check(
        "{{#nodes part=\"app*\"}}{{@index}}{{#if @first}}^{{/if}}{{#if @last}}${{/if}} {{/nodes}}",
        "0^ 1 2$",
    );
    check("{{#nodes part=\"app1\" availability=\"active\"}}{{instance-id}} {{/nodes}}", "i-a1");
    check("{{#nodes state=\"draining\"}}{{instance-id}} {{/nodes}}", "i-a2");
    check("{{#nodes state=\"setup\"}}{{instance-id}} {{/nodes}}", "i-z1");
    check("{{#nodes availability=\"absent\"}}{{instance-id}} {{/nodes}}", "i-z1");
    check("{{#nodes rack=\"r?\" part=\"app*\"}}{{instance-id}} {{/nodes}}", "i-a1 i-a2 i-b1");
    check("{{#nodes part=\"app*\" deployment=\"*\"}}{{instance-id}} {{/nodes}}", "i-a1 i-a2 i-b1 i-o1");
    check("{{#nodes deployment=\"fed2\"}}{{instance-id}} {{/nodes}}", "i-o1");
    check("{{#nodes stacktype=\"*\" part=\"app1\"}}{{instance-id}} {{/nodes}}", "i-a1 i-a2 i-o2");
    check("{{#nodes part=\"web*\"}}x{{else}}nobody{{/nodes}}", "nobody");
    check(
        "{{#nodes part=\"db*\" as |n|}}{{n.address}}/{{n.nodepart}} {{/nodes}}",
        "10.0.0.4/db2 10.0.0.5/db1",
    );
    check(
        "{{#nodes part=\"db*\"}}{{#nodes part=\"app2\"}}{{instance-id}}{{/nodes}}-{{instance-id}} {{/nodes}}",
        "i-b1-i-d1 i-b1-i-d2",
    );
    check("{{#each nodes}}{{this.instance-id}} {{/each}}", "i-a1 i-a2 i-b1 i-d1 i-d2 i-z1");
    check("{{#each elsewhere}}{{this.instance-id}} {{/each}}", "i-o1 i-o2");
}

#[test]
fn what_a_node_lacks_costs_the_node() {
    let outcome =
        rendered("{{#nodes part=\"*\"}}{{instance-id}}={{rack}}{{#unless @last}},{{/unless}}{{/nodes}}");
    assert_eq!(outcome.good(), "i-a1=r1,i-a2=r2,i-b1=r1\n");
    assert!(
        outcome.reports("i-d1")
            && outcome.reports("i-d2")
            && outcome.reports("i-n1")
            && !outcome.reports("i-a1")
    );
    assert!(
        outcome
            .reports
            .iter()
            .any(|report| report.contains("left out node i-d1 (db2): has no `rack` (line 1)"))
    );
    for (body, whom) in [
        ("{{#if tags}}{{json tags}}{{/if}}", "i-a1"),       // a list
        ("{{host_port address (default rack 1)}}", "i-a1"), // not a port
        ("{{shell (default rack \"r9\")}}{{as_port (default rack 1)}}", "i-a1"), // through another helper
        ("{{#if (gt rack \"r0\")}}x{{/if}}{{state}}", "i-d1"), // values without an order
        ("{{#each tags}}{{this}}{{/each}}", "i-a2"),
        ("{{require rack \"in every node\"}}", "i-d1"),
    ] {
        let outcome = rendered(&format!("{{{{#nodes}}}}{body}|{{{{/nodes}}}}"));
        let last = outcome.good().len();
        assert!(last > 1 && outcome.reports(whom), "{body}: {:?} {:?}", outcome.text, outcome.reports);
    }
}

/// A fact that no node has is a typo in the template; but an invalid port is an invalid port.
#[test]
fn what_every_node_lacks_is_the_templates_mistake() {
    refuse(
        "a\n  {{#nodes}}{{hostnam}}{{/nodes}}",
        ":2:13: there is no `hostnam` (none of 5 nodes can be rendered, for example i-a1)",
    );
    refuse("{{#nodes part=\"app2\"}}{{rack.x}}{{/nodes}}", ":1:23: there is no `rack.x` (node i-b1)");
    refuse("{{#nodes}}{{vars.missing}}{{/nodes}}", ":1:11: there is no `vars.missing`");
    refuse("{{#nodes}}{{@root.vars.missing}}{{/nodes}}", ":1:11: there is no `@root.vars.missing`");
    refuse("{{#nodes}}{{nonsense 1}}{{/nodes}}", ":1:11: there is no helper `nonsense`");
    refuse("{{#nodes}}{{> nobody}}{{/nodes}}", ":1:11: there is no partial `nobody`");
    refuse("{{#nodes part=vars.missing}}{{/nodes}}", ":1:1: there is no `vars.missing`");
    refuse(
        "{{#nodes part=\"[\"}}{{/nodes}}",
        ":1:1: `[` is not a glob pattern: Pattern syntax error near position 0: invalid range pattern",
    );
    check("{{#nodes part=\"app*\"}}{{as_port rack}}{{else}}nobody{{/nodes}}", "nobody");
}

#[test]
fn control_characters_do_not_come_through_by_themselves() {
    refuse(
        "{{vars.lines}}",
        ": `a\\nb` contains control characters, and {{…}} writes it without an escaping helper",
    );
    refuse(
        "{{#nodes}}{{@root.vars.lines}}{{/nodes}}",
        ":1:1: `a\\nb` contains control characters (none of 5 nodes can be rendered, for example i-a1)",
    );
    check("{{{vars.lines}}}", "a\nb");
    check("{{shell vars.lines}}", "'a\nb'");
    check("{{yaml vars.lines}}", "\"a\\x0ab\"");
}

#[test]
fn parts_are_those_that_somebody_plays() {
    check("{{#parts part=\"*\"}}{{part}}{{#unless @last}},{{/unless}}{{/parts}}", "app1,app2,db1,db2");
    check("{{#parts part=\"app*\" availability=\"active\"}}{{part}} {{/parts}}", "app1");
    check("{{#parts part=\"web*\"}}x{{else}}nobody{{/parts}}", "nobody");
    check(
        "{{#parts part=\"app*\"}}{{part}}:{{#nodes part=part}} {{instance-id}}{{/nodes}};{{/parts}}",
        "app1: i-a1 i-a2;app2: i-b1;",
    );
    check("{{#parts part=\"*\"}}{{count part=part availability=\"active\"}}{{/parts}}", "1011");
    refuse("{{#parts part=\"*\"}}{{vars.missing}}{{/parts}}", ":1:20: there is no `vars.missing`");
    // A part whose nodes all lack a fact is left out with them. If this is so for all parts, the template is
    // wrong.
    let outcome = rendered(
        "{{#parts part=\"*\"}}{{part}}{{#nodes part=part}}{{rack}}{{/nodes}}{{#unless @last}},{{/unless}}{{/parts}}",
    );
    assert_eq!(outcome.good(), "app1r1r2,app2r1\n");
    assert!(outcome.reports("i-d1") && outcome.reports("i-d2"));
    assert!(
        rendered("{{#parts part=\"*\"}}{{#nodes part=part}}{{hostnam}}{{/nodes}}{{/parts}}").text.is_err()
    );
}

#[test]
fn first_is_one_active_node() {
    check("{{first part=\"db*\"}}", "10.0.0.4");
    check("{{first \"port\" part=\"db*\"}}", "5432");
    check("{{first \"port\" part=\"db*\" by=\"nodepart\"}}", "5433");
    check("{{#first part=\"db*\" by=\"nodepart\"}}{{address}}:{{port}}{{/first}}", "10.0.0.5:5433");
    check("{{#first part=\"app*\"}}{{instance-id}}{{@index}}{{@first}}{{@last}}{{/first}}", "i-a10truetrue");
    check("{{#first part=\"app2\"}}x{{else}}nobody who is active{{/first}}", "nobody who is active");
    check("{{#first rack=\"*\" by=\"rack\"}}{{rack}}{{/first}}", "r1");
    check("{{#with (first part=\"db*\")}}{{address}}{{/with}}", "10.0.0.4");
    check("{{#if (first part=\"web*\")}}x{{else}}nobody{{/if}}", "nobody");
    // The block continues with the next node. The value comes from the first node only; if that lacks it, it
    // is an error.
    check("{{#first}}{{rack}}{{/first}}", "r1");
    check(
        "{{#first part=\"*\" by=\"nodepart\"}}{{#if (eq nodepart \"app1\")}}{{nonexistent}}{{/if}}{{nodepart}}{{/first}}",
        "db1",
    );
    refuse(
        "{{first \"rack\" part=\"db*\"}}",
        ":1:1: the first active node of `db*`, i-d1, has no usable `rack`",
    );
    refuse("{{first part=\"web*\"}}", ":1:1: no active node of `web*` is in scope");
    refuse("{{first \"tags\" part=\"app1\"}}", ":1:1: `tags` is not text");
}

/// Whatever joins later and whatever its name: the database is that of the lowest part.
#[test]
fn numbered_parts_are_in_the_order_of_their_numbers() {
    let fleet = Fleet::of([&node("db10", 0), &node("db2", 1), &node("db3", 2)]);
    for template in ["database.yml", "database.env", "database.properties", "pgbouncer"] {
        assert!(fleet.render(template, &[]).good().contains("127.1.0.2"), "{template}");
    }
}

#[test]
fn count_and_require_ask_how_many() {
    check("{{count part=\"app*\"}} {{count}} {{count part=\"web*\"}}", "3 5 0");
    check("{{#if (gt (count part=\"db*\") 1)}}many{{else}}one{{/if}}", "many");
    check("[{{require part=\"app1\"}}]", "[]");
    check("[{{require part=\"db*\" min=2}}]", "[]");
    refuse(
        "{{require part=\"app*\" min=2}}",
        ":1:1: 1 active nodes of `app*` are in scope, but 2 are required",
    );
    refuse("{{require part=\"app*\" min=\"x\"}}", ":1:1: `min` of {{require}} is not a number");
    check("{{require vars.site}}", "shop");
    refuse(
        "{{require vars.owner \"say --set owner=NAME\"}}",
        ":1:1: `vars.owner` is required: say --set owner=NAME",
    );
    refuse("{{require vars.empty}}", ":1:1: `vars.empty` is required");
}

#[test]
fn default_takes_the_first_that_is_there() {
    check("{{default vars.site \"x\"}} {{default vars.missing vars.empty 80}}", "shop 80");
    refuse("{{default vars.missing vars.empty}}", ":1:1: there is no `vars.missing`");
    // A missing port has a default, an invalid port has none.
    let mut fleet = Fleet::default();
    for (id, port) in [("i-1", json!("1")), ("i-2", json!("+1")), ("i-3", json!(null)), ("i-4", json!([]))] {
        fleet.add(&json!({ "instance-id": id, "ipv4": "10.0.0.1", "port": port }));
    }
    fleet.add(&json!({ "instance-id": "i-5", "ipv4": "10.0.0.1" }));
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("common")).unwrap();
    for path in ["port", "this.port", "n.port"] {
        let template = format!(
            "{{{{#nodes as |n|}}}}{{{{instance-id}}}}:{{{{default {path} @root.vars.p}}}} {{{{/nodes}}}}"
        );
        fs::write(dir.path().join("common/x.hbs"), template).unwrap();
        let outcome = fleet.render_as(
            &presence::roster::Identity::default(),
            &[dir.path().to_owned()],
            "x",
            &[("p", "9")],
        );
        assert_eq!(outcome.good(), "i-1:1 i-5:9 \n");
        assert!(["i-2", "i-3", "i-4"].iter().all(|id| outcome.reports(id)));
    }
}

#[test]
fn majority_does_not_follow_one_voice() {
    check("{{majority \"rack\" part=\"app1\" default=\"none\"}}", "r1");
    check("{{majority \"rack\" part=\"db*\" default=\"none\"}}", "none");
    check("{{majority \"nodepart\"}}", "app1"); // in a tie, the lowest
    refuse("{{majority \"rack\" part=\"db*\"}}", ":1:1: most nodes of `db*` have no `rack`");
    refuse("{{majority \"rack\" as=\"nonsense\"}}", ":1:1: there is no format `nonsense`");
    let outcome = rendered("{{majority \"instance-id\" part=\"db*\" as=\"as_port\" default=1}}");
    assert_eq!(outcome.good(), "1\n");
    assert!(outcome.reports("i-d1"));
}

/// The helpers of formats; the escaping functions have their own tests.
#[test]
fn every_format_has_its_helper() {
    check(
        "{{haproxy_name vars.site}} {{haproxy_quoted \"it's 5%\"}} {{haproxy_path \"/a?b\"}}",
        r"shop 'it'\''s 5%%' /a?b",
    );
    check(
        "{{hosts_name \"web-1.example.org\"}} {{json \"a\\\"b\"}} {{yaml \"<%\"}} {{shell \"a'b\"}}",
        r#"web-1.example.org "a\"b" "\x3c\x25" 'a'\''b'"#,
    );
    check(
        "{{nagios \"a;b\"}} {{nagios_name \"web-1\"}} {{nginx \"a b\"}} {{pgbouncer \"it's\"}} {{properties \"a=b\"}}",
        r#"a\;b web-1 "a b" 'it''s' a\=b"#,
    );
    check(
        "{{as_name vars.site}} {{as_port 80}} {{bracketed \"2001:DB8::1\"}} {{host_port \"::ffff:10.0.0.1\" \"80\"}}",
        "shop 80 [2001:db8::1] 10.0.0.1:80",
    );
    refuse(
        "{{as_port \"080\"}}",
        ":1:1: `as_port argument 1` is unusable: the port `080` has a leading zero, which some programs read as octal; leave it out",
    );
    refuse(
        "{{as_name vars.lines}}",
        r":1:1: `vars.lines` is unusable: character 2 of the name `a\nb` is `\n`; only letters, digits (ASCII), `_`, `.` and `-` are allowed",
    );
    refuse("{{shell}}", ":1:1: {{shell}} needs 1 argument(s)");
    check("{{haproxy_id \"web-1\"}} {{haproxy_backend_id \"web-1\"}}", "1446749821 1446749821");
    check("{{#parts part=\"app*\"}}{{frontend_port part}} {{/parts}}", "80 81");
    refuse("{{hosts_names}}", ":1:1: use {{hosts_names}} in a block over nodes");
}

#[test]
fn values_are_those_of_this_node_and_of_the_run() {
    check(
        "{{self.nodepart}} {{self.stacktype}} {{self.deployment}} {{self.hostname}} {{vars.site}}",
        "lb1 lad1 fed1 own shop",
    );
    check("{{input.tree}}", "0");
    assert_eq!(rendered("{{input.template}}").good().trim_end().len(), 16);
    refuse("{{self.nodeport}}", ":1:1: there is no `self.nodeport`");
    check(
        "{{#if vars.missing}}x{{else}}strict does not look into an if{{/if}}",
        "strict does not look into an if",
    );
}
