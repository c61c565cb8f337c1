//! HAProxy's stats socket: sends commands, reads answers, and has a time limit for both.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::running::{Running, SyntaxError};

/// The limit of one question or one batch. `show stat` of ten thousand servers takes a tenth of a second.
const LIMIT: Duration = Duration::from_secs(10);

/// The additional time for each command of a batch.
const LIMIT_OF_ONE: Duration = Duration::from_millis(10);

/// The longest answer: `show stat` has 230 bytes for a server, so this is a quarter of a million servers.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The longest answer to a command that changes something.
const MAX_WORD: usize = 1024 * 1024;

/// The bytes of commands that are sent before their answers are read. They fit into the socket's buffers, so
/// neither side waits for the other to read.
const BATCH: usize = 4096;

/// The end of an answer in interactive mode (HAProxy 2.6 management guide, section 9.3, `prompt`). Without
/// that mode, some answers end with an empty line and some do not.
const PROMPT: &[u8] = b"\n> ";

/// The master's answer to a question that only a worker can answer.
const UNKNOWN_COMMAND: &str = "Unknown command";

/// The worker in the answer to `show proc`, and the newest worker from before a reload.
fn workers(answer: &str) -> (Option<u32>, Option<u32>) {
    let first = |section: &str| {
        let mut lines = answer.lines().skip_while(|line| *line != section);
        lines.nth(1)?.split_whitespace().next()?.parse().ok()
    };
    (first("# workers"), first("# old workers"))
}

/// The process id in the answer to `show info`.
fn pid(info: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix("Pid: ")?.parse().ok())
}

/// The stats socket of a HAProxy.
#[derive(Debug, Clone)]
pub struct Socket {
    path: PathBuf,
}

/// The socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nothing listens there, access is denied, or there is no answer in time.
    #[error("cannot {operation} HAProxy's socket `{}`", path.display())]
    Io {
        /// "connect to", "write to", "read from".
        operation: &'static str,
        /// The socket.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Its answer is too long.
    #[error("`{}` is not a socket of HAProxy: it sent more than {limit} bytes in answer to one command", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It was closed in the middle of an answer.
    #[error("HAProxy closed its socket `{}` in the middle of an answer", .0.display())]
    Cut(PathBuf),
    /// The master process listens there, not a worker.
    #[error("`{}` is the socket of HAProxy's master process, not a stats socket", .0.display())]
    Master(PathBuf),
    /// It answers, but permits no changes.
    #[error("HAProxy's socket `{}` has level `{level}`, which cannot change servers", path.display())]
    Level {
        /// The socket.
        path: PathBuf,
        /// "user" or "operator".
        level: String,
    },
    /// An answer cannot be parsed.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
}

impl SocketError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            SocketError::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Some(format!(
                    "check that HAProxy is running, with `stats socket {} level admin` in its global section",
                    path.display()
                )),
                io::ErrorKind::PermissionDenied => {
                    Some(format!("run as a user that may write to `{}`", path.display()))
                }
                _ => None,
            },
            SocketError::Cut(_) => Some("HAProxy was probably being reloaded: try again".to_owned()),
            SocketError::Master(_) => Some(
                "name the path of a line `stats socket … level admin` instead; a master's socket can confirm reloads, \
                 without `apply = \"runtime\"`"
                    .to_owned(),
            ),
            SocketError::Level { path, .. } => Some(format!(
                "write `stats socket {} level admin` into HAProxy's global section, and reload HAProxy",
                path.display()
            )),
            SocketError::Syntax(_) | SocketError::TooLong { .. } => Some("check that it is the stats socket of HAProxy 2.6 or later".to_owned()),
        }
    }
}

impl SocketError {
    /// Whether a reload may remove the error. A socket of the wrong kind stays wrong.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            SocketError::Io { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            SocketError::Cut(_) => true,
            SocketError::Master(_)
            | SocketError::Level { .. }
            | SocketError::TooLong { .. }
            | SocketError::Syntax(_) => false,
        }
    }
}

impl Socket {
    /// The socket at a path. This does not connect.
    pub fn new(path: &Path) -> Socket {
        Socket { path: path.to_owned() }
    }

    /// Whether servers may be changed there.
    pub fn may_change(&self) -> Result<(), SocketError> {
        match self.ask("show cli level")?.trim() {
            level @ ("user" | "operator") => {
                Err(SocketError::Level { path: self.path.clone(), level: level.to_owned() })
            }
            // The master says `admin` too. The next question detects it.
            _ => Ok(()),
        }
    }

    /// What runs.
    pub fn running(&self) -> Result<Running, SocketError> {
        let states = self.states()?;
        // Servers only (4), of all proxies (-1) and all ids (-1). Never the JSON form, which is fifty times
        // as long.
        let stat = self.ask_worker("show stat -1 4 -1")?;
        Ok(Running::parse(&states, &stat)?)
    }

