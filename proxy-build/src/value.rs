//! Parsers of arguments and properties. Each takes a [`Leaf`] and returns a checked value or a [`Problem`] with the
//! expected form. They are pure: they read no file and look up no name.

use std::time::Duration;

use proxy_runtime::context::settings;
use proxy_runtime::protocol::canonical;
use proxy_runtime::site::Text;
use regex_automata::nfa::thompson;

use crate::ast::{Part, Setting, Template};
use crate::expression;
use crate::nearest::nearest;
use crate::source::Spanned;
use crate::syntax::{Leaf, Scalar, quoted, raw_or_quoted};

pub use self::access::{byte_rate, network_or_file, origin, rate, realm};
pub(crate) use self::address::to_ask_for;
pub use self::address::{
    asked_path, host, ip, listen_address, name_server, network, server_address, server_name, server_url, service_url,
};
pub use self::amount::{MAX_HEADERS, MAX_KEPT_BODY, MAX_MEMORY, MAX_URI, keepalive, number, size_within};
pub use self::cookie::{cookie_attribute, cookie_name};
pub use self::file::{file_at_start, file_source, media, own_file};
pub use self::path::{MAX_SEGMENTS, is_capture_name, pattern, prefix};
pub use self::protocol::{PROXY_PROTOCOLS, http_version, upstream_http_version};
pub use self::retry::{GRPC_STATUSES, retry_on};

mod access;
mod address;
mod amount;
mod cookie;
mod file;
mod meant;
mod path;
mod protocol;
mod retry;
pub mod socket;

/// Why a value is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The code of the mistake.
    pub code: &'static str,
    /// The message.
    pub message: String,
    /// The help.
    pub help: Vec<Advice>,
    /// The wrong part of the text, in bytes, if it is not all of it.
    pub part: Option<(usize, usize)>,
}

/// A proposal about a value, by a parser that does not know the value's span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// A text.
    Words(String),
    /// Replaces the value, as written in the file.
    Write(String),
    /// Replaces the value, and adds a directive beside this one.
    WriteWith(String, String),
    /// Replaces the value, and adds a directive inside this one.
    WriteInside(String, String),
    /// Replaces the whole directive.
    Node(String),
    /// Moves the rest into a directive inside this one.
    Inside,
}

impl<T: Into<String>> From<T> for Advice {
    fn from(words: T) -> Advice {
        Advice::Words(words.into())
    }
}

/// The outcome of a leaf parser.
pub type Parsed<T> = Result<T, Problem>;

/// Returns a problem; help is added afterwards.
pub(crate) fn problem(code: &'static str, message: impl Into<String>) -> Problem {
    Problem { code, message: message.into(), help: Vec::new(), part: None }
}

impl Problem {
    /// Adds help.
    pub(crate) fn help(mut self, help: impl Into<Advice>) -> Problem {
        self.help.push(help.into());
        self
    }

    /// Proposes a replacement for the value, as written in the file.
    pub(crate) fn write(self, text: impl Into<String>) -> Problem {
        self.help(Advice::Write(text.into()))
    }

    /// Proposes a text for the value, which is quoted if necessary.
    pub(crate) fn write_text(self, text: &str) -> Problem {
        self.write(quoted(text))
    }

    fn part(mut self, start: usize, end: usize) -> Problem {
        self.part = Some((start, end));
        self
    }
}

/// Parses text, quoted or bare. Numbers and the like must be quoted.
pub fn text(leaf: &Leaf) -> Parsed<String> {
    if let Some(ty) = &leaf.ty {
        return Err(annotation(&ty.value));
    }
    plain(leaf)
}

fn annotation(found: &str) -> Problem {
    let near = nearest(found, ["param", "file", "regex"]);
    let problem = problem("value-type", format!("a value of type `({found})` is not allowed here"));
    match near.filter(|near| *near != found) {
        Some(near) => problem.help(format!("did you mean `({near})`?")),
        None => problem,
    }
}

fn plain(leaf: &Leaf) -> Parsed<String> {
    let wrong = |what: &str, repr: &str| {
        Err(problem("value-type", format!("text is expected here, and this is {what}")).write_text(repr))
    };
    match &leaf.value {
        Scalar::Text(text) => Ok(text.clone()),
        Scalar::Integer(_, repr) => wrong("a number", repr),
        Scalar::Float(number) => wrong("a number", &number.to_string()),
        Scalar::Bool(value) => wrong("a boolean", &value.to_string()),
        Scalar::Null => wrong("null", "null"),
    }
}

