use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A running server, described as `NAME STATE [WORD…]`. Its address is 10.0.0.1:80 and its id 1 unless a word
/// says otherwise.
fn seen(text: &str) -> (ServerName, RunningServer) {
    let mut words = text.split(' ');
    let mut next = || words.next().unwrap();
    let server = ServerName { backend: "b".into(), server: next().into() };
    let mut seen = RunningServer {
        address: Some("10.0.0.1:80".parse().unwrap()),
        id: 1,
        operational: 2,
        weight: 1,
        check_state: 6,
        check_status: "L7OK".into(),
        check_health: 4,
        check_rise: 2,
        check_fall: 3,
        last_change_s: 3,
        ..RunningServer::default()
    };
    match next() {
        "ready" => {}
        "broken" => (seen.operational, seen.check_health, seen.check_status) = (0, 0, "L7STS".into()),
        "drain" => seen.admin = 8,
        // As loaded from a file with `weight 0`.
        "weightless" => seen.weight = 0,
        // Out of maintenance, and not yet checked since.
        "unjudged" => (seen.admin, seen.check_health) = (8, 2),
        // As loaded from a file with `disabled`, or after `state maint`.
        "maint" => (seen.admin, seen.operational, seen.check_state, seen.check_health) = (5, 0, 14, 0),
        // After `add server`, after `enable health`, and with a verdict.
        "added" => {
            (seen.admin, seen.operational, seen.check_state, seen.check_status) = (1, 0, 2, "INI".into())
        }
        "gated" => (seen.admin, seen.operational, seen.check_status) = (1, 0, "INI".into()),
        "bad" => (seen.admin, seen.operational, seen.check_status) = (1, 0, "L7STS".into()),
        "good" => (seen.admin, seen.operational) = (1, 0),
        other => panic!("{other}"),
    }
    for word in words {
        match word.split_once('=') {
            None if word == "backup" => seen.backup = Some(true),
            None if word == "active" => seen.backup = Some(false),
            None if word == "unchecked" => {
                (seen.check_state, seen.check_status) = (seen.check_state & 8, String::new());
                (seen.check_health, seen.check_rise, seen.check_fall) = (0, 0, 0);
            }
            Some(("sessions", count)) => seen.sessions = count.parse().unwrap(),
            Some(("since", seconds)) => seen.last_change_s = seconds.parse().unwrap(),
            Some(("weight", weight)) => seen.weight = weight.parse().unwrap(),
            Some(("at", address)) => seen.address = Some(address.parse().unwrap()),
            Some(("id", id)) => seen.id = id.parse().unwrap(),
            Some(("port", port)) => seen.check_port = port.parse().unwrap(),
            Some(("cookie", cookie)) => seen.cookie = cookie.into(),
            _ => panic!("{word}"),
        }
    }
    (server, seen)
}

fn config(servers: &str) -> Config {
    Config::parse(&format!("backend b\n{servers}"))
}

/// The plan as text, for the file `new` and these running servers.
fn planned(old: &Config, new: &Config, running: &[&str]) -> String {
    let running = Running::of(running.iter().map(|text| seen(text)));
    match plan(old, new, &running, &Overrides::default(), PATIENCE) {
        Plan::Nothing => "nothing".to_owned(),
        Plan::Reload(reason) => format!("reload: {reason}"),
        Plan::Runtime(round) => {
            // Options that all servers have would hide those of this one.
            let command = |step: &Step| step.command().replace(" pool-max-conn -1 pool-purge-delay 5s", "");
            let steps = round.steps.iter().map(command);
            let waiting = round
                .waiting
                .iter()
                .map(|waiting| format!("{waiting}{}", if waiting.fresh { "" } else { " (for long)" }));
            steps.chain(waiting).collect::<Vec<_>>().join("; ")
        }
    }
}

#[track_caller]
fn check(file: &str, running: &[&str], expect: &str) {
    let new = config(file);
    assert_eq!(planned(&new, &new, running), expect, "for `{file}` and {running:?}");
}

