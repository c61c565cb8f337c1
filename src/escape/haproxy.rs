//! What a record may put into `haproxy.cfg`, and the ids by which HAProxy knows the servers.
//!
//! `haproxy -c` does not help here: it accepts most of what an attacker would write. Addresses and ports are
//! parsed instead of quoted (see [`crate::endpoint`]), because HAProxy expands `$VAR` in an address even in
//! single quotes.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hasher;

use fnv::FnvHasher;

use super::{Reason, Refused, no_outer_space, not_empty, not_longer, only};
use crate::name::Name;

/// The maximum number of characters of a text or path.
///
/// HAProxy accepts any length in the file. But a header that does not fit into the buffer turns every request
/// into a 500 (seen with 2.6 and 20,000 characters). Only `tune.maxrewrite`, 1,024 bytes by default, is
/// reserved for all added headers together (HAProxy 2.6 manual, section 3.2).
const MAX_LENGTH: usize = 256;

/// The name of a proxy or a server.
///
/// HAProxy's own rule is `[A-Za-z0-9_.:-]` (HAProxy 2.6 manual, section 4, "All proxy names must be formed
/// from …"); [`Name`] is stricter.
pub fn name(value: &str) -> Result<String, Refused> {
    let name = Name::parse(value).map_err(|error| Reason::Name(error).of("a name in haproxy.cfg"))?;
    Ok(name.to_string())
}

/// Text in single quotes, for an argument that follows the log-format rules, such as `http-request set-header
/// X-Node <fmt>` or `http-check send … hdr Host <fmt>`.
///
/// Double quotes would expand `${ENV}` and decode `\r\n` (HAProxy 2.6 manual, section 2.2). No quoting stops
/// `%[env(SECRET)]`; only `%%` does (section 8.2.6). Do not use this where the argument is *not* a log-format
/// (a `uri`, a pattern of an ACL). There `%%` would stay doubled, and a pattern that starts with `-` would be
/// a flag: `-f` reads a file (section 7.1).
pub fn quoted(value: &str) -> Result<String, Refused> {
    let check = || {
        not_empty(value)?;
        only(value, |character| matches!(character, ' '..='~'))?;
        no_outer_space(value)?;
        not_longer(value, MAX_LENGTH)
    };
    check().map_err(|reason| reason.of("text in haproxy.cfg"))?;
    Ok(format!("'{}'", value.replace('\'', r"'\''").replace('%', "%%")))
}

/// The path and optional query of a health check: `http-check send meth GET uri <path>`.
///
/// Allows the characters of a path and query in RFC 3986, sections 3.3 and 3.4, except three. HAProxy's own
/// parser acts upon `'` and `$` (HAProxy 2.6 manual, section 2.2). `%` is harmless after `uri`, but `uri-lf`
/// takes a log-format, where `%[env(SECRET)]` is evaluated.
pub fn path(value: &str) -> Result<String, Refused> {
    let check = || {
        if !value.starts_with('/') {
            return Err(Reason::Start('/'));
        }
        only(value, |character| {
            character.is_ascii_alphanumeric() || "-._~!&()*+,;=:@/?".contains(character)
        })?;
        not_longer(value, MAX_LENGTH)
    };
    check().map_err(|reason| reason.of("a path in haproxy.cfg"))?;
    Ok(value.to_owned())
}

/// The highest weight of a server (HAProxy 2.6 manual, section 5.2).
const MAX_WEIGHT: u16 = 256;

/// The weight of a server, 0 to 256, in its only spelling: HAProxy reads `8_0` as 8 and `+8` as 8.
pub fn weight(value: &str) -> Result<String, Refused> {
    let weight =
        value.parse::<u16>().ok().filter(|weight| *weight <= MAX_WEIGHT).map(|weight| weight.to_string());
    weight.filter(|weight| weight == value).ok_or_else(|| Reason::Weight.of("a weight in haproxy.cfg"))
}

/// Whether a server has an option without a value: `true` or, if it has not, nothing. Any other word is refused,
/// since a wrong guess would move traffic.
pub fn flag(value: &str) -> Result<String, Refused> {
    match value {
        "true" | "yes" | "1" => Ok("true".to_owned()),
        "false" | "no" | "0" => Ok(String::new()),
        _ => Err(Reason::Flag.of("a flag in haproxy.cfg")),
    }
}

/// The highest server `id` that HAProxy 2.6 accepts; it reads 2^31 as negative and refuses it.
const MAX_SERVER_ID: u32 = i32::MAX as u32;

