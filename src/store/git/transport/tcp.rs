//! `git://`: a plain connection to `git daemon`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::address::Address;
use super::wire::{Channel, Greeted, Service, request};
use super::{ANSWERED_IN, Limits, TransportError, retry, until};

/// The port that IANA gave to git.
const PORT: u16 = 9418;

/// A connection with a time limit on every read and write.
pub(super) struct Tcp {
    stream: TcpStream,
    peer: String,
    silence: Duration,
    /// The time limit that the socket has now.
    limit: Duration,
}

/// Connects, asks for the service, and waits until the server begins to answer.
pub(super) fn open(
    address: &Address,
    service: Service,
    limits: &Limits,
) -> Result<Greeted<Tcp>, TransportError> {
    let peer = address.peer();
    let request = request(service, &address.path, &peer);
    retry::connecting(limits.connect, |deadline| {
        let stream = connect(address, deadline)?;
        let connected = Instant::now();
        let mut tcp = Tcp { stream, peer: peer.clone(), silence: limits.silence, limit: Duration::ZERO };
        tcp.prepare().map_err(|error| tcp.failure(error))?;
        tcp.limit()?;
        tcp.stream.write_all(&request).map_err(|error| tcp.failure(error))?;
        let greeted = Greeted::new(tcp, service)?;
        ANSWERED_IN.set(Some(connected.elapsed()));
        greeted.channel.patient().map_err(|error| greeted.channel.failure(error))?;
        Ok(greeted)
    })
}

/// A server with a full backlog drops what comes, and the system asks again after 1, 3 and 7 s, all of a crowd at the
/// same moment. We ask anew, each at its own. It may even take the connection and drop the request, later and later:
/// so this is also the limit for the server's system to acknowledge that.
const ONE_TRY: Duration = Duration::from_secs(2);

/// Tries the addresses of the host in their order. Each has its share of the time: one that does not answer must not
/// keep us from the next.
fn connect(address: &Address, deadline: Instant) -> Result<TcpStream, TransportError> {
    let peer = address.peer();
    let addresses = resolve(&address.host, address.port.unwrap_or(PORT), left(deadline))
        .ok_or_else(|| TransportError::Resolve { peer: peer.clone() })?;
    let mut last = io::Error::from(ErrorKind::TimedOut);
    for (tried, address) in addresses.iter().enumerate() {
        let share = left(deadline) / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.clamp(Duration::from_millis(1), ONE_TRY)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(TransportError::Connect { peer, source: last })
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// The addresses of a host; none if there are none, or the answer takes too long.
fn resolve(host: &str, port: u16, limit: Duration) -> Option<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(ip, port)]);
    }
    // The system's resolver has no time limit of its own. Where it is too slow, its thread is left behind.
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody waits any longer.
        let _ = sender.send(found);
    });
    let found: Vec<SocketAddr> = receiver.recv_timeout(limit).ok()?.ok()?;
    (!found.is_empty()).then_some(found)
}

impl Tcp {
    fn prepare(&self) -> io::Result<()> {
        // The protocol is a dialogue of short messages; waiting to fill a packet costs 40 ms each.
        self.stream.set_nodelay(true)?;
        self.unacknowledged(ONE_TRY)
    }

    /// Once the server has answered, what it does not acknowledge is lost no sooner than what it does not answer.
    fn patient(&self) -> io::Result<()> {
        self.unacknowledged(self.silence)
    }

    /// How long what is sent may stay unacknowledged by the other system (tcp(7), TCP_USER_TIMEOUT).
    #[cfg(target_os = "linux")]
    fn unacknowledged(&self, limit: Duration) -> io::Result<()> {
        let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        Ok(rustix::net::sockopt::set_tcp_user_timeout(&self.stream, millis)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn unacknowledged(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    /// Before each read and write: it waits for no longer than the operation has left.
    fn limit(&mut self) -> Result<(), TransportError> {
        if let Some(late) = until::late(&self.peer) {
            return Err(late);
        }
        let wanted = until::at_most(self.silence);
        if self.limit.is_zero() || self.limit > wanted + until::SLACK {
            let set = self.stream.set_read_timeout(Some(wanted));
            set.and_then(|()| self.stream.set_write_timeout(Some(wanted)))
                .map_err(|error| self.failure(error))?;
            self.limit = wanted;
        }
        Ok(())
    }

    fn failure(&self, error: io::Error) -> TransportError {
        let peer = self.peer.clone();
        match error.kind() {
            // What a socket says when its time limit is over (socket(7)).
            ErrorKind::WouldBlock => {
                until::late(&peer).unwrap_or(TransportError::Silent { peer, seconds: self.silence.as_secs() })
            }
            _ => TransportError::Broken { peer, source: error },
        }
    }
}

impl Channel for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransportError> {
        self.limit()?;
        uninterrupted(|| self.stream.read(buffer)).map_err(|error| self.failure(error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
        self.limit()?;
        uninterrupted(|| self.stream.write(bytes)).map_err(|error| self.failure(error))
    }

    fn ended(&mut self) -> TransportError {
        TransportError::Closed { peer: self.peer.clone() }
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}

/// Does it again when a signal came in between.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn limits(connect: u64, silence: u64) -> Limits {
        Limits { connect: Duration::from_millis(connect), silence: Duration::from_millis(silence) }
    }

    fn open_local(port: u16, limits: Limits) -> TransportError {
        let address = Address::parse(&format!("git://127.0.0.1:{port}/p")).unwrap();
        open(&address, Service::UploadPack, &limits).err().unwrap()
    }

    #[test]
    fn nobody_listens() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = open_local(port, limits(50, 50));
        assert!(matches!(error, TransportError::Connect { .. }), "{error}");
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = open_local(listener.local_addr().unwrap().port(), limits(1000, 50));
        assert!(matches!(error, TransportError::Silent { .. }), "{error}");
    }

    #[test]
    fn a_server_that_hangs_up_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"000cERR gone").unwrap();
        });
        let error = open_local(port, limits(10_000, 10_000));
        assert_eq!(error.to_string(), format!("`127.0.0.1:{port}` refused: gone"));
        server.join().unwrap();
    }

    #[test]
    fn an_address_needs_no_resolver() {
        let address = |text: &str| Some(vec![text.parse().unwrap()]);
        assert_eq!(resolve("192.0.2.1", 9, Duration::ZERO), address("192.0.2.1:9"));
        assert_eq!(resolve("2001:db8::1", 9, Duration::ZERO), address("[2001:db8::1]:9"));
        assert_eq!(resolve("name.invalid", 9, Duration::ZERO), None);
    }
}