    /// The answer to `show servers state`, which is also the format of a server-state file.
    pub fn states(&self) -> Result<String, SocketError> {
        self.ask_worker("show servers state")
    }

    /// The id of the process that serves. Works with the master's socket and with a stats socket.
    pub fn worker(&self) -> Result<u32, SocketError> {
        let found = match self.ask_worker("show info") {
            Ok(info) => pid(&info),
            Err(SocketError::Master(_)) => self.worker_of_master()?,
            Err(error) => return Err(error),
        };
        Ok(found.ok_or_else(|| SyntaxError::new("show info", "it does not name a process".to_owned()))?)
    }

    /// The master also lists a worker that has not yet loaded its file: a worker serves once it answers.
    /// Before it is ready, and after a failed reload, the previous worker serves.
    fn worker_of_master(&self) -> Result<Option<u32>, SocketError> {
        let (new, old) = workers(&self.ask("show proc")?);
        let Some(new) = new else { return Ok(old) };
        Ok(self.ask(&format!("@!{new} show info")).ok().and_then(|info| pid(&info)).or(old))
    }

    /// Asks a question that only a worker can answer.
    fn ask_worker(&self, command: &str) -> Result<String, SocketError> {
        let answer = self.ask(command)?;
        match answer.starts_with(UNKNOWN_COMMAND) && self.ask("show proc")?.starts_with("#<PID>") {
            true => Err(SocketError::Master(self.path.clone())),
            false => Ok(answer),
        }
    }

    /// Asks one question whose answer ends with an empty line.
    fn ask(&self, command: &str) -> Result<String, SocketError> {
        let mut talk = self.connect()?;
        talk.write(format!("{command}\n").as_bytes())?;
        // A master keeps the connection open until it sees the end of the input.
        talk.stream.shutdown(Shutdown::Write).map_err(|source| talk.error("write to", source))?;
        while talk.read(MAX_ANSWER)? {}
        // Half of an answer would look like a list with half as many servers.
        if !talk.heard.ends_with(b"\n\n") {
            return Err(SocketError::Cut(self.path.clone()));
        }
        Ok(String::from_utf8_lossy(&talk.heard).into_owned())
    }

    /// Sends commands, and returns the answer to each, without final newlines. An empty answer mostly means
    /// success.
    pub fn tell(&self, commands: &[String]) -> Result<Vec<String>, SocketError> {
        let mut talk = self.connect()?;
        let mut answers = Vec::with_capacity(commands.len() + 1);
        let many = LIMIT_OF_ONE.saturating_mul(u32::try_from(commands.len()).unwrap_or(u32::MAX));
        let end = Instant::now() + LIMIT + many;
        let mut commands = std::iter::once("prompt").chain(commands.iter().map(String::as_str)).peekable();
        while commands.peek().is_some() {
            let mut batch = String::new();
            let mut due = answers.len();
            while let Some(command) = commands.next_if(|_| batch.len() < BATCH) {
                batch.push_str(command);
                batch.push('\n');
                due += 1;
            }
            // Limits both one batch and all of them.
            talk.deadline = end.min(Instant::now() + LIMIT);
            talk.write(batch.as_bytes())?;
            while answers.len() < due {
                let end = talk.heard.windows(PROMPT.len()).position(|window| window == PROMPT);
                match end {
                    Some(end) => {
                        let answer = String::from_utf8_lossy(&talk.heard[..end]).trim().to_owned();
                        talk.heard.drain(..end + PROMPT.len());
                        answers.push(answer);
                    }
                    None if talk.read(MAX_WORD)? => {}
                    None => return Err(SocketError::Cut(self.path.clone())),
                }
            }
        }
        // The answer to `prompt`.
        answers.remove(0);
        Ok(answers)
    }

    fn connect(&self) -> Result<Talk<'_>, SocketError> {
        let deadline = Instant::now() + LIMIT;
        let failed = |errno: Errno| SocketError::Io {
            operation: "connect to",
            path: self.path.clone(),
            source: errno.into(),
        };
        let address = SocketAddrUnix::new(&self.path).map_err(failed)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let socket = socket.map_err(failed)?;
        loop {
            match rustix::net::connect(&socket, &address) {
                Ok(()) => break,
                // The backlog of the socket is full (connect(2)); std would wait without a limit.
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(errno) => return Err(failed(errno)),
            }
        }
        let stream = UnixStream::from(socket);
        let talk = Talk { path: &self.path, stream, deadline, heard: Vec::new() };
        talk.stream.set_nonblocking(false).map_err(|source| talk.error("connect to", source))?;
        Ok(talk)
    }
}

