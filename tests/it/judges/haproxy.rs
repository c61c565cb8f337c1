//! HAProxy as in production, where a warning is an error.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::server::Server;
use super::{as_nobody, run, stdout, write};
use crate::fixture::haproxy::program;

/// HAProxy must accept the file without a warning.
#[track_caller]
pub(crate) fn accepts(config: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("haproxy.cfg");
    write(&file, config);
    stdout(run("haproxy", "haproxy", command(&file).arg("-c")));
    shares_no_name(config);
}

/// No frontend may have the name of a backend: HAProxy 3.2 warns about that, and 3.3 refuses it.
#[track_caller]
fn shares_no_name(config: &str) {
    let names = |section: &str| -> BTreeSet<&str> {
        config.lines().filter_map(|line| line.strip_prefix(section)?.strip_prefix(' ')).collect()
    };
    let both = &names("frontend") & &names("backend");
    assert!(both.is_empty(), "names of a frontend and of a backend: {both:?}");
}

/// `haproxy -dW -f FILE`, in the foreground. A leak would show the variable.
pub(crate) fn command(file: &Path) -> Command {
    let mut command = Command::new(program());
    command.args(["-db", "-dW", "-f"]).arg(file).env("HOME", "/leaked");
    command
}

/// A HAProxy running with a config.
pub(crate) struct Running {
    server: Server,
    _directory: TempDir,
}

/// A server as HAProxy knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Known {
    pub(crate) backend: String,
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    pub(crate) port: String,
    pub(crate) check_port: String,
    pub(crate) weight: String,
    pub(crate) backup: bool,
    pub(crate) disabled: bool,
}

impl Running {
    /// Starts HAProxy with the config that `config` returns for the path of its `stats socket`.
    #[track_caller]
    pub(crate) fn start(config: impl FnOnce(&str) -> String) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let file = directory.path().join("haproxy.cfg");
        write(&file, config(socket.to_str().unwrap()));
        stdout(run("haproxy", "haproxy", command(&file).arg("-c")));
        Running { server: Server::start(&mut command(&file), &socket), _directory: directory }
    }

    /// The same as an unprivileged user with a low limit of open files.
    #[track_caller]
    pub(crate) fn start_as_nobody(open_files: usize, config: impl FnOnce(&str) -> String) -> Running {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
        let (socket, file) = (directory.path().join("admin.sock"), directory.path().join("haproxy.cfg"));
        write(&file, config(socket.to_str().unwrap()));
        let script = format!("ulimit -n {open_files} && exec \"$2\" -db -dW -f \"$1\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(&file).arg(program());
        as_nobody(&mut command);
        Running { server: Server::start(&mut command, &socket), _directory: directory }
    }

    /// All servers of all backends, by the header of version 1 (HAProxy 2.6 management guide, section 9.3,
    /// "show servers state").
    pub(crate) fn servers(&self) -> BTreeSet<Known> {
        let backups = self.backups();
        let state = self.server.ask("show servers state\n");
        let mut lines = state.lines().filter(|line| line.contains(' '));
        let header: Vec<&str> = lines.next().unwrap().trim_start_matches("# ").split(' ').collect();
        lines
            .map(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                let field = |name: &str| fields[header.iter().position(|known| *known == name).unwrap()];
                Known {
                    backend: field("be_name").to_owned(),
                    name: field("srv_name").to_owned(),
                    address: field("srv_addr").parse().unwrap(),
                    port: field("srv_port").to_owned(),
                    check_port: field("srv_check_port").to_owned(),
                    weight: field("srv_uweight").to_owned(),
                    backup: backups.contains(&format!("{}/{}", field("be_name"), field("srv_name"))),
                    // SRV_ADMF_CMAINT: the config puts it in maintenance.
                    disabled: field("srv_admin_state").parse::<u8>().unwrap() & 4 != 0,
                }
            })
            .collect()
    }

    /// The backup servers of all backends (HAProxy 2.6 management guide, section 9.1, field 20).
    fn backups(&self) -> BTreeSet<String> {
        let statistics = self.server.ask("show stat -1 4 -1\n");
        let mut lines = statistics.lines().filter(|line| !line.is_empty());
        let header: Vec<&str> = lines.next().unwrap().trim_start_matches("# ").split(',').collect();
        let column = header.iter().position(|known| *known == "bck").unwrap();
        let fields = lines.map(|line| line.split(',').collect::<Vec<_>>());
        fields
            .filter(|fields| fields[column] == "1")
            .map(|fields| format!("{}/{}", fields[0], fields[1]))
            .collect()
    }

    /// The names of all frontends and backends, as `name FRONTEND` and `name BACKEND`.
    pub(crate) fn proxies(&self) -> BTreeSet<String> {
        let statistics = self.server.ask("show stat -1 3 -1\n");
        let lines = statistics.lines().skip(1).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let mut fields = line.split(',');
                format!("{} {}", fields.next().unwrap(), fields.next().unwrap())
            })
            .collect()
    }

    /// The TCP ports that it listens on.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.server.listening_ports()
    }
}
