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

/// The number of a user's own group; `None` where the user is known by number alone.
///
/// # Errors
/// The file can't be read.
pub(crate) fn own_group(user: u32) -> io::Result<Option<u32>> {
    Ok(group_of_user(&read("/etc/passwd")?, user))
}

/// The numbers of the groups that list a user as a member, by any of its names.
///
/// # Errors
/// A file can't be read.
pub(crate) fn memberships(user: u32) -> io::Result<Vec<u32>> {
    let (users, groups) = (read("/etc/passwd")?, read("/etc/group")?);
    let mut found: Vec<_> = names(&users, user).flat_map(|name| groups_with(&groups, name)).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn find(path: &str, kind: &str, name: &str) -> io::Result<u32> {
    if let Some(number) = id(name.as_bytes()) {
        return Ok(number);
    }
    let failed = |reason: String| io::Error::other(format!("the {kind} `{name}`: {reason}"));
    let text = read(path).map_err(|error| failed(error.to_string()))?;
    number(&text, name).ok_or_else(|| failed(format!("there is none in {path}")))
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let failed = |error: io::Error| io::Error::other(format!("{path}: {error}"));
    let mut text = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(LONGEST).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

/// The members of each line.
fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|&byte| byte == b'\n').map(|line| line.split(|&byte| byte == b':').collect())
}

/// Returns the third field of the line that begins with a name.
fn number(text: &[u8], name: &str) -> Option<u32> {
    let line = lines(text).find(|line| line.first() == Some(&name.as_bytes()))?;
    id(line.get(2)?)
}

/// The fourth member of the first line whose third is a user's number.
fn group_of_user(text: &[u8], user: u32) -> Option<u32> {
    let line = lines(text).find(|line| line.get(2).and_then(|number| id(number)) == Some(user))?;
    id(line.get(3)?)
}

/// The first members of the lines whose third is a user's number.
fn names(text: &[u8], user: u32) -> impl Iterator<Item = &[u8]> {
    lines(text).filter(move |line| line.get(2).and_then(|number| id(number)) == Some(user)).map(|line| line[0])
}

/// The third members of the lines whose fourth has a name among others.
fn groups_with(text: &[u8], user: &[u8]) -> Vec<u32> {
    let has = |members: &&[u8]| members.split(|&byte| byte == b',').any(|member| member == user);
    lines(text).filter(|line| line.get(3).is_some_and(has)).filter_map(|line| id(line[2])).collect()
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

    #[test]
    fn groups() {
        let users = b"root:x:0:0::/:/bin/sh\nwww:x:33:34::/:/bin/sh\nbad:x:35\n";
        let check = |user: u32, expected: Option<u32>| assert_eq!(group_of_user(users, user), expected, "{user}");
        check(0, Some(0));
        check(33, Some(34));
        check(35, None);
        check(1, None);
        let groups = b"ssl:x:7:www,mail\nwww:x:33:\nodd:x:nine:www\nlogs:x:8:mail,www\nshort:x";
        let check = |user: &str, expected: &[u32]| assert_eq!(groups_with(groups, user.as_bytes()), expected, "{user}");
        check("www", &[7, 8]);
        check("mail", &[7, 8]);
        check("ww", &[]);
        let check = |user: u32, expected: &[&str]| {
            let found: Vec<_> = names(users, user).map(String::from_utf8_lossy).collect();
            assert_eq!(found, expected, "{user}");
        };
        check(33, &["www"]);
        check(35, &["bad"]);
        check(34, &[]);
    }
}
