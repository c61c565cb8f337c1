//! Notifies systemd: sd_notify(3), a datagram of `NAME=VALUE` lines. Without systemd, nothing is sent.

use std::env;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct Systemd {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Systemd {
    /// From the environment variables that systemd sets.
    pub(super) fn from_env() -> Systemd {
        let socket = env::var("NOTIFY_SOCKET").ok().and_then(|name| {
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not delay a beat.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address(&name)?))
        });
        let meant = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let micros = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).filter(|_| meant);
        Systemd { socket, watchdog: micros.map(Duration::from_micros) }
    }

    /// The interval of watchdog pings: half of systemd's limit.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Sends a message. An error is ignored, since there is nobody to report it to.
    pub(super) fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(text.replace('\n', " ").as_bytes(), address);
        }
    }
}

fn address(name: &str) -> Option<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name).ok();
    }
    SocketAddr::from_pathname(Path::new(name)).ok()
}
