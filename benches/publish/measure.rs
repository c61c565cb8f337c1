//! CPU time and network traffic.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The CPU seconds of this process's children that have ended.
pub(crate) fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.iter().skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The CPU seconds of everything on this machine (proc_stat(5): user, nice, system, irq, softirq).
pub(crate) fn machine_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    [0, 1, 2, 5, 6].iter().filter_map(|index| ticks.get(*index)).sum::<f64>() / 100.0
}

/// A relay that counts bytes sent, bytes received and connections.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    counts: Arc<[AtomicU64; 3]>,
}

impl Relay {
    pub(crate) fn start(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("a port");
        let counts = Arc::new([const { AtomicU64::new(0) }; 3]);
        let shared = counts.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared[2].fetch_add(1, Ordering::Relaxed);
                let Ok(server) = TcpStream::connect(server) else { continue };
                for (direction, from, to) in [(0, &client, &server), (1, &server, &client)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let _ = to.set_nodelay(true);
                    let shared = shared.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 65536];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            shared[direction].fetch_add(length as u64, Ordering::Relaxed);
                            if to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Relay { address, counts }
    }

    pub(crate) fn carried(&self) -> [u64; 3] {
        [0, 1, 2].map(|index| self.counts[index].load(Ordering::Relaxed))
    }
}
