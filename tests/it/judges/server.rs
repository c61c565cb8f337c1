//! A program under test that listens on a Unix socket, until it is dropped.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    /// Starts a program and waits until its socket answers.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, socket: &Path) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, socket: socket.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not serve on {}", socket.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The TCP ports on which it listens: its sockets, looked up in the kernel's tables (proc(5),
    /// `/proc/net/tcp`).
    pub(crate) fn listening_ports(&self) -> BTreeSet<u16> {
        let process = Path::new("/proc").join(self.child.id().to_string());
        let sockets: BTreeSet<String> = std::fs::read_dir(process.join("fd"))
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let mut ports = BTreeSet::new();
        for table in ["net/tcp", "net/tcp6"] {
            for line in std::fs::read_to_string(process.join(table)).unwrap_or_default().lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                if fields[3] == "0A" && sockets.contains(fields[9]) {
                    let port = fields[1].rsplit(':').next().unwrap();
                    ports.insert(u16::from_str_radix(port, 16).unwrap());
                }
            }
        }
        ports
    }

    /// The body of `GET /v<index>`.
    pub(crate) fn value(&self, index: usize) -> String {
        let answer = self.ask(&format!("GET /v{index} HTTP/1.0\r\n\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        assert!(head.contains(" 200 "), "{head}");
        body.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it has exited by itself, the test has failed already, with a better message.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
