//! Checks each escaping function with a small reader of its format, written from the format's documentation.
//!
//! `tests/it/escaping.rs` checks them with the real programs, which are too slow for millions of values.

use std::str::Chars;

use crate::escape;

/// Passes any text through every escaping function: the reader of the format must read the same text back.
pub(super) fn escape(bytes: &[u8]) {
    let Ok(value) = std::str::from_utf8(bytes) else { return };
    let check = |format: &str, written: Result<String, escape::Refused>, read: fn(&str) -> Option<String>| {
        if let Ok(written) = written {
            assert_eq!(read(&written).as_deref(), Some(value), "{format}: {written}");
        }
    };
    check("json", escape::json(value), |text| serde_json::from_str(text).ok());
    check("yaml", escape::yaml(value), yaml);
    check("shell", escape::shell(value), |text| match &mut shell_words::split(text).ok()?[..] {
        [word] => Some(std::mem::take(word)),
        _ => None,
    });
    check("properties", escape::properties(value), properties);
    check("nginx", escape::nginx(value), nginx);
    check("pgbouncer", escape::pgbouncer(value), pgbouncer);
    check("nagios", escape::nagios(value), nagios);
    check("nagios name", escape::nagios_name(value), |text| {
        text.chars().all(|character| !"`~!$%^&*|'\"<>?,()= ;\\".contains(character)).then(|| nagios(text))?
    });
    check("haproxy text", escape::haproxy::quoted(value), |text| log_format(&haproxy_word(text)?));
    check("haproxy path", escape::haproxy::path(value), haproxy_word);
    check("haproxy name", escape::haproxy::name(value), haproxy_word);
    check("hosts", escape::hosts(value), |text| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        text.bytes().all(plain).then(|| text.to_owned())
    });
}

/// A double-quoted scalar on one line (YAML 1.2.2, section 7.3.1), with the escapes that are used. ERB must
/// find no code.
fn yaml(text: &str) -> Option<String> {
    let mut characters = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut read = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                quoted @ ('"' | '\\') => read.push(quoted),
                'x' => read.push(char::from_u32(hexadecimal(&mut characters, 2)?)?),
                'u' => read.push(char::from_u32(hexadecimal(&mut characters, 4)?)?),
                _ => return None,
            },
            '"' | '<' | '%' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => return None,
            other if other.is_control() => return None,
            other => read.push(other),
        }
    }
    Some(read)
}

fn hexadecimal(characters: &mut Chars<'_>, digits: usize) -> Option<u32> {
    let mut value = 0;
    for _ in 0..digits {
        value = value * 16 + characters.next()?.to_digit(16)?;
    }
    Some(value)
}

/// The value on a line of a `.properties` file (java.util.Properties, `load`).
fn properties(text: &str) -> Option<String> {
    let mut characters = text.trim_start_matches([' ', '\t', '\u{c}']).chars();
    let mut units = Vec::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                'u' => units.push(u16::try_from(hexadecimal(&mut characters, 4)?).ok()?),
                'n' => units.push(b'\n'.into()),
                'r' => units.push(b'\r'.into()),
                't' => units.push(b'\t'.into()),
                'f' => units.push(0xc),
                other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
            },
            ' '..='~' => units.push(character as u16),
            _ => return None,
        }
    }
    String::from_utf16(&units).ok()
}

/// A token in double quotes (`ngx_conf_read_token` in nginx's `src/core/ngx_conf_file.c`). It must contain no
/// variable.
fn nginx(text: &str) -> Option<String> {
    let mut characters = text.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut read = String::new();
    while let Some(character) = characters.next() {
        match character {
            '"' | '$' | '\n' | '\0' => return None,
            '\\' => match characters.next()? {
                quoted @ ('"' | '\'' | '\\') => read.push(quoted),
                't' => read.push('\t'),
                'r' => read.push('\r'),
                'n' => read.push('\n'),
                other => read.extend(['\\', other]),
            },
            other => read.push(other),
        }
    }
    Some(read)
}

/// The value of `key='value'` on a line (pgbouncer(5), section `[databases]`).
fn pgbouncer(text: &str) -> Option<String> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let single = inner.replace("''", "").contains('\'');
    (!single && !inner.contains(['\n', '\r', '\0'])).then(|| inner.replace("''", "'"))
}

/// The rest of a directive's line: up to a `;` without a backslash, without outer space or macros.
fn nagios(text: &str) -> Option<String> {
    let mut read = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.peek() == Some(&';') => read.extend(characters.next()),
            ';' | '$' | '\n' | '\0' => return None,
            other => read.push(other),
        }
    }
    let outer = [' ', '\t', '\r', '\n'];
    let whole =
        read.trim_matches(outer) == read && !read.ends_with('\\') && read != "null" && !read.is_empty();
    whole.then_some(read)
}

/// One word of a line (HAProxy 2.6 manual, section 2.2): single quotes, and a backslash outside of them.
fn haproxy_word(text: &str) -> Option<String> {
    let mut read = String::new();
    let mut characters = text.chars();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '\'' => quoted = !quoted,
            other if quoted => read.push(other),
            '\\' => read.push(characters.next()?),
            '"' | '$' | '#' | ' ' | '\t' => return None,
            other => read.push(other),
        }
    }
    (!quoted && !read.contains(['\n', '\r', '\0'])).then_some(read)
}

/// The text of a log-format (HAProxy 2.6 manual, section 8.2.6). `None` if it evaluates anything.
fn log_format(word: &str) -> Option<String> {
    (!word.replace("%%", "").contains('%')).then(|| word.replace("%%", "%"))
}
