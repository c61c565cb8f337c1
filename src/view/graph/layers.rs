//! Where each group is drawn: in layers, so that wires lead from left to right.

use std::collections::BTreeSet;

/// The place of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The layer, from the left.
    pub(super) layer: usize,
    /// The row in its layer, from the top.
    pub(super) row: usize,
}

/// The places of `count` groups with these wires. A layer is the longest path to it; a wire that closes a circle
/// makes none.
pub(super) fn places(count: usize, wires: impl IntoIterator<Item = (usize, usize)>) -> Vec<Place> {
    let wires: BTreeSet<(usize, usize)> = wires.into_iter().filter(|(from, to)| from != to).collect();
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (from, to) in &wires {
        next[*from].push(*to);
    }
    let order = order(&next, &wires);
    let mut rank = vec![0; count];
    for (at, group) in order.iter().enumerate() {
        rank[*group] = at;
    }
    let mut layers = vec![0; count];
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); count];
    for from in &order {
        for to in next[*from].iter().filter(|to| rank[**to] > rank[*from]) {
            layers[*to] = layers[*to].max(layers[*from] + 1);
            before[*to].push(*from);
        }
    }
    let is_alone: Vec<bool> =
        (0..count).map(|group| next[group].is_empty() && before[group].is_empty()).collect();
    rows(&layers, &before, &is_alone)
}

/// The groups so that each is before those that it leads to, except along wires that close a circle.
fn order(next: &[Vec<usize>], wires: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let led_to: BTreeSet<usize> = wires.iter().map(|(_, to)| *to).collect();
    let (heads, rest): (Vec<usize>, Vec<usize>) = (0..next.len()).partition(|group| !led_to.contains(group));
    let mut is_seen = vec![false; next.len()];
    let mut ended = Vec::new();
    for start in heads.into_iter().chain(rest) {
        // Each entry is a group, and how many of its wires were followed.
        let mut way = Vec::new();
        if !std::mem::replace(&mut is_seen[start], true) {
            way.push((start, 0));
        }
        while let Some((group, followed)) = way.last_mut() {
            match next[*group].get(*followed) {
                Some(to) => {
                    *followed += 1;
                    if !std::mem::replace(&mut is_seen[*to], true) {
                        way.push((*to, 0));
                    }
                }
                None => {
                    ended.push(*group);
                    way.pop();
                }
            }
        }
    }
    ended.reverse();
    ended
}

/// The rows: a group is near those that lead to it, and one without wires is below the others.
fn rows(layers: &[usize], before: &[Vec<usize>], is_alone: &[bool]) -> Vec<Place> {
    let mut places: Vec<Place> = layers.iter().map(|layer| Place { layer: *layer, row: 0 }).collect();
    for layer in 0..=layers.iter().copied().max().unwrap_or_default() {
        let mut all: Vec<usize> = (0..layers.len()).filter(|group| layers[*group] == layer).collect();
        // In thousandths of a row, since a fraction has no total order.
        let mean = |group: &usize| {
            let rows = before[*group].iter().map(|before| places[*before].row * 1000);
            (is_alone[*group], rows.sum::<usize>() / before[*group].len().max(1), *group)
        };
        all.sort_by_key(mean);
        for (row, group) in all.into_iter().enumerate() {
            places[group].row = row;
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(count: usize, wires: &[(usize, usize)], expect: &[(usize, usize)]) {
        let places: Vec<_> =
            places(count, wires.iter().copied()).iter().map(|place| (place.layer, place.row)).collect();
        assert_eq!(places, expect, "{wires:?}");
    }

    #[test]
    fn a_layer_is_the_longest_path() {
        check(0, &[], &[]);
        check(3, &[], &[(0, 0), (0, 1), (0, 2)]);
        check(4, &[(1, 3)], &[(0, 1), (0, 0), (0, 2), (1, 0)]);
        check(3, &[(2, 0), (0, 1), (2, 1)], &[(1, 0), (2, 0), (0, 0)]);
        // A group is beside the one that leads to it.
        check(4, &[(0, 3), (1, 2)], &[(0, 0), (0, 1), (1, 1), (1, 0)]);
    }

    #[test]
    fn circles_end() {
        check(1, &[(0, 0)], &[(0, 0)]);
        check(2, &[(0, 1), (1, 0)], &[(0, 0), (1, 0)]);
        check(4, &[(3, 0), (0, 1), (1, 2), (2, 0)], &[(1, 0), (2, 0), (3, 0), (0, 0)]);
    }

    proptest::proptest! {
        #[test]
        fn every_group_has_a_place_of_its_own(wires in proptest::collection::vec((0usize..12, 0usize..12), 0..60)) {
            let places = places(12, wires);
            let all: BTreeSet<_> = places.iter().map(|place| (place.layer, place.row)).collect();
            proptest::prop_assert_eq!(all.len(), 12);
            for (layer, row) in &all {
                proptest::prop_assert!(*row == 0 || all.contains(&(*layer, row - 1)));
            }
        }
    }
}
