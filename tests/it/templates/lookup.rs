//! Which file a name refers to, through the built program: order, shadowing, partials, numbered parts, and
//! the position of errors.

use std::fs;

use crate::fixture::machine::{Machine, Outcome};

/// `app1` of `lad1` with a list of itself, and template files: paths relative to the machine, and texts.
fn machine(files: &[(&str, &str)]) -> Machine {
    let machine = Machine::new("app1");
    let list = machine.path("list");
    fs::create_dir(&list).unwrap();
    let machine = machine.store(list.display());
    for (path, text) in files {
        let path = machine.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    machine.good(&["publish"]);
    machine
}

fn render(machine: &Machine, name: &str, args: &[&str]) -> Outcome {
    machine.run(&[&["render", name, "--template-dir", "t"], args].concat())
}

#[track_caller]
fn check(machine: &Machine, name: &str, args: &[&str], expect: &str) {
    assert_eq!(render(machine, name, args).code(0).stdout, expect, "{name} {args:?}");
}

const ORDER: [&str; 6] = [
    "stacktype/lad1/part/app1",
    "stacktype/lad1/part/app",
    "stacktype/lad1",
    "part/app1",
    "part/app",
    "common",
];

/// Removes the folders one by one; each time the next one must be used. The folder of a numbered part, even
/// without the file in it, comes before that of the part without its number.
#[test]
fn the_most_specific_folder_wins() {
    let files: Vec<(String, &str)> =
        ORDER.iter().map(|folder| (format!("t/{folder}/x.cfg.hbs"), *folder)).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let machine = machine(&files);
    for folder in ORDER {
        for name in ["x", "x.cfg"] {
            check(&machine, name, &[], &format!("{folder}\n"));
        }
        fs::remove_dir_all(machine.path("t").join(folder)).unwrap();
    }
    render(&machine, "x", &[]).code(2).says("there is no template `x`");
}

#[test]
fn part_and_stacktype_can_be_stood_in_for() {
    let machine = machine(&[
        ("t/common/x.hbs", "common"),
        ("t/part/lb/x.hbs", "lb"),
        ("t/stacktype/lad2/part/lb9/x.hbs", "{{self.nodepart}} of {{self.stacktype}} in {{self.deployment}}"),
    ]);
    check(&machine, "x", &[], "common\n");
    check(&machine, "x", &["--part", "lb1"], "lb\n");
    check(
        &machine,
        "x",
        &["--part", "lb9", "--stacktype", "lad2", "--deployment", "d"],
        "lb9 of lad2 in d\n",
    );
    render(&machine, "x", &["--part", "../lb"]).code(2).says("the part is not a usable name");
}

#[test]
fn an_earlier_directory_outranks_a_later_one_and_all_outrank_the_built_in() {
    let machine = machine(&[
        ("one/common/x.hbs", "one"),
        ("two/part/app1/x.hbs", "two"),
        ("two/common/y.hbs", "two"),
        ("three/common/hosts.hbs", "three"),
        ("presence.toml", "template-dir = ['three']\n[vars]\na = 'file'\nb = 'file'\nlist = [1, 2]\n"),
        ("one/common/vars.hbs", "{{vars.a}} {{vars.b}} {{vars.list.[1]}}{{#if vars.on}} on{{/if}}"),
    ]);
    let dirs = ["--template-dir", "one", "--template-dir", "two"];
    for (name, expect) in [("x", "one\n"), ("y", "two\n"), ("hosts", "three\n")] {
        assert_eq!(machine.run(&[&["render", name][..], &dirs].concat()).code(0).stdout, expect);
    }
    // The command line overrides the file; `true` and `false` have their meaning in `{{#if}}`.
    let vars = [&["render", "vars", "--set", "a=command", "--set", "on=false"][..], &dirs].concat();
    assert_eq!(machine.run(&vars).code(0).stdout, "command file 2\n");
    assert_eq!(
        machine.run(&[&vars[..], &["--set", "on=true"]].concat()).code(0).stdout,
        "command file 2 on\n"
    );

    let table = machine.run(&[&["templates"][..], &dirs].concat()).code(0).stdout;
    insta::assert_snapshot!(table.lines().filter(|line| !line.contains("database")).collect::<Vec<_>>().join("\n"), @r"
    NAME                 FILE                                     SHADOWS
    haproxy.cfg          built-in:common/haproxy.cfg.hbs
    hosts                three/common/hosts.hbs                   built-in:common/hosts.hbs
    nagios.cfg           built-in:common/nagios.cfg.hbs
    nginx-upstream.conf  built-in:common/nginx-upstream.conf.hbs
    pgbouncer.ini        built-in:common/pgbouncer.ini.hbs
    prometheus-sd.json   built-in:common/prometheus-sd.json.hbs
    vars                 one/common/vars.hbs
    x                    one/common/x.hbs                         two/part/app1/x.hbs
    y                    two/common/y.hbs
    ");
}

#[test]
fn partials_are_found_as_templates_are() {
    let machine = machine(&[
        ("t/common/x.yml.hbs", "top:\n  {{> block}}\nend: {{> inline}}\n"),
        (
            "t/common/block.hbs",
            "{{yaml vars.key}}: 1\n{{#nodes}}\n- {{yaml instance-id}}\n{{json instance-id}}: [{{address}}]\n{{/nodes}}\nlast: {{first}}\n{{first}}: 2\n",
        ),
        ("t/common/inline.hbs", "common"),
        ("t/part/app/inline.hbs", "{{#parts part=\"*\"}}{{part}}{{/parts}} "),
        (
            "t/common/own.hbs",
            "{{#*inline \"row\"}}<{{this.port}}>{{/inline}}{{#each nodes}}{{> row}}{{/each}}",
        ),
        ("t/common/outer.hbs", "{{#> frame}}inside{{/frame}}"),
        ("t/common/frame.hbs", "[{{> @partial-block}}]"),
        ("t/common/passed.hbs", "{{> greeting who=\"you\"}}"),
        ("t/common/greeting.hbs", "hello {{who}}"),
        ("t/common/lost.hbs", "a\n {{> nobody}}"),
        ("t/common/sh.hbs", "  {{> value}}"),
        ("t/common/value.hbs", "{{shell vars.lines}}"),
        ("presence.toml", "[vars]\nkey = 'k'\nlines = \"a\\nb\"\n"),
    ]);
    // An indented partial is indented, whatever its lines begin with; a value stays unchanged.
    check(&machine, "sh", &[], "  'a\nb'\n");
    check(&machine, "own", &[], "<8080>\n");
    check(&machine, "outer", &[], "[inside]\n");
    check(&machine, "passed", &[], "hello you\n");
    insta::assert_snapshot!(render(&machine, "x", &[]).code(0).stdout, @r#"
    top:
      "k": 1
      - "i-app1"
      "i-app1": [10.0.0.2]
      last: 10.0.0.2
      10.0.0.2: 2
    end: app1
    "#);
    render(&machine, "lost", &[]).code(1).says("t/common/lost.hbs:2:2: there is no partial `nobody`");
}

/// Without this check, the stack overflows and the program crashes.
#[test]
fn a_partial_that_includes_itself_is_refused() {
    let machine = machine(&[
        ("t/common/self.hbs", "{{#if vars.more}}{{> self}}{{/if}}"),
        ("t/common/one.cfg.hbs", "{{#nodes}}{{> two}}{{/nodes}}"),
        ("t/common/two.hbs", "{{> three}}{{> four}}"),
        ("t/common/three.hbs", "3"),
        ("t/common/four.hbs", "{{#> three}}{{> one}}{{/three}}"),
        (
            "t/common/inline.hbs",
            "{{#*inline \"a\"}}{{> b}}{{/inline}}{{#*inline \"b\"}}{{> a}}{{/inline}}{{> a}}",
        ),
        ("t/common/any.hbs", "{{> (lookup vars \"which\")}}"),
        ("t/common/frame.hbs", "{{#> three}}{{> @partial-block}}{{/three}}"),
    ]);
    for (name, expect) in [
        ("self", "t/common/self.hbs: it includes itself: self → self"),
        ("one", "t/common/two.hbs: it includes itself: two → four → one → two"),
        ("inline", "t/common/inline.hbs: it includes itself: a → b → a"),
        ("any", "t/common/any.hbs: the name of a partial must be literal"),
    ] {
        render(&machine, name, &["--set", "more=true", "--set", "which=any"]).code(1).says(expect);
    }
    render(&machine, "frame", &[]).code(1).says("t/common/frame.hbs:1:13: ");
}

#[test]
fn an_error_has_a_file_a_line_and_a_column() {
    let machine = machine(&[
        ("t/common/open.hbs", "a\nb {{#nodes}}\nc\n"),
        ("t/common/wrong.hbs", "a\n  {{ }}\n"),
        ("t/common/missing.hbs", "a\n\n  b {{self.rack}}\n"),
        ("t/common/partial.hbs", "a\n{{> inner}}\n"),
        ("t/common/inner.hbs", "1\n22{{vars.owner}}\n"),
        ("t/common/block.hbs", "{{#nodes}}\n  {{hostnam}}\n{{/nodes}}\n"),
        ("t/common/helper.hbs", "{{#if true}}\n {{frobnicate 1}}\n{{/if}}"),
    ]);
    for (name, code, expect) in [
        ("open", 1, "t/common/open.hbs:2:3: `{{#nodes}}` is not closed"),
        ("wrong", 1, "t/common/wrong.hbs:2:3: `{{ }}` is not handlebars"),
        (
            "missing",
            1,
            "t/common/missing.hbs:3:5: there is no `self.rack`\nhint: state the fact or set the variable",
        ),
        ("partial", 1, "t/common/inner.hbs:2:3: there is no `vars.owner`"),
        ("block", 1, "t/common/block.hbs:2:3: there is no `hostnam` (node i-app1)"),
        ("helper", 1, "t/common/helper.hbs:2:2: there is no helper `frobnicate`"),
    ] {
        let outcome = render(&machine, name, &[]).code(code).says(expect);
        assert_eq!(outcome.stdout, "", "{name}");
    }
    check(&machine, "partial", &["--set", "owner=x"], "a\n1\n22x\n");
}

#[test]
fn what_is_no_template_says_so() {
    let machine = machine(&[
        ("t/common/x.hbs", "x"),
        ("t/common/x.cfg.hbs", "cfg"),
        ("t/common/y.a.hbs", "a"),
        ("t/common/y.b.hbs", "b"),
    ]);
    fs::write(machine.path("t/common/latin.hbs"), b"gr\xf6\xdfe").unwrap();
    fs::write(machine.path("t/common/large.hbs"), "x".repeat(1024 * 1024 + 1)).unwrap();
    fs::create_dir(machine.path("t/common/folder.hbs")).unwrap();
    check(&machine, "x", &[], "x\n"); // the full name before the one without its extension
    check(&machine, "x.cfg", &[], "cfg\n");
    for (name, code, expect) in [
        ("y", 2, "`y` could be any of y.a, y.b"),
        ("latin", 1, "is not UTF-8 text"),
        ("large", 1, "is larger than 1048576 bytes"),
        ("folder", 2, "there is no template `folder`"),
        ("../common/x", 2, "the template's name is not a usable name"),
    ] {
        render(&machine, name, &[]).code(code).says(expect);
    }
}

/// The section of a haproxy.cfg with that line.
fn section<'t>(text: &'t str, first: &str) -> &'t str {
    text.split("\n\n").find(|section| section.lines().any(|line| line == first)).expect(first)
}

#[test]
fn lines_of_ones_own_stand_in_the_built_in_haproxy_cfg() {
    let machine = machine(&[
        ("t/common/haproxy/global.hbs", "    tune.bufsize 32768\n"),
        ("t/common/haproxy/defaults.hbs", "    option http-keep-alive\n    option log-health-checks\n"),
        ("t/common/haproxy/frontend.hbs", "    http-request set-header X-Part {{part}}\n"),
        ("t/common/haproxy/backend.hbs", "never used\n"),
        (
            "t/part/app/haproxy/backend.hbs",
            "{{#if (eq part \"app1\")}}\n    http-response set-header X-Nodes {{count part=part}}\n{{/if}}\n",
        ),
    ]);
    machine.fact("port", "8080");
    machine.good(&["publish"]);
    let plain = machine.run(&["render", "haproxy"]).code(0).stdout;
    let text = render(&machine, "haproxy", &[]).code(0).stdout;
    crate::judges::haproxy::accepts(&text);
    assert!(section(&text, "global").ends_with("max-spread-checks 200\n    tune.bufsize 32768"), "{text}");
    assert!(
        section(&text, "defaults").ends_with("    option http-keep-alive\n    option log-health-checks"),
        "{text}"
    );
    let frontend = section(&text, "frontend app1:in");
    assert!(frontend.ends_with("X-Part app1\n    default_backend app1"), "{frontend}");
    assert!(
        section(&text, "backend app1")
            .contains("status 200\n    http-response set-header X-Nodes 1\n    server "),
        "{text}"
    );
    let own = ["tune.", "http-keep-alive\n", "log-health", "X-Part", "X-Nodes"];
    let rest: String =
        text.split_inclusive('\n').filter(|line| !own.iter().any(|own| line.contains(own))).collect();
    assert_eq!(rest, plain);
}

#[test]
fn a_template_is_shown_and_copied_to_where_it_is_found() {
    let machine =
        machine(&[("t/part/app1/own.txt.hbs", "own\n"), ("t/common/haproxy/global.hbs", "    x\n")]);
    let built_in =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/common/hosts.hbs")).unwrap();
    let templates = |args: &[&str]| machine.run(&[&["templates", "--template-dir", "t"], args].concat());
    assert_eq!(machine.good(&["templates", "--show", "hosts"]), built_in);
    assert_eq!(templates(&["--show", "own"]).code(0).stdout, "own\n");
    assert_eq!(templates(&["--show", "haproxy/global"]).code(0).stdout, "    x\n");
    templates(&["--show", "none"]).code(2).says("there is no template `none`");

    templates(&["--copy", "hosts"]).code(0);
    let copy = machine.path("t/common/hosts.hbs");
    assert_eq!(fs::read_to_string(&copy).unwrap(), built_in);
    fs::write(&copy, "mine\n").unwrap();
    check(&machine, "hosts", &[], "mine\n");
    templates(&["--copy", "hosts"]).code(1).says("t/common/hosts.hbs` exists");
    assert_eq!(fs::read_to_string(&copy).unwrap(), "mine\n");
    templates(&["--copy", "own"]).code(0).says("part/app1/own.txt.hbs`, which is more specific");
}
