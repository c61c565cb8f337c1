//! A node that offers several services: from nodeinfo to the record, and what people see of them.

use std::fs;
use std::net::TcpListener;

use crate::fixture::machine::Machine;
use crate::judges;

/// `app1` with a list of its own, and a service `api`.
fn machine() -> Machine {
    let machine = Machine::new("app1");
    let list = machine.path("list");
    fs::create_dir(&list).unwrap();
    let machine = machine.store(list.display());
    machine.fact("port", "8080");
    machine.fact("state", "done");
    machine
}

fn record(machine: &Machine) -> serde_json::Value {
    serde_json::from_str(&machine.good(&["emit"])).unwrap()
}

#[test]
fn a_service_is_made_published_and_balanced() {
    let machine = machine();
    let before = machine.good(&["emit"]);
    assert!(!before.contains("services"), "{before}");
    machine.run(&["init", "--service", "api", "--port", "9090"]).code(0);
    assert_eq!(fs::read_to_string(machine.path("nodeinfo/services/api/port.txt")).unwrap(), "9090\n");
    assert_eq!(record(&machine)["value"]["services"], serde_json::json!({"api": {"port": "9090"}}));
    // Without it, every other byte is the same.
    let mut without = record(&machine);
    without["value"].as_object_mut().unwrap().remove("services");
    assert_eq!(without, serde_json::from_str::<serde_json::Value>(&before).unwrap());
    machine.run(&["init", "--service", "../x", "--port", "1"]).code(2).says("unusable service");
    machine.run(&["init", "--service", "x", "--port", "0"]).code(2).says("unusable port");

    machine.good(&["publish"]);
    let balancer =
        |args: &[&str]| machine.run(&[&["render", "haproxy", "--part", "lb1"], args].concat()).code(0).stdout;
    let text = balancer(&[]);
    judges::haproxy::accepts(&text);
    assert!(text.contains("\nbackend app1::api\n") && text.contains(":9090 id "), "{text}");
    assert!(!text.contains("frontend app1::api"), "{text}");
    let open = ["--set", "frontend_port_app1/api=8443"];
    let text = balancer(&open);
    judges::haproxy::accepts(&text);
    assert!(
        text.contains("frontend app1::api:in\n    bind *:8443\n    default_backend app1::api\n"),
        "{text}"
    );
    // No part gets the port of a service.
    let text = balancer(&["--set", "frontend_port_app1/api=80"]);
    assert!(
        text.contains("frontend app1::api:in\n    bind *:80\n") && !text.contains("frontend app1:in"),
        "{text}"
    );
    machine.configure(
        "[vars.\"app1/api\"]\nfrontend_port = 8444\nbalance = 'first'\n[vars.app1]\nbalance = 'source'\n",
    );
    let text = balancer(&[]);
    judges::haproxy::accepts(&text);
    let backend =
        |name: &str| text.split("\n\n").find(|section| section.starts_with(name)).unwrap().to_owned();
    assert!(
        backend("backend app1\n").contains("balance source")
            && backend("backend app1::api\n").contains("balance first")
    );
    assert!(text.contains("bind *:8444\n"), "{text}");

    // What the node itself can correct.
    machine.run(&["init", "--service", "web", "--port", "70"]).code(0);
    fs::write(machine.path("nodeinfo/services/web/weight.txt"), "many").unwrap();
    fs::write(machine.path("nodeinfo/services/web/address.txt"), "127.0.0.1").unwrap();
    machine
        .run(&["publish"])
        .code(0)
        .says("has an unusable `weight` of its service `web`: it is not a whole number from 0 to 256")
        .says("states `address` for its service `web`: presence ignores it");
    let text = balancer(&[]);
    assert!(text.contains("\nbackend app1::web\n") && !text.contains(":70 id "), "{text}");
}

#[test]
fn the_health_of_a_service_is_its_own() {
    let machine = machine();
    machine.run(&["init", "--service", "api", "--port", "9090"]).code(0);
    machine.run(&["init", "--service", "web", "--port", "9091"]).code(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    machine.configure(&format!(
        "[[health]]\nservice = 'api'\ntcp = '{port}'\nfall = 1\nrise = 1\ndamp = '0s'\n"
    ));
    let states = || {
        let record = record(&machine);
        let state = |facts: &serde_json::Value| facts["state"].as_str().unwrap_or("-").to_owned();
        let services = &record["value"]["services"];
        [state(&record["value"]), state(&services["api"]), state(&services["web"])]
    };
    machine.run(&["beat"]).code(0);
    assert_eq!(states(), ["done", "-", "-"]);
    drop(listener);
    machine.run(&["beat"]).code(0).says("the health checks of the service `api` set it to `wedged`: tcp");
    assert_eq!(states(), ["done", "wedged", "-"]);
    assert!(record(&machine)["value"]["services"]["api"]["wedged-reason"].as_str().unwrap().contains("tcp"));

    let list = machine.good(&["list"]);
    assert!(list.contains("done, api wedged"), "{list}");
    let show = machine.good(&["show"]);
    assert!(show.contains("service       api: port 9090, down, wedged by tcp"), "{show}");
    assert!(show.contains("service       web: port 9091, active\n"), "{show}");
    let text = machine.run(&["render", "haproxy", "--part", "lb1"]).code(0).stdout;
    let server =
        |port: &str| text.lines().find(|line| line.contains(&format!(":{port} id "))).unwrap().to_owned();
    assert!(server("9090").ends_with(" disabled"), "{text}");
    assert!(!server("8080").contains("disabled") && !server("9091").contains("disabled"), "{text}");

    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    machine.run(&["beat"]).code(0).says("the health checks of the service `api` set it to `done`");
    assert_eq!(states(), ["done", "done", "-"]);
    // A wedged node takes all its services along.
    machine.good(&["state", "wedged"]);
    machine.good(&["publish"]);
    let text = machine.run(&["render", "haproxy", "--part", "lb1", "--force"]).code(0).stdout;
    let servers: Vec<&str> = text.lines().filter(|line| line.starts_with("    server ")).collect();
    assert!(servers.len() == 3 && servers.iter().all(|line| line.ends_with(" disabled")), "{text}");
}
