//! `presence graph`: who is wired to whom, from what templates select.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::fixture::machine::{Machine, bare_repository, git};
use crate::fixture::{GitDaemon, fleet};

/// Publishes a small fleet, and returns its balancer.
fn fleet(server: &GitDaemon) -> Machine {
    server.repository("list.git");
    let url = server.url("list.git");
    for part in ["app1", "app2", "db1", "db2", "cache"] {
        Machine::new(part).store(&url).with("state", "done").good(&["publish"]);
    }
    let balancer = Machine::new("lb1").store(&url).with("state", "done");
    balancer.good(&["publish"]);
    balancer
}

fn template(machine: &Machine, path: &str, text: &str) {
    let path = machine.path("templates").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The wires of a drawing for Mermaid, by the parts of their groups.
fn wires(text: &str) -> Vec<String> {
    let part = |id: &str| {
        let label = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{id}[\"")));
        label.unwrap_or_default().split('<').next().unwrap_or_default().to_owned()
    };
    let ends = text.lines().filter_map(|line| line.trim().split_once(" -->|\""));
    ends.map(|(from, rest)| {
        let (by, to) = rest.split_once("\"| ").unwrap();
        format!("{} -> {} ({by})", part(from), part(to))
    })
    .collect()
}

const DEFAULT: [&str; 4] = [
    "app1 -> db1 (database.yml)",
    "app2 -> db1 (database.yml)",
    "lb1 -> app1 (haproxy.cfg)",
    "lb1 -> app2 (haproxy.cfg)",
];

#[test]
fn wires_are_what_templates_select_and_no_guess_by_name() {
    let server = GitDaemon::start();
    let balancer = fleet(&server);
    let outcome = balancer.run(&["graph", "--format", "mermaid"]).code(0);
    assert_eq!(wires(&outcome.stdout), DEFAULT);
    assert_eq!(outcome.stderr, "note: no template is known for the parts cache, db1, db2\n");

    // A template in the folder of a part replaces the default, and a partial in it is no template of its own.
    template(&balancer, "part/app/peers.hbs", "{{> list}}{{#first part=\"cache\"}}{{address}}{{/first}}\n");
    template(&balancer, "part/app/list.hbs", "{{#nodes part=\"db*\"}}{{address}}\n{{/nodes}}");
    template(&balancer, "stacktype/lad1/part/cache/all.hbs", "{{#each nodes}}{{instance-id}}{{/each}}\n");
    template(&balancer, "part/db1/motd.hbs", "This is {{self.instance-id}}.\n");
    template(
        &balancer,
        "part/db2/broken.hbs",
        "{{#nodes part=\"app*\"}}{{address}}{{/nodes}}{{vars.missing}}\n",
    );
    let graph = |args: &[&str]| {
        balancer
            .run(&[&["graph", "--format", "mermaid", "--template-dir", "templates"], args].concat())
            .code(0)
    };
    let outcome = graph(&["--part", "[acd]*"]);
    let mut expect: Vec<String> = Vec::new();
    for app in ["app1", "app2"] {
        expect.extend(["cache", "db1", "db2"].map(|to| format!("{app} -> {to} (peers)")));
    }
    // It is wired to the balancer too, which is not selected.
    expect.extend(["app1", "app2", "cache", "db1", "db2"].map(|to| format!("cache -> {to} (all)")));
    assert_eq!(wires(&outcome.stdout), expect, "{outcome}");
    // The answer of a template that fails is no wire.
    let note = "db2 (lad1, fed1): broken: templates/part/db2/broken.hbs:1:44: there is no `vars.missing`";
    assert_eq!(outcome.stderr, format!("note: {note}\n"));
    assert!(outcome.stdout.contains("db2 #40;lad1, fed1#41;#58; broken#58;"), "{outcome}");

    // The user outranks all.
    let outcome = graph(&["--uses", "db2=hosts", "--uses", "app*=database.yml", "--part", "[ad]*"]);
    let expect = [
        "app1 -> db1 (database.yml)",
        "app2 -> db1 (database.yml)",
        "db2 -> app1 (hosts)",
        "db2 -> app2 (hosts)",
        "db2 -> db1 (hosts)",
        "db2 -> db2 (hosts)",
    ];
    assert_eq!(wires(&outcome.stdout), expect, "{outcome}");
    graph(&["--uses", "db1=nonesuch"])
        .says("note: db1 (lad1, fed1): nonesuch: there is no template `nonesuch`");
    balancer.run(&["graph", "--uses", "db1"]).code(2).says("write it like 'lb*=haproxy'");
}

#[test]
fn the_tables_of_a_node_are_for_its_own_group() {
    let server = GitDaemon::start();
    let balancer = fleet(&server);
    balancer.configure(
        "[vars]\napp_parts = 'app1'\n[[render]]\nname = 'haproxy'\noutput = '/etc/haproxy/haproxy.cfg'\n\
         [[render]]\nname = 'database.yml'\noutput = '/srv/database.yml'\nvars = { db_parts = 'db2' }\n",
    );
    let outcome = balancer.run(&["graph", "--format", "mermaid"]).code(0);
    let expect = [
        "app1 -> db1 (database.yml)",
        "app2 -> db1 (database.yml)",
        "lb1 -> app1 (haproxy.cfg)",
        "lb1 -> db2 (database.yml)",
    ];
    assert_eq!(wires(&outcome.stdout), expect, "{outcome}");
}

