//! `presence list --watch`: the table, drawn again and again on the whole terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use super::{Args, table};
use crate::cli::error::CliError;
use crate::cli::fleet::{self, Fleet, FleetStores};
use crate::cli::{console, log, node};
use crate::config::Config;
use crate::errors::chain;
use crate::roster::{Node, Selector};
use crate::sanitize::shown;

/// Switches to the terminal's other screen, and hides the cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";

/// Shows the cursor, and switches back to the usual screen.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

enum Event {
    Read(Result<Box<Fleet>, CliError>, Timestamp),
    Signal(i32),
}

/// The usual screen is back when this is dropped.
struct Screen;

impl Screen {
    fn enter() -> Result<Screen, CliError> {
        write(ENTER)?;
        Ok(Screen)
    }

    fn draw(&self, lines: &[String]) -> Result<(), CliError> {
        let lines = lines.iter().map(|line| format!("{line}\x1b[K")).collect::<Vec<_>>();
        write(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may have gone.
        let _ = write(LEAVE);
    }
}

fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| CliError::failed(format!("cannot write to the terminal: {error}")))
}

/// Draws the table every so many seconds, until SIGINT or SIGTERM.
pub(super) fn run(args: &Args, config: &Config, stores: &FleetStores, seconds: u64) -> Result<(), CliError> {
    if !io::stdout().is_terminal() {
        let text = "--watch redraws a terminal, and stdout is not one";
        return Err(CliError::usage(text).hint("without --watch, the table is printed once".to_owned()));
    }
    let selector = args.select.selector()?;
    let (sender, events) = mpsc::channel();
    let signals = listen(sender.clone())
        .map_err(|error| CliError::failed(format!("cannot receive signals: {error}")))?;
    let interval = Duration::from_secs(seconds);
    read_for_ever(config.clone(), stores.clone(), args.select.max_age.max_age, interval, sender);
    let screen = Screen::enter()?;
    let result = watch(args, config, &selector, seconds, &events, &screen);
    drop(screen);
    signals.close();
    result
}

fn listen(sender: Sender<Event>) -> io::Result<signal_hook::iterator::Handle> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH])?;
    let handle = signals.handle();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            // If this fails, the command is about to end.
            let _ = sender.send(Event::Signal(signal));
        }
    });
    Ok(handle)
}

/// Reads the stores in a thread, so that a store that hangs delays no signal. The end of the command abandons it.
fn read_for_ever(
    config: Config,
    stores: FleetStores,
    max_age: Option<SignedDuration>,
    interval: Duration,
    sender: Sender<Event>,
) {
    std::thread::spawn(move || {
        loop {
            let read = || -> Result<(Fleet, Timestamp), CliError> {
                let mut fleet = Fleet::read(&config, &stores, true);
                fleet.expire(max_age)?;
                Ok((fleet, node::now()?))
            };
            let event = match read() {
                Ok((fleet, now)) => Event::Read(Ok(Box::new(fleet)), now),
                Err(error) => Event::Read(Err(error), Timestamp::UNIX_EPOCH),
            };
            if sender.send(event).is_err() {
                return;
            }
            std::thread::sleep(interval);
        }
    });
}

/// What is on the screen.
#[derive(Default)]
struct View {
    /// The last reading in which a store answered; before the first one, the last copies.
    shown: Option<(Box<Fleet>, Timestamp)>,
    /// The last reading, if no store answered in it.
    failed: Option<(Box<Fleet>, Timestamp)>,
}

impl View {
    fn take(&mut self, fleet: Box<Fleet>, now: Timestamp) {
        if fleet.is_current() {
            *self = View { shown: Some((fleet, now)), failed: None };
        } else if self.shown.as_ref().is_some_and(|(shown, _)| shown.is_current()) {
            self.failed = Some((fleet, now));
        } else {
            self.shown = Some((fleet, now));
        }
    }

