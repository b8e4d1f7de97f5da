//! The findings of `kiln check` for programs: as Kiln's JSON (docs/check.md), and as SARIF 2.1.0 (OASIS), which code hosts and
//! editors display. Nothing is shortened, unlike in the text for people.

use std::path::Path;

use proxy_build::Compiled;
use proxy_build::code;
use proxy_build::report::{Diagnostic, Edit, Severity};
use proxy_build::source::{Sources, Span};
use serde_json::{Value, json};

/// The version of the JSON format; it changes if a member is removed or changes its meaning.
const VERSION: u32 = 1;

/// Returns the findings as Kiln's JSON.
pub(super) fn json(compiled: &Compiled) -> Value {
    let sources = &compiled.sources;
    let diagnostics = compiled.report.sorted();
    let edits = |edits: &[Edit]| -> Vec<Value> {
        edits.iter().map(|edit| json!({ "span": span(sources, edit.at), "text": edit.text })).collect()
    };
    let found = diagnostics.iter().map(|diagnostic| {
        let also = diagnostic.also.iter().map(|(at, label)| json!({ "span": span(sources, *at), "label": label }));
        let fixes = fixes(diagnostic).map(|(message, fix)| json!({ "message": message, "edits": edits(fix) }));
        json!({
            "code": diagnostic.code,
            "severity": level(diagnostic),
            "message": diagnostic.message,
            "span": span(sources, diagnostic.at),
            "label": diagnostic.label,
            "related": also.collect::<Vec<_>>(),
            "help": diagnostic.help.iter().map(|help| &help.text).collect::<Vec<_>>(),
            "fixes": fixes.collect::<Vec<_>>(),
        })
    });
    let site = compiled.model.as_ref().map(|model| {
        json!({
            "sites": model.hosts.len(),
            "routes": model.hosts.iter().map(|host| host.routes.len()).sum::<usize>(),
            "upstreams": model.upstreams.len(),
            "tests": model.tests.len(),
        })
    });
    json!({ "version": VERSION, "ok": site.is_some(), "site": site, "diagnostics": found.collect::<Vec<_>>() })
}

/// Returns the findings as a SARIF log with one run (SARIF 2.1.0 section 3.13).
pub(super) fn sarif(compiled: &Compiled) -> Value {
    let sources = &compiled.sources;
    let diagnostics = compiled.report.sorted();
    let mut rules: Vec<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    rules.sort_unstable();
    rules.dedup();
    let results = diagnostics.iter().map(|diagnostic| {
        let also = diagnostic.also.iter().map(|(at, label)| {
            json!({ "physicalLocation": location(sources, *at), "message": { "text": label } })
        });
        let fixes = fixes(diagnostic).map(|(message, edits)| {
            let changes = edits.iter().map(|edit| {
                json!({
                    "artifactLocation": { "uri": uri(sources.shown(edit.at.file)) },
                    "replacements": [{ "deletedRegion": region(sources, edit.at), "insertedContent": { "text": edit.text } }],
                })
            });
            json!({ "description": { "text": message }, "artifactChanges": changes.collect::<Vec<_>>() })
        });
        json!({
            "ruleId": diagnostic.code,
            "ruleIndex": rules.binary_search(&diagnostic.code).unwrap_or_default(),
            "level": level(diagnostic),
            "message": { "text": said(diagnostic) },
            "locations": [{ "physicalLocation": location(sources, diagnostic.at) }],
            "relatedLocations": also.collect::<Vec<_>>(),
            "fixes": fixes.collect::<Vec<_>>(),
        })
    });
    let results: Vec<_> = results.collect();
    let rules = rules.iter().map(|id| match code::meaning(id) {
        Some((what, why)) => json!({ "id": id, "shortDescription": { "text": what }, "help": { "text": why } }),
        None => json!({ "id": id }),
    });
    let driver = json!({
        "name": "kiln",
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "informationUri": env!("CARGO_PKG_REPOSITORY"),
        "rules": rules.collect::<Vec<_>>(),
    });
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results }],
    })
}

/// A SARIF message must be self-contained: it includes the label and the help.
fn said(diagnostic: &Diagnostic) -> String {
    let label = Some(diagnostic.label.as_str()).filter(|label| !label.is_empty());
    let mut text = diagnostic.message.clone();
    label.iter().for_each(|label| text += &format!(": {label}"));
    diagnostic.help.iter().for_each(|help| text += &format!("\nhelp: {}", help.text));
    text
}

fn level(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning | Severity::Lint => "warning",
    }
}

/// Returns each proposed change, with its description.
fn fixes(diagnostic: &Diagnostic) -> impl Iterator<Item = (&str, &[Edit])> {
    let meant = diagnostic.meant.iter().map(|edit| (diagnostic.label.as_str(), std::slice::from_ref(edit)));
    let help = diagnostic.help.iter().map(|help| (help.text.as_str(), help.edits.as_slice()));
    meant.chain(help.filter(|(_, edits)| !edits.is_empty()))
}

fn span(sources: &Sources, at: Span) -> Value {
    let position = |offset| {
        let (line, column) = sources.position(at.file, offset);
        json!({ "line": line, "column": column, "byte": offset })
    };
    json!({ "file": sources.shown(at.file), "start": position(at.start), "end": position(at.end) })
}

fn location(sources: &Sources, at: Span) -> Value {
    json!({ "artifactLocation": { "uri": uri(sources.shown(at.file)) }, "region": region(sources, at) })
}

/// Lines and columns begin at 1; the end is after the last character (SARIF 2.1.0 section 3.30).
fn region(sources: &Sources, at: Span) -> Value {
    let (start, end) = (sources.position(at.file, at.start), sources.position(at.file, at.end));
    json!({ "startLine": start.0, "startColumn": start.1, "endLine": end.0, "endColumn": end.1 })
}

/// Returns a path as a URI reference (RFC 3986), relative if the path is.
fn uri(path: &str) -> String {
    let mut uri = if Path::new(path).is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn uris() {
        let check = |path, expected: &str| assert_eq!(uri(path), expected);
        check("sites/shop.kdl", "sites/shop.kdl");
        check("/srv/a b/ü.kdl", "file:///srv/a%20b/%C3%BC.kdl");
        check("c:50%.kdl", "c%3A50%25.kdl");
        check("<stdin>", "%3Cstdin%3E");
    }
}