/// The server id of an instance for HAProxy, 1 to 2^31-1, before collisions are resolved (see
/// [`assign_ids`]).
///
/// Consistent hashing places a server by its `id` (HAProxy 2.6 manual, section 4.2, `hash-type`), and
/// automatic ids are positions in the file. With those, one more server at the front moves 97% of the keys;
/// with these ids, 9%. FNV-1a is stable and available in every language; a change would move every key of
/// every balancer. The remainder folds all 64 bits into the range and is never 0.
pub fn server_id(instance_id: &str) -> u32 {
    let mut hasher = FnvHasher::default();
    hasher.write(instance_id.as_bytes());
    let remainder = hasher.finish() % u64::from(MAX_SERVER_ID);
    u32::try_from(remainder).expect("a remainder is smaller than its u32 divisor") + 1
}

/// The server ids of one backend's instances, in the order of the set.
///
/// Ids must be unique in a backend. If two instances hash to the same id, the first in order keeps it and the
/// other gets the next free one. So the result depends on the set alone. With 10,000 instances, one of 43
/// fleets has a collision.
pub fn assign_ids(instance_ids: &BTreeSet<&str>) -> Vec<u32> {
    assign_ids_in_order(instance_ids.iter().copied())
}

/// [`assign_ids`] for instances that are in order and unique, as in a set.
pub fn assign_ids_in_order<'n>(instance_ids: impl Iterator<Item = &'n str>) -> Vec<u32> {
    unique(instance_ids.map(server_id))
}

/// Makes ids unique by taking the next free one; after the last comes 1.
pub(crate) fn unique(wanted: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut taken = HashSet::with_capacity(wanted.size_hint().0);
    wanted
        .map(|mut id| {
            while !taken.insert(id) {
                id = id % MAX_SERVER_ID + 1;
            }
            id
        })
        .collect()
}

/// [`unique`], but nobody loses an id. Those with another id than the wanted one are served first, then the
/// `old` ones, then the rest, each in order.
pub(crate) fn unique_but_kept(
    wanted: Vec<u32>,
    given: impl Fn(usize) -> Option<u32>,
    old: impl Fn(usize) -> bool,
) -> Vec<u32> {
    let plain = unique(wanted.iter().copied());
    // Almost every fleet has no collision.
    if plain == wanted {
        return plain;
    }
    let mut order: Vec<(u8, usize, u32)> = wanted
        .iter()
        .enumerate()
        .map(|(place, wanted)| match given(place) {
            Some(given) => (0, place, given),
            None => (if old(place) { 1 } else { 2 }, place, *wanted),
        })
        .collect();
    order.sort_unstable();
    let mut ids = plain;
    for ((_, place, _), id) in order.iter().zip(unique(order.iter().map(|(_, _, id)| *id))) {
        ids[*place] = id;
    }
    ids
}

