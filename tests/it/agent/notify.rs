//! Notifications to a small real HTTP server and to a command.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::daemon::Daemon;
use super::{QUICK, machine};
use crate::fixture::machine::{Machine, bare_repository};

/// Accepts or refuses JSON posts.
struct Hook {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Value>>>,
    refuses: Arc<AtomicBool>,
}

impl Hook {
    fn start() -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook =
            Hook { address: listener.local_addr().unwrap(), posts: Arc::default(), refuses: Arc::default() };
        let (posts, refuses) = (hook.posts.clone(), hook.refuses.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut length, mut line) = (0, String::new());
                while line != "\r\n" {
                    line.clear();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        break;
                    }
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() || body.is_empty() {
                    continue;
                }
                let status = if refuses.load(Ordering::SeqCst) { 500 } else { 200 };
                if status == 200 {
                    posts.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                // A killed agent does not wait for the answer.
                let _ =
                    write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        hook
    }

    /// How often each change was notified.
    fn told(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for post in self.posts.lock().unwrap().iter() {
            for event in post["events"].as_array().unwrap() {
                let line =
                    format!("{}: {}", event["node"].as_str().unwrap(), event["change"].as_str().unwrap());
                *told.entry(line).or_default() += 1;
            }
        }
        told
    }
}

fn told(lines: &[&str]) -> BTreeMap<String, usize> {
    lines.iter().map(|line| ((*line).to_owned(), 1)).collect()
}

#[test]
fn each_change_is_told_exactly_once() {
    let (hook, critical) = (Hook::start(), Hook::start());
    let lb = machine(
        "lb1",
        &format!(
            "{QUICK}[[notify]]\nurl = 'http://{}/x'\n[[notify]]\nurl = 'http://{}/'\non = 'critical'\n\
             [[notify]]\ncommand = 'cp {{}} message.json'\non = 'critical'\n",
            hook.address, critical.address
        ),
    );
    lb.good(&["state", "done"]);
    let agent = Daemon::start(&lb);
    agent.wait_for("the first look", || lb.path("state/notify/seen.json").exists());
    let app = Machine::new("app1").store(lb.path("list.git").display());
    app.good(&["state", "done"]);
    agent.wait_for("the news", || hook.told() == told(&["i-app1: joined"]));
    app.good(&["state", "wedged"]);
    let both = told(&["i-app1: joined", "i-app1: state done -> wedged"]);
    agent.wait_for("the next news", || hook.told() == both);
    agent.wait_for("the critical news", || critical.told() == told(&["i-app1: state done -> wedged"]));
    let message = || serde_json::from_slice::<Value>(&fs::read(lb.path("message.json")).ok()?).ok();
    agent.wait_for("the command", || message().is_some());
    let message = message().unwrap();
    assert_eq!(message["text"], "CRITICAL: app1 i-app1: state done -> wedged");

    // The hook is down: nothing is lost, not even over a restart, and the beats continue.
    hook.refuses.store(true, Ordering::SeqCst);
    app.good(&["state", "done"]);
    agent.wait_for("the refusal to be told", || agent.log().contains("cannot notify 127.0.0.1"));
    assert!(!agent.log().contains("/x"), "the path of a webhook is a secret:\n{}", agent.log());
    agent.end(Signal::TERM);
    app.good(&["state", "draining"]);
    hook.refuses.store(false, Ordering::SeqCst);
    let agent = Daemon::start(&lb);
    let mut all = both;
    all.insert("i-app1: state wedged -> done".into(), 1);
    all.insert("i-app1: state done -> draining".into(), 1);
    agent.wait_for("all news", || hook.told() == all);
    agent.end(Signal::TERM);
    // A manual beat has nothing to add.
    lb.run(&["beat"]).code(0);
    assert_eq!(hook.told(), all);
}

#[test]
fn nodes_of_a_store_that_cannot_be_seen_have_not_left() {
    let hook = Hook::start();
    let lb = machine("lb1", &format!("[[notify]]\nurl = 'http://{}/'\n", hook.address));
    let second = lb.path("second.git");
    bare_repository(&second);
    let lb = lb.store(second.display());
    Machine::new("app1").store(second.display()).good(&["publish"]);
    lb.run(&["beat"]).code(0);
    // Neither the store nor its last copy exists.
    fs::rename(&second, lb.path("away.git")).unwrap();
    fs::remove_dir_all(lb.path("state/stores")).unwrap();
    lb.run(&["beat"]).code(0);
    fs::rename(lb.path("away.git"), &second).unwrap();
    lb.run(&["beat"]).code(0);
    assert_eq!(hook.told(), told(&[]));
    Machine::new("app1").store(second.display()).good(&["withdraw"]);
    lb.run(&["beat"]).code(0);
    assert_eq!(hook.told(), told(&["i-app1: left"]));
}

#[test]
fn killed_at_any_time_nothing_is_lost_and_what_is_told_twice_has_the_same_id() {
    let hook = Hook::start();
    let lb = machine("lb1", &format!("{QUICK}[[notify]]\nurl = 'http://{}/'\n", hook.address));
    lb.run(&["beat"]).code(0);
    let app = Machine::new("app1").store(lb.path("list.git").display());
    app.good(&["publish"]);
    lb.run(&["beat"]).code(0);
    for round in 0..15 {
        app.fact("port", 9_000 + round);
        app.good(&["publish"]);
        let mut child = lb.command(&["beat"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(fastrand::u64(..200)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    lb.run(&["beat"]).code(0);
    let mut ids = BTreeMap::new();
    for post in hook.posts.lock().unwrap().iter() {
        let same =
            ids.entry(post["id"].as_str().unwrap().to_owned()).or_insert_with(|| post["events"].clone());
        assert_eq!(*same, post["events"], "one id, one message");
    }
    // Each change continues where the previous one ended: none was lost, though some were combined.
    let changes = ids.values().flat_map(|events| events.as_array().unwrap());
    let mut ports: BTreeMap<&str, &str> = changes
        .filter_map(|event| event["change"].as_str().unwrap().strip_prefix("port ")?.split_once(" -> "))
        .collect();
    let mut port = "8080";
    while let Some(next) = ports.remove(port) {
        port = next;
    }
    assert_eq!((port, ports.len()), ("9014", 0), "{:?}", hook.told());
}
