//! The cost of one run of a command. Each command runs in a fresh process of this program, since the kernel
//! sums up the cost of children and remembers only the largest peak of all.

use std::fmt;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// The cost of a run.
pub(crate) struct Measured {
    wall: Duration,
    cpu: Duration,
    /// The peak resident memory, in KiB.
    peak: i64,
}

/// Runs the command, which must succeed. Discards its output.
pub(crate) fn run(command: Command) -> Measured {
    run_on("/dev/null", command)
}

/// Runs the command with a file as its input.
pub(crate) fn run_on(input: &str, command: Command) -> Measured {
    let mut outer = inner(&["measure", input]);
    outer.arg(command.get_program()).args(command.get_args());
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    let output = outer.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<i64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let time = |microseconds: i64| Duration::from_micros(microseconds.unsigned_abs());
    Measured { wall: time(numbers[0]), cpu: time(numbers[1]), peak: numbers[2] }
}

/// This program, started for one measurement.
pub(crate) fn inner(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(words);
    command
}

/// Does the work of [`inner`], if this process was started for it.
pub(crate) fn is_inner(mode: &str, rest: &[String]) -> bool {
    match mode {
        "measure" => measure(rest),
        "read" => floor(&rest[0], rest[1].parse().unwrap(), &|_| {}),
        "parse" => floor(&rest[0], rest[1].parse().unwrap(), &|bytes| {
            std::hint::black_box(serde_json::from_slice::<File<'_>>(bytes).unwrap());
        }),
        _ => return false,
    }
    true
}

fn measure(words: &[String]) {
    let mut command = Command::new(&words[1]);
    command.args(&words[2..]).stdin(fs::File::open(&words[0]).unwrap()).stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status().unwrap();
    let wall = begin.elapsed();
    assert!(status.success());
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let cpu = [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    println!("{} {} {}", wall.as_micros(), cpu[0] + cpu[1], usage.max_rss());
}

/// A record, for a parser that knows the fields and copies nothing.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "to be parsed is all that it is for")]
struct File<'a> {
    filetype: &'a str,
    #[serde(borrow)]
    value: Facts<'a>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "to be parsed is all that it is for")]
struct Facts<'a> {
    instance_id: &'a str,
    ipv4: &'a str,
    port: &'a str,
    nodepart: &'a str,
    stacktype: &'a str,
    deployment: &'a str,
    state: &'a str,
}

/// The lower bound of every reader: opens, reads and closes each file, and at most passes it to `look`.
fn floor(folder: &str, threads: usize, look: &(dyn Fn(&[u8]) + Sync)) {
    let paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    std::thread::scope(|scope| {
        for some in paths.chunks(paths.len().div_ceil(threads)) {
            scope.spawn(move || {
                let mut bytes = Vec::new();
                for path in some {
                    bytes.clear();
                    fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
                    look(&bytes);
                }
            });
        }
    });
}

/// The best of several runs, for each figure separately.
pub(crate) struct Best(Measured);

impl Best {
    pub(crate) fn of(runs: usize, mut one: impl FnMut() -> Measured) -> Best {
        let mut best = one();
        for _ in 1..runs {
            let next = one();
            best.wall = best.wall.min(next.wall);
            best.cpu = best.cpu.min(next.cpu);
            best.peak = best.peak.min(next.peak);
        }
        Best(best)
    }
}

impl fmt::Display for Best {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(f, "{:.1} | {:.1} | {:.0}", ms(self.0.wall), ms(self.0.cpu), self.0.peak as f64 / 1024.0)
    }
}
