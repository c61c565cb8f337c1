//! The documentation is correct: the README's commands work as written, and the reference matches the
//! program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::fixture::machine::program;
#[cfg(all(feature = "https", feature = "ssh"))]
use crate::fixture::{Sshd, machine::Machine};

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The code blocks of a language, as one script.
fn blocks(text: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

/// Runs a script in `dir`, with the built program in `PATH` and a clean environment. Returns its output.
fn run(dir: &Path, home: &Path, script: &str) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_presence")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    for (name, value) in program(home).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command
        .args(["-eux", "-c", script])
        .current_dir(dir)
        .env("PATH", path)
        .env("PRESENCE_STATE_DIR", dir.join("state"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    format!("{}\n{said}", String::from_utf8_lossy(&output.stdout))
}

/// Runs the commands of a page. They must succeed and print each of `expected`.
fn check(page: &str, expected: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let seen = run(dir.path(), dir.path(), &blocks(&read(page), "sh"));
    for expect in expected {
        assert!(seen.contains(expect), "{page}: no {expect:?} in\n{seen}");
    }
    dir
}

#[test]
fn the_commands_of_the_readme_work() {
    let dir =
        check("README.md", &["i-app1: joined", "server i-app1 192.0.2.21:8080", "weight 0", "i-app1: left"]);
    let config = fs::read_to_string(dir.path().join("haproxy.cfg")).unwrap();
    assert!(config.contains("server i-app1 192.0.2.21:8080"), "{config}");
}

#[test]
fn the_commands_of_the_installation_work() {
    let dir = check("docs/install.md", &["presence 0."]);
    assert!(dir.path().join("man1/presence.1").exists() && dir.path().join("presence.bash").exists());
}

#[test]
fn the_commands_of_the_first_fleet_work() {
    let dir = check(
        "docs/first-fleet.md",
        &[
            "i-app1a: joined",
            "server i-app1b 192.0.2.22:8080",
            "weight 0",
            "i-app1b: left",
            "presence accept",
        ],
    );
    let database = fs::read_to_string(dir.path().join("database.yml")).unwrap();
    assert!(database.contains("192.0.2.31"), "{database}");
    let config = fs::read_to_string(dir.path().join("haproxy.cfg")).unwrap();
    assert!(!config.contains("i-app1"), "{config}");
}

#[cfg(all(feature = "https", feature = "ssh"))]
#[test]
fn the_commands_of_the_git_server_work() {
    let sshd = Sshd::start();
    let machine = Machine::new("app1");
    sshd.admit(&machine);
    sshd.introduce(&machine);
    let script = blocks(&read("docs/git-server.md"), "sh")
        .replace("ssh://git@git.example.net/srv/list.git", &sshd.url("list.git"))
        .replace("/srv/list.git", &sshd.path("list.git"))
        // Again with a change, despite the rules against rewriting: a heartbeat and an update are replaced.
        + "presence state draining\nPRESENCE_NOW=2026-01-02T03:05:05Z presence beat\n";
    let nodeinfo = format!("export PRESENCE_NODEINFO='{}'\n", machine.path("nodeinfo").display());
    let seen = run(machine.path("").as_path(), &machine.path("home"), &(nodeinfo + &script));
    for expect in ["accepts records", "i-app1: joined", "i-app1: unchanged", "i-app1: state draining"] {
        assert!(seen.contains(expect), "no {expect:?} in\n{seen}");
    }
}

#[test]
fn every_key_of_the_configuration_is_in_its_page() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), dir.path(), "presence init --config presence.toml --nodeinfo nodeinfo");
    let file = fs::read_to_string(dir.path().join("presence.toml")).unwrap();
    // Another page has the limits of stores, with their meaning.
    let page = read("docs/configuration.md") + &read("docs/stores.md");
    let mut keys = Vec::new();
    let mut names_are_yours = false;
    for line in file.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)) {
        if line.starts_with('[') {
            names_are_yours = ["[vars]", "[states]", "[render.vars]"].contains(&line);
        } else if let Some((name, _)) = line.split_once(" = ")
            && !names_are_yours
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        {
            keys.push(name);
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    for name in keys {
        assert!(page.contains(&format!("| `{name}` |")), "docs/configuration.md has no row of `{name}`");
    }
}

#[test]
fn the_reference_is_what_the_program_says() {
    let mut text = String::from(
        "# Command line reference\n\nWhat `presence --help` and `presence COMMAND --help` say; a test keeps it true.\n",
    );
    let mut root = presence::cli::command().bin_name("presence").term_width(100);
    let mut add = |command: &mut clap::Command| {
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        text.push_str(&format!(
            "\n## {}\n\n```text\n{}\n```\n",
            command.get_bin_name().unwrap(),
            lines.join("\n").trim()
        ));
    };
    root.build();
    add(&mut root);
    for command in root.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        add(command);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        read("docs/cli.md") == text,
        "docs/cli.md is out of date: UPDATE_DOCS=1 cargo test the_reference"
    );
}

