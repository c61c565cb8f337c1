//! Connections to servers that never finish.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use super::*;
use crate::tests::LIMITS;

/// A server that accepts one connection, sends `start`, and then sends a byte again and again.
fn dripping(start: &'static str, byte: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(start.as_bytes()).unwrap();
        while stream.write_all(byte.as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    port
}

/// A program for which nobody else waits.
struct Alone(Child);

impl Process for Alone {
    fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    fn kill_group(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

pub(super) fn settings() -> Settings {
    let timeouts = Timeouts { connect: Duration::from_secs(600), silence: Duration::from_secs(600) };
    Settings {
        credentials: Vec::new(),
        timeouts,
        limits: LIMITS,
        start: |command| Ok(Box::new(Alone(command.spawn()?))),
        #[cfg(feature = "ssh")]
        ssh: ssh::Settings::default(),
        #[cfg(feature = "https")]
        http: http::Settings::default(),
    }
}

/// Reads until the end, which never comes. The deadline must stop it.
#[track_caller]
fn is_ended(url: &str, settings: Settings) {
    let started = Instant::now();
    let deadline = Deadline::new("read", Duration::from_millis(500));
    let client = Client::new(settings);
    let error = match client.connect(url, Service::UploadPack, deadline) {
        Ok(mut connection) => loop {
            match connection.read(&mut [0; 100]) {
                Ok(count) => assert!(count > 0),
                Err(error) => break error,
            }
        },
        Err(error) => error,
    };
    assert!(matches!(error, TransportError::Late { seconds: 0, key: "read", .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_connection_that_drips_is_ended() {
    for start in ["", "0000"] {
        let port = dripping(start, "0");
        is_ended(&format!("git://127.0.0.1:{port}/p"), settings());
    }
}

#[cfg(feature = "https")]
#[test]
fn an_answer_over_http_that_drips_is_ended() {
    let good = "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n";
    for start in ["HTTP/1.1 200 OK\r\nX: ", good] {
        let port = dripping(start, "a");
        is_ended(&format!("http://127.0.0.1:{port}/p"), settings());
    }
}

#[cfg(feature = "ssh")]
#[test]
fn an_ssh_that_drips_is_ended() {
    let command = "sh -c 'while printf 0; do sleep 0.1; done'".to_owned();
    let ssh = ssh::Settings { command: Some(command), simple: true, ..ssh::Settings::default() };
    is_ended("ssh://h/p", Settings { ssh, ..settings() });
}

#[test]
fn a_bad_url_is_not_connected_to() {
    let deadline = Deadline::new("read", Duration::from_secs(1));
    let error = Client::new(settings()).connect("ssh://-x/p", Service::ReceivePack, deadline).err().unwrap();
    assert!(matches!(&error, TransportError::Address(_)));
    assert!(error.to_string().contains("its host starts with `-`"), "{error}");
}

/// Requests over http are independent of each other: each is sent when its answer is read.
#[cfg(feature = "https")]
#[test]
fn over_http_each_request_has_an_answer_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/p", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        let (mut stream, _) = listener.accept().unwrap();
        for kind in ["advertisement", "result", "result"] {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                assert_eq!(stream.read(&mut byte).unwrap(), 1);
                request.push(byte[0]);
            }
            let text = String::from_utf8(request).unwrap().to_ascii_lowercase();
            let length = text
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse().unwrap());
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            bodies.push(String::from_utf8(body).unwrap());
            let answer = "0000";
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-receive-pack-{kind}\r\n\
                 Content-Length: {}\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
        }
        bodies
    });
    let deadline = Deadline::new("publish", Duration::from_secs(60));
    let mut connection = Client::new(settings()).connect(&url, Service::ReceivePack, deadline).unwrap();
    let mut answer = [0; 10];
    assert_eq!(connection.read(&mut answer).unwrap(), 4);
    for bodies in [["a", "b"], ["c", "d"]] {
        bodies.iter().for_each(|part| connection.send(part.as_bytes()).unwrap());
        assert_eq!(connection.read(&mut answer).unwrap(), 4);
        assert_eq!(connection.read(&mut answer).unwrap(), 0);
    }
    assert!(matches!(connection.ended(), TransportError::Closed { .. }));
    assert_eq!(server.join().unwrap(), ["", "ab", "cd"]);
}
