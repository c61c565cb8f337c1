//! Whatever a fact contains, a built-in template gives one of these: the same as without that node, the same
//! as without that fact, or the same with one value in the quotes of its format. The file contains nothing
//! else: no line, no word, no key.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{FACTS, is_name};
use crate::templates::determinism::TEMPLATES;
use crate::templates::fleet::{Fleet, node};

/// The node among valid ones. In a balancer's file it is the only one of its part, so that its values take
/// effect.
fn with(facts: Option<Map<String, Value>>, part: &str, template: &str) -> Fleet {
    let others = ["app2", "db2", "lb1", if template == "haproxy.cfg" { "app3" } else { part }];
    let honest: Vec<_> = others.iter().zip(1..).map(|(part, number)| node(part, number)).collect();
    Fleet::of(honest.iter().chain(facts.as_ref()))
}

/// The parts of the text that no value may change. `Err` describes something that no valid value produces.
fn structure(template: &str, text: &str) -> Result<Vec<String>, String> {
    if template == "prometheus-sd.json" {
        let json: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return Ok(vec![masked(json).to_string()]);
    }
    if let Some(bad) = text.chars().find(|character| character.is_control() && *character != '\n') {
        return Err(format!("a control character: {bad:?}"));
    }
    text.lines().map(|line| of_line(template, line).map_err(|why| format!("{why}: {line}"))).collect()
}

/// The same JSON with all text masked except keys.
fn masked(json: Value) -> Value {
    match json {
        Value::Array(list) => list.into_iter().map(masked).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, masked(value))).collect(),
        _ => Value::Null,
    }
}

fn of_line(template: &str, line: &str) -> Result<String, String> {
    let trimmed = line.trim_start();
    if trimmed.is_empty() || trimmed.starts_with(if template == "pgbouncer.ini" { ';' } else { '#' }) {
        return Ok(line.to_owned());
    }
    match template {
        "hosts" => {
            let mut words = line.split(' ');
            words
                .next()
                .unwrap_or_default()
                .parse::<std::net::IpAddr>()
                .map_err(|error| error.to_string())?;
            match words.all(|name| is_name(name) && !name.is_empty()) {
                true => Ok("a host".to_owned()),
                false => Err("names that are none".to_owned()),
            }
        }
        // `;` starts a comment anywhere, a backslash at the end joins lines, and `$` is a macro.
        "nagios.cfg" => match trimmed.replace("\\;", "").contains([';', '$']) || trimmed.ends_with('\\') {
            true => Err("not only a value".to_owned()),
            false => Ok(first_word(trimmed)),
        },
        "database.env" => match shell_words::split(line).map_err(|error| error.to_string())?.as_slice() {
            [word] => Ok(word.split('=').next().unwrap_or_default().to_owned()),
            words => Err(format!("{} words", words.len())),
        },
        "database.properties" => match line.split_once('=') {
            Some((key, value)) if !value.ends_with('\\') => Ok(key.to_owned()),
            _ => Err("no key and value".to_owned()),
        },
        "database.yml" => {
            let (key, value) = line.split_once(':').ok_or("no key")?;
            let value = value.trim_start();
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
            match serde_json::from_str::<String>(value).is_ok() || value.chars().all(is_plain) {
                true => Ok(key.to_owned()),
                false => Err("no single value".to_owned()),
            }
        }
        "pgbouncer.ini" => {
            let pairs = words(line, &['\''], None)?;
            Ok(pairs
                .iter()
                .map(|pair| pair.split('=').next().unwrap_or_default())
                .collect::<Vec<_>>()
                .join(" "))
        }
        // The words of the template are known, and an address contains none of these characters.
        "nginx-upstream.conf" => {
            let marks: String =
                line.split(" # ").next().unwrap_or_default().matches([';', '{', '}', '"']).collect();
            Ok(format!("{} {} {marks}", first_word(trimmed), line.split_whitespace().count()))
        }
        _ => {
            let words = words(line, &['\'', '"'], Some('#'))?;
            Ok(format!("{} {}", words.first().map(String::as_str).unwrap_or_default(), words.len()))
        }
    }
}

