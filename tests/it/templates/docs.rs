//! `docs/templates.md`: every example runs, and every variable and helper is documented.

use std::fs;
use std::path::Path;

use presence::record::Record;
use serde_json::Value;

use super::determinism::TEMPLATES;
use super::variables::variables;
use crate::fixture::machine::Machine;

/// A fenced block: its info string, its first line number, and its text.
struct Block {
    kind: String,
    line: usize,
    text: String,
}

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/templates.md")).unwrap()
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(kind) => {
                open = true;
                blocks.push(Block { kind: kind.to_owned(), line: number + 1, text: String::new() });
            }
            None if open => {
                let text = &mut blocks.last_mut().unwrap().text;
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open);
    blocks
}

/// The load balancer of the page, with its list and its variables.
fn balancer(blocks: &[Block]) -> Machine {
    let machine = Machine::new("lb1");
    let list = machine.path("list");
    fs::create_dir(&list).unwrap();
    fs::create_dir_all(machine.path("templates/common")).unwrap();
    let vars: String =
        blocks.iter().filter(|block| block.kind == "toml").map(|block| block.text.as_str()).collect();
    fs::write(machine.path("presence.toml"), vars).unwrap();
    let json = blocks.iter().filter(|block| block.kind == "json");
    for block in json {
        for record in serde_json::Deserializer::from_str(&block.text).into_iter::<Value>() {
            let record = Record::parse(record.unwrap().to_string().as_bytes()).unwrap();
            fs::write(list.join(format!("{}.json", record.id())), record.to_bytes()).unwrap();
            if record.part().as_deref() == Some("lb1") {
                fs::remove_dir_all(machine.path("nodeinfo")).unwrap();
                fs::create_dir(machine.path("nodeinfo")).unwrap();
                for (fact, value) in record.facts() {
                    machine.fact(&fact, value.as_str().unwrap());
                }
            }
        }
    }
    machine.store(list.display())
}

#[test]
fn every_template_gives_what_the_page_says() {
    let blocks = blocks(&page());
    let machine = balancer(&blocks);
    let mut run = 0;
    for pair in blocks.windows(2).filter(|pair| pair[0].kind == "handlebars") {
        let [template, expect] = pair else { unreachable!("windows of two") };
        let line = template.line;
        fs::write(machine.path("templates/common/example.hbs"), &template.text).unwrap();
        // Separate for each example: the limits of earlier ones must not apply.
        let state = format!("states/{line}");
        let outcome =
            machine.run(&["render", "example", "--template-dir", "templates", "--state-dir", &state]);
        match expect.kind.as_str() {
            "text" => assert_eq!(outcome.code(0).stdout, expect.text, "line {line}"),
            "error" => {
                let told = format!("templates/common/example.hbs:{}", expect.text);
                assert!(outcome.code(1).stderr.contains(&told), "line {line}");
            }
            other => panic!("line {line}: a template is followed by {other:?}"),
        }
        run += 1;
    }
    assert!(run > 10);
}

#[test]
fn every_command_prints_what_the_page_says() {
    let blocks = blocks(&page());
    let machine = balancer(&blocks);
    let mut templates: Vec<&str> = TEMPLATES.to_vec();
    for block in blocks.iter().filter(|block| block.kind == "console") {
        for example in block.text.split("$ presence ").skip(1) {
            let (command, expect) = example.split_once('\n').unwrap();
            let mut words = shell_words::split(command).unwrap();
            templates.retain(|template| words.get(1).is_none_or(|name| !template.starts_with(name.as_str())));
            words.extend(["--state-dir".to_owned(), format!("states/{}-{command}", block.line)]);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            assert_eq!(machine.run(&words).code(0).stdout, expect, "line {}: {command}", block.line);
        }
    }
    assert!(templates.is_empty(), "no example of {templates:?}");
}

/// The part of the page below a heading.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let from = page.find(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    let rest = &page[from + heading.len()..];
    &rest[..rest.find("\n### ").unwrap_or(rest.len())]
}

#[test]
fn every_variable_is_in_its_table() {
    let page = page();
    for template in TEMPLATES {
        let heading = match template {
            "database.yml" | "database.properties" | "database.env" => {
                "### database.yml, database.properties, database.env"
            }
            other => &format!("### {other}"),
        };
        let text = section(&page, heading);
        let rows: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .collect();
        for variable in variables(template) {
            let shared = template == "pgbouncer.ini" && text.contains(&format!("`{variable}`"));
            assert!(rows.contains(&variable.as_str()) || shared, "{template}: {variable}");
        }
    }
}

/// The names under which helpers are registered, read from their sources.
fn helpers() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/template/helpers");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        for before in ["add(engine, \"", "    (\""] {
            let quoted = text.split(before).skip(1).filter_map(|rest| rest.split_once('"'));
            let named = quoted.filter(|(_, rest)| before.starts_with("add") || rest.starts_with(", |value|"));
            names.extend(named.map(|(name, _)| name.to_owned()));
        }
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

#[test]
fn every_helper_has_its_row_and_an_example() {
    let page = page();
    let examples: String = blocks(&page)
        .iter()
        .filter(|block| block.kind == "handlebars")
        .map(|block| block.text.clone())
        .collect();
    for helper in helpers() {
        let told = page.contains(&format!("| `{helper}` |"))
            || page.contains(&format!("### `{{{{{helper}}}}}`"))
            || page.contains(&format!("### `{{{{#{helper}}}}}"));
        assert!(told, "{helper} is not explained");
        let used = ["{{", "{{#", "("].iter().any(|before| {
            ["}}", " "].iter().any(|after| examples.contains(&format!("{before}{helper}{after}")))
        });
        assert!(used, "{helper} has no example");
    }
}
