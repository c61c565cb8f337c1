//! The treatment of a node in each state, and of old or incomplete records, through the built program.

use std::fs;

use crate::fixture::machine::{Machine, Outcome};
use crate::judges::haproxy;

/// A load balancer with a plain directory as its list.
struct Balancer(Machine);

impl Balancer {
    fn new() -> Balancer {
        let machine = Machine::new("lb1");
        let list = machine.path("list");
        fs::create_dir(&list).unwrap();
        Balancer(machine.store(list.display()))
    }

    fn put(&self, id: &str, facts: &str) {
        let text = format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"app1","stacktype":"lad1","deployment":"fed1"{facts}}}}}"#
        );
        fs::write(self.0.path("list").join(format!("{id}.json")), text).unwrap();
    }

    fn render(&self, args: &[&str]) -> Outcome {
        let outcome = self.0.run(&[&["render", "haproxy"], args].concat());
        if outcome.code == Some(0) {
            haproxy::accepts(&outcome.stdout);
        }
        outcome
    }

    /// The server lines without ids, which have their own tests.
    fn servers(&self, args: &[&str]) -> Vec<String> {
        let outcome = self.render(args).code(0);
        let lines = outcome.stdout.lines().filter_map(|line| line.strip_prefix("    server "));
        lines
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                [&words[..2], &words[4..]].concat().join(" ")
            })
            .collect()
    }
}

const PLACE: &str = r#","ipv4":"10.0.0.1","port":"8080""#;

