//! stdout is for data, stderr for messages. Neither panics when it is closed or full.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::error::CliError;
use crate::progress::{self, Operation};
use crate::sanitize::{terminal_safe, terminal_safe_json};

/// If there are more warnings at once, only their number is printed.
const MAX_WARNINGS: usize = 10;

const QUIET: u8 = 0;
const NORMAL: u8 = 1;

static VOLUME: AtomicU8 = AtomicU8::new(NORMAL);

/// Sets how much is printed on stderr.
pub(super) fn set_volume(verbose: u8, quiet: bool) {
    VOLUME.store(if quiet { QUIET } else { NORMAL.saturating_add(verbose) }, Ordering::Relaxed);
}

fn volume() -> u8 {
    VOLUME.load(Ordering::Relaxed)
}

/// Writes all data to stdout. A reader that stops early (`| head`) is not an error.
pub(super) fn data(text: &str) -> Result<(), CliError> {
    // A terminal would act upon control characters; a file gets the bytes unchanged.
    let is_terminal = io::stdout().is_terminal();
    write(&if is_terminal { terminal_safe(text) } else { Cow::Borrowed(text) })
}

/// Writes a text with styles to stdout, as [`data`] does. The caller has escaped what is from outside.
pub(super) fn styled(text: &str) -> Result<(), CliError> {
    write(&coloured(text))
}

/// The text with its styles, or without them if stdout shall have no colours.
pub(super) fn coloured(text: &str) -> String {
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        _ => text.to_owned(),
    }
}

/// The width of the terminal at stdout; `None` if stdout is not a terminal.
pub(super) fn terminal_width() -> Option<usize> {
    io::stdout().is_terminal().then(|| terminal_size().0)
}

/// The width and height of the terminal at stdout, or else what `COLUMNS` and `LINES` say, or 80 and 24.
pub(super) fn terminal_size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let told = |size: Option<u16>, name: &str, usual: usize| {
        let size = size.map(usize::from).filter(|size| *size > 0);
        let named = || std::env::var(name).ok()?.parse().ok().filter(|size| *size > 0);
        size.or_else(named).unwrap_or(usual)
    };
    (told(size.map(|size| size.ws_col), "COLUMNS", 80), told(size.map(|size| size.ws_row), "LINES", 24))
}

fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let hint = match error.kind() {
                io::ErrorKind::StorageFull => {
                    "free some space where the output goes, then run the same command again"
                }
                _ => "check where the output of this command goes",
            };
            Err(CliError::failed(format!("cannot write to stdout: {error}")).hint(hint.to_owned()))
        }
        _ => Ok(()),
    }
}

/// A value as JSON. Escapes whatever a terminal would act upon, including the values that nodes state.
pub(super) fn json(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| CliError::failed(format!("cannot write the answer as JSON: {error}")))?;
    Ok(format!("{}\n", terminal_safe_json(&text)))
}

/// Writes results to stdout line by line, unless `--quiet` is given: cron must not mail good news.
pub(super) fn report(lines: &str) -> Result<(), CliError> {
    if volume() >= NORMAL { data(lines) } else { Ok(()) }
}

/// Prints what was done.
pub(super) fn note(text: &str) {
    if volume() >= NORMAL {
        say("", Style::new(), text);
    }
}

/// Prints a detail that only `--verbose` shows.
pub(super) fn detail(text: &str) {
    if volume() > NORMAL {
        say("", Style::new().dimmed(), text);
    }
}

/// Prints an event of the log, whatever `--quiet` says.
pub(super) fn log(level: &str, text: &str) {
    say(level, Style::new().dimmed(), text);
}

/// Prints what is wrong although the command goes on.
pub(super) fn warning(text: &str) {
    if volume() >= NORMAL {
        say("warning", AnsiColor::Yellow.on_default().bold(), text);
    }
}

/// Prints what to do about a warning.
pub(super) fn remedy(text: &str) {
    if volume() >= NORMAL {
        hint(text);
    }
}

/// Prints the first few warnings and the number of all, or all with `--verbose`.
pub(super) fn warnings(texts: &[String], where_all: &str) {
    shortened(texts, where_all).iter().for_each(|text| warning(text));
}

/// The first few warnings and the number of all, or all with `--verbose`.
pub(super) fn shortened(texts: &[String], where_all: &str) -> Vec<String> {
    let shown = if is_verbose() { texts.len() } else { MAX_WARNINGS };
    let mut short: Vec<String> = texts.iter().take(shown).cloned().collect();
    if texts.len() > shown {
        short.push(format!("… and {} more: {where_all}", texts.len() - shown));
    }
    short
}

/// Shows on a terminal how far the operation has come that this process waits for, until it is dropped. Shows
/// nothing of an operation that takes less than a second.
pub(super) struct Progress(Option<(mpsc::Sender<()>, thread::JoinHandle<()>)>);

impl Progress {
    pub(super) fn start() -> Progress {
        if volume() < NORMAL || !io::stderr().is_terminal() {
            return Progress(None);
        }
        let (stop, stopped) = mpsc::channel();
        let show = move || {
            let mut wait = Duration::from_secs(1);
            let mut is_shown = false;
            while stopped.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
                wait = Duration::from_millis(200);
                if let Some((operation, done, all)) = progress::noted() {
                    let text = match operation {
                        Operation::Fetch if all == 0 => "waiting for the server".to_owned(),
                        Operation::Fetch => format!("fetching: {done} of {all} objects"),
                        Operation::Unpack => format!("unpacking: {done} of {all} objects"),
                        Operation::Walk => format!("reading the history: {done} commits"),
                        Operation::Replay => format!("replaying: {done} of {all} versions"),
                    };
                    eprint(&format!("\r\x1b[K{text}"));
                    is_shown = true;
                }
            }
            if is_shown {
                eprint("\r\x1b[K");
            }
        };
        Progress(thread::Builder::new().spawn(show).ok().map(|thread| (stop, thread)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            // It ends at once, and only shows something.
            let _ = thread.join();
        }
    }
}

/// Writes to the terminal at stderr. A failure leaves nowhere to report it.
fn eprint(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Whether `--verbose` was given.
pub(super) fn is_verbose() -> bool {
    volume() > NORMAL
}

/// Whether `--quiet` was given.
pub(super) fn is_quiet() -> bool {
    volume() == QUIET
}

/// Prints the message and the hint of an error.
pub(super) fn failure(failure: &CliError) {
    if !failure.message().is_empty() {
        error(failure.message());
    }
    if let Some(advice) = failure.advice() {
        hint(advice);
    }
}

pub(super) fn error(text: &str) {
    say("error", AnsiColor::Red.on_default().bold(), text);
}

pub(super) fn hint(text: &str) {
    say("hint", AnsiColor::Cyan.on_default(), text);
}

fn say(label: &str, style: Style, text: &str) {
    let mut stderr = anstream::stderr().lock();
    // The text may quote servers, programs and records.
    let text = terminal_safe(text);
    // If stderr is closed, there is nowhere to report the error.
    let _ = match label {
        "" => writeln!(stderr, "{style}{text}{style:#}"),
        _ => writeln!(stderr, "{style}{label}{style:#}: {text}"),
    };
}

/// A table in the usual style of command-line tools: upper-case headings, columns separated by spaces, no
/// rules, no wrapping.
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

/// The lines of the table, without trailing spaces.
pub(super) fn rows(table: &comfy_table::Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
