//! A slow network to the git server: a relay on the same host delays every byte, in both directions.
//! Connections are established as fast as before.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::git::GitServer;
use crate::host::Host;
use crate::load;
use crate::process::run;

/// The port of the relay.
const PORT: u16 = 9419;

/// Lets the host redirect connections. It must be called before the host has connections, which are not to be
/// redirected.
pub(crate) fn prepare(host: &Host) {
    let chain = "table ip delays { chain prerouting { type nat hook prerouting priority -100; }; }";
    run(host.command("nft").arg(chain));
}

/// Ends when it is dropped. Its open connections last until either end closes them.
pub(crate) struct Delay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    server: SocketAddr,
    namespace: String,
}

impl Delay {
    /// Delays all traffic with this server.
    pub(crate) fn start(git: &GitServer, delay: Duration) -> Delay {
        let (namespace, server) = (git.host.namespace().to_owned(), git.address());
        let listener = load::in_namespace(&namespace, || TcpListener::bind((server.ip(), PORT)).unwrap());
        let rule = format!("add rule ip delays prerouting tcp dport {} redirect to :{PORT}", server.port());
        run(git.host.command("nft").arg(rule));
        let stop = Arc::<AtomicBool>::default();
        let (stopped, inside) = (stop.clone(), namespace.clone());
        let thread = std::thread::spawn(move || {
            load::enter(&inside);
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                if let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) {
                    relay(client, server, delay);
                }
            }
        });
        Delay { stop, thread: Some(thread), server, namespace }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // New connections go directly to the server. Those through the relay still need the chain, but not
        // the rule.
        let _ = crate::namespaces::inside(&self.namespace, "nft")
            .arg("flush chain ip delays prerouting")
            .output();
        let wake = SocketAddr::from((self.server.ip(), PORT));
        let _ = load::in_namespace(&self.namespace, || TcpStream::connect(wake));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Copies both ways in threads that end with the connection.
fn relay(client: TcpStream, server: TcpStream, delay: Duration) {
    let both = (client.try_clone(), server.try_clone());
    let (Ok(to_client), Ok(to_server)) = both else { return };
    hold(client, to_server, delay);
    hold(server, to_client, delay);
}

/// Writes what it reads, each piece when it is due. It reads on while pieces wait.
fn hold(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if send.send((Instant::now() + delay, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in receive {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
