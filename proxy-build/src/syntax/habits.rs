//! What people write out of habit who come from other languages, found from the outline of a text: there the parser would
//! point elsewhere, speak of its grammar, or (for depth) fall over.

use super::{MAX_DEPTH, quoted, raw_or_quoted};
use crate::lexer::{Kind, Token, tokens};
use crate::report::{Diagnostic, Edit, Help};
use crate::source::{FileId, Span};

/// What is not KDL, as far as that is plain.
pub(super) fn find(text: &str, file: FileId) -> Vec<Diagnostic> {
    let mut search = Search { text, file, wrong: Vec::new(), open: Vec::new(), last: None, first: true, skip: 0 };
    if let Some(nul) = text.find('\0') {
        return vec![Diagnostic::error(
            "syntax",
            "a NUL byte, which KDL text must not have",
            search.span(nul, nul + 1),
        )];
    }
    for token in tokens(text) {
        if token.start >= search.skip && !search.token(token) {
            return search.wrong;
        }
    }
    let never = search.open.last().map(|brace| Diagnostic::error("syntax", "this brace is never closed", *brace));
    search.wrong.extend(never);
    search.wrong
}

struct Search<'a> {
    text: &'a str,
    file: FileId,
    wrong: Vec<Diagnostic>,
    /// The braces that are open.
    open: Vec<Span>,
    /// The last token that is no blank, line end or comment.
    last: Option<Token>,
    /// Whether the next word is the first of its line, or behind a `;` or a brace: a directive's name.
    first: bool,
    /// What is before this is dealt with.
    skip: usize,
}

