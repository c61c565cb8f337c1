//! What stands beside the facts in a record, such as a signature: this program cannot write it, and whatever
//! it does, the bytes of the record stay.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::fleet::Random;
use crate::fixture::machine::Machine;
use crate::fixture::{GitDaemon, Repository};

const FOLDER: &str = "it/presence/all";

/// A list that machines reach by different URLs.
struct List {
    daemon: GitDaemon,
    path: PathBuf,
    urls: Vec<String>,
}

impl List {
    /// An empty list in a directory, and one in a repository that is reached by path and by network.
    fn each() -> [List; 2] {
        let daemon = GitDaemon::start();
        let path = daemon.path("plain");
        fs::create_dir_all(path.join(FOLDER)).unwrap();
        let directory = List { urls: vec![path.display().to_string()], path, daemon };
        let daemon = GitDaemon::start();
        daemon.repository("list.git");
        let path = daemon.path("list.git");
        let urls = vec![format!("file://{}", path.display()), daemon.url("list.git")];
        [directory, List { urls, path, daemon }]
    }

    fn is_directory(&self) -> bool {
        self.urls.len() == 1
    }

    /// Writes a file of the list, as a later version of this program would.
    fn put(&self, file: &str, text: &str) {
        match self.is_directory() {
            true => fs::write(self.path.join(FOLDER).join(file), text).unwrap(),
            false => import(&self.path, "refs/heads/master", &format!("{FOLDER}/{file}"), text),
        }
    }

    /// The bytes of a file of the list.
    fn read(&self, file: &str) -> String {
        let path = format!("{FOLDER}/{file}");
        match self.is_directory() {
            true => fs::read_to_string(self.path.join(path)).unwrap(),
            false => Repository::at(&self.path).read(&path),
        }
    }
}

