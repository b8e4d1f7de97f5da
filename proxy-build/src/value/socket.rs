//! Permissions and owners of Unix sockets.

use super::{Parsed, problem, text};
use crate::syntax::{Leaf, Scalar};

/// Parses permissions in octal, which must allow somebody to write.
pub fn mode(leaf: &Leaf) -> Parsed<u16> {
    let octal = |text: &str| matches!(text.len(), 3 | 4) && text.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    if let Scalar::Integer(_, written) = &leaf.value
        && octal(written)
    {
        return Err(problem("bad-mode", "permissions are quoted: this is a decimal number").write_text(written));
    }
    let text = text(leaf)?;
    let mode = u16::from_str_radix(&text, 8).ok().filter(|mode| octal(&text) && *mode <= 0o777);
    match mode {
        Some(mode) if mode & 0o222 == 0 => {
            Err(problem("bad-mode", format!("with `{text}` nobody could connect: that takes the right to write"))
                .write_text("0660"))
        }
        Some(mode) => Ok(mode),
        None => Err(problem("bad-mode", format!("`{text}` is no permissions: three octal digits")).write_text("0660")),
    }
}

/// `user`, `user:group` or `:group`.
pub fn owner(leaf: &Leaf) -> Parsed<(Option<String>, Option<String>)> {
    let text = text(leaf)?;
    let (user, group) = text.split_once(':').map_or((text.as_str(), None), |(user, group)| (user, Some(group)));
    let user = Some(user).filter(|user| !user.is_empty() || group.is_none());
    if !user.is_none_or(is_name) || !group.is_none_or(is_name) {
        let message = format!("`{text}` is no user and group");
        return Err(problem("bad-owner", message).help("it is USER, USER:GROUP or :GROUP, by name or number"));
    }
    Ok((user.map(str::to_owned), group.map(str::to_owned)))
}

/// A user or a group, by name or number.
pub fn account(leaf: &Leaf) -> Parsed<String> {
    let text = match &leaf.value {
        Scalar::Integer(_, written) => written.clone(),
        _ => text(leaf)?,
    };
    if is_name(&text) {
        return Ok(text);
    }
    Err(problem("bad-owner", format!("`{text}` is no user or group"))
        .help("it is a name or a number, as in `www-data`"))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte))
}
