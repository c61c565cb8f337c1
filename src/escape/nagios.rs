//! Values and names in the object files of Nagios, Icinga 1 and Naemon.

use super::{Reason, Refused, no_outer_space, not_empty, only};

/// The value of a directive, which ends its line.
///
/// `;` starts a comment unless a backslash precedes it. Nagios removes outer space and joins a line that ends
/// with a backslash to the next one. `$NAME$` is a macro, and `$USER1$` to `$USER256$` contain the passwords
/// of `resource.cfg` ("Understanding Macros and How They Work" in the Nagios 4 manual), so `$` is refused.
/// `null` in any directive cancels what is inherited ("Object Inheritance").
///
/// Do not use it for `check_command`, nor for an `address` or custom variable in a command line: Nagios
/// passes that line to a shell. Only [`Name`](crate::name::Name) and [`Address`](crate::endpoint::Address)
/// are safe there.
pub fn nagios(value: &str) -> Result<String, Refused> {
    check_value(value).map_err(|reason| reason.of("a value for Nagios"))?;
    Ok(value.replace(';', r"\;"))
}

/// The name of an object, also in a list separated by commas.
///
/// Refuses `illegal_object_name_chars` as in Nagios' sample `nagios.cfg`; `=`, `,`, `(`, `)` and space, which
/// lists and expressions use; and `;`, which a name cannot escape. A leading `+` would extend an inherited
/// list instead of being part of the name ("Object Inheritance" in the Nagios 4 manual).
pub fn nagios_name(value: &str) -> Result<String, Refused> {
    let check = || {
        check_value(value)?;
        only(value, |character| !"`~!$%^&*|'\"<>?,()= ;\\".contains(character))?;
        match value.starts_with('+') {
            true => Err(Reason::Character { character: '+', position: 1 }),
            false => Ok(()),
        }
    };
    check().map_err(|reason| reason.of("a name for Nagios"))?;
    Ok(value.to_owned())
}

fn check_value(value: &str) -> Result<(), Reason> {
    not_empty(value)?;
    only(value, |character| !character.is_control() && character != '$')?;
    no_outer_space(value)?;
    if value.ends_with('\\') {
        return Err(Reason::TrailingBackslash);
    }
    if value == "null" {
        return Err(Reason::Reserved);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_outcome;
    use super::*;

    #[test]
    fn values() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, nagios(input), expect);
        }

        check("a b", Ok("a b"));
        check("a;b;", Ok(r"a\;b\;"));
        check(";", Ok(r"\;"));
        check(r"a\b", Ok(r"a\b"));
        check("größe #1 }", Ok("größe #1 }"));
        check("", Err("the value is empty"));
        check("null", Err("that value has a meaning of its own there"));
        check(r"a\", Err("it ends with a backslash, which would escape what follows"));
        check(" a", Err("it starts or ends with a space, which would be lost"));
        check("a ", Err("it starts or ends with a space, which would be lost"));
        check("a\n}\ndefine command{", Err(r"character 2 is `\n`, which is not allowed there"));
        check("a\r", Err(r"character 2 is `\r`, which is not allowed there"));
        check("\ta", Err(r"character 1 is `\t`, which is not allowed there"));
        check("$USER1$", Err("character 1 is `$`, which is not allowed there"));
    }

    #[test]
    fn names() {
        #[track_caller]
        fn check(input: &str, expect: Result<&str, &str>) {
            assert_outcome(input, nagios_name(input), expect);
        }

        check("web-1", Ok("web-1"));
        check("Größe_1:a+b", Ok("Größe_1:a+b"));
        check("", Err("the value is empty"));
        check("null", Err("that value has a meaning of its own there"));
        check("+web", Err("character 1 is `+`, which is not allowed there"));
        check(r"a\", Err("it ends with a backslash, which would escape what follows"));
        for character in "`~!$%^&*|'\"<>?,()= ;\\\n\r\t\0".chars() {
            let expect = format!("character 2 is `{}`, which is not allowed there", character.escape_debug());
            check(&format!("a{character}b"), Err(&expect));
        }
    }
}
