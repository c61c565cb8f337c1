//! A file whose list loses nodes: each question is judged separately.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, SystemTime};

use crate::fixture::machine::{Machine, Outcome, bare_repository, git};

/// A balancer with a `[[render]]` table, and a list in a directory.
struct Balancer(Machine);

impl Balancer {
    fn new(more: &str) -> Balancer {
        let machine = Machine::new("lb1");
        let list = machine.path("list");
        let machine = machine.store(list.display());
        fs::create_dir_all(machine.path("list")).unwrap();
        fs::create_dir_all(machine.path("templates/common")).unwrap();
        fs::write(
            machine.path("templates/common/apps.hbs"),
            "{{vars.title}}\n{{#parts part=\"app*\"}}{{part}}:{{#nodes part=part}} {{instance-id}}{{/nodes}}\n{{/parts}}",
        )
        .unwrap();
        let (out, templates) = (machine.path("out"), machine.path("templates"));
        let table = format!(
            "[[render]]\nname = 'apps'\noutput = '{}'\ntemplate-dir = '{}'\nvars = {{ title = 'table' }}\n{more}",
            out.display(),
            templates.display()
        );
        fs::write(machine.path("presence.toml"), table).unwrap();
        Balancer(machine)
    }

    fn put(&self, id: &str, part: &str, more: &str) {
        let text = format!(
            r#"{{"filetype":"nodepresence","value":{{"instance-id":"{id}","nodepart":"{part}","stacktype":"lad1","deployment":"fed1","address":"10.1.0.1","port":"{}"{more}}}}}"#,
            port(id)
        );
        fs::write(self.0.path(&format!("list/{id}.json")), text).unwrap();
    }

    fn lose(&self, ids: &[&str]) {
        for id in ids {
            fs::remove_file(self.0.path(&format!("list/{id}.json"))).unwrap();
        }
    }

    /// Runs a beat, and returns the file's content after it.
    fn beat(&self) -> (Outcome, String) {
        let outcome = self.0.run(&["beat"]);
        (outcome, fs::read_to_string(self.0.path("out")).unwrap_or_default())
    }

    #[track_caller]
    fn good(&self, expect: &str) {
        let (outcome, text) = self.beat();
        assert_eq!(text, expect, "{outcome}");
        outcome.code(0);
    }
}

/// A port for each node.
fn port(id: &str) -> u32 {
    id.bytes().fold(1, |port, byte| (port * 31 + u32::from(byte)) % 60_000 + 1)
}

const ALL: &str = "table\napp1: a1 a2\napp7: b1\napp8: c1 c2\n";

fn fleet(more: &str) -> Balancer {
    let balancer = Balancer::new(more);
    for (id, part) in [("a1", "app1"), ("a2", "app1"), ("b1", "app7"), ("c1", "app8"), ("c2", "app8")] {
        balancer.put(id, part, "");
    }
    balancer.good(ALL);
    balancer
}