#[test]
fn a_drawing_is_of_any_moment_and_of_what_is_selected() {
    let server = GitDaemon::start();
    let balancer = fleet(&server);
    let commit = git(&server.path("list.git"), &["rev-parse", "HEAD"]);
    let args = ["graph", "--format", "svg", "--at", commit.trim(), "-q"];
    let before = balancer.good(&args);
    Machine::new("app3").store(server.url("list.git")).with("state", "draining").good(&["publish"]);
    assert_eq!(balancer.good(&args), before, "equal lists give equal bytes");
    let now = balancer.run(&["graph", "--format", "mermaid"]).code(0);
    // A balancer is wired to a draining server too.
    assert!(wires(&now.stdout).contains(&"lb1 -> app3 (haproxy.cfg)".to_owned()), "{now}");

    // A file is replaced as a whole.
    balancer.run(&["graph", "--deployment", "fed2", "-o", "x.svg"]).code(0).says("x.svg replaced");
    let text = fs::read_to_string(balancer.path("x.svg")).unwrap();
    assert!(text.contains("There are no nodes to draw"), "{text}");
    balancer.run(&["graph", "--deployment", "fed2", "-o", "x.svg"]).code(0).says("x.svg unchanged");
    well_formed(&text);
}

#[test]
fn without_a_store_a_file_stays_and_stdout_gets_the_last_copy() {
    let mut server = GitDaemon::start();
    let balancer = fleet(&server);
    balancer.run(&["graph", "-o", "x.svg"]).code(0);
    let before = fs::read(balancer.path("x.svg")).unwrap();
    server.kill();
    balancer.run(&["graph", "--part", "db*", "-o", "x.svg"]).code(3).says("x.svg` is left as it is");
    assert_eq!(fs::read(balancer.path("x.svg")).unwrap(), before);
    let outcome =
        balancer.run(&["graph", "--format", "mermaid"]).code(3).says("this is from the last copies");
    assert_eq!(wires(&outcome.stdout), DEFAULT, "{outcome}");
    let stranger = Machine::new("lb1").store(server.url("list.git"));
    let outcome = stranger.run(&["graph"]).code(3).says("there is no earlier copy");
    assert_eq!(outcome.stdout, "", "an error is never emptiness");
}

/// Checks a drawing with Python's XML parser, and returns its texts.
#[track_caller]
fn well_formed(svg: &str) -> String {
    let script = "import sys, xml.etree.ElementTree as e\nprint('\\n'.join(e.parse(sys.stdin.buffer).getroot().itertext()))";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(svg.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{svg}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hostile_records_are_drawn_as_text() {
    let server = GitDaemon::start();
    let path = server.path("list.git");
    bare_repository(&path);
    let hostile =
        ["\"]; evil", "<script>alert(1)</script>", "a\nb", "]]>-->", "%%{init: {}}%%", "\u{1b}[31m\\"];
    let files: Vec<fleet::File> = hostile
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let value = serde_json::json!({
                "instance-id": format!("i-{at}"), "nodepart": text, "stacktype": text, "deployment": text,
                "state": text, "ipv4": format!("192.0.2.{at}"), "port": "80",
            });
            let record = serde_json::json!({ "filetype": "nodepresence", "value": value });
            (format!("i-{at}.json"), record.to_string())
        })
        .collect();
    fleet::commit(&path, "it/presence/all", false, &files);
    let reader = Machine::new("lb1").store(server.url("list.git"));
    let draw = |format: &str| reader.run(&["graph", "--format", format, "--uses", "*=hosts"]).code(0);
    let outcome = draw("svg");
    let texts = well_formed(&outcome.stdout);
    for expect in
        ["\"]; evil", "<script>alert(1)</script>", "a\\nb", "]]>-->", "%%{init: {}}%%", "\\u{1b}[31m\\\\"]
    {
        assert!(texts.lines().any(|line| line == expect), "{expect}: {texts}");
    }
    for format in ["svg", "dot", "mermaid"] {
        let outcome = draw(format);
        assert!(!outcome.stdout.contains("<script>") || format == "dot", "{outcome}");
        assert!(!outcome.stdout.contains(|c: char| c.is_control() && c != '\n'), "{outcome}");
        // A part that names no folder is a note.
        assert!(outcome.stderr.contains("the part is not a usable name"), "{outcome}");
    }
}