/// Commits one file on a ref.
pub(crate) fn import(repository: &Path, reference: &str, path: &str, text: &str) {
    let mut import = Command::new("git")
        .args(["-C", repository.to_str().unwrap(), "fast-import", "--quiet", "--force"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = repository.join(reference).exists();
    let from = if begun { format!("from {reference}^0\n") } else { String::new() };
    let head = format!("commit {reference}\ncommitter t <t@localhost> 1445000000 +0000\ndata 1\nx\n{from}");
    let file = format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len());
    import.stdin.take().unwrap().write_all((head + &file).as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
}

/// Leaves an update in the inbox, as a later version of this program would.
pub(crate) fn leave(repository: &Path, id: &str, text: &str) {
    let path = format!("{FOLDER}/{id}.json").replace('/', "%2F");
    import(repository, &format!("refs/presence/inbox/{id}/000634a1b2c3d4e5000000aa"), &path, text);
}

/// A record with these facts as a later version may write it: with fields beside the facts, in any order and
/// spelling.
fn signed(facts: &str, random: &mut Random) -> String {
    let mut fields = vec![("filetype", "\"nodepresence\"".to_owned()), ("value", facts.to_owned())];
    let serial = [random.next().to_string(), "-1".into(), "\"x\"".into()];
    fields.push(("serial", serial[random.below(6).saturating_sub(3)].clone()));
    let signature = format!("\"{}\\nü\"", "x".repeat(random.below(400)));
    fields.push(("signature", if random.below(6) == 0 { "7".into() } else { signature }));
    if random.below(2) == 0 {
        fields.push(("later", "{\"a\": [1.50, null]}".into()));
    }
    match random.below(2) {
        0 => fields.sort(),
        _ => fields.rotate_left(random.below(4)),
    }
    let space = " ".repeat(random.below(3));
    let fields: Vec<String> =
        fields.iter().map(|(key, value)| format!("{space}\"{key}\":{space}{value}")).collect();
    format!("{{\n{}}}{}", fields.join(",\n"), "\n".repeat(random.below(3)))
}

fn facts(id: &str, port: usize) -> String {
    format!(
        r#"{{"instance-id":"{id}","nodepart":"app2","stacktype":"lad1","deployment":"fed1","ipv4":"10.0.0.9","port":{port}}}"#
    )
}

/// Each node with what stands beside its facts, as `list` shows it.
fn seen(reader: &Machine, code: i32) -> Vec<(String, Value, Value)> {
    let list: Value =
        serde_json::from_str(&reader.run(&["list", "--format", "json"]).code(code).stdout).unwrap();
    let found = |node: &Value| {
        let id = node["instance-id"].as_str().unwrap().to_owned();
        (id, node["found"]["serial"].clone(), node["found"]["signature"].clone())
    };
    list["nodes"].as_array().unwrap().iter().map(found).filter(|(id, ..)| id.starts_with("s-")).collect()
}

#[test]
fn records_of_other_nodes_stay_byte_for_byte() {
    let mut random = Random(7);
    for list in List::each() {
        let record = |number: usize, random: &mut Random| {
            (format!("s-{number}"), signed(&facts(&format!("s-{number}"), number + 1), random))
        };
        let records: Vec<(String, String)> = (0..9).map(|number| record(number, &mut random)).collect();
        let waits = if list.is_directory() { 9 } else { 6 };
        for (number, (id, text)) in records.iter().enumerate() {
            match number < waits {
                true => list.put(&format!("{id}.json"), text),
                false => leave(&list.path, id, text),
            }
        }
        let expect: Vec<(String, Value, Value)> = records
            .iter()
            .map(|(id, text)| {
                let file: Value = serde_json::from_str(text).unwrap();
                let sound = |field: &str, is: fn(&Value) -> bool| Some(file[field].clone()).filter(is);
                let serial = sound("serial", Value::is_u64).unwrap_or_default();
                (id.clone(), serial, sound("signature", Value::is_string).unwrap_or_default())
            })
            .collect();
        for url in &list.urls {
            let (lb, db) = (Machine::new("lb1").store(url), Machine::new("db1").store(url));
            assert_eq!(seen(&lb, 0), expect, "{url}: as they came");
            for round in 0..3 {
                db.fact("round", round);
                db.run(&["publish"]).code(0);
                db.run(&["beat"]).code(0);
                lb.run(&["publish"]).code(0);
            }
            assert_eq!(seen(&lb, 0), expect, "{url}: after others published");
            lb.run(&["withdraw"]).code(0);
            db.run(&["withdraw"]).code(0);
            assert_eq!(seen(&lb, 0), expect, "{url}: after others withdrew");
        }
        let url = list.urls.last().unwrap();
        let publisher = Machine::new("db2").store(url);
        let waits = || match list.is_directory() {
            true => false,
            false => Repository::at(&list.path).git(["for-each-ref", "refs/presence/inbox"]).contains("/s-"),
        };
        for round in 0..100 {
            if !waits() {
                break;
            }
            publisher.fact("round", round);
            publisher.run(&["publish"]).code(0);
        }
        assert!(!waits());
        for (id, text) in &records {
            assert_eq!(list.read(&format!("{id}.json")), *text, "{url}");
        }
        // The last copy.
        let lb = Machine::new("lb1").store(url);
        assert_eq!(seen(&lb, 0), expect);
        fs::rename(&list.path, list.daemon.path("away")).unwrap();
        assert_eq!(seen(&lb, 3), expect, "{url}: from the last copy");
    }
}

#[test]
fn an_unchanged_record_keeps_its_signature_and_a_changed_one_loses_it() {
    let mut random = Random(3);
    for list in List::each() {
        for url in &list.urls {
            // Each publish is from a new machine, which remembers nothing.
            let app = || Machine::new("app1").store(url);
            app().good(&["publish"]);
            let own: Value = serde_json::from_str(&app().good(&["emit"])).unwrap();
            let text = signed(&own["value"].to_string(), &mut random);
            list.put("i-app1.json", &text);
            let again = app();
            for args in [&["publish"][..], &["publish"], &["beat"]] {
                again.run(args).code(0);
            }
            assert!(app().good(&["publish"]).ends_with(": i-app1: unchanged\n"), "{url}");
            assert_eq!(list.read("i-app1.json"), text, "{url}");
            let app = app().with("port", 8081);
            assert!(app.good(&["publish"]).contains("port 8080 -> 8081"), "{url}");
            assert_eq!(list.read("i-app1.json"), app.good(&["emit"]), "{url}");
            app.good(&["withdraw"]);
        }
    }
}

#[test]
fn a_signed_update_that_waits_is_not_replaced_by_one_with_the_same_facts() {
    let [_, list] = List::each();
    let app = Machine::new("app1").store(list.daemon.url("list.git"));
    let own: Value = serde_json::from_str(&app.good(&["emit"])).unwrap();
    let text = signed(&own["value"].to_string(), &mut Random(5));
    list.put("readme.txt", "");
    leave(&list.path, "i-app1", &text);
    for _ in 0..20 {
        assert!(app.good(&["publish"]).ends_with(": i-app1: unchanged\n"));
        if Repository::at(&list.path).files().len() > 1 {
            break;
        }
        fs::remove_dir_all(app.path("state")).unwrap();
    }
    assert_eq!(list.read("i-app1.json"), text);
}

#[test]
fn another_layout_keeps_the_signature() {
    let mut random = Random(11);
    for list in List::each() {
        for (number, url) in list.urls.iter().enumerate() {
            let name = format!("app{}", number + 1);
            let app = Machine::new(&name).store(url);
            let own: Value = serde_json::from_str(&app.good(&["emit"])).unwrap();
            let text = signed(&own["value"].to_string(), &mut random);
            list.put(&format!("i-{name}.json"), &text);
            let app = app.config("layout = \"{nodepart}/{instance-id}.json\"\n");
            assert!(app.good(&["publish"]).ends_with(": file moved, same facts\n"), "{url}");
            assert_eq!(list.read(&format!("{name}/i-{name}.json")), text, "{url}");
            assert!(app.good(&["publish"]).ends_with(": unchanged\n"), "{url}");
        }
    }
}

#[test]
fn show_prints_what_stands_beside_the_facts() {
    let [list, _] = List::each();
    list.put(
        "s-1.json",
        r#"{"value": {"instance-id": "s-1"}, "filetype": "nodepresence", "signature": "a", "serial": 7}"#,
    );
    list.put("s-2.json", r#"{"filetype": "nodepresence", "value": {"instance-id": "s-2"}, "signature": 1}"#);
    let reader = Machine::new("lb1").store(&list.urls[0]);
    let shown = reader.good(&["show", "s-1"]);
    let record = "\n{\n    \"filetype\": \"nodepresence\",\n    \"serial\": 7,\n    \"signature\": \"a\",\n    \"value\": {\n        \"instance-id\": \"s-1\"\n    }\n}\n";
    assert!(shown.ends_with(record), "{shown}");
    let json: Value = serde_json::from_str(&reader.good(&["show", "s-1", "--format", "json"])).unwrap();
    assert_eq!((&json["found"]["serial"], &json["found"]["signature"]), (&7.into(), &"a".into()));
    let listed = reader.run(&["list", "--format", "ids"]).code(0);
    assert_eq!(listed.stdout, "s-1\ns-2\n");
    listed.says("s-2.json: has a `signature` that is not text: presence ignores it");
}