/// Every state that a file can give a server, combined with every state that it can run in.
#[test]
fn from_every_state_to_every_other() {
    const NEW: &str = "server a 10.0.0.1:80 id 1 check";
    const GATE: &str = "b/a waits for the first result of its check";
    const SESSIONS: &str = "b/a waits for its 2 sessions to end";
    let add = "add server b/a 10.0.0.1:80 check id 1";
    let table: &[(&str, &str, &str, &str, &str)] = &[
        // Runs as        ready              weight 0          disabled      gone
        ("", &format!("{add}; enable health b/a"), &format!("{add}; enable health b/a"), add, "nothing"),
        ("a ready", "nothing", "drain", "maint", "drain"),
        ("a ready sessions=2", "nothing", "drain", "maint", "drain"),
        ("a broken", "nothing", "drain", "maint", "drain"),
        ("a drain", "ready", "nothing", "maint", "maint; del server b/a"),
        ("a drain sessions=2", "ready", "nothing", "maint", SESSIONS),
        ("a weightless", "weight 1; ready", "nothing", "maint", "maint; del server b/a"),
        ("a unjudged", GATE, "nothing", "maint", "maint; del server b/a"),
        ("a maint", "drain", "drain", "nothing", "del server b/a"),
        ("a maint sessions=2", "drain", "drain", "nothing", SESSIONS),
        ("a added", "enable health b/a", "enable health b/a; drain", "nothing", "del server b/a"),
        ("a gated", GATE, "drain", "nothing", "del server b/a"),
        (
            "a bad",
            "b/a waits for its check to pass; the last result was L7STS",
            "drain",
            "nothing",
            "del server b/a",
        ),
        ("a good", "ready", "drain", "nothing", "del server b/a"),
    ];
    for (runs, ready, drain, down, gone) in table {
        let running: Vec<&str> = Some(*runs).into_iter().filter(|runs| !runs.is_empty()).collect();
        for (file, expect) in [
            (NEW.to_owned(), ready),
            (format!("{NEW} weight 0"), drain),
            (format!("{NEW} disabled"), down),
            (String::new(), gone),
        ] {
            // In the table, a state alone stands for `set server b/a state …`.
            let expect: Vec<String> = expect
                .split("; ")
                .map(|step| match step {
                    "ready" | "drain" | "maint" => format!("set server b/a state {step}"),
                    "weight 1" => "set server b/a weight 1".to_owned(),
                    other => other.to_owned(),
                })
                .collect();
            check(&file, &running, &expect.join("; "));
        }
    }
}

#[test]
fn without_a_check_there_is_nothing_to_wait_for() {
    let file = "server a 10.0.0.1:80 id 1";
    check(file, &[], "add server b/a 10.0.0.1:80 id 1");
    check(file, &["a maint unchecked"], "set server b/a state ready");
    check(file, &["a drain unchecked"], "set server b/a state ready");
    check(file, &["a ready unchecked"], "nothing");
}

#[test]
fn weights_follow_the_file() {
    let file = "server a 10.0.0.1:80 id 1 check weight 5";
    check(file, &[], "add server b/a 10.0.0.1:80 check id 1 weight 5; enable health b/a");
    check(file, &["a ready"], "set server b/a weight 5");
    check(file, &["a ready weight=5"], "nothing");
    check(file, &["a good"], "set server b/a weight 5; set server b/a state ready");
}

#[test]
fn every_option_is_said_again() {
    check(
        "default-server inter 2s fall 3 init-addr none\nserver a [2001:db8::1]:80 id 1 check port 81",
        &[],
        "add server b/a [2001:db8::1]:80 check fall 3 inter 2s port 81 id 1; enable health b/a",
    );
}

#[test]
fn patience_ends() {
    let file = "server a 10.0.0.1:80 id 1 check";
    check(file, &["a gated since=11"], "b/a waits for the first result of its check (for long)");
    check("", &["a drain sessions=1 since=11"], "b/a waits for its last session to end (for long)");
}

