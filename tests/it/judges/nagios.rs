//! Nagios: it writes the objects to a file after its pre-flight check.
//!
//! Debian's package depends on a mail server, so the program may be missing; `nagios4-core` unpacked
//! suffices.

use std::collections::BTreeMap;
use std::process::Command;

use super::{is_missing, run, write};

/// What a site has besides the generated hosts, as in Nagios' own example, except for the alarms.
const SITE: &str = "\
define command {
  command_name check-host-alive
  command_line /bin/true
}
define command {
  command_name notify
  command_line /bin/true
}
define timeperiod {
  timeperiod_name 24x7
  alias always
}
define contact {
  contact_name admin
  host_notification_commands notify
  service_notification_commands notify
  host_notification_period 24x7
  service_notification_period 24x7
}
define host {
  name generic-host
  notifications_enabled 1
  event_handler_enabled 1
  notification_period 24x7
  contacts admin
  register 0
}
define host {
  use generic-host
  host_name nagios:itself
  address 127.0.0.1
  check_command check-host-alive
  max_check_attempts 5
}
define service {
  host_name nagios:itself
  service_description itself
  check_period 24x7
  notification_period 24x7
  check_command check-host-alive
  max_check_attempts 5
  contacts admin
}
";

/// An object: its kind (`host`, `hostgroup`), and its directives.
pub(crate) type Object = (String, BTreeMap<String, String>);

/// The hosts and host groups that Nagios reads from the file, by name. `None` without Nagios.
#[track_caller]
pub(crate) fn objects(config: &str) -> Option<BTreeMap<String, Object>> {
    if is_missing("nagios4", "nagios4-core") {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    write(path("site.cfg").as_ref(), SITE);
    write(path("hosts.cfg").as_ref(), config);
    let user = |flag: &str| {
        let output = run("id", "coreutils", Command::new("id").arg(flag));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let main = format!(
        "cfg_file={}\ncfg_file={}\nlog_file={}\nobject_cache_file={}\nprecached_object_file={}\nstatus_file={}\n\
         lock_file={}\ntemp_file={}\ntemp_path={}\ncheck_result_path={}\nstate_retention_file={}\ncommand_file={}\n\
         nagios_user={}\nnagios_group={}\nillegal_object_name_chars=`~!$%^&*|'\"<>?,()=\n\
         illegal_macro_output_chars=`~$&|'\"<>\n",
        path("site.cfg"),
        path("hosts.cfg"),
        path("nagios.log"),
        path("objects.cache"),
        path("objects.precache"),
        path("status.dat"),
        path("lock"),
        path("temp"),
        directory.path().display(),
        directory.path().display(),
        path("retention.dat"),
        path("command"),
        user("-un"),
        user("-gn"),
    );
    write(path("nagios.cfg").as_ref(), main);
    let output = run("nagios4", "nagios4-core", Command::new("nagios4").args(["-vp", &path("nagios.cfg")]));
    let told = String::from_utf8_lossy(&output.stdout);
    let complaints: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("Error:") || line.contains("Warning:"))
        .filter(|line| !line.contains("has no services associated with it"))
        .collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:#?}");
    let mut objects = parse(&std::fs::read_to_string(path("objects.precache")).unwrap());
    objects.remove("nagios:itself").unwrap();
    Some(objects)
}

/// Parses `define KIND {`, lines with a directive, a tab and its value, and `}`.
fn parse(text: &str) -> BTreeMap<String, Object> {
    let mut objects = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("define ").and_then(|rest| rest.strip_suffix(" {")) else {
            continue;
        };
        let directives: BTreeMap<String, String> = lines
            .by_ref()
            .take_while(|line| line.trim() != "}")
            .filter_map(|line| line.trim_start().split_once('\t'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        if matches!(kind, "host" | "hostgroup") {
            let name = directives[&format!("{kind}_name")].clone();
            let key = if kind == "host" { name } else { format!("group {name}") };
            assert!(objects.insert(key, (kind.to_owned(), directives)).is_none());
        }
    }
    objects
}
