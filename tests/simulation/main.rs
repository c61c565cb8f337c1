//! Simulations of the program's cores: seeded faults in virtual time, and invariants after every step.
//!
//! `cargo test --test simulation -- --help` explains the options. The same seed always runs the same way.
#![expect(clippy::print_stdout, reason = "this is a program: its output is its report")]
#![expect(clippy::unwrap_used, reason = "a simulation that meets a surprise must stop")]

mod agent;
mod arguments;
mod chance;
mod publishing;
mod runner;
mod scheduler;
mod selftest;
mod tally;
mod trace;

use std::process::ExitCode;
use std::time::Instant;

use arguments::Arguments;
use runner::World;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) if arguments.help => {
            println!("{}", arguments::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(arguments) => arguments,
        Err(error) => {
            println!("{error}\n\n{}", arguments::HELP);
            return ExitCode::from(2);
        }
    };
    let all = [selftest::WORLDS, agent::WORLDS, publishing::WORLDS].concat();
    let mut worlds: Vec<&World> = all.into_iter().filter(|world| arguments.select(world.name)).collect();
    if arguments.list {
        for world in worlds {
            println!("{}: test\n    {}", world.name, world.about);
        }
        return ExitCode::SUCCESS;
    }
    worlds.retain(|world| world.is_usual() || arguments.world.is_some());
    runner::catch_panics();
    let count = worlds.len();
    let time = arguments.time.map(|time| time / u32::try_from(count).unwrap().max(1));
    let mut code = ExitCode::SUCCESS;
    for world in worlds {
        let started = Instant::now();
        let outcome = runner::run(world, &arguments, time);
        let not_all = if outcome.is_complete { "" } else { ", not all" };
        let states = outcome.states.map(|states| format!(", {states} states{not_all}")).unwrap_or_default();
        let took = started.elapsed().as_secs_f64();
        println!("{}: {} runs{states}, {}; {took:.1} s", world.name, outcome.runs, outcome.tally);
        if let Some(violation) = outcome.violation {
            println!("VIOLATION in {}, run {}: {}", world.name, violation.number, violation.text);
            code = ExitCode::FAILURE;
        }
    }
    code
}
