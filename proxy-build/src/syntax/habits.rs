//! Finds habits from other languages in the outline of a text: the parser's message would point elsewhere, mention its
//! grammar, or (for deep nesting) overflow the stack.

mod lines;
mod strings;

use super::{MAX_DEPTH, quoted, raw_or_quoted};
use crate::expression;
use crate::lexer::{Token, TokenKind, tokens};
use crate::report::{Diagnostic, Edit, Help};
use crate::source::{FileId, Span};

/// Finds obvious violations of KDL.
pub(super) fn find(text: &str, file: FileId) -> Vec<Diagnostic> {
    let mut search = Search {
        text,
        file,
        wrong: Vec::new(),
        open: Vec::new(),
        last: None,
        first: true,
        closed: false,
        name_end: 0,
        doubtful: None,
        skip: 0,
    };
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
    /// The open braces.
    open: Vec<Span>,
    /// The last token other than blanks, line ends and comments.
    last: Option<Token>,
    /// Whether the next word is a directive's name: the first of its line, or after a `;` or a brace.
    first: bool,
    /// Whether the last token of this line is a `}`, which only a line end or `;` may follow.
    closed: bool,
    /// The end of the last directive's name.
    name_end: usize,
    /// The last `}` after other words of its line that closes a brace of another line. If there is an unmatched `}`, this one was
    /// meant to open a brace.
    doubtful: Option<Span>,
    /// The offset up to which the text was handled.
    skip: usize,
}

