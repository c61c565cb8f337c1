use super::*;

#[track_caller]
fn check(input: &str, expect: &str) {
    let address = Address::parse(input).map(|address| format!("{address} {}", address.bracketed()));
    assert_eq!(address.unwrap_or_else(|error| error.to_string()), expect);
}

#[track_caller]
fn check_port(input: &str, expect: &str) {
    assert_eq!(Port::parse(input).map_or_else(|error| error.to_string(), |port| port.to_string()), expect);
}

#[test]
fn addresses_are_printed_canonically() {
    check("10.0.0.1", "10.0.0.1 10.0.0.1");
    check("127.0.0.1", "127.0.0.1 127.0.0.1");
    check("::1", "::1 [::1]");
    check("2001:DB8:0:0:0:0:0:1", "2001:db8::1 [2001:db8::1]");
    check("2001:0db8::0001", "2001:db8::1 [2001:db8::1]");
    check("fe80::1", "fe80::1 [fe80::1]");
    check("::ffff:10.0.0.1", "10.0.0.1 10.0.0.1");
    check("::ffff:a00:1", "10.0.0.1 10.0.0.1");
}

#[test]
fn addresses_of_no_single_machine_are_refused() {
    let unspecified =
        |ip| format!("`{ip}` is an unspecified address; give the one that other machines can reach");
    check("0.0.0.0", &unspecified("0.0.0.0"));
    check("0.0.0.1", &unspecified("0.0.0.1"));
    check("::", &unspecified("::"));
    check("::ffff:0.0.0.0", &unspecified("0.0.0.0"));
    check("::ffff:0:0", &unspecified("0.0.0.0"));

    let multicast = |ip| format!("`{ip}` is a multicast address; give the address of one machine");
    check("224.0.0.1", &multicast("224.0.0.1"));
    check("239.255.255.255", &multicast("239.255.255.255"));
    check("ff02::1", &multicast("ff02::1"));
    check("::ffff:224.0.0.1", &multicast("224.0.0.1"));

    let broadcast = "`255.255.255.255` is the broadcast address; give the address of one machine";
    check("255.255.255.255", broadcast);
    check("::ffff:255.255.255.255", broadcast);

    let zone = |shown| {
        format!(
            "the address `{shown}` has a zone id (`%…`), which means nothing on another machine; leave it out"
        )
    };
    check("fe80::1%lo", &zone("fe80::1%lo"));
    check("fe80::1%1", &zone("fe80::1%1"));
    check("[fe80::1%lo]", &zone("[fe80::1%lo]"));
}

