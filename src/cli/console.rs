//! stdout is data, stderr is talk. Neither panics when it is closed or full.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::error::CliError;
use crate::sanitize::{terminal_safe, terminal_safe_json};

/// More warnings than this at once are counted, not printed.
const MAX_WARNINGS: usize = 10;

const QUIET: u8 = 0;
const NORMAL: u8 = 1;

static VOLUME: AtomicU8 = AtomicU8::new(NORMAL);

/// How much to say on stderr.
pub(super) fn set_volume(verbose: u8, quiet: bool) {
    VOLUME.store(if quiet { QUIET } else { NORMAL.saturating_add(verbose) }, Ordering::Relaxed);
}

fn volume() -> u8 {
    VOLUME.load(Ordering::Relaxed)
}

/// Writes data to stdout, all of it. A reader that has seen enough (`| head`) is no failure.
pub(super) fn data(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    // A file gets the bytes as they are. A terminal would act upon some.
    let text = if stdout.is_terminal() { terminal_safe(text) } else { Cow::Borrowed(text) };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let hint = match error.kind() {
                io::ErrorKind::StorageFull => {
                    "free some space where the output goes, then run the same command again"
                }
                _ => "look at where the output of this command goes",
            };
            Err(CliError::failed(format!("cannot write to stdout: {error}")).hint(hint.to_owned()))
        }
        _ => Ok(()),
    }
}

/// A value as JSON. What a terminal would act upon is escaped, also in what nodes say of themselves.
pub(super) fn json(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| CliError::failed(format!("cannot write the answer as JSON: {error}")))?;
    Ok(format!("{}\n", terminal_safe_json(&text)))
}

/// Writes to stdout what was done, line by line, for those who did not ask for silence: nobody wants a mail from cron
/// that says that all is well.
pub(super) fn report(lines: &str) -> Result<(), CliError> {
    if volume() >= NORMAL { data(lines) } else { Ok(()) }
}

/// Says what was done.
pub(super) fn note(text: &str) {
    if volume() >= NORMAL {
        say("", Style::new(), text);
    }
}

/// Says what only somebody who asked for it wants to know.
pub(super) fn detail(text: &str) {
    if volume() > NORMAL {
        say("", Style::new().dimmed(), text);
    }
}

/// Says what was done nevertheless, and is not as it should be.
pub(super) fn warning(text: &str) {
    if volume() >= NORMAL {
        say("warning", AnsiColor::Yellow.on_default().bold(), text);
    }
}

/// Says what to do about a warning.
pub(super) fn remedy(text: &str) {
    if volume() >= NORMAL {
        hint(text);
    }
}

/// Says the first few of many warnings, and how many there are, unless the user wants to see all.
pub(super) fn warnings(texts: &[String], where_all: &str) {
    shortened(texts, where_all).iter().for_each(|text| warning(text));
}

/// The first few of many warnings, and how many there are, unless the user wants to see all.
pub(super) fn shortened(texts: &[String], where_all: &str) -> Vec<String> {
    let shown = if is_verbose() { texts.len() } else { MAX_WARNINGS };
    let mut short: Vec<String> = texts.iter().take(shown).cloned().collect();
    if texts.len() > shown {
        short.push(format!("… and {} more: {where_all}", texts.len() - shown));
    }
    short
}

/// Whether the user wants to see more than is usual.
pub(super) fn is_verbose() -> bool {
    volume() > NORMAL
}

/// Whether the user wants to hear of failures only.
pub(super) fn is_quiet() -> bool {
    volume() == QUIET
}

pub(super) fn error(text: &str) {
    say("error", AnsiColor::Red.on_default().bold(), text);
}

pub(super) fn hint(text: &str) {
    say("hint", AnsiColor::Cyan.on_default(), text);
}

fn say(label: &str, style: Style, text: &str) {
    let mut stderr = anstream::stderr().lock();
    // The words of servers, programs and records are in it.
    let text = terminal_safe(text);
    // Nowhere is left to complain about a stderr that is closed.
    let _ = match label {
        "" => writeln!(stderr, "{style}{text}{style:#}"),
        _ => writeln!(stderr, "{style}{label}{style:#}: {text}"),
    };
}

/// A table as the tools of this field print it: upper-case headings, columns apart by spaces, no lines, never wrapped.
pub(super) fn table<const N: usize>(headings: [&str; N]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Disabled)
        .set_header(headings);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The table's lines, without spaces at their ends.
pub(super) fn rows(table: &comfy_table::Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
