//! Reads routes from a CSV file (RFC 4180), as the nodes of equivalent directives.
//!
//! A table with 100,000 lines is read in a fraction of the time of as many KDL nodes. Spans point into the table, and
//! each line is read by the directives of a route and its handler.

use std::ops::Range;

use super::{Leaf, Node, Scalar};
use crate::nearest::nearest;
use crate::report::{Diagnostic, Report};
use crate::source::{FileId, Sources, Span, Spanned};

/// The columns, in the order of `kiln fmt`.
pub const COLUMNS: [&str; 4] = ["pattern", "handler", "status", "target"];

/// Parses a table. If there are errors, they are in the report, and lines may be missing.
pub fn parse(sources: &Sources, file: FileId, report: &mut Report) -> Vec<Node> {
    let text = sources.text(file);
    let span = |range: Range<usize>| Span { file, start: range.start as u32, end: range.end as u32 };
    let mut records = reader(text);
    let columns = match records.byte_headers() {
        Ok(header) => {
            let fields = fields(text, header.position().map_or(0, |position| position.byte() as usize));
            let columns = header.iter().zip(fields).map(|(name, range)| column(name, span(range), report));
            columns.collect::<Vec<_>>()
        }
        Err(error) => {
            report.add(unreadable(&error, text, &span));
            return Vec::new();
        }
    };
    if let Some(at) = (1..columns.len()).find(|&at| columns[at].is_some() && columns[..at].contains(&columns[at])) {
        let place = fields(text, 0).nth(at).map_or(span(0..0), span);
        report.add(Diagnostic::error("table-columns", "this column is listed twice", place).label("the second"));
        return Vec::new();
    }
    if !columns.contains(&Some(0)) {
        if columns.contains(&None) {
            return Vec::new();
        }
        let message = "a table begins with a line that names its columns, `pattern` among them";
        let help = "write: pattern,handler,status,target";
        report.add(Diagnostic::error("table-columns", message, span(0..0)).help(help));
        return Vec::new();
    }
    let mut nodes = Vec::new();
    for record in records.byte_records() {
        match record {
            Ok(record) => {
                let start = record.position().map_or(0, |position| position.byte() as usize);
                let mut places: Vec<Range<usize>> = fields(text, start).collect();
                if places.len() != record.len() {
                    // Quotes within a value: only the parser knows their meaning, so all values get the span of the
                    // line.
                    let end = text[start..].trim_start().find('\n').map_or(text.len(), |at| start + at);
                    places = vec![start..end; record.len()];
                }
                let mut line: [Option<Leaf>; COLUMNS.len()] = Default::default();
                for ((value, range), column) in record.iter().zip(places).zip(&columns) {
                    let Some(column) = column.filter(|_| !value.is_empty()) else { continue };
                    let value = String::from_utf8_lossy(value).into_owned();
                    let inner = Some(span(range.clone())).filter(|_| text[range.clone()] == value);
                    line[column] = Some(Leaf { value: Scalar::Text(value), ty: None, span: span(range), inner });
                }
                nodes.extend(node(line, span(start..start), report));
            }
            Err(error) => report.add(unreadable(&error, text, &span)),
        }
    }
    nodes
}

/// Formats a table, whose name in messages is `shown`: columns in their order, values without surrounding blanks, and quoted only if
/// necessary.
///
/// # Errors
/// Fails if the text is not a table.
pub fn format(text: &str, shown: &str) -> Result<String, String> {
    let mut sources = Sources::default();
    let file = sources.add(shown.into(), shown.to_owned(), text.to_owned());
    let mut report = Report::default();
    parse(&sources, file, &mut report);
    if report.has_errors() {
        return Err(format!("not a table\n{}", report.render(&sources, false).trim_end()));
    }
    let mut records = reader(text);
    let header = records.headers().map_err(|error| error.to_string())?.clone();
    let place = |column: &str| header.iter().position(|name| name.eq_ignore_ascii_case(column));
    let kept: Vec<(&str, usize)> = COLUMNS.iter().filter_map(|column| Some((*column, place(column)?))).collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(kept.iter().map(|(name, _)| name)).map_err(|error| error.to_string())?;
    for record in records.records() {
        let record = record.map_err(|error| error.to_string())?;
        let values = kept.iter().map(|(_, at)| record.get(*at).unwrap_or_default());
        writer.write_record(values).map_err(|error| error.to_string())?;
    }
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn reader(text: &str) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes())
}

