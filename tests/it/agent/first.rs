//! The agent as the first process of a container.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use super::daemon::wait;
use super::machine;

/// The children of a process and their states, as `ps` prints them.
fn children(parent: u32) -> Vec<(u32, String)> {
    let output =
        Command::new("ps").args(["-o", "pid=,stat=", "--ppid", &parent.to_string()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (pid, stat) = line.trim().split_once(' ')?;
        Some((pid.parse().ok()?, stat.trim().to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn what_its_commands_leave_behind_is_waited_for_and_no_exit_code_is_lost() {
    if !Command::new("unshare")
        .args(["-pf", "--mount-proc", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        // Without the right to create a container, this test checks nothing.
        return;
    }
    let lb = machine(
        "lb1",
        "reload = \"sh -c '(sleep 0.2 &); (setsid sleep 0.3 &); echo x >> reloads'\"\n\
         [[health]]\nname = 'own'\ncommand = \"sh -c '(sleep 0.05 &); exit 0'\"\nfall = 1\ninterval = '100ms'\n\
         [agent]\ninterval = '1s'\npoll = '100ms'\nquiet-min = '10ms'\nreloads-per-minute = 600\n",
    );
    let log = fs::File::create(lb.path("agent.log")).unwrap();
    let program = lb.command(&["agent"]);
    let mut command = Command::new("unshare");
    command.args(["-pf", "--mount-proc"]).arg(program.get_program()).args(program.get_args());
    command.current_dir(lb.path("")).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env_remove("PRESENCE_NOW").stdout(log.try_clone().unwrap()).stderr(log);
    let mut container = command.spawn().unwrap();
    let said = || fs::read_to_string(lb.path("agent.log")).unwrap();
    let reloads = || fs::read_to_string(lb.path("reloads")).unwrap_or_default().lines().count();
    wait("the first reload", said, || reloads() == 1);
    let (agent, _) = children(container.id()).into_iter().next().unwrap();
    for number in 2..5 {
        lb.fact("address", format!("10.0.0.{number}0"));
        wait("a reload", said, || reloads() == number);
    }
    let zombies = || children(agent).into_iter().filter(|(_, stat)| stat.starts_with('Z')).count();
    wait("all that was left to be reaped", said, || children(agent).is_empty() || zombies() == 0);
    std::thread::sleep(std::time::Duration::from_millis(500));
    // A health check may have just ended; a lasting zombie was not reaped.
    wait("no zombie to be left", said, || zombies() == 0);
    kill_process(Pid::from_raw(agent.cast_signed()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(container.wait().unwrap().code(), Some(0), "{}", said());
    assert!(!said().contains("own") && !said().contains("warning"), "{}", said());
}
