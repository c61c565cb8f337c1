//! `.properties` as `java.util.Properties` reads them: by Java itself if it exists, and by its documentation.

use std::collections::BTreeMap;
use std::process::Command;

use super::{is_missing, stdout, write};

/// Prints each file as a line of JSON-like numbers: the code points of each key and value. The values contain
/// line breaks, and the output encoding depends on the locale.
const PROGRAM: &str = r#"
import java.io.*;

class Read {
    public static void main(String[] args) throws IOException {
        for (var name : args) {
            var values = new java.util.Properties();
            try (var file = new FileInputStream(name)) { values.load(file); }
            var text = new StringBuilder();
            values.forEach((key, value) -> {
                (key + "=" + value).codePoints().forEach(point -> text.append(point).append(' '));
                text.append(';');
            });
            System.out.println(text);
        }
    }
}
"#;

type Properties = BTreeMap<String, String>;

/// All properties of each text.
#[track_caller]
pub(crate) fn read(texts: &[String]) -> Vec<Properties> {
    let read: Vec<Properties> = texts.iter().map(|text| load(text)).collect();
    if is_missing("java", "default-jre-headless") {
        return read;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("Read.java");
    write(&program, PROGRAM);
    let files = super::files(directory.path(), texts);
    let output = stdout(Command::new("java").arg(&program).args(&files).output().unwrap());
    let output = String::from_utf8(output).unwrap();
    let by_java: Vec<Properties> = output.lines().map(from_code_points).collect();
    assert_eq!(by_java, read);
    read
}

fn from_code_points(line: &str) -> Properties {
    line.split_terminator(';')
        .map(|entry| {
            let points = entry.split_whitespace().map(|number| number.parse::<u32>().unwrap());
            let entry: String = points.map(|point| char::from_u32(point).unwrap()).collect();
            let (key, value) = entry.split_once('=').unwrap();
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// `Properties.load` by its documentation, for keys without escapes.
fn load(text: &str) -> Properties {
    let mut properties = Properties::new();
    let mut rest = text.split(['\n', '\r']);
    while let Some(line) = rest.next() {
        let mut line = line.trim_start_matches([' ', '\t', '\u{c}']).to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while (line.len() - line.trim_end_matches('\\').len()) % 2 == 1 {
            line.pop();
            line.push_str(rest.next().unwrap_or_default().trim_start_matches([' ', '\t', '\u{c}']));
        }
        let (key, value) = line.split_once(['=', ':', ' ', '\t']).unwrap_or((&line, ""));
        properties.insert(key.to_owned(), unescape(value));
    }
    properties
}

fn unescape(value: &str) -> String {
    let mut units = Vec::new();
    let mut characters = value.trim_start_matches([' ', '\t', '\u{c}']).chars();
    while let Some(character) = characters.next() {
        let unit = match (character, if character == '\\' { characters.next() } else { None }) {
            ('\\', Some('n')) => 0x0a,
            ('\\', Some('r')) => 0x0d,
            ('\\', Some('t')) => 0x09,
            ('\\', Some('f')) => 0x0c,
            ('\\', Some('u')) => {
                let digits: String = characters.by_ref().take(4).collect();
                u16::from_str_radix(&digits, 16).unwrap()
            }
            // `load(InputStream)` reads ISO 8859-1; we write only ASCII.
            ('\\', escaped) => u16::try_from(u32::from(escaped.unwrap())).unwrap(),
            (plain, _) => u16::try_from(u32::from(plain)).unwrap(),
        };
        units.push(unit);
    }
    String::from_utf16(&units).unwrap()
}