#[test]
fn a_state_is_a_servers_option() {
    let lb = Balancer::new();
    let place = |number: u8| format!(r#","ipv4":"10.0.0.{number}","port":"8080""#);
    for (number, state) in (1..).zip([
        "initdone",
        "done",
        "running",
        "draining",
        "drained",
        "wedged",
        "presetup",
        "setup",
        "decommissioned",
        "odd",
    ]) {
        lb.put(&format!("i-{state}"), &format!(r#"{},"state":"{state}""#, place(number)));
    }
    lb.put("i-none", &place(11));
    lb.put("i-empty", &format!(r#"{},"state":"""#, place(12)));
    assert_eq!(
        lb.servers(&[]),
        [
            "i-done 10.0.0.2:8080 check",
            "i-drained 10.0.0.5:8080 check disabled",
            "i-draining 10.0.0.4:8080 check weight 0",
            "i-empty 10.0.0.12:8080 check",
            "i-initdone 10.0.0.1:8080 check",
            "i-none 10.0.0.11:8080 check",
            "i-running 10.0.0.3:8080 check",
            "i-wedged 10.0.0.6:8080 check disabled",
        ]
    );
    let told = lb.render(&[]).stderr;
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("i-odd.json: has the unknown state `odd`, which is treated as absent"), "{told}");
    fs::write(lb.0.path("presence.toml"), "[states]\nodd = 'draining'\ndone = 'down'\n").unwrap();
    let servers = lb.servers(&[]);
    assert!(servers.contains(&"i-odd 10.0.0.10:8080 check weight 0".to_owned()));
    assert!(servers.contains(&"i-done 10.0.0.2:8080 check disabled".to_owned()));
    assert_eq!(lb.render(&[]).stderr, "");
}

#[test]
fn nodes_of_another_zone_are_backups() {
    let lb = Balancer::new();
    for (number, facts) in (1..).zip([
        r#","zone":"east""#,
        r#","zone":"west""#,
        "",
        r#","zone":"east","backup":"yes""#,
        r#","zone":"west","backup":"no""#,
        r#","zone":"west","backup":"yes""#,
    ]) {
        lb.put(&format!("i-{number}"), &format!(r#","ipv4":"10.0.0.{number}","port":"80"{facts}"#));
    }
    let backups = |args: &[&str]| -> Vec<bool> {
        lb.servers(args).iter().map(|server| server.ends_with(" backup")).collect()
    };
    assert_eq!(backups(&[]), [false, false, false, true, false, true]);
    let east = ["--set", "prefer_zone=east"];
    assert_eq!(backups(&east), [false, true, true, true, true, true]);
    assert_eq!(lb.render(&east).stdout.matches("option allbackups").count(), 1);
    assert!(!lb.render(&[]).stdout.contains("allbackups"));
}

#[test]
fn a_part_has_variables_of_its_own() {
    let lb = Balancer::new();
    lb.put("i-1", PLACE);
    let other = r#"{"filetype":"nodepresence","value":{"instance-id":"i-2","nodepart":"app2","stacktype":"lad1","deployment":"fed1","ipv4":"10.0.0.2","weight":"3"}}"#;
    fs::write(lb.0.path("list/i-2.json"), other).unwrap();
    let config = "[vars]\nbalance = 'first'\napp_port = 1\n[vars.app2]\nbalance = 'roundrobin'\napp_port = 8082\n\
                  app_weight = 9\ncheck = 'tcp'\nfrontend_port = 8443\n";
    fs::write(lb.0.path("presence.toml"), config).unwrap();
    let text = lb.render(&[]).code(0).stdout;
    let section =
        |name: &str| text.split("\n\n").find(|section| section.starts_with(name)).unwrap().to_owned();
    let (one, two) = (section("backend app1\n"), section("backend app2\n"));
    assert!(one.contains("balance first") && one.contains("httpchk") && one.ends_with(" check"), "{one}");
    assert!(two.contains("balance roundrobin") && !two.contains("httpchk"), "{two}");
    assert!(two.contains(" 10.0.0.2:8082 ") && two.trim_end().ends_with(" check weight 3"), "{two}");
    assert!(section("frontend app2:in\n").contains("bind *:8443"), "{text}");
    let slow = lb.0.command(&["render", "haproxy"]).env("PRESENCE_FAST_PATH", "off").output().unwrap();
    assert_eq!(String::from_utf8(slow.stdout).unwrap(), text);
}

#[test]
fn a_weight_and_a_backup_are_options_of_the_server() {
    let lb = Balancer::new();
    for (number, facts) in (1..).zip([
        r#","weight":"10""#,
        r#","weight":256,"backup":"yes""#,
        r#","weight":0"#,
        r#","weight":"5","state":"draining""#,
        r#","backup":true,"state":"wedged""#,
        r#","weight":"","backup":"no""#,
        "",
    ]) {
        lb.put(&format!("i-{number}"), &format!(r#","ipv4":"10.0.0.{number}","port":"80"{facts}"#));
    }
    let mut expect = [
        "i-1 10.0.0.1:80 check weight 10",
        "i-2 10.0.0.2:80 check weight 256 backup",
        "i-3 10.0.0.3:80 check weight 0",
        "i-4 10.0.0.4:80 check weight 0",
        "i-5 10.0.0.5:80 check backup disabled",
        "i-6 10.0.0.6:80 check",
        "i-7 10.0.0.7:80 check",
    ];
    assert_eq!(lb.servers(&[]), expect);
    expect[4] = "i-5 10.0.0.5:80 check weight 100 backup disabled";
    expect[5] = "i-6 10.0.0.6:80 check weight 100";
    expect[6] = "i-7 10.0.0.7:80 check weight 100";
    assert_eq!(lb.servers(&["--set", "app_weight=100"]), expect);
    let outcome = lb.0.run(&["render", "haproxy", "--set", "app_weight=many"]);
    outcome.code(1).says("`@root.vars.app_weight` is unusable: it is not a whole number from 0 to 256");
}

/// Other files list the active nodes; lists of machines have all that exist.
#[test]
fn other_files_leave_out_who_may_not_be_used() {
    let lb = Balancer::new();
    for (number, state) in ["done", "draining", "drained", "wedged", "setup"].into_iter().enumerate() {
        lb.put(
            &format!("i-{number}"),
            &format!(r#","ipv4":"10.0.0.{number}","port":"8080","state":"{state}""#),
        );
    }
    let nginx = lb.0.good(&["render", "nginx-upstream"]);
    assert!(nginx.contains("upstream app1 {\n    server 10.0.0.0:8080;\n}\n"), "{nginx}");
    for name in ["hosts", "prometheus-sd", "nagios"] {
        let text = lb.0.good(&["render", name]);
        let present: Vec<bool> = (0..5).map(|number| text.contains(&format!("10.0.0.{number}"))).collect();
        assert_eq!(present, [true, true, true, true, false], "{name}");
    }
}

#[test]
fn a_node_that_cannot_be_reached_is_left_out_and_reported() {
    let lb = Balancer::new();
    lb.put("i-good", PLACE);
    for (id, facts, expect) in [
        ("i-1", r#","port":"8080""#, "has no `address`, `ipv4` or `ipv6`"),
        (
            "i-2",
            r#","ipv4":"10.0.0.256","port":"8080""#,
            "has an unusable `ipv4`: `10.0.0.256` is not an IP address",
        ),
        (
            "i-3",
            r#","address":"0.0.0.0","ipv4":"10.0.0.1","port":"8080""#,
            "unusable `address`: `0.0.0.0` is an unspecified address",
        ),
        ("i-4", r#","ipv4":"10.0.0.1""#, "has no `port`"),
        ("i-5", r#","ipv4":"10.0.0.1","port":"http""#, "has an unusable `port`: `http` is not a port"),
        ("i-6", r#","ipv4":"10.0.0.1","port":0"#, "has an unusable `port`: the port 0 is out of range"),
        ("i-7", r#","ipv4":"10.0.0.2","port":"8080","check-port":"x""#, "`check-port` is unusable"),
        (
            "i-8",
            r#","ipv4":"10.0.0.2","port":"8080","weight":"257""#,
            "`weight` is unusable: it is not a whole number",
        ),
        (
            "i-9",
            r#","ipv4":"10.0.0.2","port":"8080","backup":"maybe""#,
            "`backup` is unusable: it is neither",
        ),
    ] {
        lb.put(id, facts);
        let outcome =
            lb.render(&[]).code(0).says(&format!("{id}.json: left out node {id} (app1): ")).says(expect);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert_eq!(lb.servers(&[]), ["i-good 10.0.0.1:8080 check"], "{id}");
        fs::remove_file(lb.0.path("list").join(format!("{id}.json"))).unwrap();
    }
}

/// As the shell script wrote them: no deployment, state or port, and an address only in some.
#[test]
fn the_records_of_2015_work() {
    let lb = Balancer::new();
    fs::remove_file(lb.0.path("nodeinfo/deployment.txt")).unwrap();
    let record = |id: &str, part: &str, more: &str| {
        format!(
            "{{\n    \"filetype\": \"nodepresence\",\n    \"value\": {{\n        \"a\": \"a\",\n        \
             \"initgitrepo\": \"repo1_petulant-cyril\",\n        \"instance-id\": \"{id}\",{more}\n        \
             \"nodepart\": \"{part}\",\n        \"stacktype\": \"lad1\",\n        \
             \"statelog\": \"setup:20151008-174646;initdone:20151008-174830;\",\n        \
             \"statetss\": \"20151008-174830\"\n    }}\n}}\n"
        )
    };
    let put = |id: &str, part: &str, more: &str| {
        fs::write(lb.0.path("list").join(format!("{id}.json")), record(id, part, more)).unwrap();
    };
    put("i-c44e9b33", "app1", "\n        \"ipv4\": \"10.0.0.7\",");
    put("i-c44e9b34", "app1", "");
    put("i-d10e9b35", "db1", "\n        \"ipv4\": \"10.0.0.9\",");
    assert_eq!(lb.servers(&["--set", "app_port=8080"]), ["i-c44e9b33 10.0.0.7:8080 check"]);
    lb.render(&["--set", "app_port=8080"]).code(0).says("left out node i-c44e9b34 (app1): has no `address`");
    lb.render(&["--force"]).code(0).says("left out node i-c44e9b33 (app1): has no `port`");
    let database = |args: &[&str]| lb.0.run(&[&["render", "database.yml", "--part", "app1"], args].concat());
    let yaml = database(&["--set", "db_port=5432"]).code(0).stdout;
    assert!(yaml.contains("  host: \"10.0.0.9\"\n  port: 5432\n"), "{yaml}");
    database(&["-o", "database.yml"])
        .code(1)
        .says("left out node i-d10e9b35 (db1): has no `port`")
        .says("no active node of the part `db*`");
}