    /// The line above the table.
    fn status(&self, seconds: u64, matching: usize) -> String {
        let Some((fleet, now)) = &self.shown else { return "reading the stores …".to_owned() };
        let clock = |time: &Timestamp| time.strftime("%H:%M:%S").to_string();
        let nodes = if matching == 1 { "1 node" } else { &format!("{matching} nodes") };
        let nodes = match fleet.roster.problems.len() {
            0 => nodes.to_owned(),
            1 => format!("{nodes}, 1 problem"),
            problems => format!("{nodes}, {problems} problems"),
        };
        let trouble = |fleet: &Fleet| {
            let errors = fleet.readings.iter().chain(&fleet.beat_readings);
            let error = errors.filter_map(|reading| reading.error.as_ref()).next();
            error.map(|error| shown(&chain(error))).unwrap_or_default()
        };
        let failed = |fleet: &Fleet| fleet.readings.iter().filter(|reading| reading.error.is_some()).count();
        match &self.failed {
            Some((failed, at)) => {
                let is_old = at.duration_since(*now) >= SignedDuration::from_hours(12);
                let of = if is_old { log::time(*now) } else { clock(now) };
                let trouble = trouble(failed);
                format!("{} UTC: no store answers; this is the list of {of}: {trouble}", clock(at))
            }
            None if !fleet.is_current() => {
                let trouble = trouble(fleet);
                format!("{} UTC: no store answers; these are the last copies: {trouble}", clock(now))
            }
            None if failed(fleet) > 0 => format!(
                "{} UTC: {nodes}; {} of {} stores failed: {}",
                clock(now),
                failed(fleet),
                fleet.readings.len(),
                trouble(fleet)
            ),
            None if !fleet.hears_beats() => {
                format!("{} UTC: {nodes}; no store of heartbeats answers: {}", clock(now), trouble(fleet))
            }
            None => format!("{} UTC, every {seconds} s: {nodes}", clock(now)),
        }
    }

    fn is_in_order(&self) -> bool {
        let Some((fleet, _)) = &self.shown else { return true };
        self.failed.is_none()
            && fleet.readings.iter().chain(&fleet.beat_readings).all(|reading| reading.error.is_none())
    }

    /// The lines of a screen of that size.
    fn lines(
        &self,
        args: &Args,
        selector: &Selector,
        seconds: u64,
        (width, height): (usize, usize),
    ) -> Vec<String> {
        let nodes = self.shown.as_ref().map(|(fleet, _)| {
            fleet.roster.nodes.iter().filter(|node| selector.matches(node)).collect::<Vec<&Node>>()
        });
        let nodes = nodes.unwrap_or_default();
        let style = match self.is_in_order() {
            true => anstyle::Style::new().bold(),
            false => anstyle::AnsiColor::Red.on_default().bold(),
        };
        let status = table::cut(&self.status(seconds, nodes.len()), width);
        let mut lines = vec![format!("{style}{status}{style:#}"), String::new()];
        if let Some((fleet, now)) = &self.shown {
            let text = super::as_table(fleet, &nodes, args, *now, Some(width));
            lines.extend(text.lines().map(str::to_owned));
        }
        if lines.len() > height {
            let more = lines.len() + 1 - height;
            lines.truncate(height.saturating_sub(1));
            lines
                .push(table::cut(&format!("… and {more} more lines: `presence list` shows them all"), width));
        }
        lines.iter().map(|line| console::coloured(line)).collect()
    }
}

fn watch(
    args: &Args,
    config: &Config,
    selector: &Selector,
    seconds: u64,
    events: &Receiver<Event>,
    screen: &Screen,
) -> Result<(), CliError> {
    let mut view = View::default();
    loop {
        let size = console::terminal_size();
        screen.draw(&view.lines(args, selector, seconds, size))?;
        // The size may have changed without a signal.
        match events.recv_timeout(Duration::from_secs(60)) {
            Ok(Event::Read(Ok(fleet), now)) => {
                args.select.refuse_unknown_states(&fleet, &config.states)?;
                view.take(fleet, now);
            }
            Ok(Event::Read(Err(error), _)) => return Err(error),
            Ok(Event::Signal(SIGWINCH)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::Signal(SIGTSTP)) => {
                write(LEAVE)?;
                // The process stops here until it is continued. If that fails, it goes on.
                let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
                write(ENTER)?;
            }
            Ok(Event::Signal(_)) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match (&view.failed, &view.shown) {
        (Some((fleet, _)), _) => Err(fleet::unreachable(fleet, "no store could be read at the end")),
        (None, Some((fleet, _))) if !fleet.is_current() => {
            Err(fleet::unreachable(fleet, "no store could be read; these were the last copies"))
        }
        _ => Ok(()),
    }
}