/// The anchor of a heading on git forges.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_page_and_heading_that_is_linked_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<_> =
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"]
            .map(Into::into)
            .to_vec();
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        pages.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    for page in pages {
        let text = read(page.to_str().unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.contains(['\n', '`']) {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root.join(&page),
                file => root.join(&page).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{} links to {link}", page.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).unwrap();
                let found = text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(found, "{} links to {link}", page.display());
            }
        }
    }
}

/// The modules of `src`, in the order of the code map of ARCHITECTURE.md.
fn code_map() -> (String, Vec<String>) {
    let page = read("ARCHITECTURE.md");
    let map = page.split("\n## ").find(|section| section.starts_with("Code map")).unwrap().to_owned();
    let cells = map.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let paths =
        cells.flat_map(|cell| cell.split('`').filter(|path| path.ends_with('/') || path.ends_with(".rs")));
    let mut modules: Vec<String> = Vec::new();
    for path in paths {
        let module = path.split('/').next().unwrap().trim_end_matches(".rs");
        if !modules.iter().any(|known| known == module) {
            modules.push(module.to_owned());
        }
    }
    (map, modules)
}

/// All files and folders below `root`, without it.
fn sources(root: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(root);
    let all = walkdir::WalkDir::new(&root).min_depth(1).into_iter().map(Result::unwrap);
    all.map(|entry| entry.path().strip_prefix(&root).unwrap().to_owned()).collect()
}

#[test]
fn the_code_map_is_complete_and_modules_import_only_what_is_below_them() {
    let (map, modules) = code_map();
    let below = "crates/presence-git/src";
    for folder in sources(below).iter().filter(|path| path.extension().is_none()) {
        let folder = format!("`{below}/{}/`", folder.display());
        assert!(map.contains(&folder), "the code map lacks {folder}");
    }
    for path in &sources("src") {
        let shown = path.display();
        if path.extension().is_none() {
            assert!(map.contains(&format!("`{shown}/`")), "the code map lacks `{shown}/`");
            continue;
        }
        let module = path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let place = modules.iter().position(|known| known == module);
        let place = place.unwrap_or_else(|| panic!("the code map lacks `{module}`"));
        let text = read(&format!("src/{shown}"));
        // Tests may use every module.
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        if path.ends_with("tests.rs") {
            continue;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for rest in line.split("crate::").skip(1) {
                let imported: String =
                    rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let below =
                    modules.iter().position(|known| *known == imported).is_none_or(|other| other >= place);
                assert!(below, "src/{shown} imports `{imported}`, which is above `{module}` in the code map");
            }
        }
    }
}

