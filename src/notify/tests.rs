use super::*;
use crate::output::Command;
use crate::roster::Source;
use crate::store::Snapshot;

fn roster(nodes: &[(&str, &str)]) -> Roster {
    let file = |(id, state): &(&str, &str)| {
        let value = format!(r#"{{"instance-id":"{id}","nodepart":"app1","state":"{state}"}}"#);
        (format!("{id}.json"), format!(r#"{{"filetype":"nodepresence","value":{value}}}"#))
    };
    let files: Vec<_> = nodes.iter().map(file).collect();
    let snapshot = Snapshot::of(files.iter().map(|(path, text)| (path.as_str(), Ok(text.as_str()))));
    Roster::new(&[Source { store: "s", snapshot: &snapshot, stale: false }], &States::default())
}

#[test]
fn a_difference_becomes_events() {
    let before =
        Notified::first(&roster(&[("a", "done"), ("b", "done"), ("c", "drained"), ("d", "wedged")])).records;
    let after = roster(&[("a", "wedged"), ("d", "wedged"), ("e", "done"), ("f", "wedged")]);
    let told: Vec<String> = events(&before, &after, &States::default())
        .iter()
        .map(|event| format!("{} {}{}", event.node, event.change, if event.critical { " !" } else { "" }))
        .collect();
    assert_eq!(told, ["a state done -> wedged !", "b left !", "c left", "e joined", "f joined !"]);
}

#[test]
fn who_is_wedged_says_why() {
    let before = Notified::first(&roster(&[("a", "done")])).records;
    let after = roster(&[("a", r#"wedged","wedged-reason":"web: http status 500"#)]);
    let events = events(&before, &after, &States::default());
    assert_eq!(events[0].change, "state done -> wedged (web: http status 500)");
    assert_eq!(events[0].reason.as_deref(), Some("web: http status 500"));
    let back = self::events(&Notified::first(&after).records, &roster(&[("a", "done")]), &States::default());
    assert_eq!((back[0].change.as_str(), &back[0].reason), ("state wedged -> done", &None));
}

/// Everything that a receiver got, one line with id and text each.
struct Told {
    dir: tempfile::TempDir,
}

impl Told {
    fn notifies(&self, tail: &str) -> Vec<Notify> {
        let log = self.dir.path().join("log");
        let line =
            format!("sh -c 'cat \"$1\" >> {}; echo >> {}; {tail}' sh {{}}", log.display(), log.display());
        vec![Notify {
            url: None,
            command: Some(Command::parse(&line).unwrap()),
            critical_only: false,
            timeout: Duration::from_secs(20),
        }]
    }

    fn look(&self, tail: &str, rosters: &[Roster]) -> Vec<String> {
        let mut notifier =
            Notifier::open(&self.notifies(tail), &self.dir.path().join("state")).unwrap().unwrap();
        for roster in rosters {
            notifier.look(roster, &States::default(), Timestamp::UNIX_EPOCH).unwrap();
        }
        notifier.finish(Duration::from_secs(20))
    }

    fn messages(&self) -> Vec<Message> {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_change_is_told_once_and_the_first_look_not_at_all() {
    let told = Told { dir: tempfile::tempdir().unwrap() };
    assert!(told.look("true", &[roster(&[("a", "done")]), roster(&[("a", "done")])]).is_empty());
    assert_eq!(told.messages(), []);
    told.look("true", &[roster(&[("a", "wedged")]), roster(&[("a", "wedged")])]);
    told.look("true", &[roster(&[("a", "wedged")])]);
    told.look("true", &[]);
    let messages = told.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].text, "CRITICAL: app1 a: state done -> wedged");
    // To another state, back, and there again are three changes.
    told.look("true", &[roster(&[("a", "done")]), roster(&[("a", "wedged")])]);
    let ids: std::collections::BTreeSet<_> = told.messages().into_iter().map(|message| message.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn what_could_not_be_told_is_told_by_the_next_run() {
    let told = Told { dir: tempfile::tempdir().unwrap() };
    told.look("true", &[roster(&[])]);
    let troubles = told.look("exit 1", &[roster(&[("a", "done")])]);
    assert!(troubles[0].contains("ended with exit status 1"), "{troubles:?}");
    let first = told.messages();
    // A working command takes over the queue of the failing one; the log of the first try is removed.
    std::fs::remove_file(told.dir.path().join("log")).unwrap();
    let dir = told.dir.path().join("state/notify");
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("queue-") {
            let place = LockedFolder::open(&told.dir.path().join("state")).unwrap().unwrap();
            std::fs::rename(&path, place.queue(&told.notifies("true")[0], 0).path()).unwrap();
        }
    }
    told.look("true", &[]);
    assert_eq!(told.messages(), first);
}

#[test]
fn what_was_not_committed_is_seen_again() {
    let told = Told { dir: tempfile::tempdir().unwrap() };
    told.look("true", &[roster(&[])]);
    let seen = told.dir.path().join("state/notify/seen.json");
    let before = std::fs::read(&seen).unwrap();
    told.look("exit 1", &[roster(&[("a", "done")])]);
    // As if killed after the queue was written, and before the list was recorded as seen.
    std::fs::write(&seen, before).unwrap();
    std::fs::remove_file(told.dir.path().join("log")).unwrap();
    told.look("exit 1", &[]);
    assert_eq!(told.messages(), []);
    told.look("exit 1", &[roster(&[("a", "done")])]);
    assert_eq!(told.messages().len(), 1);
}
