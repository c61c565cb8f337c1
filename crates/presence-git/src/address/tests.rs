use proptest::prelude::*;

use super::*;

/// The parts as one line: scheme, user, host, port, path.
#[track_caller]
fn check(url: &str, expect: &str) {
    let shown = match Address::parse(url) {
        Ok(a) => format!(
            "{:?} {} {} {} {}",
            a.scheme,
            a.user.as_deref().unwrap_or("-"),
            a.host,
            a.port.map_or("-".into(), |port| port.to_string()),
            a.path
        ),
        Err(error) => error.to_string(),
    };
    assert_eq!(shown, expect, "{url:?}");
}

#[test]
fn a_url_is_taken_apart() {
    check("git://h/list.git", "Git - h - /list.git");
    check("GIT://h:9419/list.git", "Git - h 9419 /list.git");
    check("ssh://git@h.example.net:2222/srv/list.git", "Ssh git h.example.net 2222 /srv/list.git");
    check("git+ssh://h/p", "Ssh - h - /p");
    check("ssh://h:/p", "Ssh - h - /p");
    check("ssh://h/~git/list.git", "Ssh - h - ~git/list.git");
    check("ssh://[2001:db8::1]:22/p", "Ssh - 2001:db8::1 22 /p");
    check("ssh://[fe80::1%25eth0]/p", "Ssh - fe80::1%eth0 - /p");
    check("ssh://h/a%20b%2", "Ssh - h - /a b%2");
    check("https://u@h/team/list.git/", "Https u h - /team/list.git");
    check("https://u:p%40x@h/a b%2F", "Https u h - /a%20b%2F");
    check("http://h", "Http - h - ");
    let password = Address::parse("https://u:p%40x@h/a").unwrap().password;
    assert_eq!(password, Some(Secret("p@x".into())));
}

#[test]
fn the_form_of_scp_is_taken_apart() {
    check("git@h:list.git", "Ssh git h - list.git");
    check("h:/srv/list.git", "Ssh - h - /srv/list.git");
    check("h:~git/a@b:c", "Ssh - h - ~git/a@b:c");
    check("git@[::1]:list.git", "Ssh git ::1 - list.git");
    check("[::1]:list.git", "Ssh - ::1 - list.git");
}

#[test]
fn what_could_be_an_option_or_end_a_line_is_refused() {
    let option = |part| format!("its {part} starts with `-`, which a program could take for an option");
    check("ssh://-oProxyCommand=touch%20evil/p", &option("host"));
    check("-oProxyCommand=x:p", &option("host"));
    check("ssh://-x@h/p", &option("user"));
    check("h:-p", &option("path"));
    for url in ["git://h/a%0Ab", "git://h/a\0", "h:a\nb", "https://u%0D@h/", "git://h%0a/p"] {
        assert!(
            Address::parse(url).unwrap_err().to_string().ends_with("contains a control character"),
            "{url:?}"
        );
    }
    for url in [
        "ssh://a;b/p",
        "git://h$(x)/p",
        "a b:p",
        "ssh://größe/p",
        "git://[::1/p",
        "ssh://[h]x/p",
        "git://h:1:2/p",
    ] {
        assert!(Address::parse(url).is_err(), "{url:?}");
    }
    check("ssh://`x`@h/p", "its user contains a character that a shell would interpret");
    check("ssh:///p", "its host is empty");
    check("ssh://h", "its path is empty");
    check("h:", "its path is empty");
    for url in ["git://h:0/p", "git://h:+1/p", "git://h:65536/p", "git://h:x/p"] {
        check(url, "its port is not a number from 1 to 65535");
    }
    check("https://h/p?token=x", "its path contains a `?` or `#`");
    check("ssh://u:p@h/p", "its password cannot be used with ssh, which logs in with a key");
    check("s3://bucket/p", "its scheme is not supported");
    check("git://h/%ff", "its text is not UTF-8 once its %-codes are decoded");
}

#[test]
fn a_secret_is_not_shown() {
    let address = Address::parse("https://u:hunter2@h/p").unwrap();
    assert!(!format!("{address:?} {}", address.peer()).contains("hunter2"));
    assert_eq!(Address::parse("git://[::1]:9419/p").unwrap().peer(), "[::1]:9419");
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_harmless(url in "((git|ssh|https)://)?[-a-z@:/%0-9A-F~;\\[\\] \n]{0,40}") {
        if let Ok(address) = Address::parse(&url) {
            let user = address.user.as_deref().unwrap_or("u");
            for text in [user, &address.host, &address.path] {
                prop_assert!(!text.starts_with('-') && !text.contains(char::is_control), "{address:?}");
            }
            prop_assert!(!address.host.contains(['/', ';', ' ', '@']), "{address:?}");
        }
    }
}
