//! Escapes bytes from clients and servers where text is expected: log lines, JSON, messages for the operator. Pure; JSON and log lines
//! are on the hot path.
//!
//! A field value may contain nearly any byte (RFC 9110 section 5.5), and a value that is not UTF-8 is a value like others: it is never
//! omitted, and different values are written differently. A byte that is not UTF-8 is written as `\xNN`, as nginx and Apache do, and a
//! backslash that would read as the beginning of such an escape as `\x5C`. The result never ends a line or a quoted string, moves the
//! cursor of a terminal, or reverses the direction of a line.

use std::borrow::Cow;

/// Appends a value to a log line as nginx does (`log_format escape=default`): quotes, backslashes, control characters and invalid
/// UTF-8 become `\xNN`, byte by byte. One pass and a copy if nothing needs escaping.
pub fn line(bytes: &[u8], out: &mut Vec<u8>) {
    if is_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    escape(bytes, b"\\x", out, |char, _, out| match char {
        '"' | '\\' => hexadecimal(char, out),
        char => printable(char, out),
    });
}

/// Appends a value as a JSON string (RFC 8259 section 7), which is valid for any bytes. Costs the same as [`line()`].
pub fn json(bytes: &[u8], out: &mut Vec<u8>) {
    json_string(bytes, true, out);
}

/// Appends the site's own text as a JSON string, without escapes for raw bytes.
pub fn json_text(text: &str, out: &mut Vec<u8>) {
    json_string(text.as_bytes(), false, out);
}

fn json_string(bytes: &[u8], any: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        return out.push(b'"');
    }
    escape(bytes, b"\\\\x", out, |char, rest, out| match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' if any && is_escape(rest) => out.extend_from_slice(b"\\\\x5C"),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // All of these have four digits.
        char if is_harmful(char) => {
            out.extend_from_slice(b"\\u");
            out.extend([12, 8, 4, 0].map(|shift| LOWER[(u32::from(char) >> shift) as usize & 15]));
        }
        char => push(char, out),
    });
    out.push(b'"');
}

/// Returns a value as text, for messages: control characters and invalid UTF-8 become `\xNN`.
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    let mut out = Vec::new();
    if !is_plain(bytes) {
        escape(bytes, b"\\x", &mut out, |char, rest, out| match char {
            '\\' if is_escape(rest) => hexadecimal(char, out),
            char => printable(char, out),
        });
    }
    // Both are UTF-8: plain text is ASCII, and escaped text consists of characters.
    match out.as_slice() {
        [] => String::from_utf8_lossy(bytes),
        _ => Cow::Owned(String::from_utf8_lossy(&out).into_owned()),
    }
}

/// The digits of escapes.
pub(crate) const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Returns whether nothing needs escaping. All bytes are tested without an early exit, so that the loop can be
/// vectorized.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    let special = |byte: u8| !(0x20..0x7F).contains(&byte) | (byte == b'"') | (byte == b'\\');
    !bytes.iter().fold(false, |any, &byte| any | special(byte))
}

/// Writes each character with `write`, which also receives the text that begins with it, and each byte that is not UTF-8 after
/// `prefix`.
fn escape(bytes: &[u8], prefix: &[u8], out: &mut Vec<u8>, write: impl Fn(char, &str, &mut Vec<u8>)) {
    for chunk in bytes.utf8_chunks() {
        for (at, char) in chunk.valid().char_indices() {
            write(char, &chunk.valid()[at..], out);
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(prefix);
            digits(*byte, out);
        }
    }
}

fn printable(char: char, out: &mut Vec<u8>) {
    if is_harmful(char) { hexadecimal(char, out) } else { push(char, out) }
}

