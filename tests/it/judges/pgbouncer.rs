//! PgBouncer: its admin console shows what it has read.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::server::Server;
use super::{as_nobody, write};

/// A row of `SHOW DATABASES`, by column.
pub(crate) type Row = Vec<(String, String)>;

/// The databases that PgBouncer reads from the file that `config` returns, given a directory for the variable
/// `unix_socket_dir` and a port. The variable `auth_type` must be `any`, which lets anyone ask.
#[track_caller]
pub(crate) fn databases(config: impl Fn(&str, u16) -> String) -> Vec<Row> {
    // Another test may take a free port before PgBouncer does; PgBouncer then exits at once.
    for _ in 0..5 {
        if let Ok(rows) = try_databases(&config) {
            return rows;
        }
    }
    try_databases(&config).unwrap()
}

fn try_databases(config: &dyn Fn(&str, u16) -> String) -> std::io::Result<Vec<Row>> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let port = crate::fixture::port::free_port();
    let file = directory.path().join("pgbouncer.ini");
    write(&file, config(directory.path().to_str().unwrap(), port));

    let socket = directory.path().join(format!(".s.PGSQL.{port}"));
    let mut command = Command::new("pgbouncer");
    command.arg(&file);
    as_nobody(&mut command); // it refuses to run as root
    let _server = Server::start(&mut command, &socket);
    let rows = ask(&socket, "SHOW DATABASES")?;
    // The console itself.
    Ok(rows.into_iter().filter(|row| row[0].1 != "pgbouncer").collect())
}

/// The value of a column.
pub(crate) fn column<'r>(row: &'r Row, name: &str) -> &'r str {
    &row.iter().find(|(column, _)| column == name).unwrap().1
}

/// Sends one query in PostgreSQL's protocol, version 3 ("Message Formats" in the manual of PostgreSQL).
fn ask(socket: &Path, question: &str) -> std::io::Result<Vec<Row>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut start = 196_608_u32.to_be_bytes().to_vec();
    start.extend(b"user\0pgbouncer\0database\0pgbouncer\0\0");
    send(&mut stream, &start)?;
    while receive(&mut stream)?.0 != b'Z' {}
    stream.write_all(b"Q")?;
    send(&mut stream, format!("{question}\0").as_bytes())?;
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    loop {
        match receive(&mut stream)? {
            (b'T', body) => columns = names(&body),
            (b'D', body) => rows.push(columns.iter().cloned().zip(values(&body)).collect()),
            (b'Z', _) => return Ok(rows),
            (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
}

fn send(stream: &mut UnixStream, body: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(body.len() + 4).unwrap();
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(body)
}

fn receive(stream: &mut UnixStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// RowDescription: a count, then a name and 18 bytes per column.
fn names(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8(rest[..end].to_vec()).unwrap());
        rest = &rest[end + 19..];
    }
    names
}

/// DataRow: a count, then a length and that many bytes per column; a length of -1 is NULL.
fn values(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        values.push(String::from_utf8(more[..length].to_vec()).unwrap());
        rest = &more[length..];
    }
    values
}
