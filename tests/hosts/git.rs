//! The git server: `git daemon`, and a repository on a small file system of its own, which can be full or
//! read-only.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use rustix::process::Signal;

use crate::delay;
use crate::host::Host;
use crate::namespaces::Namespaces;
use crate::process::{Process, run};

pub(crate) struct GitServer {
    /// `None` while the server is down.
    daemon: Option<Process>,
    pub(crate) host: Host,
}

impl GitServer {
    /// Serves an empty repository.
    pub(crate) fn start(network: &Namespaces, name: &str, last: u8) -> GitServer {
        let host = Host::new(network, name, last);
        delay::prepare(&host);
        let disk = host.path("disk");
        fs::create_dir(&disk).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"]).arg(&disk));
        // The protocol does not name the branch of an empty repository, so a publisher uses this name.
        let list = disk.join("list.git");
        run(host.command("git").args(["init", "--quiet", "--bare", "--initial-branch=master"]).arg(list));
        let mut server = GitServer { daemon: None, host };
        server.restart();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("git://{}/list.git", self.host.address)
    }

    /// Stops the server: it accepts connections and sends nothing more.
    pub(crate) fn stop(&self) {
        self.daemon.as_ref().unwrap().signal(Signal::STOP);
    }

    /// Continues the server.
    pub(crate) fn go_on(&self) {
        self.daemon.as_ref().unwrap().signal(Signal::CONT);
    }

    /// Kills the server: connections are refused.
    pub(crate) fn kill(&mut self) {
        self.daemon = None;
    }

    /// Starts the server again.
    pub(crate) fn restart(&mut self) {
        let mut command = self.host.command("git");
        command.args(["daemon", "--reuseaddr", "--export-all", "--enable=receive-pack"]);
        command.arg(format!("--listen={}", self.host.address));
        command.arg(format!("--base-path={}", self.host.path("disk").display()));
        self.daemon = Some(Process::start(&mut command, &self.host.path("daemon.log")));
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((self.host.address, 9418))
    }

    /// Fills its disk.
    pub(crate) fn fill(&self) {
        let mut file = fs::File::create(self.host.path("disk/filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            // Writes until the disk is full.
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room on its disk.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.host.path("disk/filler")).unwrap();
    }

    /// Makes its disk read-only, or writable again.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        // While a file is being written, the kernel refuses this.
        for _ in 0..100 {
            let disk = self.host.path("disk");
            if Command::new("mount").args(["-o", option]).arg(disk).output().unwrap().status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("`mount -o {option}` fails");
    }

    /// Makes a hook refuse every push from these addresses. An empty list refuses none.
    pub(crate) fn refuse(&self, addresses: &[Ipv4Addr]) {
        let list = addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(" ");
        let script = format!(
            "#!/bin/sh\ncase \" {list} \" in *\" $REMOTE_ADDR \"*) echo maintenance >&2; exit 1 ;; esac\nexit 0\n"
        );
        let hook = self.host.path("disk/list.git/hooks/pre-receive");
        let new = hook.with_extension("new");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&new, script).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, hook).unwrap();
    }
}
