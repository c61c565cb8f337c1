//! Stores behind a network, through the built program and real servers.

use std::fmt::Display;

use insta::assert_snapshot;

use crate::fixture::Repository;
use crate::fixture::machine::{Machine, Outcome};

mod git;
mod http;
mod login;
mod network;
mod proxy;
mod resolver;
mod ssh;

/// Publishes to an empty store and lists it, which makes every kind of request.
#[track_caller]
fn publish_and_list(app: Machine, url: &str, list: &Repository) -> Machine {
    let app = app.store(url);
    assert!(app.good(&["publish"]).ends_with(": i-app1: joined\n"));
    assert_eq!(list.files(), ["it/presence/all/i-app1.json"]);
    assert!(app.good(&["publish"]).ends_with(": i-app1: unchanged\n"));
    app.fact("port", 9090);
    assert!(app.good(&["publish"]).contains("port 8080 -> 9090"));
    assert!(list.read("it/presence/all/i-app1.json").contains(r#""port": "9090""#));
    // A new clone must fetch everything.
    let elsewhere = app.path("elsewhere").display().to_string();
    assert_eq!(app.good(&["list", "--format", "ids", "--state-dir", &elsewhere]), "i-app1\n");
    app
}

/// The outcome of a publish to a store, with the server's address replaced.
#[track_caller]
fn publish(app: &Machine, url: &str, address: impl Display) -> Outcome {
    app.run(&["publish", "--store", url]).with(address, "HOST:PORT")
}