/// Every payload that HAProxy 2.6 accepted in the address field.
#[test]
fn the_injection_table_is_refused() {
    let payloads = [
        ("10.0.0.1:80\n  server evil 6.6.6.6:80", r"10.0.0.1:80\n  server evil 6.6.6.6:80"),
        ("10.0.0.1\nlisten evil\n  bind :1", r"10.0.0.1\nlisten evil\n  bind :1"),
        ("10.0.0.1\r", r"10.0.0.1\r"),
        ("10.0.0.1 disabled", "10.0.0.1 disabled"),
        ("10.0.0.1\tssl", r"10.0.0.1\tssl"),
        (" 10.0.0.1", " 10.0.0.1"),
        ("10.0.0.1 ", "10.0.0.1 "),
        ("10.0.0.1#", "10.0.0.1#"),
        ("10.0.0.1#:80", "10.0.0.1#:80"),
        ("$HOME", "$HOME"),
        ("${HOME}", "${HOME}"),
        ("\"$HOME\"", "\"$HOME\""),
        ("'$HOME'", "'$HOME'"),
        (r"10.0.0.\x31", r"10.0.0.\\x31"),
        (r"10.0.0.1\", r"10.0.0.1\\"),
        ("'10.0.0.1'", "'10.0.0.1'"),
        ("10.0.0.256", "10.0.0.256"),
        ("010.0.0.1", "010.0.0.1"),
        ("10.1", "10.1"),
        ("167772161", "167772161"),
        ("0x0a000001", "0x0a000001"),
        ("2001:db8::1:80:1:1:1:1:1", "2001:db8::1:80:1:1:1:1:1"),
        ("[2001:db8::1]", "[2001:db8::1]"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("*", "*"),
        ("", ""),
        ("[::]", "[::]"),
        ("/run/docker.sock", "/run/docker.sock"),
        ("unix@/run/docker.sock", "unix@/run/docker.sock"),
        ("abns@evil", "abns@evil"),
        ("fd@3", "fd@3"),
        ("ipv4@10.0.0.1", "ipv4@10.0.0.1"),
        ("10.0.0.1\0", r"10.0.0.1\0"),
        ("localhost", "localhost"),
        ("１０.0.0.1", "１０.0.0.1"),
    ];
    for (payload, shown) in payloads {
        check(
            payload,
            &format!(
                "`{shown}` is not an IP address; write it like `192.0.2.1` or `2001:db8::1`, without port or brackets"
            ),
        );
    }
}

#[test]
fn ports_are_decimal_digits_in_range() {
    check_port("1", "1");
    check_port("80", "80");
    check_port("65535", "65535");

    let range = |shown| format!("the port {shown} is out of range; it must be 1–65535");
    check_port("0", &range("0"));
    check_port("65536", &range("65536"));
    check_port("4294967376", &range("4294967376"));
    check_port(&"9".repeat(41), &range(&format!("{}…", "9".repeat(40))));

    let zero = |shown| {
        format!("the port `{shown}` has a leading zero, which some programs read as octal; leave it out")
    };
    check_port("080", &zero("080"));
    check_port("00", &zero("00"));

    let shown = [
        ("", ""),
        ("+80", "+80"),
        ("-80", "-80"),
        ("8_0", "8_0"),
        (" 80", " 80"),
        ("80 ", "80 "),
        ("80\n", r"80\n"),
        ("0x50", "0x50"),
        ("80.0", "80.0"),
        ("8e1", "8e1"),
        ("80 disabled", "80 disabled"),
        ("80#", "80#"),
        ("$PORT", "$PORT"),
        ("http", "http"),
        ("８０", "８０"),
    ];
    for (payload, shown) in shown {
        check_port(payload, &format!("`{shown}` is not a port; write decimal digits only"));
    }
}

#[test]
fn ports_from_numbers() {
    #[track_caller]
    fn check(input: u64, expect: Result<u16, &str>) {
        assert_eq!(
            Port::try_from(input).map(Port::get).map_err(|error| error.to_string()),
            expect.map_err(str::to_owned)
        );
    }

    check(1, Ok(1));
    check(65535, Ok(65535));
    check(0, Err("the port 0 is out of range; it must be 1–65535"));
    check(65536, Err("the port 65536 is out of range; it must be 1–65535"));
    // 80 in the low 16 bits: a cast instead of a conversion would accept it.
    check(0x1_0000_0050, Err("the port 4294967376 is out of range; it must be 1–65535"));
}

#[test]
fn host_and_port_together() {
    #[track_caller]
    fn check(address: &str, port: &str, expect: &str) {
        let (address, port) = (Address::parse(address).unwrap(), Port::parse(port).unwrap());
        assert_eq!(address.host_port(port), expect);
    }

    check("10.0.0.1", "80", "10.0.0.1:80");
    check("223.100.99.255", "65535", "223.100.99.255:65535");
    check("1.10.101.9", "1", "1.10.101.9:1");
    check("2001:db8::1", "80", "[2001:db8::1]:80");
}

#[test]
fn serialize_as_text_and_number() {
    let both = (Address::parse("2001:DB8::1").unwrap(), Port::parse("80").unwrap());
    assert_eq!(serde_json::to_string(&both).unwrap(), r#"["2001:db8::1",80]"#);
}

proptest::proptest! {
    #[test]
    fn canonical_text_reads_back_as_itself(ip in proptest::prelude::any::<std::net::IpAddr>()) {
        if let Ok(address) = Address::try_from(ip) {
            proptest::prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }
    }

    #[test]
    fn every_port_has_one_spelling(text in "[0-9+_ x-]{0,6}") {
        if let Ok(port) = Port::parse(&text) {
            proptest::prop_assert_eq!(port.to_string(), text);
        }
    }
}