#[test]
fn a_part_whose_nodes_left_in_order_is_no_loss() {
    let balancer = fleet("");
    balancer.0.run(&["withdraw", "b1"]).code(0);
    balancer.put("a3", "app1", "");
    balancer.good("table\napp1: a1 a2 a3\napp8: c1 c2\n");
    balancer.put("c1", "app1", "");
    balancer.put("c2", "app8", r#","state":"decommissioned""#);
    balancer.good("table\napp1: a1 a2 a3 c1\n");
}

#[test]
fn a_question_that_loses_too_much_keeps_its_servers_and_the_others_go_on() {
    let balancer = fleet("");
    balancer.lose(&["c1", "c2"]);
    balancer.put("a3", "app1", "");
    let held = "table\napp1: a1 a2 a3\napp7: b1\napp8: c1 c2\n";
    for _ in 0..2 {
        let (outcome, text) = balancer.beat();
        assert_eq!(text, held, "{outcome}");
        let outcome = outcome.code(3).says("keeps 2 nodes").says("`app*/app8` has 0 active nodes");
        outcome.says("run `presence accept ");
    }
    // A manual render writes nothing, and the hint does not lead to a different file.
    let by_hand =
        balancer.0.run(&["render", "apps", "--template-dir", "templates", "--set", "title=x", "-o", "out"]);
    by_hand.code(3).says("run `presence accept ").says("is left as it is");
    // One returns, and the present list becomes the new reference.
    balancer.put("c1", "app8", "");
    let (outcome, text) = balancer.beat();
    assert_eq!(text, "table\napp1: a1 a2 a3\napp7: b1\napp8: c1\n", "{outcome}");
    balancer.lose(&["a1", "a2", "a3"]);
    let (outcome, text) = balancer.beat();
    assert_eq!(text, "table\napp1: a1 a2 a3\napp7: b1\napp8: c1\n", "{outcome}");
    balancer.0.run(&["accept", "out"]).code(0);
    balancer.good("table\napp7: b1\napp8: c1\n");
}

#[test]
fn by_hand_a_question_keeps_its_servers_too_and_the_others_go_on() {
    let balancer = fleet("");
    fs::write(balancer.0.path("presence.toml"), "").unwrap();
    let render = |options: &[&str]| {
        let words = ["render", "apps", "--template-dir", "templates", "--set", "title=table", "-o", "hand"];
        let outcome = balancer.0.run(&[&words[..], options].concat());
        (outcome, fs::read_to_string(balancer.0.path("hand")).unwrap_or_default())
    };
    assert_eq!(render(&[]).1, ALL);
    balancer.lose(&["c1", "c2"]);
    balancer.put("a3", "app1", "");
    for options in [&["--dry-run"][..], &[], &[]] {
        let (outcome, text) = render(options);
        let outcome =
            outcome.code(3).says("`app*/app8` has 0 active nodes").says("keeps 2 nodes").says("--force");
        let held = "table\napp1: a1 a2 a3\napp7: b1\napp8: c1 c2\n";
        assert_eq!(text, if options.is_empty() { held } else { ALL }, "{outcome}");
    }
    assert_eq!(render(&["--force"]).1, "table\napp1: a1 a2 a3\napp7: b1\n");
    render(&[]).0.code(0);
}

#[test]
fn a_quiet_beat_tells_once_of_a_file_that_is_held() {
    let balancer = fleet("");
    let quiet = || balancer.0.run(&["beat", "--quiet"]);
    balancer.lose(&["c1", "c2"]);
    quiet().code(3).says("keeps 2 nodes").says("presence.toml`");
    for _ in 0..2 {
        assert_eq!(quiet().code(3).stderr, "");
    }
    // Another loss is news, and so is the same loss after a recovery.
    balancer.lose(&["a1", "a2"]);
    quiet().code(3).says("keeps 4 nodes");
    for (id, part) in [("a1", "app1"), ("a2", "app1"), ("c1", "app8"), ("c2", "app8")] {
        balancer.put(id, part, "");
    }
    quiet().code(0);
    balancer.lose(&["c1", "c2"]);
    quiet().code(3).says("keeps 2 nodes");
    // A run without `--quiet` always reports it.
    balancer.0.run(&["beat"]).code(3).says("keeps 2 nodes");
}

#[test]
fn a_list_is_accepted_when_the_file_has_it() {
    let balancer = fleet("");
    let accepted = "accepted the present list";
    balancer.lose(&["c1", "c2"]);
    let table = fs::read_to_string(balancer.0.path("presence.toml")).unwrap();
    fs::write(balancer.0.path("presence.toml"), format!("{table}check = 'false {{}}'\n")).unwrap();
    let refused = balancer.0.run(&["accept", "out"]).code(4);
    assert!(!refused.stderr.contains(accepted), "{refused}");
    fs::write(balancer.0.path("presence.toml"), format!("{table}reload = 'false'\n")).unwrap();
    balancer.0.run(&["accept", "out"]).code(5).says(accepted);
}

#[test]
fn an_empty_list_changes_nothing() {
    let balancer = fleet("");
    balancer.lose(&["a1", "a2", "b1", "c1", "c2"]);
    let (outcome, text) = balancer.beat();
    assert_eq!(text, ALL, "{outcome}");
}

#[test]
fn nodes_that_came_and_went_are_no_measure() {
    let balancer = fleet("");
    let fakes: Vec<String> = (10..30).map(|number| format!("x{number}")).collect();
    for id in &fakes {
        balancer.put(id, "app1", "");
    }
    balancer.good(&ALL.replace("a2", &format!("a2 {}", fakes.join(" "))));
    balancer.lose(&fakes.iter().map(String::as_str).collect::<Vec<_>>());
    balancer.good(ALL);
}

#[test]
fn many_that_drain_at_once_are_kept_and_a_number_that_was_asked_for_holds() {
    let balancer = fleet("min-nodes = 1\n");
    balancer.put("c1", "app8", r#","state":"draining""#);
    balancer.put("c2", "app8", r#","state":"wedged""#);
    balancer.put("a1", "app1", r#","state":"draining""#);
    let (outcome, text) = balancer.beat();
    assert_eq!(text, ALL, "{outcome}");
    outcome.code(3).says("`app*/app8` has 0 active nodes");
}

/// Publishes and withdraws nodes of a store, and runs beats of a balancer that serves their parts.
struct Withdrawals {
    balancer: Machine,
    nodes: Vec<Machine>,
}

impl Withdrawals {
    fn new(url: &str) -> Withdrawals {
        let balancer = Machine::new("lb1").store(url);
        fs::create_dir_all(balancer.path("templates/common")).unwrap();
        let line = "{{#nodes part=\"app*\"}}{{instance-id}} {{/nodes}}\n";
        fs::write(balancer.path("templates/common/apps.hbs"), line).unwrap();
        let (out, templates) = (balancer.path("out"), balancer.path("templates"));
        let table = format!(
            "[[render]]\nname = 'apps'\noutput = '{}'\ntemplate-dir = '{}'\n",
            out.display(),
            templates.display()
        );
        fs::write(balancer.path("presence.toml"), table).unwrap();
        let node = |number: u32| {
            let node = Machine::new("app1").with("instance-id", format!("n{number}")).store(url);
            fs::write(node.path("presence.toml"), "timeouts.recheck = 0\n").unwrap();
            node.with("port", 9000 + number)
        };
        let fleet = Withdrawals { balancer, nodes: (1..=4).map(node).collect() };
        fleet.nodes.iter().for_each(|node| drop(node.good(&["publish"])));
        fleet.beat(0, "n1 n2 n3 n4 \n");
        fleet
    }

    #[track_caller]
    fn beat(&self, code: i32, expect: &str) {
        let outcome = self.balancer.run(&["beat"]);
        assert_eq!(fs::read_to_string(self.balancer.path("out")).unwrap(), expect, "{outcome}");
        outcome.code(code);
    }
}

fn in_each_kind_of_store(test: impl Fn(&Withdrawals, &dyn Fn(&[&str]))) {
    let place = Machine::new("lb1");
    let list = place.path("list");
    fs::create_dir(&list).unwrap();
    let in_directory = |ids: &[&str]| {
        ids.iter().for_each(|id| fs::remove_file(list.join(format!("{id}.json"))).unwrap());
    };
    test(&Withdrawals::new(list.to_str().unwrap()), &in_directory);
    let remove_from = |repository: &std::path::Path, ids: &[&str]| {
        let clone = tempfile::tempdir().unwrap();
        git(clone.path(), &["clone", "--quiet", repository.to_str().unwrap(), "."]);
        let files: Vec<String> = ids.iter().map(|id| format!("it/presence/all/{id}.json")).collect();
        let words = ["rm", "--quiet"].into_iter().chain(files.iter().map(String::as_str));
        git(clone.path(), &words.collect::<Vec<_>>());
        git(clone.path(), &["commit", "--quiet", "--message", "tidy up"]);
        git(clone.path(), &["push", "--quiet"]);
    };
    let repository = place.path("list.git");
    bare_repository(&repository);
    test(&Withdrawals::new(repository.to_str().unwrap()), &|ids| remove_from(&repository, ids));
    #[cfg(all(feature = "https", feature = "ssh"))]
    {
        let server = crate::fixture::GitDaemon::start();
        server.repository("list.git");
        test(&Withdrawals::new(&server.url("list.git")), &|ids| remove_from(&server.path("list.git"), ids));
    }
}

/// In a sticky folder, a departure note of another user must not turn a later accident into a withdrawal.
#[test]
fn a_note_of_another_user_counts_for_a_while() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Machine::new("lb1");
    let list = place.path("list");
    fs::create_dir(&list).unwrap();
    fs::set_permissions(&list, fs::Permissions::from_mode(0o1777)).unwrap();
    let fleet = Withdrawals::new(list.to_str().unwrap());
    let left = list.join(".left");
    fs::create_dir(&left).unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o1777)).unwrap();
    let notes = || ["n1", "n2", "n3"].map(|id| left.join(id));
    for note in notes() {
        fs::write(&note, "").unwrap();
        chown(&note, Some(65_534), Some(65_534)).unwrap();
        let old = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
        fs::File::options().write(true).open(&note).unwrap().set_modified(old).unwrap();
    }
    for id in ["n1", "n2", "n3"] {
        fs::remove_file(list.join(format!("{id}.json"))).unwrap();
    }
    fleet.beat(3, "n1 n2 n3 n4 \n");
    for note in notes() {
        chown(&note, Some(0), Some(0)).unwrap();
    }
    fleet.beat(0, "n4 \n");
}

#[test]
fn nodes_that_were_withdrawn_between_two_beats_are_no_loss_and_lost_files_are() {
    in_each_kind_of_store(|fleet, lose| {
        for node in &fleet.nodes[..3] {
            node.run(&["withdraw"]).code(0);
        }
        fleet.beat(0, "n4 \n");
        for node in &fleet.nodes[..3] {
            node.run(&["publish"]).code(0);
        }
        fleet.beat(0, "n1 n2 n3 n4 \n");
        // An accepted node is not new.
        fleet.balancer.run(&["accept", "out"]).code(0);
        // Their earlier departure means nothing now.
        lose(&["n1", "n2", "n3"]);
        fleet.beat(3, "n1 n2 n3 n4 \n");
        for node in &fleet.nodes[..3] {
            node.run(&["publish", "--anyway"]).code(0);
        }
        fleet.beat(0, "n1 n2 n3 n4 \n");
    });
}