/// Parses `#true` or `#false`.
pub fn boolean(leaf: &Leaf) -> Parsed<bool> {
    match (&leaf.value, &leaf.ty) {
        (Scalar::Bool(value), None) => Ok(*value),
        (Scalar::Text(text), None) if text == "true" || text == "false" => {
            Err(problem("value-type", "a boolean has a `#` before it").write(format!("#{text}")))
        }
        (Scalar::Text(text), None) if matches!(text.as_str(), "yes" | "on" | "enabled") => {
            Err(problem("value-type", "`#true` or `#false` is expected here").write("#true"))
        }
        (Scalar::Text(text), None) if matches!(text.as_str(), "no" | "off" | "disabled") => {
            Err(problem("value-type", "`#true` or `#false` is expected here").write("#false"))
        }
        (Scalar::Integer(number @ 0..=1, _), None) => {
            Err(problem("value-type", "`#true` or `#false` is expected here").write(format!("#{}", *number == 1)))
        }
        _ => Err(problem("value-type", "`#true` or `#false` is expected here")),
    }
}

/// Parses a whole number in a range.
pub fn integer(min: u64, max: u64) -> impl Fn(&Leaf) -> Parsed<u64> {
    move |leaf| {
        let number = match (&leaf.value, &leaf.ty) {
            (_, Some(ty)) => return Err(annotation(&ty.value)),
            (Scalar::Integer(_, repr), None)
                if repr.len() > 1 && repr.starts_with('0') && repr.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                let digits = repr.trim_start_matches('0');
                let decimal = if digits.is_empty() { "0" } else { digits };
                return Err(
                    problem("value-type", "a number with a leading zero: is it octal, or decimal?").write(decimal)
                );
            }
            (Scalar::Integer(number, _), None) => *number,
            (Scalar::Text(text), None) if text.parse::<u64>().is_ok() => {
                return Err(problem("value-type", "a number is written without quotes").write(text));
            }
            (Scalar::Float(number), None) if number.fract() == 0.0 && (min as f64..=max as f64).contains(number) => {
                return Err(
                    problem("value-type", "a whole number has no decimal point").write((*number as u64).to_string())
                );
            }
            (Scalar::Text(text), None) if text.starts_with(|char: char| char.is_ascii_digit()) => {
                let wrong = problem("value-type", format!("a whole number from {min} to {max} is expected here"));
                return Err(match meant::numbers(text, |number| (min..=max).contains(&number)) {
                    Some(numbers) => wrong.write(numbers),
                    None => wrong,
                });
            }
            _ => return Err(problem("value-type", format!("a whole number from {min} to {max} is expected here"))),
        };
        u64::try_from(number)
            .ok()
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| problem("out-of-range", format!("{number} is out of range: {min} to {max} is allowed here")))
    }
}

/// Parses one of a few words.
pub fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Leaf) -> Parsed<T> {
    move |leaf| {
        let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        Ok(words[index(leaf, &names)?].1)
    }
}

/// Parses one of these names.
pub fn one_of(names: &'static [&'static str]) -> impl Fn(&Leaf) -> Parsed<&'static str> {
    move |leaf| Ok(names[index(leaf, names)?])
}

/// Returns the index of a value among these words.
fn index(leaf: &Leaf, words: &[&'static str]) -> Parsed<usize> {
    let found = text(leaf)?;
    if let Some(index) = words.iter().position(|word| *word == found) {
        return Ok(index);
    }
    let known: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    let problem = problem("unknown-value", format!("`{found}` is not one of {}", known.join(", ")));
    Err(match meant::word(&found, words) {
        Some(near) => problem.write(near),
        None => problem,
    })
}

/// Parses a name in a site: letters, digits, `-` and `_`.
pub fn name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    let fits = found.starts_with(|char: char| char.is_ascii_alphabetic())
        && found.chars().all(|char| char.is_ascii_alphanumeric() || char == '-' || char == '_');
    if fits && found.len() <= 64 {
        return Ok(found);
    }
    Err(problem("bad-name", format!("`{found}` is not a name: up to 64 letters, digits, `-` and `_`, a letter first")))
}

