//! Every built-in template for fleets of 0 to 10,000 nodes, before the program that reads its output.

use super::fleet::{Fleet, listed, mixed};
use crate::judges::{haproxy, nginx};

const SIZES: [usize; 5] = [0, 1, 3, 1_000, 10_000];

fn fleets() -> impl Iterator<Item = (usize, Fleet)> {
    SIZES.into_iter().map(|size| (size, mixed(size, 7)))
}

#[test]
fn haproxy_takes_every_size_without_a_warning() {
    for (size, fleet) in fleets() {
        let outcome = fleet.render("haproxy", &[]);
        haproxy::accepts(outcome.good());
        let seen: Vec<&str> =
            outcome.good().lines().filter_map(|line| line.strip_prefix("    server ")).collect();
        let mut expect = listed(&fleet);
        expect.sort_by(|a, b| (&a.1, &a.0).cmp(&(&b.1, &b.0)));
        assert_eq!(seen.len(), expect.len(), "{size}");
        for (line, (id, _, availability)) in seen.iter().zip(&expect) {
            assert!(line.starts_with(&format!("{id} ")), "{line} is not {id}");
            assert_eq!(line.ends_with(" weight 0"), *availability == "draining", "{line}");
            assert_eq!(line.ends_with(" disabled"), *availability == "down", "{line}");
        }
    }
}

#[test]
fn nginx_takes_every_size() {
    for (_, fleet) in fleets() {
        nginx::accepts(fleet.render("nginx-upstream", &[]).good());
    }
}
