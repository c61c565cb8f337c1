//! Whatever has been sent when the program dies, the next call completes it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use presence::haproxy::{ApplyRequest, Socket, apply};

use super::{Balancer, PATIENCE, lines, told};
use crate::fixture::haproxy::HaProxy;
use crate::fixture::http_server::HttpServer;

/// A socket that forwards a number of commands and then dies: HAProxy sees the same as from a killed program.
fn dying_socket(dir: &Path, haproxy: PathBuf, commands: usize) -> PathBuf {
    let path = dir.join(format!("dying-{commands}.sock"));
    let listener = UnixListener::bind(&path).unwrap();
    let left = Arc::new(AtomicUsize::new(commands));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), UnixStream::connect(&haproxy).unwrap());
            let left = left.clone();
            let (mut answers, mut reader) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                // Ends when either side does.
                let _ = std::io::copy(&mut reader, &mut answers);
                let _ = answers.shutdown(std::net::Shutdown::Both);
            });
            for line in BufReader::new(client.try_clone().unwrap()).lines().map_while(Result::ok) {
                let looks = line.starts_with("show") || line == "prompt";
                if !looks
                    && left
                        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                        .is_err()
                {
                    // HAProxy has executed the commands when it has answered.
                    let _ = (&server).write_all(b"quit\n");
                    let _ = (&server).read_to_end(&mut Vec::new());
                    let _ = client.shutdown(std::net::Shutdown::Both);
                    break;
                }
                let _ = (&server).write_all(format!("{line}\n").as_bytes());
            }
            let _ = server.shutdown(std::net::Shutdown::Write);
        }
    });
    path
}

#[test]
fn a_call_that_was_killed_anywhere_is_finished_by_the_next() {
    let servers = [(); 5].map(|()| HttpServer::start(200));
    let [a, b, c, d, e] = &servers;
    let old = lines([(0, a, ""), (1, b, ""), (2, c, ""), (3, d, "disabled")]);
    // One stays, one drains, one leaves, one returns, one is new.
    let new = lines([(0, a, ""), (1, b, "weight 0"), (3, d, ""), (4, e, "")]);
    let balancer = Balancer::start(&old);
    let worker = balancer.haproxy.worker();
    let new = format!("{}{new}", balancer.head);
    let state = || {
        let answer = balancer.haproxy.ask("show servers state app");
        let of = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            // Without times, check results and the flag that the file once disabled it.
            let admin: u32 = fields[6].parse().unwrap();
            format!("{} {} {} {} {}", fields[2], fields[3], fields[4], admin & !4, fields[18])
        };
        answer.lines().filter(|line| line.contains(" app ")).map(of).collect::<Vec<_>>()
    };
    let straight = ApplyRequest { new: &new, ..balancer.request(&balancer.config, PATIENCE) };
    let back = || ApplyRequest { old: &new, new: &balancer.config, ..straight.clone() };

    assert!(apply(&straight).unwrap().is_settled());
    let expect = state();
    let mut killed = 0;
    loop {
        let outcome = apply(&back()).unwrap();
        assert!(outcome.is_settled(), "{}", told(&outcome));
        let socket = dying_socket(balancer.path(), HaProxy::socket_in(balancer.path()), killed);
        let socket = Socket::new(&socket);
        let result = apply(&ApplyRequest { socket: &socket, ..straight.clone() });
        // The file has been in place since before the first call, so it is also the old one now.
        let finished = apply(&ApplyRequest { old: &new, ..straight.clone() }).unwrap();
        assert!(finished.is_settled(), "killed after {killed} commands: {}", told(&finished));
        assert_eq!(state(), expect, "killed after {killed} commands");
        if result.is_ok() {
            break;
        }
        killed += 1;
    }
    assert!(killed >= 8, "only {killed} commands were needed, so this test tests little");
    assert_eq!(balancer.haproxy.worker(), worker, "no reload");
}