impl Search<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    fn add(&mut self, message: impl Into<String>, at: Span, help: Option<Help>) {
        self.wrong.push(Diagnostic::error("syntax", message, at).maybe_help(help));
    }

    /// Looks at a token; `false` where what follows would only follow from what is wrong here.
    fn token(&mut self, token: Token) -> bool {
        let here = self.span(token.start, token.end);
        let touches = self.last.filter(|last| last.end == token.start && last.kind == Kind::String);
        match token.kind {
            Kind::Blank | Kind::LineComment => return true,
            Kind::BlockComment => {
                let comment = &self.text[token.start..token.end];
                if comment_depth(comment) > MAX_DEPTH {
                    let begin = self.span(token.start, token.start + 2);
                    self.wrong.push(Diagnostic::error(
                        "too-deep",
                        format!("comments nest deeper than {MAX_DEPTH}"),
                        begin,
                    ));
                    return false;
                }
                if !comment.ends_with("*/") {
                    let begin = self.span(token.start, token.start + 2);
                    let end = self.span(self.text.len(), self.text.len());
                    let close = Help::told("a comment ends with */", vec![Edit { at: end, text: " */".to_owned() }]);
                    self.add("this comment is never closed", begin, Some(close).filter(|_| self.open.is_empty()));
                    return false;
                }
                return true;
            }
            Kind::Newline => {
                self.first = !self.continued();
                return true;
            }
            Kind::Semicolon => self.first = true,
            Kind::Open => {
                if self.first && !self.brace_of_its_own(here) {
                    return false;
                }
                self.open.push(here);
                if self.open.len() > MAX_DEPTH {
                    self.wrong.push(Diagnostic::error(
                        "too-deep",
                        format!("braces nest deeper than {MAX_DEPTH}"),
                        here,
                    ));
                    return false;
                }
                self.first = true;
            }
            Kind::Close => {
                if self.open.pop().is_none() {
                    let remove = Help::told("remove it", vec![Edit { at: here, text: String::new() }]);
                    self.add("there is no open brace that this could close", here, Some(remove));
                }
                self.first = true;
            }
            Kind::String => {
                if let Some(last) = touches {
                    self.apart(last, here);
                }
                self.first = false;
                if !self.string(token) {
                    return false;
                }
            }
            Kind::Word => {
                let word = &self.text[token.start..token.end];
                match touches {
                    Some(_) if word.starts_with(',') => self.comma(token.start),
                    Some(last) => self.apart(last, here),
                    None => self.word(token),
                }
                self.first = false;
            }
        }
        self.last = Some(token);
        true
    }

    /// Whether a `\` says that the line goes on.
    fn continued(&self) -> bool {
        self.last.is_some_and(|last| &self.text[last.start..last.end] == "\\")
    }

    /// A brace that begins a line: whether what it belongs to is known.
    fn brace_of_its_own(&mut self, here: Span) -> bool {
        let last = self.last.filter(|last| matches!(last.kind, Kind::Word | Kind::String));
        let Some(last) = last else {
            self.add("this brace belongs to nothing: a directive's name is before it", here, None);
            return false;
        };
        let behind = self.span(last.end, last.end);
        let edits = vec![Edit { at: behind, text: " {".to_owned() }, Edit { at: here, text: String::new() }];
        let help = Help::told("write { at the end of the line of its directive", edits);
        self.add("a brace stands on the line of what it belongs to", here, Some(help));
        true
    }

    /// Two values without a blank between them.
    fn apart(&mut self, last: Token, here: Span) {
        let between = self.span(last.end, last.end);
        let (left, right) = (&self.text[last.start..last.end], &self.text[here.start as usize..here.end as usize]);
        let help = Help::told(format!("write {left} {right}"), vec![Edit { at: between, text: " ".to_owned() }]);
        self.add("a blank is missing before this", here, Some(help));
    }

    fn comma(&mut self, at: usize) {
        let comma = self.span(at, at + 1);
        let lone = self.text[at + 1..].starts_with(|char: char| !char.is_whitespace());
        let text = if lone { " " } else { "" };
        let help = Help::told("write it without the comma", vec![Edit { at: comma, text: text.to_owned() }]);
        self.add("values are separated by blanks alone", comma, Some(help));
    }

    fn string(&mut self, token: Token) -> bool {
        let string = &self.text[token.start..token.end];
        if unclosed(string) {
            let line = self.text[token.start..].find('\n').map_or(self.text.len(), |at| token.start + at);
            let here = self.span(token.start, line);
            let typographic = self.text[token.start..line].char_indices().rev().find(|(_, char)| is_quote(*char));
            let help = typographic.map(|(at, char)| {
                let close = self.span(token.start + at, token.start + at + char.len_utf8());
                Help::told(format!("write \" for {char}"), vec![Edit { at: close, text: "\"".to_owned() }])
            });
            self.add("this string is not closed on its line", here, help);
            return false;
        }
        if let Some((at, char)) = bad_escape(string) {
            let escape = self.span(token.start + at, token.start + at + 1 + char.len_utf8());
            let whole = self.span(token.start, token.end);
            let help = match on_windows(string) {
                Some(path) => Some(Help::write(whole, quoted(&path))),
                None => Some(Help::write(whole, format!("#{string}#")))
                    .filter(|_| !string.contains("\"#") && !string.contains("\\\"")),
            };
            self.add(format!("`\\{char}` stands for nothing in a quoted string"), escape, help);
        }
        true
    }

    fn word(&mut self, token: Token) {
        let whole = &self.text[token.start..token.end];
        let end_of_line = self.text[token.start..].find(['\n', '\r']).map_or(self.text.len(), |at| token.start + at);
        if whole.starts_with('#') {
            self.hash(token, end_of_line);
            return;
        }
        // `/-` leaves out what follows; `\` goes on in the next line.
        let value = whole.strip_prefix("/-").unwrap_or(whole);
        if value.is_empty() || value == "\\" {
            return;
        }
        // `key=value`, `(type)value`, or the value alone.
        let value = value.split_once('=').filter(|(key, _)| is_key(key)).map_or(value, |(_, value)| value);
        let value = value.strip_prefix('(').and_then(|value| value.split_once(')')).map_or(value, |(_, value)| value);
        let start = token.end - value.len();
        let Some(char) = value.chars().next() else {
            let follows = self.text[token.end..].starts_with(['"', '#', '(']) || !whole.ends_with('=');
            if !follows {
                let help = Help::from("the value stands right behind it, without a blank");
                self.add(format!("`{whole}` has no value"), self.span(token.start, token.end), Some(help));
            }
            return;
        };
        if is_quote(char) {
            self.other_quotes(start, char, end_of_line);
            return;
        }
        let at = self.span(start, token.end);
        if char == '[' {
            self.brackets(start, end_of_line);
            return;
        }
        let listed = value.strip_suffix(',').filter(|value| !value.is_empty());
        if let Some((before, _)) = listed.map(|before| (before, ())).filter(|_| !self.first) {
            return match problem(before) {
                // Both are said at once, so that what is proposed can be read.
                Some(_) => {
                    let help = Help::write(at, raw_or_quoted(before));
                    self.add(
                        "values are separated by blanks alone, and one like this stands in quotes",
                        at,
                        Some(help),
                    );
                }
                None => self.comma(token.end - 1),
            };
        }
        if matches!(value, "true" | "false" | "null") && !self.first {
            self.add(format!("`{value}` has a `#` before it"), at, Some(Help::write(at, format!("#{value}"))));
            return;
        }
        let Some(why) = problem(value) else { return };
        if self.first {
            self.add(format!("`{value}` can't be the name of a directive"), at, None);
            return;
        }
        let help = Some(Help::write(at, raw_or_quoted(value))).filter(|_| why == Why::Quote);
        self.add(format!("`{value}` is neither a word nor a number"), at, help);
        self.skip = token.end;
    }

    /// `#` where nothing of KDL is meant.
    fn hash(&mut self, token: Token, end_of_line: usize) {
        let word = &self.text[token.start..token.end];
        if matches!(word, "#true" | "#false" | "#null" | "#inf" | "#-inf" | "#nan") {
            return;
        }
        let here = self.span(token.start, token.end);
        let meant = match word[1..].to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" if !self.first => Some("#true"),
            "false" | "no" | "off" if !self.first => Some("#false"),
            _ => None,
        };
        if let Some(meant) = meant {
            self.add(format!("`{word}` is none of KDL's words"), here, Some(Help::write(here, meant)));
            return;
        }
        let hashes = word.len() - word.trim_start_matches('#').len();
        let at = self.span(token.start, token.start + hashes);
        let help = Help::told("write // for #", vec![Edit { at, text: "//".to_owned() }]);
        self.add("a comment begins with `//`", at, Some(help));
        self.skip = end_of_line;
    }

    /// A list as JSON has it.
    fn brackets(&mut self, start: usize, end_of_line: usize) {
        let close = self.text[start..end_of_line].find(']').map(|at| start + at);
        let end = close.map_or(end_of_line, |at| at + 1);
        let whole = self.span(start, end);
        let help = close.map(|close| {
            let values = self.text[start + 1..close].split(',').map(str::trim).filter(|value| !value.is_empty());
            Help::write(whole, values.collect::<Vec<_>>().join(" "))
        });
        self.add("several values stand one after the other, without brackets", whole, help);
        self.skip = end;
    }

    /// Text between other quotes than KDL's: they would be part of the text.
    fn other_quotes(&mut self, start: usize, open: char, end_of_line: usize) {
        let inner = start + open.len_utf8();
        let closes = |char: char| match open {
            '\'' | '`' => char == open,
            _ => is_quote(char) && !matches!(char, '\'' | '`') || char == '"',
        };
        let close = self.text[inner..end_of_line].char_indices().find(|(_, char)| closes(*char));
        let (end, help) = match close {
            Some((at, char)) => {
                let end = inner + at + char.len_utf8();
                let whole = self.span(start, end);
                (end, Some(Help::write(whole, quoted(&self.text[inner..inner + at]))))
            }
            None => (end_of_line, None),
        };
        self.add(format!("`{open}` is no quote here: text stands between two \""), self.span(start, end), help);
        self.skip = end;
    }
}

