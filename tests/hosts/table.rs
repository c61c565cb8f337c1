//! The rows so far, printed as they come: the test harness shows that if the test fails, or with `--nocapture`.

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

    /// Fails if a row is wrong.
    #[track_caller]
    pub(crate) fn finish(self) {
        let rows = self.0.into_inner().unwrap();
        let wrong: Vec<String> = rows.iter().flat_map(Row::wrongs).collect();
        assert!(wrong.is_empty(), "{} rows:\n{}", rows.len(), wrong.join("\n"));
    }
}

/// Says it on stderr, past the test harness, which keeps back what a test prints.
pub(crate) fn say(text: &str) {
    // A closed stderr is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}