/// Parses a duration, such as `"5s"`.
pub fn duration(leaf: &Leaf) -> Parsed<Duration> {
    if let Scalar::Integer(number, _) = &leaf.value {
        return Err(problem("bad-duration", "a duration has a unit")
            .write(format!("\"{number}s\""))
            .write(format!("\"{number}ms\"")));
    }
    if let Scalar::Float(number) = &leaf.value {
        let problem = problem("bad-duration", "a duration is a whole number and a unit");
        return Err(match meant::duration(&format!("{number}s")) {
            Some(text) => problem.write_text(&text),
            None => problem,
        });
    }
    let found = text(leaf)?;
    settings::duration(&found).map_err(|reason| {
        let problem = problem("bad-duration", reason);
        if found.parse::<u32>().is_ok() {
            return problem.write_text(&format!("{found}s")).write_text(&format!("{found}ms"));
        }
        let respelled = meant::respelled(&found, meant::DURATION_UNITS).filter(|text| settings::duration(text).is_ok());
        match respelled.or_else(|| meant::duration(&found)) {
            Some(text) => problem.write_text(&text),
            None => problem,
        }
    })
}

/// Parses a time-out, which must not be zero. `usual` is a typical value.
pub fn wait(usual: &'static str) -> impl Fn(&Leaf) -> Parsed<Duration> {
    move |leaf| match duration(leaf)? {
        Duration::ZERO => {
            Err(problem("bad-duration", "this time-out ends before anything can happen").write_text(usual))
        }
        found => Ok(found),
    }
}

/// Parses a duration, or `off` for unlimited.
pub fn duration_or_off(leaf: &Leaf) -> Parsed<Duration> {
    if leaf.value == Scalar::Text("off".to_owned()) {
        return Ok(Duration::MAX);
    }
    match duration(leaf)? {
        Duration::ZERO => Err(problem("bad-duration", "this time-out ends before anything can happen").write("off")),
        found => Ok(found),
    }
}

/// Parses a size in bytes, such as `"10MiB"`.
pub fn size(leaf: &Leaf) -> Parsed<u64> {
    if let Scalar::Integer(number, _) = &leaf.value {
        let problem = problem("bad-size", "a size has a unit");
        return Err(problem.write(format!("\"{number}B\"")).write(format!("\"{number}KiB\"")));
    }
    let found = text(leaf)?;
    settings::size(&found).map_err(|reason| {
        let problem = problem("bad-size", reason);
        if found.parse::<u32>().is_ok() {
            return problem.write_text(&format!("{found}B")).write_text(&format!("{found}KiB"));
        }
        let respelled = meant::respelled(&found, meant::SIZE_UNITS).filter(|text| settings::size(text).is_ok());
        match respelled.or_else(|| meant::size(&found)) {
            Some(text) => problem.write_text(&text),
            None => problem,
        }
    })
}

/// Parses a size, or `unlimited`.
pub fn size_or_unlimited(leaf: &Leaf) -> Parsed<u64> {
    if leaf.value == Scalar::Text("unlimited".to_owned()) { Ok(u64::MAX) } else { size(leaf) }
}

/// Parses `(param)NAME` or a value.
pub fn setting<T>(parse: impl Fn(&Leaf) -> Parsed<T>) -> impl Fn(&Leaf) -> Parsed<Setting<T>> {
    move |leaf| match &leaf.ty {
        Some(ty) if ty.value == "param" => Ok(Setting::Param(Spanned { value: plain(leaf)?, span: leaf.span })),
        _ => parse(leaf).map(Setting::Fixed),
    }
}

/// Parses the status of a response; 1xx are interim.
pub fn status(leaf: &Leaf) -> Parsed<u16> {
    if let Scalar::Text(text) = &leaf.value
        && text.len() == 3
        && text.ends_with("xx")
    {
        return Err(problem("bad-status", "a class of statuses is not allowed here").help("list each status"));
    }
    integer(200, 599)(leaf).map(|code| code as u16)
}