fn first_word(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The words of a line with quotes and backslashes, up to a comment.
fn words(line: &str, quotes: &[char], comment: Option<char>) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut open) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (open, letter) {
            (Some(quote), letter) if letter == quote => open = None,
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '\\') if comment.is_some() => word.get_or_insert_default().extend(letters.next()),
            (None, letter) if quotes.contains(&letter) => {
                word.get_or_insert_default();
                open = Some(letter);
            }
            (None, letter) if Some(letter) == comment => break,
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    if open.is_some() { Err("a quote that is not closed".to_owned()) } else { Ok(words) }
}

/// Text unlike any valid fact: random text, bytes that are not text, and characters that formats interpret.
fn hostile_text() -> impl Strategy<Value = String> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        any::<String>(),
        bytes.prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "[ \"'\\\\{}\\[\\]$%#;:!=,<>`\n\r\t\u{0}\u{7f}\u{85}\u{202e}\u{2028}A-Za-z0-9./-]{1,40}",
        "/[!-~ ]{0,40}",
        "[0-9a-fA-F:.%\\[\\]/]{1,24}",
    ]
}

type Structure = Result<Vec<String>, String>;

fn rendered(facts: Option<Map<String, Value>>, part: &str, template: &str) -> Structure {
    let outcome = with(facts, part, template).render(template, &[]);
    outcome.text.map_err(|error| error.to_string()).and_then(|text| structure(template, &text))
}

/// The possible structures for a hostile value, computed once.
fn expected(fact: &'static str, part: &'static str, template: &'static str) -> [Structure; 4] {
    type Known = BTreeMap<[&'static str; 3], [Structure; 4]>;
    static KNOWN: Mutex<Known> = Mutex::new(Known::new());
    let mut known = KNOWN.lock().unwrap();
    let expect = known.entry([fact, part, template]).or_insert_with(|| {
        let honest = node(part, 7);
        let without = |fact| {
            let mut facts = honest.clone();
            facts.remove(fact);
            facts
        };
        // Without a port it is left out of its part, but the part is there.
        let all = [None, Some(honest.clone()), Some(without(fact)), Some(without("port"))];
        all.map(|facts| rendered(facts, part, template))
    });
    expect.clone()
}

/// `PROPTEST_CASES` sets more cases.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_value_changes_no_more_than_itself(
        fact in proptest::sample::select(&FACTS[..]),
        part in proptest::sample::select(vec!["app1", "db1"]),
        text in hostile_text(),
    ) {
        // A valid name may be a part, a state or a host name.
        prop_assume!(!is_name(&text) && !text.is_empty());
        let mut hostile = node(part, 7);
        hostile.insert(fact.to_owned(), text.clone().into());
        if fact == "ipv6" {
            hostile.remove("ipv4");
        }
        for template in TEMPLATES {
            let seen = rendered(Some(hostile.clone()), part, template);
            let expect = expected(fact, part, template);
            prop_assert!(seen.is_ok() && expect.contains(&seen), "{template} {fact}={text:?}: {seen:#?}\nnone of {expect:#?}");
        }
    }
}

/// The structures detect injections.
#[test]
fn an_injection_changes_the_structure() {
    for (template, good, bad) in [
        ("haproxy.cfg", "  server a 10.0.0.1:80 id 7", "  server a 10.0.0.1:80 id 7 disabled"),
        ("haproxy.cfg", "uri / ver 1", "uri /#/ ver 1"),
        ("pgbouncer.ini", "a = host='x' port=1", "a = host='x' user='y' port=1"),
        ("database.env", "A='b'", "A='b'; c"),
        ("database.yml", "  host: \"a\"", "  host: a: b"),
        ("database.properties", "db.host=a", "db.host=a\\"),
        ("hosts", "10.0.0.1 a", "10.0.0.1 a#b"),
        ("nagios.cfg", "    alias a", "    alias a;b"),
        ("nginx-upstream.conf", "    server 10.0.0.1:80;", "    server 10.0.0.1:80; }"),
        ("prometheus-sd.json", "[{\"a\":\"b\"}]", "[{\"a\":\"b\",\"c\":\"d\"}]"),
        ("nagios.cfg", "    alias a", "    alias a\n    alias b"),
    ] {
        let good = structure(template, good);
        assert!(good.is_ok() && structure(template, bad) != good, "{template} {bad}");
    }
}
