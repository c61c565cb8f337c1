//! `.properties` as Java reads them. This judge is optional: a unit test has its own reader.

use std::io::ErrorKind;
use std::process::Command;

use presence::escape::properties;

use super::{assert_same, escaped, stdout, write};

/// Prints the number of properties, then for each of `v0`, `v1`, … a line with its length and code points.
///
/// It prints numbers, since the values contain line breaks and the output encoding depends on the locale.
const PROGRAM: &str = r#"
import java.io.*;

class Read {
    public static void main(String[] args) throws IOException {
        var values = new java.util.Properties();
        try (var file = new FileInputStream(args[0])) { values.load(file); }
        var text = new StringBuilder(values.size() + "\n");
        for (int i = 0; values.getProperty("v" + i) != null; i++) {
            var value = values.getProperty("v" + i);
            text.append(value.codePoints().count());
            value.codePoints().forEach(point -> text.append(' ').append(point));
            text.append('\n');
        }
        System.out.print(text);
    }
}
"#;

#[test]
#[expect(clippy::print_stderr, reason = "whoever reads the test log must see what was not tested")]
fn java_reads_back_every_value() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("Read.java");
    let file = directory.path().join("values.properties");
    let values = escaped(properties);
    let lines = values.iter().enumerate().map(|(index, (_, escaped))| format!("v{index}={escaped}\n"));
    write(&file, lines.collect::<String>());
    write(&program, PROGRAM);

    let output = match Command::new("java").arg(&program).arg(&file).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: no `java` (Debian package `default-jdk-headless`)");
            return;
        }
        Err(error) => panic!("cannot run java: {error}"),
    };
    let text = String::from_utf8(stdout(output)).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some(values.len().to_string().as_str()), "properties that nobody wrote");
    let read: Vec<String> = lines.map(from_code_points).collect();
    assert_same(&values, &read);
}

/// `count point point …` as text.
fn from_code_points(line: &str) -> String {
    let mut numbers = line.split(' ').map(|number| number.parse::<u32>().unwrap());
    let count = numbers.next().unwrap() as usize;
    let text: String = numbers.map(|point| char::from_u32(point).unwrap()).collect();
    assert_eq!(text.chars().count(), count);
    text
}