/// Parses the name of a header field, and converts it to lower case (RFC 9110 section 5.1).
pub fn header_name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match http::HeaderName::from_bytes(found.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) if found.split_once(':').is_some_and(|(name, _)| name_of(name).is_some()) => {
            let (name, value) = found.split_once(':').unwrap_or_default();
            let text =
                if value.trim().is_empty() { name.to_owned() } else { format!("{name} {}", quoted(value.trim())) };
            Err(problem("bad-header-name", "a header name has no colon: name and value are two arguments").write(text))
        }
        Err(_) if found.contains(' ') && name_of(&found.trim().replace(' ', "-")).is_some() => {
            Err(problem("bad-header-name", format!("`{found}` is not a header name: it has a blank"))
                .write(found.trim().replace(' ', "-")))
        }
        Err(_) => Err(problem("bad-header-name", format!("`{found}` is not a header name"))
            .help("letters, digits and ! # $ % & ' * + - . ^ _ ` | ~ are allowed")),
    }
}

/// Parses the name of a header field before a value. Recognizes both in one text, as in HTTP.
pub fn header_before_value(leaf: &Leaf) -> Parsed<String> {
    let Scalar::Text(found) = &leaf.value else { return header_name(leaf) };
    match found.split_once(':').map(|(name, value)| (name, value.trim())) {
        Some((name, value)) if name_of(name).is_some() && !value.is_empty() => {
            Err(problem("bad-header-name", "a header name has no colon: name and value are two arguments")
                .write(format!("{name} {}", quoted(value))))
        }
        _ => header_name(leaf),
    }
}

/// Returns a valid field name.
fn name_of(text: &str) -> Option<http::HeaderName> {
    http::HeaderName::from_bytes(text.as_bytes()).ok()
}

/// Parses the value of a header field (RFC 9110 section 5.5).
pub fn header_value(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match found.char_indices().find(|(_, char)| char.is_control() && *char != '\t') {
        None => Ok(found),
        Some((at, char)) => {
            Err(problem("bad-header-value", "a header value has no line ends or other control characters")
                .part(at, at + char.len_utf8()))
        }
    }
}

/// Parses a method (RFC 9110 section 9.1): a token; the registered ones are in upper case.
pub fn method(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    let upper = found.to_ascii_uppercase();
    if matches!(upper.as_str(), "*" | "ANY" | "ALL") {
        return Err(
            problem("bad-method", format!("`{found}` is not a method")).help("without `method`, all methods match")
        );
    }
    // An expression, or a list with commas: no HTTP method has such a name.
    let several: Vec<_> = upper.split(['|', ',', ' ']).filter(|method| !method.is_empty()).collect();
    if several.len() > 1 && several.iter().all(|method| proxy_runtime::site::Methods::NAMES.contains(method)) {
        return Err(problem("bad-method", "methods are separated by blanks").write(several.join(" ")));
    }
    if found != upper && proxy_runtime::site::Methods::NAMES.contains(&upper.as_str()) {
        return Err(problem("bad-method", "methods are written in upper case").write(upper));
    }
    if upper == "CONNECT" || upper == "TRACE" {
        return Err(problem("bad-method", format!("{upper} is always refused by the proxy")));
    }
    http::Method::from_bytes(found.as_bytes())
        .map_err(|_| problem("bad-method", format!("`{found}` is not a method")))?;
    if found == upper {
        if let Some(near) =
            nearest(&found.to_ascii_lowercase(), ["get", "head", "post", "put", "delete", "options", "patch"])
            && near.to_ascii_uppercase() != found
        {
            return Err(
                problem("bad-method", format!("`{found}` is not a usual method")).write(near.to_ascii_uppercase())
            );
        }
        return Ok(found);
    }
    Err(problem("bad-method", format!("`{found}` is an unusual method")).help("methods are written in upper case"))
}

/// Parses the name of a query parameter, decoded: it is compared with decoded names.
pub fn query_name(leaf: &Leaf) -> Parsed<String> {
    let name = text(leaf)?;
    let apart = |char: char| matches!(char, '&' | '=' | '#' | '?' | ' ') || char.is_control();
    if name.is_empty() || name.contains(apart) {
        let message = format!("`{name}` can't be the name of a query parameter in a URL");
        return Err(problem("bad-query-name", message));
    }
    Ok(decoded(&name))
}