/// Ids that are unique among themselves, moved away from those that are taken.
pub(crate) fn besides(ids: Vec<u32>, taken: &BTreeSet<u32>) -> Vec<u32> {
    let mut used: HashSet<u32> = ids.iter().copied().filter(|id| !taken.contains(id)).collect();
    let free = |mut id: u32| {
        if taken.contains(&id) {
            while taken.contains(&id) || !used.insert(id) {
                id = id % MAX_SERVER_ID + 1;
            }
        }
        id
    };
    ids.into_iter().map(free).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn names_are_checked_not_quoted() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, name(input), expect);
        }

        check("web-1", Ok("web-1"));
        check("", Err("the name is empty"));
        check(
            "a:b",
            Err(
                "character 2 of the name `a:b` is `:`; only letters, digits (ASCII), `_`, `.` and `-` are allowed",
            ),
        );
    }

    #[test]
    fn text_is_quoted_against_words_variables_and_formats() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, quoted(input), expect);
        }

        check("a", Ok("'a'"));
        check("a b", Ok("'a b'"));
        check("it's", Ok(r"'it'\''s'"));
        check("'", Ok(r"''\'''"));
        check("%[env(SECRET)]", Ok("'%%[env(SECRET)]'"));
        check("100%", Ok("'100%%'"));
        check("%%", Ok("'%%%%'"));
        check(r#"\r\n"${HOME}"#, Ok(r#"'\r\n"${HOME}'"#));
        check("a #b", Ok("'a #b'"));
        check(r"a\", Ok(r"'a\'"));
        check("", Err("the value is empty"));
        check(" a", Err("it starts or ends with a space, which would be lost"));
        check("a ", Err("it starts or ends with a space, which would be lost"));
        check("a\n b", Err(r"character 2 is `\n`, which is not allowed there"));
        check("a\tb", Err(r"character 2 is `\t`, which is not allowed there"));
        check("a\0", Err(r"character 2 is `\0`, which is not allowed there"));
        check("a\u{7f}", Err(r"character 2 is `\u{7f}`, which is not allowed there"));
        check("é", Err("character 1 is `é`, which is not allowed there"));
        check(&"x".repeat(256), Ok(&format!("'{}'", "x".repeat(256))));
        check(&"x".repeat(257), Err("it is longer than 256 characters"));
    }

    #[test]
    fn paths_are_checked_not_quoted() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, path(input), expect);
        }

        check("/", Ok("/"));
        check("/health?deep=1&x=a,b;c", Ok("/health?deep=1&x=a,b;c"));
        check("/~me/(a)*!:@+_-.=", Ok("/~me/(a)*!:@+_-.="));
        check("", Err("it does not start with `/`"));
        check("health", Err("it does not start with `/`"));
        check("*", Err("it does not start with `/`"));
        for character in " \t\n\r\0#%$'\"\\`{}[]<>|^\u{7f}é".chars() {
            let expect = format!("character 3 is `{}`, which is not allowed there", character.escape_debug());
            check(&format!("/a{character}b"), Err(&expect));
        }
    }

    #[test]
    fn weights_have_one_spelling() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, weight(input), expect);
        }

        for good in ["0", "1", "10", "256"] {
            check(good, Ok(good));
        }
        for bad in ["", "257", "-1", "+1", "01", "1 ", "1.0", "1e1", "8_0", "ten", "\u{0663}", "1\n", "65536"]
        {
            check(bad, Err("it is not a whole number from 0 to 256"));
        }
    }

    #[test]
    fn a_flag_is_a_word_for_yes_or_no() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, flag(input), expect);
        }

        for yes in ["true", "yes", "1"] {
            check(yes, Ok("true"));
        }
        for no in ["false", "no", "0"] {
            check(no, Ok(""));
        }
        for bad in ["", "True", "YES", "on", "2", "yes ", "backup", "no\n"] {
            check(bad, Err("it is neither `yes` nor `no` (nor `true`, `false`, `1` or `0`)"));
        }
    }

    /// The ids are part of the interface: if one changes, clients move to other servers.
    #[test]
    fn server_ids_never_change() {
        #[track_caller]
        fn check(input: &str, expect: u32) {
            assert_eq!(server_id(input), expect, "for {input:?}");
        }

        // Computed by another program. In the test suite of FNV's authors, FNV-1a of "foobar" is
        // 0x85944171f73967e8.
        check("foobar", 39_971_535);
        check("", 470_244_594);
        check("web-1", 1_446_749_821);
        check("i-0123456789abcdef0", 502_428_281);
    }

    #[test]
    fn a_collision_takes_the_next_free_number() {
        #[track_caller]
        fn check(wanted: &[u32], expect: &[u32]) {
            assert_eq!(unique(wanted.iter().copied()), expect);
        }

        check(&[], &[]);
        check(&[7, 3], &[7, 3]);
        check(&[7, 7, 7], &[7, 8, 9]);
        check(&[7, 8, 7], &[7, 8, 9]);
        check(&[MAX_SERVER_ID, MAX_SERVER_ID], &[MAX_SERVER_ID, 1]);
    }

    #[test]
    fn an_id_that_is_taken_is_left_to_its_holder() {
        assert_eq!(besides(vec![3, 7, 9], &BTreeSet::new()), [3, 7, 9]);
        assert_eq!(besides(vec![7, 9, 8], &BTreeSet::from([7, 10])), [11, 9, 8]);
        assert_eq!(besides(vec![MAX_SERVER_ID], &BTreeSet::from([MAX_SERVER_ID])), [1]);
    }

    #[test]
    fn ids_follow_the_instance_not_its_place() {
        let all = BTreeSet::from(["web-1", "web-2", "web-3"]);
        assert_eq!(assign_ids(&all), [server_id("web-1"), server_id("web-2"), server_id("web-3")]);
        assert_eq!(assign_ids(&BTreeSet::from(["web-3", "web-2"])), [server_id("web-2"), server_id("web-3")]);
    }

    proptest::proptest! {
        #[test]
        fn server_ids_are_in_range(instance_id in ".*") {
            proptest::prop_assert!((1..=MAX_SERVER_ID).contains(&server_id(&instance_id)));
        }

        /// HAProxy's single quotes work as in a shell (section 2.2: "very close to … Bourne shell").
        #[test]
        fn quoted_text_reads_back(value in "[ -~]{1,40}") {
            if let Ok(quoted) = quoted(&value) {
                let words = shell_words::split(&quoted).expect("balanced quotes");
                proptest::prop_assert_eq!(words, [value.replace('%', "%%")]);
            }
        }
    }
}
