//! `git://`: a plain connection to `git daemon`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::dialogue::{Channel, Dialogue, request};
use super::{SLACK, Service, Settings, late, retry};
use crate::address::Address;
use crate::{Deadline, TransportError};

/// git's port, registered at IANA.
const PORT: u16 = 9418;

/// A connection with a time limit on every read and write.
pub(super) struct Tcp {
    stream: TcpStream,
    peer: String,
    silence: Duration,
    deadline: Deadline,
    /// The socket's current time limit.
    limit: Duration,
}

/// Connects, requests the service, and waits for the first bytes of the answer.
pub(super) fn open(
    address: &Address,
    service: Service,
    settings: &Settings,
    deadline: Deadline,
) -> Result<Dialogue<Tcp>, TransportError> {
    let peer = address.peer();
    let request = request(service, &address.path, &peer);
    let timeouts = settings.timeouts;
    retry::connecting(timeouts.connect, deadline, |end| {
        let stream = connect(address, end)?;
        let connected = Instant::now();
        let (silence, limit) = (timeouts.silence, Duration::ZERO);
        let mut tcp = Tcp { stream, peer: peer.clone(), silence, deadline, limit };
        tcp.prepare().map_err(|error| tcp.failure(error))?;
        tcp.limit()?;
        tcp.stream.write_all(&request).map_err(|error| tcp.failure(error))?;
        let mut dialogue = Dialogue::new(tcp, service, &settings.limits)?;
        dialogue.answered_in = Some(connected.elapsed());
        dialogue.channel.patient().map_err(|error| dialogue.channel.failure(error))?;
        Ok(dialogue)
    })
}

/// The longest attempt. A server with a full backlog drops connections, and the kernel retries after 1, 3 and
/// 7 s, for all clients at the same moments. New attempts at random times are better. The server may even
/// accept the connection and drop the request, so this also limits the time until its kernel acknowledges
/// that.
const ONE_TRY: Duration = Duration::from_secs(2);

/// Tries the addresses of the host in order. Each gets a share of the time, so that a dead one does not
/// prevent the next.
fn connect(address: &Address, end: Instant) -> Result<TcpStream, TransportError> {
    let peer = address.peer();
    let addresses = resolve(&address.host, address.port.unwrap_or(PORT), left(end))
        .ok_or_else(|| TransportError::Resolve { peer: peer.clone() })?;
    let mut last = io::Error::from(ErrorKind::TimedOut);
    for (tried, address) in addresses.iter().enumerate() {
        let share = left(end) / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(address, share.clamp(Duration::from_millis(1), ONE_TRY)) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(TransportError::Connect { peer, source: last })
}

fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
}

/// The addresses of a host; `None` if there are none or resolving takes too long.
fn resolve(host: &str, port: u16, limit: Duration) -> Option<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(ip, port)]);
    }
    // The system's resolver has no time limit. If it is too slow, its thread is abandoned.
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Fails if the caller has stopped waiting.
        let _ = sender.send(found);
    });
    let found: Vec<SocketAddr> = receiver.recv_timeout(limit).ok()?.ok()?;
    (!found.is_empty()).then_some(found)
}

impl Tcp {
    fn prepare(&self) -> io::Result<()> {
        // The protocol exchanges short messages; waiting to fill a packet costs 40 ms each.
        self.stream.set_nodelay(true)?;
        self.unacknowledged(ONE_TRY)
    }

    /// After the first answer, missing acknowledgements get the same limit as silence.
    fn patient(&self) -> io::Result<()> {
        self.unacknowledged(self.silence)
    }

    /// Sets how long sent data may stay unacknowledged (tcp(7), TCP_USER_TIMEOUT).
    #[cfg(target_os = "linux")]
    fn unacknowledged(&self, limit: Duration) -> io::Result<()> {
        let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        Ok(rustix::net::sockopt::set_tcp_user_timeout(&self.stream, millis)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn unacknowledged(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }

    /// Before each read and write, limits its wait to the time left to the operation.
    fn limit(&mut self) -> Result<(), TransportError> {
        if let Some(late) = late(&self.peer, self.deadline) {
            return Err(late);
        }
        let wanted = self.deadline.at_most(self.silence);
        if self.limit.is_zero() || self.limit > wanted + SLACK {
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
            // A socket's error when its time limit passes (socket(7)).
            ErrorKind::WouldBlock => late(&peer, self.deadline)
                .unwrap_or(TransportError::Silent { peer, seconds: self.silence.as_secs() }),
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

/// Repeats the call if a signal interrupted it.
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
    use std::net::TcpListener;

    use super::*;
    use crate::Timeouts;

    fn timeouts(connect: u64, silence: u64) -> Timeouts {
        Timeouts { connect: Duration::from_millis(connect), silence: Duration::from_millis(silence) }
    }

    fn open_local(port: u16, timeouts: Timeouts) -> TransportError {
        let address = Address::parse(&format!("git://127.0.0.1:{port}/p")).unwrap();
        let settings = Settings { timeouts, ..super::super::tests::settings() };
        let deadline = Deadline::new("read", Duration::from_secs(600));
        open(&address, Service::UploadPack, &settings, deadline).err().unwrap()
    }

    #[test]
    fn nobody_listens() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = open_local(port, timeouts(50, 50));
        assert!(matches!(error, TransportError::Connect { .. }), "{error}");
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = open_local(listener.local_addr().unwrap().port(), timeouts(1000, 50));
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
        let error = open_local(port, timeouts(10_000, 10_000));
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
