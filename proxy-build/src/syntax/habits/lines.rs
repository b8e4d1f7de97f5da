//! Lines in the syntax of other languages: comments, lists, assignments, and those of nginx and Caddy.

use super::{Search, problem};
use crate::lexer::{Token, TokenKind, tokens};
use crate::report::{Edit, Help};
use crate::syntax::{quoted, raw_or_quoted};

impl Search<'_> {
    /// Checks a line from its first word on; returns `false` like `token`. Handled text is skipped.
    pub(super) fn line(&mut self, token: Token) -> bool {
        let end = self.end_of_line(token.start);
        let word = &self.text[token.start..token.end];
        match word {
            "--" | "/" => return self.comment_or_nothing(token, word.len()),
            "<!--" => return self.comment_or_nothing(token, word.len()),
            "-" => {
                let behind = &self.text[token.end..end];
                let at = self.span(token.start, end - behind.trim_start().len());
                let help = Help::told("remove it", vec![Edit { at, text: String::new() }]);
                self.add("a line begins with the name of a directive", self.span(token.start, token.end), Some(help));
                self.skip = token.end;
            }
            "set" | "add" | "default" => self.field(token, end),
            "location" => return self.location(token, end),
            "if" if self.text[token.end..end].trim_start().starts_with('(') => {
                let help = "conditions are matchers in a route, as in: route \"/*\" { header X-Beta; respond 200; }";
                self.add("there is no `if`", self.span(token.start, token.end), Some(help.into()));
                return false;
            }
            _ if word.starts_with("```") => return self.fence(token.start, end),
            _ if word.starts_with("<<<<<<<") || word.starts_with(">>>>>>>") || word.starts_with("=======") => {
                let help = "keep one of the two versions, without these lines";
                self.add("a conflict of two versions was left here", self.span(token.start, end), Some(help.into()));
                return false;
            }
            _ if word.starts_with('@') => {
                let help = "conditions on requests are matchers in a route, as in: route \"/api/*\" { method GET; respond 200; }";
                self.add("matchers have no names", self.span(token.start, token.end), Some(help.into()));
                return false;
            }
            _ => {}
        }
        true
    }

    /// Reports a character that begins a comment elsewhere.
    pub(super) fn comment_or_nothing(&mut self, token: Token, len: usize) -> bool {
        let end = self.end_of_line(token.start);
        let at = self.span(token.start, token.start + len);
        let empty = self.text[token.start + len..end].trim().is_empty();
        let (message, help, text) = match empty {
            true => ("there is nothing here to end", "remove it".to_owned(), ""),
            false => ("a comment begins with `//`", format!("write // for {}", self.within(at)), "//"),
        };
        self.add(message, at, Some(Help::told(help, vec![Edit { at, text: text.to_owned() }])));
        self.skip = end;
        true
    }

    /// Reports a Markdown fence, and its closing one.
    fn fence(&mut self, start: usize, end: usize) -> bool {
        let remove = |at| Edit { at, text: String::new() };
        let mut edits = vec![remove(self.span(start, end))];
        if let Some(close) = self.text[end..].find("```").map(|at| end + at) {
            edits.push(remove(self.span(close, self.end_of_line(close))));
        }
        self.add("this is Markdown, not part of the site", self.span(start, end), Some(Help::told("remove it", edits)));
        false
    }

    /// Reports a `(` or `[` in place of a `{`.
    pub(super) fn other_braces(&mut self, token: Token) {
        let (start, close) = (token.end - 1, if self.text[..token.end].ends_with('(') { ')' } else { ']' });
        let mut edits = vec![Edit { at: self.span(start, token.end), text: "{".to_owned() }];
        let mut at = token.end;
        for line in self.text[token.end..].split_inclusive('\n') {
            if line.trim().strip_prefix(close).is_some_and(|rest| rest.trim_end_matches(';').is_empty()) {
                let begin = at + line.find(close).unwrap_or_default();
                edits.push(Edit { at: self.span(begin, begin + 1), text: "}".to_owned() });
            }
            at += line.len();
        }
        let help = Help::told("write { and }", edits);
        self.add("the lines of a directive are written between braces", self.span(start, token.end), Some(help));
    }

    /// Reports a `=` between a directive and its value; between a property and its value it may have blanks around it (KDL 2,
    /// section 3.5).
    pub(super) fn equals(&mut self, token: Token) {
        let word = &self.text[token.start..token.end];
        let sign = token.start + word.find('=').unwrap_or_default();
        let here = self.span(sign, sign + 1);
        if let Some(behind) = word.strip_prefix("=>") {
            let at = self.span(token.start, token.end - behind.len());
            self.add(
                "there are no arrows here",
                at,
                Some(Help::told("remove it", vec![Edit { at, text: String::new() }])),
            );
        } else if self.first || self.last.is_some_and(|last| last.end == self.name_end) {
            let help = Help::told("write a blank for =", vec![Edit { at: here, text: " ".to_owned() }]);
            self.add("a directive and its value are separated by a blank", here, Some(help));
        } else {
            let value = word.trim_start_matches('=');
            let at = self.span(token.end - value.len(), token.end);
            if !value.is_empty() && problem(value).is_some() {
                let help = Help::write(at, raw_or_quoted(value));
                self.add(format!("`{value}` is neither a word nor a number"), at, Some(help));
            }
        }
        self.skip = token.end;
    }

    /// Reports an unquoted header field whose value contains blanks, `;` or `=`, as in HTTP.
    fn field(&mut self, token: Token, end: usize) {
        let rest = &self.text[token.end..end];
        let name_at = token.end + rest.len() - rest.trim_start().len();
        let rest = &self.text[name_at..end];
        let name = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
        if name.is_empty() || name.starts_with(['"', '#', '(']) {
            return;
        }
        if let Some((field, value)) = name.trim_end_matches(';').split_once('=').filter(|(_, value)| !value.is_empty())
        {
            let at = self.span(name_at, name_at + field.len() + 1 + value.len());
            let value = value.trim_matches('"');
            let help = Help::write(at, format!("{field} {}", quoted(value)));
            self.add("name and value of a field are two arguments", at, Some(help));
            self.skip = at.end as usize;
            return;
        }
        let behind = &rest[name.len()..];
        let start = name_at + name.len() + behind.len() - behind.trim_start().len();
        let value = value_of_line(&self.text[start..end]);
        let twice =
            value.strip_prefix("\"\"").and_then(|value| value.strip_suffix("\"\"")).filter(|value| !value.is_empty());
        let bare = !value.starts_with(['"', '#', '(', '\'', '/', '\\']) && value.contains([' ', '=', ';', ',']);
        if bare || twice.is_some_and(|value| !value.contains(['"', '\n'])) {
            let at = self.span(start, start + value.len());
            let text = twice.map_or_else(|| quoted(value), |value| quoted(&format!("\"{value}\"")));
            self.add("a value like this needs quotes", at, Some(Help::write(at, text)));
            self.skip = at.end as usize;
        }
    }

    /// Reports an nginx location with an unquoted path or expression, or a modifier before it.
    fn location(&mut self, token: Token, end: usize) -> bool {
        let line = &self.text[token.end..end];
        let head = line.trim_end().strip_suffix('{').unwrap_or(line).trim();
        if head.is_empty() || head.starts_with('"') {
            return true;
        }
        let whole = self.span(token.start, token.end + line.find(head).unwrap_or_default() + head.len());
        let (sign, path) = head.split_once(char::is_whitespace).map_or(("", head), |(sign, path)| (sign, path.trim()));
        let path = path.trim_matches('"');
        let below = format!("{}/*", path.trim_end_matches('/'));
        let (pattern, expression) = match sign {
            "=" => (path, None),
            "" | "^~" => (below.as_str(), None),
            "~" => ("/*", Some(path.to_owned())),
            "~*" => ("/*", Some(format!("(?i){path}"))),
            _ => return true,
        };
        let route = format!("route {}", quoted(pattern));
        let mut edits = vec![Edit { at: whole, text: route.clone() }];
        let mut words = format!("here that is: {route}");
        if let Some(expression) = expression {
            let matcher = format!("path-regex {}", raw_or_quoted(&expression));
            words.push_str(&format!(", and in it: {matcher}"));
            let open = self.text[whole.end as usize..].find('{').map_or(end, |at| whole.end as usize + at + 1);
            edits.push(Edit { at: self.span(open, open), text: format!(" {matcher};") });
        }
        self.add("this is nginx's form of path matching", whole, Some(Help::told(words, edits)));
        false
    }
}

/// Returns the value in the rest of a line: without a comment, and without the end of the directive.
fn value_of_line(rest: &str) -> &str {
    let comment =
        tokens(rest).find(|token| token.kind == TokenKind::LineComment).map_or(rest.len(), |token| token.start);
    let value = rest[..comment].trim_end();
    let value = value.strip_suffix('}').map_or(value, str::trim_end);
    value.strip_suffix(';').map_or(value, str::trim_end)
}
