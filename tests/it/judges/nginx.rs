//! nginx, with the upstreams included in its http block.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::server::Server;
use super::{run, stdout, write};

/// nginx must accept the file.
#[track_caller]
pub(crate) fn accepts(upstreams: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = config(directory.path(), upstreams, "");
    stdout(run("nginx", "nginx-light", command(&file).arg("-t")));
}

/// nginx with that file and its errors on stderr.
pub(crate) fn command(file: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(file);
    command
}

/// Writes `upstreams.conf` and an `nginx.conf` that includes it, in the foreground and with every path inside
/// the directory. So it can run beside another nginx and without root.
pub(crate) fn config(directory: &Path, upstreams: &str, http: &str) -> std::path::PathBuf {
    write(&directory.join("upstreams.conf"), upstreams);
    let file = directory.join("nginx.conf");
    let directory = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|module| format!("  {module}_temp_path {directory}/{module};\n"))
        .concat();
    write(
        &file,
        format!(
            "daemon off;\nmaster_process off;\npid {directory}/pid;\nevents {{}}\nhttp {{\n  access_log off;\n\
             {temporary}  include {directory}/upstreams.conf;\n{http}}}\n"
        ),
    );
    file
}

/// The servers that nginx really connects to, for each of these upstreams. None may answer: nginx then tries
/// the next one, and logs them all.
pub(crate) fn tried(upstreams: &str, names: &BTreeSet<String>) -> BTreeMap<String, BTreeSet<SocketAddr>> {
    let directory = tempfile::tempdir().unwrap();
    let (socket, log) = (directory.path().join("http.sock"), directory.path().join("access.log"));
    let locations: String = names
        .iter()
        .enumerate()
        .map(|(number, name)| format!("    location = /{number} {{ proxy_pass http://{name}; }}\n"))
        .collect();
    let http = format!(
        "  log_format tried '$uri $upstream_addr';\n  proxy_connect_timeout 200ms;\n  server {{\n    \
         access_log {} tried;\n    listen unix:{};\n{locations}  }}\n",
        log.display(),
        socket.display()
    );
    let file = config(directory.path(), upstreams, &http);
    stdout(run("nginx", "nginx-light", command(&file).arg("-t")));
    let server = Server::start(&mut command(&file), &socket);
    for number in 0..names.len() {
        server.ask(&format!("GET /{number} HTTP/1.0\r\n\r\n"));
    }
    drop(server);
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().count(), names.len(), "{log}");
    names
        .iter()
        .zip(log.lines())
        .enumerate()
        .map(|(number, (name, line))| {
            let tried = line.strip_prefix(&format!("/{number} ")).unwrap();
            // If there is no server to try, nginx logs the name of the upstream.
            let servers = tried.split(", ").filter_map(|server| server.parse().ok()).collect();
            (name.clone(), servers)
        })
        .collect()
}