#[test]
fn those_who_come_are_in_before_those_who_go_are_out() {
    let file = "server b 10.0.0.2:80 id 2 check";
    let add = "add server b/b 10.0.0.2:80 check id 2; enable health b/b";
    let others = "b/a waits for other servers to take over";
    let verdict = "b/b waits for the first result of its check";
    let b = |state: &str| format!("b {state} at=10.0.0.2:80 id=2");
    check(file, &["a ready"], &format!("{add}; {others}"));
    check(file, &["a ready", &b("gated")], &format!("{verdict}; {others}"));
    check(file, &["a ready", &b("good")], &format!("set server b/b state ready; {others}"));
    check(file, &["a ready", &b("ready")], "set server b/a state drain");
    // However long it takes, the last serving server continues.
    let long = format!("{verdict} (for long); {others} (for long)");
    check(file, &["a ready", &format!("{} since=99", b("gated"))], &long);
    // If others serve, no server is kept for a new one that does not come up.
    let two = format!("{file}\nserver c 10.0.0.3:80 id 3");
    let c = "c ready unchecked at=10.0.0.3:80 id=3";
    check(&two, &["a ready", &b("gated"), c], &format!("{verdict}; {others}"));
    let going = format!("set server b/a state drain; {verdict} (for long)");
    check(&two, &["a ready", &format!("{} since=99", b("gated")), c], &going);
    // A server that does not serve is not kept, and neither is one that must not serve.
    check(file, &["a broken"], &format!("{add}; set server b/a state drain"));
    let draining = format!("server a 10.0.0.1:80 id 1 check weight 0\n{file}");
    check(&draining, &["a ready"], &format!("{add}; {others}"));
    let down = format!("server a 10.0.0.1:80 id 1 check disabled\n{file}");
    check(&down, &["a ready"], &format!("set server b/a state maint; {add}"));
    // The last one goes if no other enters: the file says so.
    check("", &["a ready"], "set server b/a state drain");
}

#[test]
fn a_server_that_moved_is_replaced() {
    let two = "server a 10.0.0.9:80 id 1 check\nserver c 10.0.0.3:80 id 3";
    let c = "c ready unchecked at=10.0.0.3:80 id=3";
    check(two, &["a ready", c], "set server b/a state drain");
    check(two, &["a drain", c], "set server b/a state maint; del server b/a");
    check(two, &[c], "add server b/a 10.0.0.9:80 check id 1; enable health b/a");
    check(two, &["a drain sessions=2", c], "b/a waits for its 2 sessions to end");
    check(
        two,
        &["a drain sessions=2 since=11", c],
        "reload: server `b/a` has moved: its sessions do not end",
    );
    for moved in ["a ready at=10.0.0.9:81", "a ready at=10.0.0.9:80 id=2", "a ready at=10.0.0.9:80 port=81"] {
        check(two, &[moved, c], "set server b/a state drain");
    }
    check(two, &["a ready at=10.0.0.9:80", c], "nothing");
    // HAProxy cannot make a running server a backup, nor the reverse.
    let backup = "server a 10.0.0.9:80 id 1 check weight 5 backup\nserver c 10.0.0.3:80 id 3";
    check(backup, &["a ready at=10.0.0.9:80 weight=5 active", c], "set server b/a state drain");
    check(backup, &["a ready at=10.0.0.9:80 weight=5 backup", c], "nothing");
    check(backup, &["a ready at=10.0.0.9:80 weight=3 backup", c], "set server b/a weight 5");
    check(backup, &[c], "add server b/a 10.0.0.9:80 check id 1 weight 5 backup; enable health b/a");
    check(two, &["a ready at=10.0.0.9:80 backup", c], "set server b/a state drain");
    assert_eq!(needs_reload(&config(two), &config(backup)), None);
    // If no other server serves meanwhile, or only a few, a reload is gentler.
    check(two, &["a ready"], "reload: 1 of 2 servers of `b` have moved");
    check(two, &["a ready", "c broken at=10.0.0.3:80 id=3"], "reload: 1 of 2 servers of `b` have moved");
    check(two, &["a ready", "c ready"], "reload: 2 of 2 servers of `b` have moved");
    check("server a 10.0.0.9:80 id 1 disabled", &["a ready"], "set server b/a state drain");
}

#[test]
fn an_id_is_free_when_its_server_has_gone() {
    let file = "server b 10.0.0.2:80 id 1\nserver c 10.0.0.3:80 id 3";
    let c = "c ready unchecked at=10.0.0.3:80 id=3";
    let waits = "b/b waits for another server to give up the id 1";
    check(file, &["a ready", c], &format!("{waits}; b/a waits for other servers to take over"));
    check(file, &["a drain", c], &format!("set server b/a state maint; del server b/a; {waits}"));
    check(
        file,
        &["a drain sessions=1 since=99", c],
        "reload: server `b/b` needs the id of `a`, which is busy",
    );
}

