//! The natural order of numbered names: `db2` before `db10`.

use std::cmp::Ordering;

/// Compares names by the text before the final number, then by that number, then character by character.
pub(super) fn natural_order(a: &str, b: &str) -> Ordering {
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// Of two numbers without leading zeros, the longer is the greater.
fn key(name: &str) -> (&str, usize, &str) {
    let plain = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    let number = name[plain.len()..].trim_start_matches('0');
    (plain, number.len(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = ["db10", "db2", "db", "app9", "db1", "db002", "db-x"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["app9", "db", "db1", "db002", "db2", "db10", "db-x"]);
    }
}