/// Why a word can't be read as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is text that needs quotes.
    Quote,
    /// It looks like a number, and is none: quotes alone would not make it right.
    Number,
}

fn problem(value: &str) -> Option<Why> {
    let mut chars = value.chars();
    let (first, second) = (chars.next()?, chars.next());
    let digit = |char: Option<char>| char.is_some_and(|char| char.is_ascii_digit());
    // What a bare word may not have (KDL 2, section 3.10), braces aside.
    if value.contains(['/', '\\', '(', ')', '[', ']', '#', '=']) {
        return Some(Why::Quote);
    }
    let signed = matches!(first, '.' | '-' | '+') && digit(second);
    match (first.is_ascii_digit() || signed) && !is_number(value) {
        true if signed || value.ends_with("xx") => Some(Why::Number),
        true => Some(Why::Quote),
        false => None,
    }
}

/// What may stand before `=`.
fn is_key(key: &str) -> bool {
    key.starts_with(|char: char| char.is_ascii_alphabetic())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Quotes of typography, and what other languages have for quotes.
fn is_quote(char: char) -> bool {
    matches!(char, '\'' | '`' | '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{ff02}')
}

/// A path of Windows as one of the machine that the proxy runs on.
fn on_windows(string: &str) -> Option<String> {
    let path = string.trim_matches('"');
    let rest = path.strip_prefix(|drive: char| drive.is_ascii_alphabetic())?.strip_prefix(":\\")?;
    Some(format!("/{}", rest.replace('\\', "/").trim_end_matches('/')))
}

/// The first escape of a quoted string that KDL has not (KDL 2, section 3.11.1).
fn bad_escape(string: &str) -> Option<(usize, char)> {
    if string.starts_with('#') {
        return None;
    }
    let mut chars = string.char_indices();
    while let Some((at, char)) = chars.next() {
        if char != '\\' {
            continue;
        }
        let (_, next) = chars.next()?;
        if !matches!(next, '"' | '\\' | 'b' | 'f' | 'n' | 'r' | 't' | 's' | 'u') && !next.is_whitespace() {
            return Some((at, next));
        }
    }
    None
}

fn comment_depth(comment: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut pairs = comment.as_bytes();
    while let [first, second, rest @ ..] = pairs {
        match (first, second) {
            (b'/', b'*') => depth += 1,
            (b'*', b'/') => depth = depth.saturating_sub(1),
            _ => {
                pairs = &pairs[1..];
                continue;
            }
        }
        deepest = deepest.max(depth);
        pairs = rest;
    }
    deepest
}

/// A string on one line ends on it.
fn unclosed(string: &str) -> bool {
    let quotes = string.trim_start_matches('#');
    !quotes.starts_with("\"\"\"")
        && (string.contains('\n') || quotes.len() < 2 || !string.trim_end_matches('#').ends_with('"'))
}

/// Whether KDL takes a word for a number.
fn is_number(word: &str) -> bool {
    let plain = word.trim_start_matches(['+', '-']).replace('_', "");
    let radix = |prefix: &str, radix| {
        plain.strip_prefix(prefix).is_some_and(|digits| u128::from_str_radix(digits, radix).is_ok())
    };
    let decimal = plain.parse::<f64>().is_ok() && !plain.starts_with('.') && !plain.ends_with('.');
    decimal || radix("0x", 16) || radix("0o", 8) || radix("0b", 2)
}