/// Percent-decodes a text; it is unchanged if the result would not be UTF-8.
pub fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    canonical::decode(text, &mut out);
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// Parses a regular expression with captures, which the runtime must be able to compile.
pub fn regex(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    expression::parse(&found).map_err(|reason| no_regex(&reason))?;
    match proxy_runtime::router::regex::compile(&found) {
        Ok(_) => Ok(found),
        Err(error) => Err(no_engine(&error)),
    }
}

/// Parses a regular expression that becomes a table.
pub fn matching_regex(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if let Some(expression) = expression::of_javascript(&found) {
        return Err(problem("bad-regex", "an expression is written between quotes, without slashes")
            .write(raw_or_quoted(&expression)));
    }
    let parsed = expression::parse(&found).map_err(|reason| no_regex(&reason))?;
    let config = thompson::Config::new().nfa_size_limit(Some(proxy_runtime::router::regex::CAPTURING_SIZE_LIMIT));
    // Compiling the program suffices to check it; the complete engine is much slower, but explains errors.
    if thompson::Compiler::new().configure(config).build_from_hir(&parsed).is_err() {
        return regex(leaf);
    }
    Ok(found)
}

/// Returns why the engine with captures rejects an expression.
fn no_engine(error: &regex_automata::meta::BuildError) -> Problem {
    if let Some(limit) = error.size_limit() {
        return problem("bad-regex", format!("this expression needs more than {} KiB", limit >> 10))
            .help("bounded repetitions multiply: `{1000}{1000}` is a million");
    }
    no_regex(&expression::reason(&error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string)))
}

fn no_regex(reason: &str) -> Problem {
    let problem = problem("bad-regex", format!("not a regular expression: {reason}"));
    if reason.contains("look-around") || reason.contains("backreference") {
        return problem.help("expressions run in linear time, so look-around and back-references are not supported; use `not { }` or two routes");
    }
    if reason.contains("Unicode") {
        return problem.help("expressions are over bytes, with ASCII classes: write a character outside ASCII by itself or as an alternative, `(é|è)`");
    }
    problem
}

/// Parses `(regex)"..."` or text.
pub fn text_or_regex(leaf: &Leaf) -> Parsed<Result<String, String>> {
    match &leaf.ty {
        Some(ty) if ty.value == "regex" => matching_regex(&Leaf { ty: None, ..leaf.clone() }).map(Err),
        _ => {
            let found = text(leaf)?;
            // No value of a request begins like this.
            if found.starts_with("(?") || (found.starts_with('^') && expression::parse(&found).is_ok()) {
                return Err(problem("value-type", "this is compared literally, and looks like an expression")
                    .write(format!("(regex){}", raw_or_quoted(&found))));
            }
            Ok(Ok(found))
        }
    }
}

/// Parses text with `{placeholders}`; or `(param)NAME` and `(file)"path"` alone. `{{` and `}}` are braces.
pub fn template(leaf: &Leaf) -> Parsed<Template> {
    match leaf.ty.as_ref().map(|ty| ty.value.as_str()) {
        Some("param") => {
            let parts = vec![Part::Param(Spanned { value: plain(leaf)?, span: leaf.span })];
            return Ok(Template { parts, span: leaf.span });
        }
        Some("file") => {
            let parts = vec![Part::File(Spanned { value: plain(leaf)?, span: leaf.span })];
            return Ok(Template { parts, span: leaf.span });
        }
        Some(other) => return Err(annotation(other)),
        None => {}
    }
    let found = text(leaf)?;
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(next) = found[at..].find(['{', '}']).map(|offset| at + offset) {
        literal.push_str(&found[at..next]);
        let rest = &found[next..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            literal.push_str(&rest[..1]);
            at = next + 2;
            continue;
        }
        let end = rest.find('}').filter(|_| rest.starts_with('{'));
        let Some(end) = end else {
            return Err(problem("bad-template", "a single brace").part(next, next + 1).write_text(&format!(
                "{}{}{}",
                &found[..next],
                &found[next..=next].repeat(2),
                &found[next + 1..]
            )));
        };
        if !literal.is_empty() {
            parts.push(Part::Text(Text::from(std::mem::take(&mut literal))));
        }
        let span = leaf.inner.map_or(leaf.span, |inner| inner.part(next, next + end + 1));
        parts.push(Part::Placeholder(Spanned { value: rest[1..end].to_owned(), span }));
        at = next + end + 1;
    }
    literal.push_str(&found[at..]);
    if !literal.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    Ok(Template { parts, span: leaf.span })
}