#[test]
fn cookies_are_made_for_new_servers() {
    let file = "cookie S insert dynamic\nserver a 10.0.0.1:80 id 1 check\nserver c 10.0.0.3:80 id 3";
    let c = "c ready unchecked at=10.0.0.3:80 id=3 cookie=x";
    check(file, &["a good", c], "enable dynamic-cookie backend b; set server b/a state ready");
    check(file, &["a ready cookie=y", c], "nothing");
}

#[test]
fn what_only_a_reload_can_do() {
    #[track_caller]
    fn check(old: &str, new: &str, expect: &str) {
        let (old, new) = (config(old), config(new));
        assert_eq!(needs_reload(&old, &new).unwrap_or_default(), expect);
        let expect = if expect.is_empty() { "nothing".to_owned() } else { format!("reload: {expect}") };
        let running = if new.backends["b"].servers.is_empty() { &[][..] } else { &["a ready"] };
        assert_eq!(planned(&old, &new, running), expect);
    }
    let a = "server a 10.0.0.1:80 id 1 check";
    check(a, &format!("# a comment\n{a} # and another\n"), "");
    check(a, &format!("option httpchk\n{a}"), "`backend b`: a line `option` is new");
    check(&format!("option httpchk\n{a}"), a, "`backend b`: a line `option` is gone");
    check(
        &format!("balance first\n{a}"),
        &format!("balance uri\n{a}"),
        "`backend b`: a line `balance` has changed",
    );
    check(a, &format!("{a} inter 1s"), "server `b/a`: its option `inter` has changed");
    check(a, "server a 10.0.0.1:80 id 1", "server `b/a`: its option `check` has changed");
    check(
        "",
        "server a 10.0.0.1:80 id 1 cookie x",
        "server `b/a`: its option `cookie` cannot be set at run time",
    );
    let fixed = "`balance static-rr` takes no new servers at run time";
    check("balance static-rr", &format!("balance static-rr\n{a}"), &format!("server `b/a`: {fixed}"));
    check("server a app.example:80", "server a new.example:80", "`backend b`: a line `server` has changed");
    check("", "server a app.example:80", "`backend b`: a line `server` is new");
}

#[test]
fn what_can_be_done_without_new_servers_is_done_anywhere() {
    let new = |state: &str| format!("balance static-rr\nserver a 10.0.0.1:80 id 1 cookie x check {state}");
    check(&new("weight 0"), &["a ready"], "set server b/a state drain");
    check(&new("disabled"), &["a ready"], "set server b/a state maint");
    check("balance static-rr", &["a drain"], "set server b/a state maint; del server b/a");
    let fixed = "`balance static-rr` takes no new servers at run time";
    check(&new(""), &[], &format!("reload: server `b/a` does not run: {fixed}"));
    let moved = new("").replace("0.1:80", "0.9:80") + "\nserver c 10.0.0.3:80 id 3";
    let c = "c ready unchecked at=10.0.0.3:80 id=3";
    check(&moved, &["a ready", c], &format!("reload: server `b/a` has moved: {fixed}"));
}

#[test]
fn servers_that_are_not_understood_are_left_alone() {
    check("server a app.example:80", &["a maint"], "nothing");
    check("server-template t 2 10.0.0.1:80", &["t1 ready", "t2 drain"], "nothing");
    check("", &["x drain"], "set server b/x state maint; del server b/x");
    // The same for backends that the file does not have.
    let other = Config::parse("backend c");
    assert_eq!(planned(&other, &other, &["a ready"]), "nothing");
}

/// From any state, the plan ends: its steps lead to a state with other steps.
#[test]
fn every_way_ends() {
    let file = "server a 10.0.0.1:80 id 1 check";
    for wanted in [file.to_owned(), format!("{file} weight 0"), format!("{file} disabled"), String::new()] {
        let wanted = config(&wanted);
        for start in
            ["ready", "broken", "drain", "weightless", "unjudged", "maint", "added", "gated", "bad", "good"]
        {
            let mut servers = vec![seen(&format!("a {start}"))];
            let mut rounds = 0;
            loop {
                match plan(&wanted, &wanted, &Running::of(servers.clone()), &Overrides::default(), PATIENCE) {
                    Plan::Nothing => break,
                    Plan::Reload(reason) => panic!("{start}: {reason}"),
                    Plan::Runtime(round) => simulate(&mut servers, &round),
                }
                rounds += 1;
                assert!(rounds < 8, "{start} comes to no end: {servers:?}");
            }
        }
    }
}

