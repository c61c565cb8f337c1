//! The rows so far, printed as they complete: the test harness shows them if the test fails, or with
//! `--nocapture`.

use std::io::Write;
use std::sync::Mutex;

use crate::row::{HEAD, Row};

#[derive(Default)]
pub(crate) struct Table(Mutex<Vec<Row>>);

impl Table {
    /// Adds a row, and prints it.
    #[expect(clippy::print_stderr, reason = "to be read")]
    pub(crate) fn add(&self, row: Row) {
        let mut rows = self.0.lock().unwrap();
        if rows.is_empty() {
            eprintln!("{HEAD}");
        }
        eprintln!("{row}");
        row.wrongs().iter().for_each(|wrong| eprintln!("  WRONG: {wrong}"));
        rows.push(row);
    }

    /// Prints all rows together, as Markdown.
    #[expect(clippy::print_stdout, reason = "to be read")]
    pub(crate) fn print(&self) {
        println!("\n{HEAD}");
        self.0.lock().unwrap().iter().for_each(|row| println!("{row}"));
    }

    /// Fails if a condition of any row does not hold.
    #[track_caller]
    pub(crate) fn finish(self) {
        let rows = self.0.into_inner().unwrap();
        let wrong: Vec<String> = rows.iter().flat_map(Row::wrongs).collect();
        assert!(wrong.is_empty(), "{} rows:\n{}", rows.len(), wrong.join("\n"));
    }
}

/// Prints to stderr directly, because the test harness holds back what a test prints.
pub(crate) fn say(text: &str) {
    // A closed stderr must not stop the test.
    let _ = writeln!(std::io::stderr(), "{text}");
}