/// Parses a template for a header value.
pub fn header_template(leaf: &Leaf) -> Parsed<Template> {
    if leaf.ty.is_none() {
        header_value(leaf)?;
    }
    template(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::HostPattern;
    use crate::source::Sources;

    fn leaf(text: &str) -> Leaf {
        let mut sources = Sources::default();
        let file = sources.add("t.kdl".into(), "t.kdl".into(), format!("n {text}"));
        let nodes = crate::syntax::parse(&sources, file, &mut crate::report::Report::default());
        nodes[0].args[0].clone()
    }

    #[track_caller]
    fn check<T: std::fmt::Debug + PartialEq>(
        parse: impl Fn(&Leaf) -> Parsed<T>,
        text: &str,
        expected: Result<T, &str>,
    ) {
        assert_eq!(parse(&leaf(text)).map_err(|problem| problem.code), expected, "{text}");
    }

    #[test]
    fn hosts() {
        let exact = |name: &str| Ok(HostPattern::Exact(name.to_owned()));
        check(host, "example.com", exact("example.com"));
        check(host, "Example.COM", exact("example.com"));
        check(host, "example.com.", exact("example.com"));
        check(host, "\"bücher.de\"", exact("xn--bcher-kva.de"));
        check(host, "\"127.0.0.1\"", exact("127.0.0.1"));
        check(host, "\"[::1]\"", exact("[::1]"));
        check(host, "*.example.com", Ok(HostPattern::Wildcard("example.com".to_owned())));
        check(host, "*", Ok(HostPattern::Any));
        for wrong in
            ["\"https://a.b\"", "\"a.b/c\"", "\"a.b:80\"", "a_b.c", "\"a..b\"", "-a.b", "a.*.b", "\"\"", "\"a b\""]
        {
            check(host, wrong, Err("bad-host"));
        }
    }

    #[test]
    fn patterns() {
        let text = |leaf: &Leaf| pattern(leaf).map(|pattern| pattern.text);
        check(text, "\"/\"", Ok("/".to_owned()));
        check(text, "\"/a/{id}/*\"", Ok("/a/{id}/*".to_owned()));
        check(text, "\"/café\"", Ok("/caf%C3%A9".to_owned()));
        check(text, "\"/@a/x|y/[z]\"", Ok("/@a/x%7Cy/%5Bz%5D".to_owned()));
        for wrong in [
            "a",
            "\"/a/*/b\"",
            "\"/a*\"",
            "\"/{a}/{a}\"",
            "\"/{a}b\"",
            "\"/a?b\"",
            "\"/a/../b\"",
            "\"/%41\"",
            "\"/%40a\"",
            "\"/..;/a\"",
            "\"/..%2Fa\"",
            "\"/%c3%a9\"",
            "\"/%2\"",
            "\"/{}\"",
        ] {
            check(text, wrong, Err("bad-pattern"));
        }
    }

    #[test]
    fn networks() {
        let text = |leaf: &Leaf| network(leaf).map(|network| network.to_string());
        check(text, "\"10.0.0.0/8\"", Ok("10.0.0.0/8".to_owned()));
        check(text, "\"::1\"", Ok("::1/128".to_owned()));
        check(text, "\"10.0.0.1/8\"", Err("bad-network"));
        check(text, "\"10.0.0.0/33\"", Err("bad-network"));
    }

    #[test]
    fn urls() {
        check(server_url, "\"http://127.0.0.1:3000\"", Ok(("127.0.0.1:3000".to_owned(), false)));
        check(server_url, "\"http://app\"", Ok(("app:80".to_owned(), false)));
        check(server_url, "\"https://app\"", Ok(("app:443".to_owned(), true)));
        check(server_url, "\"https://app:8443\"", Ok(("app:8443".to_owned(), true)));
        check(server_url, "\"unix:/run/a.sock\"", Ok(("unix:/run/a.sock".to_owned(), false)));
        for wrong in [
            "\"http://a:80/x\"",
            "\"http://a/\"",
            "\"ftp://a\"",
            "\"ftp://a\"",
            "\"http://\"",
            "\"http://:80\"",
            "\"http://a:x\"",
        ] {
            check(server_url, wrong, Err("bad-url"));
        }
    }
}