/// The effect of such steps in HAProxy, and of time on waiting servers, as observed.
fn simulate(servers: &mut Vec<(ServerName, RunningServer)>, round: &Round) {
    for step in &round.steps {
        if let Action::Add(_) = step.action {
            servers.push(seen("a added"));
            continue;
        }
        let (_, server) = &mut servers[0];
        let was_down = server.state() == State::Down;
        match &step.action {
            Action::EnableHealth => server.check_state |= 4,
            Action::Ready => server.admin = 0,
            Action::Drain => server.admin = 8,
            Action::Maint => {
                (server.admin, server.operational, server.check_state) = (1, 0, server.check_state | 8);
            }
            Action::Weight(weight) => server.weight = *weight,
            Action::Delete => servers.clear(),
            Action::Add(_) | Action::DynamicCookie => {}
        }
        if let Some((_, server)) = servers.first_mut()
            && was_down
            && server.state() != State::Down
        {
            (server.operational, server.check_health, server.check_state) = (2, server.check_rise, 6);
        }
    }
    if round.steps.is_empty() {
        let (_, server) = &mut servers[0];
        (server.check_status, server.check_health) = ("L7OK".to_owned(), 4);
    }
}

#[test]
fn a_command_is_one_line() {
    let (server, _) = seen("a ready");
    let step = Step { server, action: Action::Drain };
    assert_eq!(
        (step.command().as_str(), step.to_string().as_str()),
        ("set server b/a state drain", "b/a draining")
    );
}

mod both_files {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::super::{Config, needs_reload};

    const LINES: [&str; 24] = [
        "defaults",
        "    balance uri",
        "    default-server inter 1s",
        "    default-server inter 2s cookie c",
        "    default-server unknown",
        "backend a",
        "backend a from other",
        "backend b",
        "listen a",
        "frontend a",
        "peers a",
        "    balance static-rr",
        "    server s1 192.0.2.1:80",
        "    server s1 192.0.2.1:80 check",
        "    server s1 192.0.2.1:80 cookie x",
        "\tserver  s2 192.0.2.2:80 weight 0 # drains",
        "    server s2 192.0.2.2:80 inter 1s",
        "    server s3 app.example:80",
        "    server s3 192.0.2.3:80 cookie \"x\"",
        "    server",
        "    server-template t 3 192.0.2.4:80",
        "# a comment",
        "",
        ".if defined(X)",
    ];

    #[derive(Debug, Clone)]
    enum Edit {
        Insert(Index, &'static str),
        Replace(Index, &'static str),
        Remove(Index),
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        let edit = prop_oneof![
            (any::<Index>(), select(&LINES[..])).prop_map(|(at, line)| Edit::Insert(at, line)),
            (any::<Index>(), select(&LINES[12..18])).prop_map(|(at, line)| Edit::Replace(at, line)),
            any::<Index>().prop_map(Edit::Remove),
        ];
        prop::collection::vec(edit, 1..3)
    }

    fn edited(mut lines: Vec<&'static str>, edits: &[Edit]) -> Vec<&'static str> {
        for edit in edits {
            match edit {
                Edit::Insert(at, line) => lines.insert(at.index(lines.len() + 1), line),
                Edit::Replace(at, line) if !lines.is_empty() => {
                    let at = at.index(lines.len());
                    lines[at] = line;
                }
                Edit::Remove(at) if !lines.is_empty() => drop(lines.remove(at.index(lines.len()))),
                Edit::Replace(..) | Edit::Remove(_) => {}
            }
        }
        lines
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Two files that are compared by the lines that differ need a reload for the same reason as whole ones.
        #[test]
        fn only_the_servers_that_differ_are_compared(
            rest in prop::collection::vec(select(&LINES[..23]), 0..9),
            edits in edits(),
            final_newline in any::<bool>(),
        ) {
            let lines = [vec!["backend a", LINES[12]], rest].concat();
            let end = if final_newline { "\n" } else { "" };
            let (old, new) = (lines.join("\n") + end, edited(lines, &edits).join("\n") + end);
            let whole = needs_reload(&Config::parse(&old), &Config::parse(&new));
            let (one, other) = Config::parse_both(&old, &new);
            prop_assert_eq!(needs_reload(&one, &other), whole, "{}\n---\n{}", old, new);
        }
    }
}
