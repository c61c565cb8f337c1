//! Strings as nginx reads them: it serves each from a location of its own.

use std::path::Path;
use std::process::Command;

use presence::escape::nginx;

use super::server::Server;
use super::{assert_same, escaped, run, stdout, write};

#[test]
fn nginx_serves_every_string_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let (file, socket) = (directory.path().join("nginx.conf"), directory.path().join("http.sock"));
    let values = escaped(nginx);
    write(&file, config(directory.path(), &socket, &values));

    stdout(run("nginx", "nginx", command(&file).arg("-t")));
    let server = Server::start(&mut command(&file), &socket);
    let read: Vec<String> = (0..values.len()).map(|index| server.value(index)).collect();
    assert_same(&values, &read);
}

fn command(file: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(file);
    command
}

/// In the foreground and with every path inside the directory, so that it runs beside another nginx and
/// without root.
fn config(directory: &Path, socket: &Path, values: &[(String, String)]) -> String {
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|module| format!("  {module}_temp_path {directory}/{module};\n"))
        .concat();
    let locations: String = values
        .iter()
        .enumerate()
        .map(|(index, (_, escaped))| format!("    location = /v{index} {{ return 200 {escaped}; }}\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {directory}/pid;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}  \
         server {{\n    listen unix:{};\n{locations}  }}\n}}\n",
        socket.display()
    )
}
