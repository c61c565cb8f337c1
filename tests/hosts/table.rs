//! The rows so far, printed as they come.

use std::io::Write;
use std::sync::Mutex;

use crate::row::{HEAD, Row};

#[derive(Default)]
pub(crate) struct Table(Mutex<Vec<Row>>);

impl Table {
    /// Adds a row, and prints it.
    pub(crate) fn add(&self, row: Row) {
        let mut rows = self.0.lock().unwrap();
        if rows.is_empty() {
            say(HEAD);
        }
        say(&row.to_string());
        for problem in &row.problems {
            say(&format!("  WRONG ({}): {problem}", row.name));
        }
        rows.push(row);
    }

    /// Fails if a row is wrong.
    #[track_caller]
    pub(crate) fn finish(self) {
        let rows = self.0.into_inner().unwrap();
        let of = |row: &Row| row.problems.iter().map(|problem| format!("{}: {problem}", row.name)).collect();
        let wrong: Vec<String> = rows.iter().flat_map(|row| -> Vec<String> { of(row) }).collect();
        assert!(wrong.is_empty(), "{} rows:\n{}", rows.len(), wrong.join("\n"));
    }
}

/// Says it on stderr, past the test harness, which keeps back what a test prints.
pub(crate) fn say(text: &str) {
    // A closed stderr is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}
