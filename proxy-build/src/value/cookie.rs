//! Leaf parsers of the parts of cookies (RFC 6265).

use super::{Parsed, problem, text};
use crate::syntax::Leaf;

/// Parses the name of a cookie: a token (RFC 6265 section 4.1.1).
pub fn cookie_name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    // A method is a token, too.
    match http::Method::from_bytes(found.as_bytes()) {
        Ok(_) => Ok(found),
        Err(_) => Err(problem("bad-cookie", format!("`{found}` can't be the name of a cookie"))
            .help("letters, digits and ! # $ % & ' * + - . ^ _ ` | ~ are allowed")),
    }
}

/// Parses the value of a cookie's attribute (RFC 6265 section 4.1.1).
pub fn cookie_attribute(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match found.find(|char: char| !char.is_ascii_graphic() || matches!(char, ';' | ',')) {
        None if !found.is_empty() => Ok(found),
        _ => Err(problem("bad-cookie", "an attribute of a cookie has no blanks, `;` or `,`, and is not empty")),
    }
}
