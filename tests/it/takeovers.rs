//! No record that anyone on the list may write takes anything away from other nodes: no database, name, port
//! or server.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use crate::fixture::machine::{Machine, Outcome};

/// A balancer, and a list in a directory.
struct List(Machine);

impl List {
    fn new() -> List {
        let machine = Machine::new("lb1");
        fs::create_dir(machine.path("list")).unwrap();
        let list = machine.path("list");
        List(machine.store(list.display()))
    }

    /// Writes a record; `more` are facts after the usual ones, each preceded by a comma.
    fn put(&self, id: &str, part: &str, address: &str, more: &str) {
        let text = format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"{part}","stacktype":"lad1","deployment":"fed1","address":"{address}","port":"8080"{more}}}}}"#
        );
        fs::write(self.0.path(&format!("list/{id}.json")), text).unwrap();
    }

    fn lose(&self, id: &str) {
        fs::remove_file(self.0.path(&format!("list/{id}.json"))).unwrap();
    }

    fn render(&self, words: &[&str]) -> Outcome {
        self.0.run(&[&["render"], words].concat())
    }

    /// The lines that contain a text.
    fn lines(&self, words: &[&str], with: &str) -> Vec<String> {
        let outcome = self.render(words);
        outcome.stdout.lines().filter(|line| line.contains(with)).map(|line| line.trim().to_owned()).collect()
    }
}