impl Search<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { file: self.file, start: start as u32, end: end as u32 }
    }

    fn add(&mut self, message: impl Into<String>, at: Span, help: Option<Help>) {
        self.wrong.push(Diagnostic::error("syntax", message, at).maybe_help(help));
    }

    /// Checks a token; `false` if further errors would only follow from one here.
    fn token(&mut self, token: Token) -> bool {
        let here = self.span(token.start, token.end);
        let touches = self.last.filter(|last| last.end == token.start && last.kind == TokenKind::String);
        match token.kind {
            TokenKind::Blank | TokenKind::LineComment => return true,
            TokenKind::BlockComment => {
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
                if let Some(pattern) = self.pattern(token) {
                    let help = Help::write(pattern, quoted(self.within(pattern)));
                    self.add("`/*` begins a comment: quote patterns", pattern, Some(help));
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
            TokenKind::Newline => {
                self.first = !self.continued();
                self.closed = false;
                return true;
            }
            TokenKind::Semicolon => {
                if self.first && !self.closed {
                    return self.comment_or_nothing(token, 1);
                }
                self.first = true;
                self.closed = false;
            }
            TokenKind::Open => {
                if self.text[token.end..].starts_with('{') {
                    self.add("this is a template that was not filled in", self.span(token.start, token.end + 1), Some(
                        "for values that differ between machines, use a parameter: param port type=number, and where it is used: (param)port".into(),
                    ));
                    return false;
                }
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
            TokenKind::Close => {
                let opened = self.open.pop();
                if let Some(open) = opened.filter(|_| !self.first) {
                    let apart = self.text[open.end as usize..token.start].contains('\n');
                    self.doubtful = Some(here).filter(|_| apart).or(self.doubtful);
                }
                if let (None, Some(doubtful)) = (opened, self.doubtful) {
                    let help = Help::told("write { for it", vec![Edit { at: doubtful, text: "{".to_owned() }]);
                    self.add(
                        "this brace closes, and a later one has nothing to close: should it open?",
                        doubtful,
                        Some(help),
                    );
                    return false;
                }
                if opened.is_none() {
                    let remove = Help::told("remove it", vec![Edit { at: here, text: String::new() }]);
                    self.add("there is no open brace for this one to close", here, Some(remove));
                }
                self.first = true;
                self.closed = true;
            }
            TokenKind::String => {
                if let Some(last) = touches {
                    self.apart(last, here);
                }
                self.unended(here);
                self.begin(token);
                if !self.string(token) {
                    return false;
                }
            }
            TokenKind::Word => {
                let word = &self.text[token.start..token.end];
                self.unended(here);
                if self.first && !self.line(token) {
                    return false;
                }
                if token.start >= self.skip {
                    match touches {
                        Some(_) if word.starts_with(',') => self.comma(token.start),
                        Some(last) if word.starts_with('(') && word.ends_with(')') => self.type_behind(last, token),
                        Some(last) => self.apart(last, here),
                        None if !self.word(token) => return false,
                        None => {}
                    }
                }
                self.begin(token);
            }
        }
        self.last = Some(token);
        true
    }

    /// Returns the text of a span.
    fn within(&self, at: Span) -> &str {
        &self.text[at.start as usize..at.end as usize]
    }

    /// Returns the end of the line with this byte.
    fn end_of_line(&self, at: usize) -> usize {
        self.text[at..].find(['\n', '\r']).map_or(self.text.len(), |end| at + end)
    }

    /// A word or string: the name of a directive, or a part of one.
    fn begin(&mut self, token: Token) {
        if self.first {
            self.name_end = token.end;
        }
        self.first = false;
    }

    /// Reports text after a `}` on its line.
    fn unended(&mut self, here: Span) {
        if self.closed && !self.within(here).starts_with("/-") {
            let before = self.span(here.start as usize, here.start as usize);
            let help = Help::told("write ; before it", vec![Edit { at: before, text: "; ".to_owned() }]);
            self.add("a directive ends with its line, or with `;`", here, Some(help));
        }
        self.closed = false;
    }

    /// Returns an unquoted pattern, in which a comment seems to begin: `/api/*`, or `/*` alone if no comment ends.
    fn pattern(&self, token: Token) -> Option<Span> {
        let line = &self.text[token.start..self.end_of_line(token.start)];
        let len = line.find(|char: char| char.is_whitespace() || matches!(char, '{' | ';')).unwrap_or(line.len());
        let last = self.last.filter(|last| last.kind == TokenKind::Word);
        if let Some(last) = last.filter(|last| last.end == token.start && self.text[last.start..].starts_with('/')) {
            return Some(self.span(last.start, token.start + len));
        }
        let alone = len == 2 && line[len..].trim_start().starts_with('{') && !self.text.contains("*/");
        (alone && !self.first).then(|| self.span(token.start, token.start + len))
    }

    /// Returns whether a `\` continues the line.
    fn continued(&self) -> bool {
        self.last.is_some_and(|last| &self.text[last.start..last.end] == "\\")
    }

    /// Handles a brace at the beginning of a line: returns whether its directive is known.
    fn brace_of_its_own(&mut self, here: Span) -> bool {
        let last = self.last.filter(|last| matches!(last.kind, TokenKind::Word | TokenKind::String));
        let Some(last) = last else {
            let help = "a line is a directive and its values, as in: listen \":8080\"";
            self.add("this brace has no directive: write the name before it", here, Some(help.into()));
            return false;
        };
        let behind = self.span(last.end, last.end);
        let edits = vec![Edit { at: behind, text: " {".to_owned() }, Edit { at: here, text: String::new() }];
        let help = Help::told("write { at the end of the line of its directive", edits);
        self.add("an opening brace is on the line of its directive", here, Some(help));
        true
    }

    /// Reports two values without a blank between them.
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
        self.add("values are separated by blanks", comma, Some(help));
    }

    /// Checks a word; returns `false` like [`token`](Self::token).
    fn word(&mut self, token: Token) -> bool {
        let whole = &self.text[token.start..token.end];
        let end_of_line = self.end_of_line(token.start);
        if whole.starts_with('#') {
            self.hash(token, end_of_line);
            return true;
        }
        if let Some((at, char)) = whole.char_indices().find(|&(at, char)| is_invisible(char) && token.start + at > 0) {
            let at = self.span(token.start + at, token.start + at + char.len_utf8());
            let help = Help::told("remove it", vec![Edit { at, text: String::new() }]);
            self.add(format!("an invisible character (U+{:04X}) is in this word", u32::from(char)), at, Some(help));
            return true;
        }
        if whole.starts_with('=') || (self.first && whole.contains('=')) {
            self.equals(token);
            return true;
        }
        if let Some(known) = self.of_a_string(token, end_of_line) {
            return known;
        }
        // `/-` comments out the next item; `\` continues the line.
        let value = whole.strip_prefix("/-").unwrap_or(whole);
        let behind = self.text[token.end..].trim_start();
        if value.is_empty() && !behind.is_empty() && !behind.starts_with('}') {
            return true;
        }
        let line = self.text[token.end..end_of_line].trim_start();
        if value == "\\" && (line.is_empty() || line.starts_with("//")) {
            return true;
        }
        if value.is_empty() || value == "\\" {
            let why =
                if value.is_empty() { "there is nothing after this to leave out" } else { "a `\\` ends its line" };
            let at = self.span(token.start, token.end);
            self.add(why, at, Some(Help::told("remove it", vec![Edit { at, text: String::new() }])));
            return true;
        }
        // `key=value`, `(type)value`, or a value.
        let value = value.split_once('=').filter(|(key, _)| is_key(key)).map_or(value, |(_, value)| value);
        let value = value.strip_prefix('(').and_then(|value| value.split_once(')')).map_or(value, |(_, value)| value);
        let start = token.end - value.len();
        let Some(char) = value.chars().next() else {
            let follows = !line.is_empty() && !line.starts_with(['{', '}', ';']) || !whole.ends_with('=');
            if !follows {
                let help = Help::from("put the value after it, on its line");
                self.add(format!("`{whole}` has no value"), self.span(token.start, token.end), Some(help));
            }
            return true;
        };
        if is_quote(char) {
            self.other_quotes(start, char, end_of_line);
            return true;
        }
        let at = self.span(start, token.end);
        if matches!(value, "(" | "[") && line.is_empty() {
            self.other_braces(token);
            return false;
        }
        if char == '[' {
            self.brackets(start, end_of_line);
            return true;
        }
        let listed = value.strip_suffix(',').filter(|value| !value.is_empty());
        if let Some(before) = listed.filter(|_| !self.first) {
            if problem(before).is_none() {
                self.comma(token.end - 1);
                return true;
            }
            // Both are reported at once, so that the proposal can be parsed.
            let help = Help::write(at, raw_or_quoted(before));
            self.add("values are separated by blanks, and one like this needs quotes", at, Some(help));
            return true;
        }
        if matches!(value, "true" | "false" | "null") && !self.first {
            self.add(format!("`{value}` has a `#` before it"), at, Some(Help::write(at, format!("#{value}"))));
            return true;
        }
        let Some(why) = problem(value) else { return true };
        // A pattern that ends in `/*` continues after this token, and is found there.
        if self.text[token.end..].starts_with("/*") && value.starts_with('/') && !self.first {
            return true;
        }
        if self.first {
            self.add(format!("`{value}` can't be the name of a directive"), at, None);
            return true;
        }
        let help = match why {
            WordError::Quote => {
                Help::write(at, raw_or_quoted(&expression::of_javascript(value).unwrap_or_else(|| value.to_owned())))
            }
            WordError::Number(Some(number)) => Help::write(at, number),
            WordError::Number(None) if value.ends_with("xx") => "statuses are written out, as in 500 502 503".into(),
            WordError::Number(None) => "a number is written as 1000, a duration as \"5s\", a size as \"64KiB\"".into(),
        };
        self.add(format!("`{value}` is neither a word nor a number"), at, Some(help));
        self.skip = token.end;
        true
    }

    /// Reports a `#` without a meaning in KDL.
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
            self.add(format!("`{word}` is not a word of KDL"), here, Some(Help::write(here, meant)));
            return;
        }
        let hashes = word.len() - word.trim_start_matches('#').len();
        let at = self.span(token.start, token.start + hashes);
        let help = Help::told("write // for #", vec![Edit { at, text: "//".to_owned() }]);
        self.add("a comment begins with `//`", at, Some(help));
        self.skip = end_of_line;
    }

    /// Reports a JSON list.
    fn brackets(&mut self, start: usize, end_of_line: usize) {
        let close = self.text[start..end_of_line].find(']').map(|at| start + at);
        let end = close.map_or(end_of_line, |at| at + 1);
        let whole = self.span(start, end);
        let help = close.map(|close| {
            let values = self.text[start + 1..close].split(',').map(str::trim).filter(|value| !value.is_empty());
            Help::write(whole, values.collect::<Vec<_>>().join(" "))
        });
        self.add("several values are written one after the other, without brackets", whole, help);
        self.skip = end;
    }
}

