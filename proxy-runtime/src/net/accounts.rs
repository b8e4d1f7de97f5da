//! Looks up users and groups by name in `/etc/passwd` and `/etc/group` (passwd(5), group(5)).
//!
//! Other sources are not used: a binary may be linked without the C library's name services. Users that are only known to these must be given by
//! number.

use std::io::{self, Read as _};

use crate::protocol::fields;

/// The most bytes of a file that are read.
const LONGEST: u64 = 16 << 20;

/// Returns the number of a user.
///
/// # Errors
/// No user has this name.
pub(crate) fn user(name: &str) -> io::Result<u32> {
    find("/etc/passwd", "user", name)
}

/// Returns the number of a group.
///
/// # Errors
/// No group has this name.
pub(crate) fn group(name: &str) -> io::Result<u32> {
    find("/etc/group", "group", name)
}

fn find(path: &str, kind: &str, name: &str) -> io::Result<u32> {
    if let Some(number) = id(name.as_bytes()) {
        return Ok(number);
    }
    let failed = |reason: String| io::Error::other(format!("the {kind} `{name}`: {reason}"));
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(format!("{path}: {error}")))?;
    file.take(LONGEST).read_to_end(&mut text).map_err(|error| failed(format!("{path}: {error}")))?;
    number(&text, name).ok_or_else(|| failed(format!("there is none in {path}")))
}

/// Returns the third field of the line that begins with a name.
fn number(text: &[u8], name: &str) -> Option<u32> {
    let mut lines = text.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':'));
    let mut line = lines.find(|line| line.clone().next() == Some(name.as_bytes()))?;
    id(line.nth(2)?)
}

/// Parses a number; the largest one is invalid, as it means "unchanged" (chown(2)).
fn id(digits: &[u8]) -> Option<u32> {
    fields::number(digits).and_then(|number| u32::try_from(number).ok()).filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let text =
            b"root:x:0:0:root:/root:/bin/sh\n# a: comment\n\nwww-data:x:33:33::/var/www:\nodd\nbad:x:-1:2\nlast:x:7";
        let check = |name: &str, expected: Option<u32>| assert_eq!(number(text, name), expected, "{name}");
        check("root", Some(0));
        check("www-data", Some(33));
        check("www", None);
        check("odd", None);
        check("bad", None);
        check("last", Some(7));
        check("x", None);
    }

    #[test]
    fn written_as_numbers() {
        assert_eq!(user("1234").ok(), Some(1234));
        assert!(user("no such user").is_err_and(|error| error.to_string().contains("`no such user`")));
    }
}