/// Control characters (C0 and C1), line and paragraph separators, and characters that change the direction of text.
fn is_harmful(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Returns whether a text begins like one of these escapes: `\x` and two digits.
fn is_escape(text: &str) -> bool {
    matches!(text.as_bytes(), [b'\\', b'x', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

fn push(char: char, out: &mut Vec<u8>) {
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn hexadecimal(char: char, out: &mut Vec<u8>) {
    for byte in char.encode_utf8(&mut [0; 4]).bytes() {
        out.extend_from_slice(b"\\x");
        digits(byte, out);
    }
}

fn digits(byte: u8, out: &mut Vec<u8>) {
    out.extend([UPPER[usize::from(byte >> 4)], UPPER[usize::from(byte & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a value in a log line, in JSON without quotes, and in a message.
    #[track_caller]
    fn check(value: impl AsRef<[u8]>, expected: [&str; 3]) {
        let (value, mut in_line, mut in_json) = (value.as_ref(), Vec::new(), Vec::new());
        line(value, &mut in_line);
        json(value, &mut in_json);
        let in_json = String::from_utf8(in_json).expect("text");
        let inner = in_json.strip_prefix('"').and_then(|json| json.strip_suffix('"')).expect("quotes");
        let found = [&*String::from_utf8(in_line).expect("text"), inner, &*shown(value)];
        assert_eq!(found, expected, "{value:?}");
    }

    #[test]
    fn values() {
        check("", ["", "", ""]);
        check("plain text/1.0", ["plain text/1.0"; 3]);
        check("é €", ["é €"; 3]);
        check("a\"b", ["a\\x22b", "a\\\"b", "a\"b"]);
        check("a\\b", ["a\\x5Cb", "a\\\\b", "a\\b"]);
        check("a\nb\r\t", ["a\\x0Ab\\x0D\\x09", "a\\nb\\r\\t", "a\\x0Ab\\x0D\\x09"]);
        check("\u{1b}[0m\u{7f}", ["\\x1B[0m\\x7F", "\\u001b[0m\\u007f", "\\x1B[0m\\x7F"]);
        check("\u{85}\u{9b}", ["\\xC2\\x85\\xC2\\x9B", "\\u0085\\u009b", "\\xC2\\x85\\xC2\\x9B"]);
        check(
            "\u{2028}\u{202e}",
            ["\\xE2\\x80\\xA8\\xE2\\x80\\xAE", "\\u2028\\u202e", "\\xE2\\x80\\xA8\\xE2\\x80\\xAE"],
        );
        check(b"a\xe9b", ["a\\xE9b", "a\\\\xE9b", "a\\xE9b"]);
        check(b"\xe2\x82", ["\\xE2\\x82", "\\\\xE2\\\\x82", "\\xE2\\x82"]);
        check(b"\xed\xa0\x80", ["\\xED\\xA0\\x80", "\\\\xED\\\\xA0\\\\x80", "\\xED\\xA0\\x80"]);
        // A literal text that looks like an escape.
        check("\\xE9", ["\\x5CxE9", "\\\\x5CxE9", "\\x5CxE9"]);
        check("\\x\\xe", ["\\x5Cx\\x5Cxe", "\\\\x\\\\xe", "\\x\\xe"]);
        check(b"\\x4\xe9", ["\\x5Cx4\\xE9", "\\\\x4\\\\xE9", "\\x4\\xE9"]);
    }

    /// Returns the original of an escaped text.
    fn unescaped(mut text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some((&first, rest)) = text.split_first() {
            let digit = |at: usize| text.get(at).and_then(|&digit| (digit as char).to_digit(16));
            match (text.get(1), digit(2), digit(3)) {
                (Some(b'x'), Some(high), Some(low)) if first == b'\\' => {
                    out.push((high * 16 + low) as u8);
                    text = &text[4..];
                }
                _ => {
                    out.push(first);
                    text = rest;
                }
            }
        }
        out
    }

    /// Any bytes can be recovered from the escaped text, which is always a single line.
    #[test]
    fn nothing_is_lost() {
        const PIECES: [&[u8]; 12] =
            [b"\\", b"x", b"E9", b"\xe9", b"\"", b"\n", b"a", b"\xc3\xa9", b"\xc2\x85", b"\xe2\x80\xa8", b"\0", b"5C"];
        for number in 0..12_usize.pow(4) {
            let value: Vec<u8> = (0..4).flat_map(|at| PIECES[number / 12_usize.pow(at) % 12]).copied().collect();
            let mut in_line = Vec::new();
            line(&value, &mut in_line);
            assert_eq!(unescaped(&in_line), value);
            assert_eq!(unescaped(shown(&value).as_bytes()), value);
            assert!(!String::from_utf8(in_line).expect("text").chars().any(is_harmful), "{value:?}");
        }
    }
}