#[test]
fn a_newcomer_does_not_become_the_database() {
    let list = List::new();
    list.put("db-b", "db2", "10.0.0.20", "");
    let host = |template: &str, words: &[&str]| list.lines(&[&[template], words].concat(), "10.").join(" ");
    for template in ["database.yml", "database.env", "database.properties", "pgbouncer.ini"] {
        assert!(host(template, &[]).contains("10.0.0.20"), "{template}");
    }
    // A lower instance-id, a part that sorts first, and a part without a number.
    list.put("a", "db2", "10.6.6.1", "");
    list.put("db-a", "db1", "10.6.6.2", "");
    list.put("c", "db", "10.6.6.3", "");
    for template in ["database.yml", "database.env", "database.properties", "pgbouncer.ini"] {
        for _ in 0..2 {
            assert!(host(template, &[]).contains("10.0.0.20"), "{template}");
        }
    }
    // If that node is gone, the file uses another one, and stays with it.
    list.put("db-b", "db2", "10.0.0.20", r#","state":"drained""#);
    let next = host("database.yml", &[]);
    assert!(next.contains("10.6.6.3"), "{next}");
    list.put("db-b", "db2", "10.0.0.20", "");
    assert_eq!(host("database.yml", &[]), next);
    // The operator's variable has precedence.
    assert!(host("database.yml", &["--set", "db_parts=db2", "--force"]).contains("10.6.6.1"));
}

#[test]
fn accepting_the_list_chooses_anew() {
    let list = List::new();
    let out = list.0.path("database.yml");
    let table = format!("[[render]]\nname = 'database.yml'\noutput = '{}'\n", out.display());
    fs::write(list.0.path("presence.toml"), table).unwrap();
    let beat = |words: &[&str]| {
        list.0.run(words).code(0);
        fs::read_to_string(&out).unwrap()
    };
    list.put("db-b", "db2", "10.0.0.20", "");
    assert!(beat(&["beat"]).contains("10.0.0.20"));
    list.put("db-a", "db1", "10.0.0.10", "");
    assert!(beat(&["beat"]).contains("10.0.0.20"));
    let doctor = || list.0.run(&["doctor"]).stdout;
    assert!(doctor().contains("keeps `db-b` as the first node of"), "{}", doctor());
    assert!(beat(&["accept", out.to_str().unwrap()]).contains("10.0.0.10"));
    assert!(!doctor().contains("as the first node of"), "{}", doctor());
    assert!(beat(&["beat"]).contains("10.0.0.10"));
}

#[test]
fn a_name_of_the_hosts_file_stays_with_who_had_it_first() {
    let list = List::new();
    list.put("i-app1", "app1", "10.0.0.2", r#","hostname":"web1""#);
    list.put("i-app2", "app1", "10.0.0.3", r#","hostname":"web2""#);
    let before = list.lines(&["hosts"], "web");
    assert_eq!(before, ["10.0.0.2 web1 i-app1", "10.0.0.3 web2 i-app2"]);
    // As a host name, as an instance-id, and in another case.
    list.put("evil1", "app1", "10.6.6.1", r#","hostname":"web1""#);
    list.put("web2", "app1", "10.6.6.2", "");
    list.put("I-APP1", "app1", "10.6.6.3", "");
    for _ in 0..2 {
        let outcome = list.render(&["hosts"]).code(0).says("is a name that another node already had");
        let named: Vec<&str> = outcome.stdout.lines().filter(|line| line.contains("web")).collect();
        assert_eq!(named, before, "{outcome}");
        assert!(
            outcome.stdout.contains("10.6.6.1 evil1\n") && !outcome.stdout.contains("I-APP1"),
            "{outcome}"
        );
    }
    // The name is free when its holder is gone.
    list.lose("i-app1");
    assert_eq!(list.lines(&["hosts", "--force"], "web1"), ["10.6.6.1 web1 evil1"]);
}

#[test]
fn names_that_programs_look_up_by_themselves_are_not_listed() {
    let list = List::new();
    let reserved = ["puppet", "chef", "wpad", "metadata", "localhost4", "ip6-localnet", "Puppet.example.net"];
    for (at, name) in reserved.iter().enumerate() {
        list.put(&format!("e{at}"), "app1", &format!("10.6.6.{at}"), &format!(r#","hostname":"{name}""#));
    }
    list.put("wpad", "app1", "10.6.6.99", "");
    let words = ["hosts", "--set", "hosts_domain=example.net"];
    let outcome = list.render(&words).code(0).says("is a name that programs look up on their own");
    for (at, name) in reserved.iter().enumerate() {
        assert!(outcome.stdout.contains(&format!("10.6.6.{at} e{at}\n")), "{name}: {outcome}");
    }
    assert!(!outcome.stdout.contains("10.6.6.99"), "{outcome}");
}

#[test]
fn many_records_of_one_address_are_one_vote() {
    let list = List::new();
    for at in 0..9 {
        list.put(
            &format!("e{at}"),
            "app1",
            "10.6.6.6",
            &format!(r#","port":"{}","check-path":"/evil""#, 81 + at),
        );
    }
    list.put("i-1", "app1", "10.0.0.2", r#","check-path":"/healthz""#);
    list.put("i-2", "app1", "10.0.0.3", r#","check-path":"/healthz""#);
    let asked = list.lines(&["haproxy"], "http-check send");
    assert!(asked.len() == 1 && asked[0].contains("/healthz"), "{asked:?}");
}

#[test]
fn no_server_and_no_backend_gets_another_id_because_of_a_newcomer() {
    let list = List::new();
    list.put("i-app1", "app1", "10.0.0.11", "");
    let id = |id: &str| list.lines(&["haproxy"], &format!("server {id} ")).concat();
    let before = id("i-app1");
    assert!(before.contains(" id "), "{before}");
    // Its hash equals that of `i-app1`, and it sorts before it.
    list.put("Aj431qcea", "app1", "10.6.6.6", "");
    let newcomer = id("Aj431qcea");
    for _ in 0..3 {
        assert_eq!((id("i-app1"), id("Aj431qcea")), (before.clone(), newcomer.clone()));
    }
    list.lose("Aj431qcea");
    assert_eq!(id("i-app1"), before);
}

#[test]
fn a_port_stays_with_the_part_that_listens_there_and_few_are_opened_for_others() {
    let list = List::new();
    list.put("i-1", "app1", "10.0.0.2", "");
    let binds = |words: &[&str]| list.lines(&[&["haproxy"], words].concat(), "bind ");
    assert_eq!(binds(&[]), ["bind *:80"]);
    // A part with the same port and more nodes.
    for at in 0..5 {
        list.put(&format!("e{at}"), "app", &format!("10.6.6.{at}"), "");
    }
    for at in [11, 33, 364, 9_999] {
        list.put(&format!("f{at}"), &format!("app{at}"), "10.6.7.1", "");
    }
    for _ in 0..2 {
        let outcome = list.render(&["haproxy"]).code(0).says("part app gets no frontend: app1 uses port 80");
        let outcome = outcome.says("part app364 gets no frontend: at most 10 parts");
        assert!(outcome.stdout.contains("frontend app1:in\n    bind *:80\n"), "{outcome}");
        assert_eq!(outcome.stdout.matches("bind ").count(), 1, "{outcome}");
        assert!(outcome.stdout.contains("backend app364\n"), "a backend that nobody reaches does no harm");
    }
    // The operator's variable.
    assert_eq!(binds(&["--set", "frontend_port_app33=8033"]).len(), 2);
    assert_eq!(binds(&["--set", "max_frontends=11"]).len(), 2);
    // A port that the config uses for something else.
    list.put("i-2", "app2", "10.0.0.3", "");
    let taken = ["haproxy", "--set", "stats_bind=127.0.0.1:81"];
    list.render(&taken).code(0).says("part app2 gets no frontend: the variable `stats_bind` uses port 81");
}

/// Addresses that no record may state, each with the reason.
const FORBIDDEN: [(&str, &str); 11] = [
    ("127.0.0.1", "a loopback address"),
    ("169.254.169.254", "a link-local address"),
    ("::1", "a loopback address"),
    ("::ffff:127.0.0.1", "a loopback address"),
    ("::127.0.0.1", "a loopback address"),
    ("fe80::1", "a link-local address"),
    ("64:ff9b::7f00:1", "a loopback address"),
    ("240.0.0.1", "a reserved address"),
    ("100.100.100.200", "a cloud's metadata service"),
    ("10.0.0.1", "this machine's own address"),
    ("64:ff9b::a00:1", "this machine's own address"),
];

#[test]
fn records_state_only_addresses_that_other_machines_can_reach() {
    let list = List::new();
    list.put("i-good", "app1", "10.0.0.2", "");
    for (at, (address, _)) in FORBIDDEN.iter().enumerate() {
        list.put(&format!("e{at}"), &format!("app{}", at + 2), address, "");
    }
    // A node's own record may state its own address.
    list.put("i-lb1", "app1", "10.0.0.1", "");
    for template in ["haproxy", "hosts", "nginx-upstream", "nagios", "prometheus-sd"] {
        let outcome = list.render(&[template, "--addresses", "", "--set", "max_frontends=99"]).code(0);
        for (at, (address, reason)) in FORBIDDEN.iter().enumerate() {
            assert!(!outcome.stdout.contains(&format!("e{at} ")), "{template} {address}\n{outcome}");
            let told = outcome.stderr.lines().filter(|line| line.contains(&format!("e{at}.json")));
            let told: String = told.collect();
            assert!(
                told.contains(reason) || outcome.stderr.contains("more:"),
                "{template} {address}: {told}"
            );
        }
        assert!(outcome.stdout.contains("10.0.0.2") && outcome.stdout.contains("10.0.0.1"), "{outcome}");
    }
    // Networks that the operator names by option, environment and file.
    let servers = |words: &[&str]| {
        let lines = list.lines(&[&["haproxy"], words].concat(), "server ");
        lines.iter().filter(|line| line.starts_with("server ")).count()
    };
    assert_eq!(servers(&["--addresses", "10.0.0.2,127.0.0.0/8"]), 3);
    let mut command = list.0.command(&["render", "haproxy"]);
    let output = command.env("PRESENCE_ADDRESSES", "127.0.0.0/8").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("server e0 ").count(), 1);
    fs::write(list.0.path("presence.toml"), "addresses = ['10.0.0.0/8', '10.0.0.1']\n").unwrap();
    assert_eq!(servers(&["--addresses", ""]), 3);
    list.0.run(&["list", "--addresses", "10.0.0.0/33"]).code(2).says("`10.0.0.0/33` is not a network");
    fs::write(list.0.path("presence.toml"), "addresses = ['x']\n").unwrap();
    list.0.run(&["list", "--addresses", ""]).code(2).says("`x` is not a network");
}

#[test]
fn what_may_not_be_stated_is_not_asked_either_and_its_own_node_is_told() {
    let list = List::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let port = format!(r#","port":"{port}""#);
    list.put("e1", "app1", "127.0.0.1", &port);
    list.put("e2", "app1", "::ffff:127.0.0.1", &port);
    let default = ["--addresses", ""];
    let checked = list.0.run(&[&["check"], &default[..]].concat()).code(1);
    assert!(checked.stdout.contains("a loopback address"), "{checked}");
    list.render(&[&["haproxy", "--awake"], &default[..]].concat()).code(0).says("a loopback address");
    assert!(listener.accept().is_err(), "somebody connected");
    list.0.run(&["check"]).code(0);
    assert!(listener.accept().is_ok_and(|(_, from)| from.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)));
    // The node that states it gets a warning.
    let app = Machine::new("app1").with("address", "127.0.0.1");
    for words in [&["publish"][..], &["beat"]] {
        let told = app.run(&[words, &default[..]].concat()).code(0);
        told.says("may not state its address: `127.0.0.1` is a loopback address").says("address.txt");
    }
    assert!(app.run(&[&["doctor"], &default[..]].concat()).stdout.contains("is a loopback address"));
}
