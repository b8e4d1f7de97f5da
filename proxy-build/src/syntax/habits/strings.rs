//! Strings in the syntax of other languages.

use super::{Search, is_key, is_quote};
use crate::lexer::Token;
use crate::report::{Edit, Help};
use crate::syntax::quoted;

impl Search<'_> {
    /// Checks a quoted or raw string; `false` if further errors would only follow from one here.
    pub(super) fn string(&mut self, token: Token) -> bool {
        let string = &self.text[token.start..token.end];
        let whole = self.span(token.start, token.end);
        if string.trim_start_matches('#').starts_with("\"\"\"") {
            return self.lines_of_text(token);
        }
        if unclosed(string) {
            let end = self.end_of_line(token.start);
            let help = self.closing(token.start, end);
            self.add("this string is not closed on its line", self.span(token.start, end), help);
            return false;
        }
        let before = self.last.filter(|last| last.end == token.start && &self.text[last.start..last.end] == "r");
        if let Some(r) = before {
            let help = Help::write(self.span(r.start, token.end), format!("#{string}#"));
            self.add("a raw string is written between #\" and \"#", self.span(r.start, token.end), Some(help));
            return true;
        }
        if let Some((at, char)) = bad_escape(string) {
            let escape = self.span(token.start + at, token.start + at + 1 + char.len_utf8());
            let help = match on_windows(string) {
                Some(path) => Some(Help::write(whole, quoted(&path))),
                None => Some(Help::write(whole, format!("#{string}#")))
                    .filter(|_| !string.contains("\"#") && !string.contains("\\\"")),
            };
            self.add(format!("`\\{char}` has no meaning in a quoted string"), escape, help);
        }
        true
    }

    /// Proposes the end of a string that is not closed on its line: at a typographic quote, or at the line's end.
    fn closing(&self, start: usize, end: usize) -> Option<Help> {
        let line = &self.text[start..end];
        if let Some((at, char)) = line.char_indices().rev().find(|(_, char)| is_quote(*char)) {
            let close = self.span(start + at, start + at + char.len_utf8());
            return Some(Help::told(format!("write \" for {char}"), vec![Edit { at: close, text: "\"".to_owned() }]));
        }
        let next = self.text[end..].trim_start_matches(['\r', '\n']);
        let next = &next[..next.find('\n').unwrap_or(next.len())];
        if next.matches('"').count() % 2 == 1 {
            return Some("a text of several lines is written between two \"\"\", each on its own line".into());
        }
        let text = line.trim_end_matches(|char: char| char.is_whitespace() || matches!(char, '{' | ';'));
        let close = self.span(start + text.len(), start + text.len());
        (line.matches('"').count() == 1)
            .then(|| Help::told(format!("write {text}\""), vec![Edit { at: close, text: "\"".to_owned() }]))
    }

    /// Checks a multi-line string: its lines must begin with the indentation of the closing quotes (KDL 2, section 3.12).
    fn lines_of_text(&mut self, token: Token) -> bool {
        let string = &self.text[token.start..token.end];
        let hashes = string.len() - string.trim_start_matches('#').len();
        let close = "\"\"\"".to_owned() + &"#".repeat(hashes);
        let open = self.span(token.start, token.start + hashes + 3);
        let inner = string[hashes + 3..].strip_suffix(close.as_str());
        let Some(inner) = inner else {
            self.add("this text is never closed", open, Some(format!("a line with {close} alone closes it").into()));
            return false;
        };
        if !inner.trim_start_matches([' ', '\t']).starts_with(['\n', '\r']) {
            let lines: Vec<_> = inner.lines().map(str::trim).collect();
            let help = Help::write(self.span(token.start, token.end), quoted(&lines.join("\n")));
            self.add("the text begins on the line after the three quotes", open, Some(help));
            return true;
        }
        let from = inner.rfind('\n').map_or(0, |at| at + 1);
        let (indent, body) = (&inner[from..], &inner[..from]);
        let mut at = token.start + hashes + 3;
        for (number, line) in body.split_inclusive('\n').enumerate() {
            let text = line.trim_start_matches([' ', '\t']);
            if number > 0 && !line.trim().is_empty() && !line.starts_with(indent) {
                let blanks = self.span(at, at + line.len() - text.len());
                let help = Help::told(
                    "begin the line where the quotes are",
                    vec![Edit { at: blanks, text: indent.to_owned() }],
                );
                let line = self.span(at, at + line.trim_end().len());
                self.add("this begins before the quotes that close the text", line, Some(help));
                return true;
            }
            at += line.len();
        }
        true
    }

    /// Reports string syntax of other languages: `r#"..."#`, `file("...")`, `<file>"..."`, `( file ) "..."`. Returns `None` if
    /// the token is none of these.
    pub(super) fn of_a_string(&mut self, token: Token, end_of_line: usize) -> Option<bool> {
        let word = &self.text[token.start..token.end];
        let quote = self.text[token.end..].starts_with('"');
        let hashes = word.strip_prefix('r').filter(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte == b'#'));
        if let Some(hashes) = hashes.filter(|_| quote) {
            let close = format!("\"{hashes}");
            let end = self.text[token.end + 1..end_of_line].find(&close).map(|at| token.end + 1 + at + close.len())?;
            let edits = vec![Edit { at: self.span(token.start, token.start + 1), text: String::new() }];
            let help = Help::told(format!("write {}", &self.text[token.start + 1..end]), edits);
            self.add("a raw string begins with `#`", self.span(token.start, end), Some(help));
            self.skip = end;
            return Some(true);
        }
        let (ty, end) = if word == "(" {
            let close = self.text[token.end..end_of_line].find(')')? + token.end;
            (self.text[token.end..close].trim(), close + 1)
        } else if let Some(ty) = word.strip_prefix('<').and_then(|word| word.strip_suffix('>')).filter(|_| quote) {
            (ty, token.end)
        } else {
            (word.strip_suffix('(').filter(|_| quote)?, token.end)
        };
        if !is_key(ty) {
            return None;
        }
        let behind = &self.text[end..end_of_line];
        let blanks = behind.len() - behind.trim_start().len();
        let value = behind.trim_start();
        let closed = value.strip_prefix('"').and_then(|rest| rest.find('"')).map(|at| &value[..at + 2])?;
        // The closing parenthesis of `file("...")` is removed, too.
        let parenthesis = usize::from(value[closed.len()..].starts_with(')') && word.ends_with('(') && word != "(");
        let whole = self.span(token.start, end + blanks + closed.len() + parenthesis);
        let help = Help::write(whole, format!("({ty}){closed}"));
        self.add("a type is written in parentheses directly before its value", whole, Some(help));
        self.skip = whole.end as usize;
        Some(true)
    }

    /// Reports a type after its value.
    pub(super) fn type_behind(&mut self, last: Token, token: Token) {
        let whole = self.span(last.start, token.end);
        let (value, ty) = (&self.text[last.start..last.end], &self.text[token.start..token.end]);
        let help = Help::write(whole, format!("{ty}{value}"));
        self.add("a type is written directly before its value", whole, Some(help));
    }

    /// Reports text between quotes that KDL does not have: they would be part of the text.
    pub(super) fn other_quotes(&mut self, start: usize, open: char, end_of_line: usize) {
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
        self.add(format!("`{open}` is not a quote here: write text between two \""), self.span(start, end), help);
        self.skip = end;
    }
}

/// Returns a Windows path, converted to one of the proxy's machine.
fn on_windows(string: &str) -> Option<String> {
    let path = string.trim_matches('"');
    let rest = path.strip_prefix(|drive: char| drive.is_ascii_alphabetic())?.strip_prefix(":\\")?;
    Some(format!("/{}", rest.replace('\\', "/").trim_end_matches('/')))
}

/// Returns the first escape in a quoted string that KDL does not have (KDL 2, section 3.11.1).
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

/// Returns whether a single-line string is not closed on its line.
fn unclosed(string: &str) -> bool {
    let quotes = string.trim_start_matches('#');
    !quotes.starts_with("\"\"\"")
        && (string.contains('\n') || quotes.len() < 2 || !string.trim_end_matches('#').ends_with('"'))
}
