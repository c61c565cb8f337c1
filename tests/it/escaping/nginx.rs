//! Strings as nginx reads them: it serves each from its own location.

use presence::escape::nginx;

use super::server::Server;
use super::{assert_same, escaped, run, stdout};
use crate::judges::nginx::{command, config};

#[test]
fn nginx_serves_every_string_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("http.sock");
    let values = escaped(nginx);
    let locations: String = values
        .iter()
        .enumerate()
        .map(|(index, (_, escaped))| format!("    location = /v{index} {{ return 200 {escaped}; }}\n"))
        .collect();
    let http = format!("  server {{\n    listen unix:{};\n{locations}  }}\n", socket.display());
    let file = config(directory.path(), "", &http);

    stdout(run("nginx", "nginx-light", command(&file).arg("-t")));
    let server = Server::start(&mut command(&file), &socket);
    let read: Vec<String> = (0..values.len()).map(|index| server.value(index)).collect();
    assert_same(&values, &read);
}