fn unreadable(error: &csv::Error, text: &str, span: &dyn Fn(Range<usize>) -> Span) -> Diagnostic {
    let start = error.position().map_or(0, |position| position.byte() as usize).min(text.len());
    let line = text[start..].trim_start().lines().next().unwrap_or_default();
    let at = text.len() - text[start..].trim_start().len();
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("this line has {len} values, and the first line names {expected_len} columns")
        }
        _ => format!("not a line of a table: {error}"),
    };
    Diagnostic::error("table-line", message, span(at..at + line.len())).help("a value with a comma in it is quoted")
}

fn column(name: &[u8], span: Span, report: &mut Report) -> Option<usize> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let known = COLUMNS.iter().position(|column| *column == name);
    if known.is_none() {
        let diagnostic = Diagnostic::error("table-columns", format!("a table has no column `{name}`"), span);
        report.add(match nearest(&name, COLUMNS) {
            Some(near) => diagnostic.meant(near),
            None => diagnostic.help(format!("it has: {}", COLUMNS.join(" "))),
        });
    }
    known
}

/// Returns the ranges of a line's values, without surrounding blanks.
fn fields(text: &str, start: usize) -> impl Iterator<Item = Range<usize>> {
    // The parser may be at the previous line end.
    let skipped = text[start..].len() - text[start..].trim_start_matches(['\r', '\n']).len();
    let (mut from, mut over) = (start + skipped, false);
    std::iter::from_fn(move || {
        if over {
            return None;
        }
        let mut quoted = false;
        let rest = &text.as_bytes()[from..];
        let length = rest.iter().position(|&byte| {
            quoted ^= byte == b'"';
            !quoted && matches!(byte, b',' | b'\n' | b'\r')
        });
        let end = from + length.unwrap_or(rest.len());
        let value = &text[from..end];
        let blanks = value.len() - value.trim_start().len();
        let range = from + blanks..(from + blanks + value.trim().len());
        over = text.as_bytes().get(end) != Some(&b',');
        from = end + 1;
        Some(range)
    })
}

/// `route PATTERN { HANDLER ... }`
fn node([pattern, handler, status, target]: [Option<Leaf>; 4], at: Span, report: &mut Report) -> Option<Node> {
    let Some(pattern) = pattern else {
        report.add(Diagnostic::error("table-line", "this line has no pattern", at));
        return None;
    };
    let handler = match handler {
        Some(Leaf { value: Scalar::Text(name), span, .. }) => Spanned { value: name, span },
        _ => Spanned { value: "redirect".to_owned(), span: pattern.span },
    };
    let mut args: Vec<Leaf> = status.map(number).into_iter().collect();
    match target {
        // Several servers, as arguments of `proxy`.
        Some(target) if handler.value == "proxy" => args.extend(words(&target)),
        target => args.extend(target),
    }
    let name = Spanned { value: "route".to_owned(), span: pattern.span };
    let answer = Node { name: handler, ty: None, args, props: Vec::new(), children: None };
    Some(Node { name, ty: None, args: vec![pattern], props: Vec::new(), children: Some(vec![answer]) })
}

fn number(leaf: Leaf) -> Leaf {
    match &leaf.value {
        Scalar::Text(text) => match text.parse() {
            Ok(number) => Leaf { value: Scalar::Integer(number, text.clone()), ..leaf },
            Err(_) => leaf,
        },
        _ => leaf,
    }
}

fn words(leaf: &Leaf) -> Vec<Leaf> {
    let Scalar::Text(text) = &leaf.value else { return Vec::new() };
    text.split_whitespace().map(|word| Leaf { value: Scalar::Text(word.to_owned()), ..leaf.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(format(text, "a.csv").ok().as_deref(), expected);
        check("Status , pattern\n 301,/a \n", Some("pattern,status\n/a,301\n"));
        check("pattern,target\r\n\"/a\",\"/b,c\"\r\n", Some("pattern,target\n/a,\"/b,c\"\n"));
        check("pattern,target\n/a\n", None);
        check("patern\n/a\n", None);
    }

    #[test]
    fn places_of_values() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<_> = fields(text, 0).map(|range| &text[range]).collect();
            assert_eq!(found, expected);
        };
        check("/a, 301 ,\"x,y\"\n/b", &["/a", "301", "\"x,y\""]);
        check("\r\n/a,,\n", &["/a", "", ""]);
        check("/é , \"a\nb\"", &["/é", "\"a\nb\""]);
    }
}
