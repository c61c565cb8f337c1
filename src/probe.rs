//! Asks whether a node answers: a connection, or an HTTP request. Many at a time, each with a time limit.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest status line of an answer.
const MAX_STATUS_LINE: usize = 1024;

/// The question to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether a connection is accepted.
    Connect,
    /// Whether `GET` of this path returns a status from 200 to 399.
    Http(String),
}

impl Question {
    /// A `GET` of that path.
    pub fn http(path: &str) -> Result<Question, String> {
        let path = if path.is_empty() { "/" } else { path };
        // Text in the request line must not end it.
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`{}` is not a path of an HTTP request", crate::sanitize::shown(path)));
        }
        Ok(Question::Http(path.to_owned()))
    }
}

/// Why a node does not answer.
#[derive(Debug)]
pub enum Silence {
    /// The connection failed or broke.
    Io(io::Error),
    /// No answer within the limit.
    TooLate(Duration),
    /// An answer with a bad status.
    Status(u16),
    /// An answer that is not HTTP.
    NotHttp,
    /// Not asked, since the time for all was over.
    NotAsked,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Silence::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => f.write_str("connection refused"),
                io::ErrorKind::ConnectionReset => f.write_str("connection reset"),
                _ => error.fmt(f),
            },
            Silence::TooLate(limit) => write!(f, "no answer within {limit:?}"),
            Silence::Status(status) => write!(f, "status {status}"),
            Silence::NotHttp => f.write_str("the answer is not HTTP"),
            Silence::NotAsked => f.write_str("not asked: the time for all nodes was over"),
        }
    }
}

/// Asks one node, and returns how long the answer took.
pub fn ask(address: SocketAddr, question: &Question, limit: Duration) -> Result<Duration, Silence> {
    let started = Instant::now();
    let judge = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Silence::TooLate(limit),
        _ => Silence::Io(error),
    };
    let mut stream =
        TcpStream::connect_timeout(&address, limit.max(Duration::from_millis(1))).map_err(judge)?;
    if let Question::Http(path) = question {
        let status = status(&mut stream, address, path, started + limit).map_err(judge)?;
        match status {
            Some(200..=399) => {}
            Some(status) => return Err(Silence::Status(status)),
            None => return Err(Silence::NotHttp),
        }
    }
    Ok(started.elapsed())
}

/// The status of the answer to a `GET`.
fn status(
    stream: &mut TcpStream,
    address: SocketAddr,
    path: &str,
    deadline: Instant,
) -> io::Result<Option<u16>> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok::<_, io::Error>(left) }
    };
    stream.set_write_timeout(Some(left()?))?;
    let agent = concat!("presence/", env!("CARGO_PKG_VERSION"));
    // One write: a server that answers after the first line must not receive a second one.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    let mut bytes = [0; 256];
    // A hostile server that sends byte by byte must not take longer than the limit either.
    while !line.contains(&b'\n') && line.len() < MAX_STATUS_LINE {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut bytes)? {
            0 => break,
            read => line.extend_from_slice(&bytes[..read]),
        }
    }
    // An endless status line is not valid.
    Ok(status_in(&line).filter(|_| line.contains(&b'\n') || line.len() < MAX_STATUS_LINE))
}

fn status_in(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut words = line.trim_end().split(' ');
    words.next().filter(|word| word.starts_with("HTTP/1."))?;
    words.next()?.parse().ok().filter(|status| (100..600).contains(status))
}

/// Asks all nodes, `parallel` at a time, and none after `until`. The answers are in the order of the
/// addresses.
pub fn ask_all(
    addresses: &[SocketAddr],
    question: &Question,
    limit: Duration,
    parallel: usize,
    until: Option<Instant>,
) -> Vec<Result<Duration, Silence>> {
    let next = AtomicUsize::new(0);
    let mut answers: Vec<(usize, Result<Duration, Silence>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..parallel.clamp(1, addresses.len().max(1)))
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(address) = addresses.get(index) else { return answers };
                        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                        answers.push((
                            index,
                            match left {
                                Some(Duration::ZERO) => Err(Silence::NotAsked),
                                left => ask(*address, question, left.map_or(limit, |left| left.min(limit))),
                            },
                        ));
                    }
                })
            })
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.flat_map(|answers| answers.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_millis(300);

    /// A server that gives this answer and closes; with `None`, it never answers.
    fn server(answer: Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 512];
                if let Some(answer) = answer {
                    // A connection without a request is closed without an answer.
                    if stream.read(&mut request).is_ok_and(|read| read > 0) {
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                } else {
                    open.push(stream);
                }
            }
        });
        address
    }

    fn said(address: SocketAddr, question: &Question) -> String {
        ask(address, question, LIMIT).map_or_else(|silence| silence.to_string(), |_| "answers".to_owned())
    }

    #[test]
    fn an_answer_is_a_good_status_in_time() {
        let http = Question::http("/x").unwrap();
        assert_eq!(said(server(Some("HTTP/1.1 204 No Content\r\n\r\n")), &http), "answers");
        assert_eq!(said(server(Some("HTTP/1.0 302 x\r\n")), &http), "answers");
        assert_eq!(said(server(Some("HTTP/1.1 503 x\r\n\r\n")), &http), "status 503");
        assert_eq!(said(server(Some("SSH-2.0-x\r\n")), &http), "the answer is not HTTP");
        assert_eq!(said(server(None), &http), "no answer within 300ms");
        assert_eq!(said(server(None), &Question::Connect), "answers");
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(said(nobody, &http), "connection refused");
    }

    #[test]
    fn an_answer_without_end_is_none() {
        /// A server that sends this again and again, with that pause.
        fn endless(text: &'static str, pause: Duration) -> SocketAddr {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                while stream.write_all(text.as_bytes()).is_ok() {
                    std::thread::sleep(pause);
                }
            });
            address
        }

        let http = Question::http("/").unwrap();
        assert_eq!(said(endless("HTTP/1.1 200 ", Duration::ZERO), &http), "the answer is not HTTP");
        assert_eq!(said(endless("H", Duration::from_millis(20)), &http), "no answer within 300ms");
    }

    #[test]
    fn a_path_cannot_end_the_request_line() {
        assert_eq!(Question::http(""), Ok(Question::Http("/".into())));
        for path in ["x", "/ x", "/\r\nX: y", "/ü"] {
            assert!(Question::http(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn many_are_asked_at_the_same_time_and_answer_in_order() {
        // Answers only after three have connected: asking one after another would fail.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let together = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let streams: Vec<_> = (0..3).map(|_| listener.accept().unwrap().0).collect();
            for mut stream in streams {
                let _ = stream.read(&mut [0; 512]).unwrap();
                stream.write_all(b"HTTP/1.1 200 x\r\n").unwrap();
            }
        });
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let addresses = [together, nobody, together, nobody, together];
        let all = ask_all(&addresses, &Question::http("/").unwrap(), Duration::from_secs(20), 5, None);
        let heard: Vec<bool> = all.iter().map(Result::is_ok).collect();
        assert_eq!(heard, [true, false, true, false, true]);
        assert!(ask_all(&[], &Question::Connect, LIMIT, 0, None).is_empty());
        let over = ask_all(&addresses, &Question::Connect, LIMIT, 5, Some(Instant::now()));
        assert!(over.iter().all(|answer| matches!(answer, Err(Silence::NotAsked))));
    }
}