/// Why a bare word is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WordError {
    /// A text that needs quotes.
    Quote,
    /// An invalid number; with the number that was meant, as quotes alone would not suffice.
    Number(Option<String>),
}

fn problem(value: &str) -> Option<WordError> {
    let mut chars = value.chars();
    let (first, second) = (chars.next()?, chars.next());
    let digit = |char: Option<char>| char.is_some_and(|char| char.is_ascii_digit());
    // Characters that a bare word may not contain (KDL 2, section 3.10), apart from braces.
    if value.contains(['/', '\\', '(', ')', '[', ']', '#', '=']) {
        return Some(WordError::Quote);
    }
    let signed = matches!(first, '.' | '-' | '+') && digit(second);
    if !(first.is_ascii_digit() || signed) || is_number(value) {
        return None;
    }
    // A percentage, or a number with thousands separators.
    let digits = value.trim_end_matches('%').replace(',', "");
    if digits != value && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(WordError::Number(Some(digits)));
    }
    let thousands = value.strip_suffix('k').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    Some(if signed || thousands || value.ends_with("xx") { WordError::Number(None) } else { WordError::Quote })
}

/// Invisible characters, except blanks.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{ad}')
}

/// Returns whether a text may precede `=`.
fn is_key(key: &str) -> bool {
    key.starts_with(|char: char| char.is_ascii_alphabetic())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Typographic quotes, and quotes of other languages.
fn is_quote(char: char) -> bool {
    matches!(char, '\'' | '`' | '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{ff02}')
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

/// Returns whether KDL parses a word as a number.
fn is_number(word: &str) -> bool {
    let plain = word.trim_start_matches(['+', '-']).replace('_', "");
    let radix = |prefix: &str, radix| {
        plain.strip_prefix(prefix).is_some_and(|digits| u128::from_str_radix(digits, radix).is_ok())
    };
    let decimal = plain.parse::<f64>().is_ok() && !plain.starts_with('.') && !plain.ends_with('.');
    decimal || radix("0x", 16) || radix("0o", 8) || radix("0b", 2)
}