#[test]
fn a_drawing_in_words_and_a_bad_record_is_reported_once() {
    let server = GitDaemon::start();
    let path = server.path("list.git");
    bare_repository(&path);
    // Two groups of balancers take the same servers, of which one cannot be used.
    let nodes = [("lb1", "192.0.2.1"), ("lb2", "192.0.2.2"), ("app1", "192.0.2.3"), ("app1", "192.0.2.x")];
    let file = |(number, (part, address)): (usize, &(&str, &str))| {
        let value = serde_json::json!({
            "instance-id": format!("i-{number}"), "nodepart": part, "stacktype": "lad1", "deployment": "fed1",
            "state": "done", "ipv4": address, "port": "80",
        });
        let record = serde_json::json!({ "filetype": "nodepresence", "value": value });
        (format!("i-{number}.json"), record.to_string())
    };
    let files: Vec<fleet::File> = nodes.iter().enumerate().map(file).collect();
    fleet::commit(&path, "it/presence/all", false, &files);
    let url = server.url("list.git");
    let reader = Machine::new("lb1").store(&url);
    let draw = |format: &str| {
        let outcome = reader.run(&["graph", "--format", format, "--uses", "app*=hosts"]).code(0);
        outcome.with(server.url(""), "git://server/").with(server.address().port(), "9418")
    };
    let drawn = draw("mermaid");
    assert_eq!(drawn.stderr.matches("left out node i-3").count(), 1, "{drawn}");
    insta::assert_snapshot!(drawn, @r#"
    exit code 0
    --- stdout
    flowchart LR
        accTitle: 4 nodes in 3 groups
        g0["app1<br/>lad1, fed1<br/>2 done"]
        g1["lb1<br/>lad1, fed1<br/>1 done"]
        g2["lb2<br/>lad1, fed1<br/>1 done"]
        g0 -->|"hosts"| g0
        g0 -->|"hosts"| g1
        g0 -->|"hosts"| g2
        g1 -->|"haproxy.cfg"| g0
        g2 -->|"haproxy.cfg"| g0
        n0>"app1 #40;lad1, fed1#41;#58; hosts#58; git#58;#47;#47;127.0.0.1#58;9418#47;list.git#58; i#45;3.json#58; left out node i#45;3 #40;app1#41;#58; has an unusable #96;ipv4#96;#58; #96;192.0.2.x#96; is not an IP address#59; write it#8230;"]
    --- stderr
    note: app1 (lad1, fed1): hosts: git://server/list.git: i-3.json: left out node i-3 (app1): has an unusable `ipv4`: `192.0.2.x` is not an IP address; write it like `192.0.2.1` or `2001:db8::1`, without port or brackets (2 other templates say so too)
    "#);
    insta::assert_snapshot!(draw("dot").stdout, @r#"
    digraph fleet {
        rankdir=LR;
        node [shape=box, style=rounded, fontname="sans-serif"];
        edge [fontname="sans-serif"];
        labelloc=b;
        fontname="sans-serif";
        label="4 nodes in 3 groups\napp1 (lad1, fed1): hosts: git://server/list.git: i-3.json: left out node i-3 (app1): has an unusable `ipv4`: `192.0.2.x` is not an IP address; write it…";
        g0 [label="app1\nlad1, fed1\n2 done", tooltip="app1 (lad1, fed1)"];
        g1 [label="lb1\nlad1, fed1\n1 done", tooltip="lb1 (lad1, fed1)"];
        g2 [label="lb2\nlad1, fed1\n1 done", tooltip="lb2 (lad1, fed1)"];
        g0 -> g0 [label="hosts"];
        g0 -> g1 [label="hosts"];
        g0 -> g2 [label="hosts"];
        g1 -> g0 [label="haproxy.cfg"];
        g2 -> g0 [label="haproxy.cfg"];
    }
    "#);
    // All texts of the picture, without its styles.
    let texts = well_formed(&draw("svg").stdout);
    let texts = texts.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains(['{', '}']));
    insta::assert_snapshot!(texts.collect::<Vec<_>>().join("\n"), @"
    4 nodes in 3 groups
    app1 (lad1, fed1) is wired to app1 (lad1, fed1) by hosts. app1 (lad1, fed1) is wired to lb1 (lad1, fed1) by hosts. app1 (lad1, fed1) is wired to lb2 (lad1, fed1) by hosts. lb1 (lad1, fed1) is wired to app1 (lad1, fed1) by haproxy.cfg. lb2 (lad1, fed1) is wired to app1 (lad1, fed1) by haproxy.cfg. app1 (lad1, fed1): 2 done. lb1 (lad1, fed1): 1 done. lb2 (lad1, fed1): 1 done.
    app1 (lad1, fed1)
    app1
    lad1, fed1
    2 done
    lb1 (lad1, fed1)
    lb1
    lad1, fed1
    1 done
    lb2 (lad1, fed1)
    lb2
    lad1, fed1
    1 done
    hosts
    hosts
    hosts
    haproxy.cfg
    haproxy.cfg
    app1 (lad1, fed1): hosts: git://server/list.git: i-3.json: left out node i-3 (app1): has an unusable `ipv4`: `192.0.2.x` is not an IP address; write it…
    ");
}