/// The modules beside a file that its text names: `super::NAME`, or each name in `super::{…}`.
fn siblings(text: &str) -> BTreeSet<&str> {
    let word = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let mut found = BTreeSet::new();
    let mut is_grandparent = false;
    for rest in text.split("super::").skip(1) {
        // In `super::super::NAME`, nothing stands between the two.
        let was = std::mem::replace(&mut is_grandparent, rest.is_empty());
        match rest.strip_prefix('{') {
            _ if was => {}
            None => drop(found.insert(&rest[..word(rest)])),
            Some(list) => {
                let mut depth = 0;
                for part in list.split_inclusive([',', '{', '}']) {
                    let name = part.trim_start();
                    if depth == 0 {
                        found.insert(&name[..word(name)]);
                    }
                    depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
                    if depth < 0 {
                        break;
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn no_two_files_of_a_folder_import_each_other() {
    assert_eq!(
        siblings("use super::{a::{x, y}, b, c::Z};\nsuper::d::f(); use super::super::e; {g}"),
        BTreeSet::from(["a", "b", "c", "d"])
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in ["src", "crates/presence-git/src"] {
        for entry in walkdir::WalkDir::new(root.join(folder)).into_iter().map(Result::unwrap) {
            let path = entry.path().strip_prefix(root).unwrap();
            if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let text = lines.collect::<Vec<_>>().join("\n");
            let place = path.parent().unwrap().display();
            let named = siblings(&text).into_iter().map(|name| format!("{place}/{name}")).collect();
            imports.insert(path.with_extension("").display().to_string(), named);
        }
    }
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 100, "{imports:?}");
    for (file, named) in &imports {
        let is_back = |other: &&String| imports.get(*other).is_some_and(|back| back.contains(file));
        let back: Vec<&String> = named.iter().filter(is_back).collect();
        assert!(back.is_empty(), "`{file}` and {back:?} import each other");
    }
}

/// The modules that decide, and do nothing else. ARCHITECTURE.md names them.
const PURE: &[&str] = &[
    "record",
    "roster",
    "history",
    "view",
    "liveness",
    "beat::absence",
    "beat::kept",
    "beat::mirror::plan",
    "store::etcd::listing",
    "output::limits",
    "haproxy::plan",
    "schedule",
    "change",
    "store::git::publish",
    "agent::core",
];

#[test]
fn modules_that_decide_do_no_io_and_read_no_clock() {
    const ACTS: &[&str] = &[
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "thread::sleep",
        "Instant",
        "SystemTime",
        "Timestamp::now",
        "fastrand",
        "TcpStream",
        "Repository",
        "crate::folder",
        "crate::state::",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let architecture = read("ARCHITECTURE.md");
    for module in PURE {
        assert!(architecture.contains(&format!("`{module}`")), "ARCHITECTURE.md does not name `{module}`");
        let path = root.join(module.replace("::", "/"));
        let files = walkdir::WalkDir::new(&path).into_iter().flatten().map(walkdir::DirEntry::into_path);
        let files = files.chain([path.with_extension("rs")]).filter(|path| path.is_file());
        let files: Vec<_> = files.filter(|path| !path.ends_with("tests.rs")).collect();
        assert!(!files.is_empty(), "{module}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let act = ACTS.iter().find(|act| line.contains(*act));
                assert_eq!(act, None, "{}: {line}", file.display());
            }
        }
    }
}

/// SECURITY.md names tests, or modules that have tests, as `module::test`, the test's name cut short by `…`.
#[test]
fn every_test_that_security_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| -> Vec<(String, String)> {
        let all = walkdir::WalkDir::new(root.join(folder)).into_iter().flatten();
        all.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs"))
            .map(|entry| {
                let path = entry.path().strip_prefix(root).unwrap().with_extension("");
                (path.display().to_string(), fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    };
    let sources = [files("src"), files("tests"), files("crates")].concat();
    let text = read("SECURITY.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains("::"));
    let names: Vec<&str> = rows
        .filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let test = name.rsplit("::").next().unwrap();
        let is_test = sources.iter().any(|(_, text)| match test.strip_suffix('…') {
            Some(begin) => text.contains(&format!("fn {begin}")),
            None => text.contains(&format!("fn {test}(")),
        });
        let path = name.replace("::", "/");
        let is_module = sources.iter().any(|(file, text)| {
            (file.ends_with(&path) || file.ends_with(&format!("{path}/mod")))
                && (file.starts_with("tests/") || text.contains("#[test]") || text.contains("mod tests;"))
        });
        assert!(
            is_test || is_module,
            "SECURITY.md names `{name}`, which is neither a test nor a module with tests"
        );
    }
}

#[test]
fn every_mutation_of_the_simulation_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let patches = format!("{}/tests/simulation/mutations/*/*.patch", root.display());
    let patches: Vec<PathBuf> = glob::glob(&patches).unwrap().map(Result::unwrap).collect();
    assert!(patches.len() > 30, "{patches:?}");
    for patch in patches {
        let output =
            Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(root).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the mutation no longer applies, so mend it: {said}");
    }
}

#[test]
fn systemd_takes_the_units_as_they_are() {
    let units = tempfile::tempdir().unwrap();
    let names = ["presence-agent.service", "presence-beat.service", "presence-beat.timer"];
    let paths = names.map(|name| {
        // The program must exist at the unit's path; here it is elsewhere.
        let text = read(&format!("packaging/systemd/{name}"));
        let path = units.path().join(name);
        fs::write(&path, text.replace("/usr/bin/presence", env!("CARGO_BIN_EXE_presence"))).unwrap();
        path
    });
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output();
    let output = output.expect("systemd-analyze, of the Debian package systemd");
    let said = String::from_utf8_lossy(&output.stderr);
    // It also comments on the machine's own units.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("presence-")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