/// One connection.
struct Talk<'a> {
    path: &'a Path,
    stream: UnixStream,
    deadline: Instant,
    /// Bytes that were read and not yet used.
    heard: Vec<u8>,
}

impl Talk<'_> {
    fn error(&self, operation: &'static str, source: io::Error) -> SocketError {
        SocketError::Io { operation, path: self.path.to_owned(), source }
    }

    /// The rest of the limit; a timeout of zero would mean no timeout.
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        let limit = self.stream.set_write_timeout(Some(self.left()));
        limit.and_then(|()| self.stream.write_all(bytes)).map_err(|source| self.error("write to", source))
    }

    /// Reads what is available, and returns whether there may be more. More than `limit` unused bytes are an
    /// error.
    fn read(&mut self, limit: usize) -> Result<bool, SocketError> {
        let mut buffer = [0; 16 * 1024];
        if Instant::now() >= self.deadline {
            return Err(self.error("read from", io::ErrorKind::TimedOut.into()));
        }
        let timed = self.stream.set_read_timeout(Some(self.left()));
        let read = timed.and_then(|()| self.stream.read(&mut buffer));
        let read = read.map_err(|source| match source.kind() {
            // The error of a read that timed out.
            io::ErrorKind::WouldBlock => self.error("read from", io::ErrorKind::TimedOut.into()),
            _ => self.error("read from", source),
        })?;
        self.heard.extend_from_slice(&buffer[..read]);
        if self.heard.len() > limit {
            return Err(SocketError::TooLong { path: self.path.to_owned(), limit });
        }
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Answers each connection with the next of these texts and closes it.
    fn serve(
        answers: &'static [&'static str],
    ) -> (tempfile::TempDir, Socket, thread::JoinHandle<Vec<String>>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let served = thread::spawn(move || {
            let mut heard = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).unwrap();
                heard.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            heard
        });
        (dir, Socket::new(&path), served)
    }

    #[test]
    fn answers_belong_to_their_commands() {
        let (_dir, socket, served) = serve(&["\n> \n> Server deleted.\n> New server registered.\n\n> "]);
        let commands = ["a", "b", "c"].map(str::to_owned);
        let answers = socket.tell(&commands).unwrap();
        assert_eq!(answers, ["", "Server deleted.", "New server registered."]);
        assert_eq!(served.join().unwrap(), ["prompt\na\nb\nc\n"]);
    }

    #[test]
    fn a_master_lists_its_workers() {
        let head = "#<PID>          <type>          <reloads>       <uptime>        <version>\n\
            6899            master          1 [failed: 1]   0d00h00m04s     3.2.0\n# workers\n";
        let old = "# old workers\n6902            worker          1               0d00h00m04s     3.2.0\n\n";
        let new = "7001            worker          0               0d00h00m01s     3.2.0\n";
        assert_eq!(workers(&format!("{head}{old}")), (None, Some(6902)));
        assert_eq!(workers(&format!("{head}{new}{old}")), (Some(7001), Some(6902)));
        assert_eq!(workers(&format!("{head}{new}# programs\n\n")), (Some(7001), None));
    }

    #[test]
    fn half_an_answer_is_none() {
        let (_dir, socket, _served) = serve(&["1\n# be_id be_na", "\n> \n> "]);
        assert!(matches!(socket.states(), Err(SocketError::Cut(_))));
        let commands = ["a", "b"].map(str::to_owned);
        assert!(matches!(socket.tell(&commands), Err(SocketError::Cut(_))));
    }

    #[test]
    fn an_answer_without_end_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // Until the client has gone.
                while stream.write_all(&[b'\n'; 64 * 1024]).is_ok() {}
            }
        });
        let error = Socket::new(&path).tell(&["a".to_owned()]).unwrap_err();
        assert!(
            matches!(error, SocketError::TooLong { limit: MAX_WORD, .. }) && !error.may_pass(),
            "{error}"
        );
        assert!(error.hint().is_some());
        let socket = Socket::new(&path);
        let mut talk = socket.connect().unwrap();
        let heard = loop {
            match talk.read(100_000) {
                Ok(more) => assert!(more),
                Err(error) => break error,
            }
        };
        assert!(matches!(heard, SocketError::TooLong { limit: 100_000, .. }), "{heard}");
    }

    #[test]
    fn no_socket_is_an_error_with_its_path_and_a_hint() {
        let error = Socket::new(Path::new("/nowhere/s")).states().unwrap_err();
        assert_eq!(
            crate::errors::chain(&error),
            "cannot connect to HAProxy's socket `/nowhere/s`: No such file or directory (os error 2)"
        );
        assert!(error.hint().unwrap().contains("stats socket /nowhere/s"));
    }
}
