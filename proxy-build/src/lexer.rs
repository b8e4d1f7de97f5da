//! The outline of KDL text: braces, line ends, comments and strings. For code that looks at text before or without
//! parsing it: the guard against deep nesting, and `kiln fmt`, which keeps every word as written.

/// A token: `start..end` in bytes. Tokens cover the whole text, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Its kind.
    pub kind: TokenKind,
    /// Its first byte.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
}

/// Kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Blanks and tabs.
    Blank,
    /// One line end.
    Newline,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `;`
    Semicolon,
    /// `// ...` up to the line end.
    LineComment,
    /// `/* ... */`, nested as KDL nests them.
    BlockComment,
    /// A quoted or raw string.
    String,
    /// Anything else: words, numbers, `=`, `(type)`, `/-`, `\`.
    Word,
}

/// Splits a text into tokens. Never fails: an unclosed string or comment extends to the end.
pub fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let (kind, len) = token(rest);
        let token = Token { kind, start, end: start + len };
        start = token.end;
        Some(token)
    })
}

fn token(text: &str) -> (TokenKind, usize) {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'\r' if bytes.get(1) == Some(&b'\n') => (TokenKind::Newline, 2),
        b'\n' | b'\r' => (TokenKind::Newline, 1),
        b' ' | b'\t' => (TokenKind::Blank, bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()),
        b'{' => (TokenKind::Open, 1),
        b'}' => (TokenKind::Close, 1),
        b';' => (TokenKind::Semicolon, 1),
        b'"' => (TokenKind::String, quoted(text)),
        b'#' => match raw(text) {
            Some(len) => (TokenKind::String, len),
            None => (TokenKind::Word, word(text)),
        },
        b'/' if bytes.get(1) == Some(&b'/') => (TokenKind::LineComment, text.find(['\n', '\r']).unwrap_or(text.len())),
        b'/' if bytes.get(1) == Some(&b'*') => (TokenKind::BlockComment, block_comment(bytes)),
        _ => (TokenKind::Word, word(text)),
    }
}

fn quoted(text: &str) -> usize {
    if let Some(body) = text.strip_prefix("\"\"\"") {
        return body.find("\"\"\"").map_or(text.len(), |at| at + 6);
    }
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    // `at` may be beyond the end, or within a character after a backslash.
    text.len()
}

fn raw(text: &str) -> Option<usize> {
    let hashes = text.bytes().take_while(|&byte| byte == b'#').count();
    let body = &text[hashes..];
    let quotes = if body.starts_with("\"\"\"") { 3 } else { usize::from(body.starts_with('"')) };
    if quotes == 0 {
        return None;
    }
    let close = "\"".repeat(quotes) + &"#".repeat(hashes);
    let from = hashes + quotes;
    Some(text[from..].find(&close).map_or(text.len(), |at| from + at + close.len()))
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn word(text: &str) -> usize {
    let mut previous = ' ';
    for (at, char) in text.char_indices() {
        let comment =
            char == '/' && at > 0 && matches!(text.as_bytes().get(at + 1), Some(b'/' | b'*')) && previous != ':';
        if at > 0 && (char.is_whitespace() || matches!(char, '{' | '}' | ';' | '"') || comment) {
            return at;
        }
        // `key=#"raw"#` and `(type)#"raw"#` are two tokens.
        if at > 0 && char == '#' && matches!(previous, '=' | ')') {
            return at;
        }
        previous = char;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<_> = tokens(text)
            .filter(|token| token.kind != TokenKind::Blank)
            .map(|token| &text[token.start..token.end])
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn outlines() {
        check("a b=1 { c; }", &["a", "b=1", "{", "c", ";", "}"]);
        check("a \"{\\\"\" // x {\nb", &["a", "\"{\\\"\"", "// x {", "\n", "b"]);
        check("a /* { /* } */ */ b", &["a", "/* { /* } */ */", "b"]);
        check("a #\"{\"# k=#\"}\"#", &["a", "#\"{\"#", "k=", "#\"}\"#"]);
        check("a \"\"\"\n{\n\"\"\"", &["a", "\"\"\"\n{\n\"\"\""]);
        check("a \"unclosed { \\", &["a", "\"unclosed { \\"]);
        check("a (regex)#\"{\"# k=(regex)#\"}\"#", &["a", "(regex)", "#\"{\"#", "k=(regex)", "#\"}\"#"]);
        check("a #true", &["a", "#true"]);
    }
}
