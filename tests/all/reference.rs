//! Generated documentation matches the compiler, and every example in the manual compiles.

use std::collections::{BTreeMap, BTreeSet};

use kiln_tests::kiln::workspace;
use proxy_build::code::reasons::{self, ReasonKind};
use proxy_build::directive::ALL;

#[test]
fn the_manual_is_up_to_date() {
    let path = workspace().join("docs/reference.md");
    let generated = proxy_build::reference::reference();
    if std::env::var_os("KILN_UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == generated,
        "docs/reference.md is not what `kiln reference` prints: KILN_UPDATE=1 cargo test writes it"
    );
}

#[test]
fn the_page_of_reasons_is_up_to_date() {
    let path = workspace().join("docs/reasons.md");
    let generated = proxy_build::code::manual();
    if std::env::var_os("KILN_UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == generated,
        "docs/reasons.md is not what it is generated from: KILN_UPDATE=1 cargo test writes it"
    );
}

/// Returns the spans and attributes that are exported, in one test with the metrics: both write one file.
fn table_of_spans() -> String {
    use proxy_runtime::trace::declared::{ATTRIBUTES, DeclaredSpan, RESOURCE, SPANS, SpanKind};
    let mut table = String::from("| Span | Kind | Meaning |\n|---|---|---|\n");
    for span in SPANS {
        table += &format!("| `{}` | {} | {} |\n", span.name, format!("{:?}", span.kind).to_uppercase(), span.help);
    }
    table += "\n| Attribute | Spans | Meaning |\n|---|---|---|\n";
    for attribute in ATTRIBUTES {
        let kind = |span: &DeclaredSpan| match span.kind {
            SpanKind::Internal => format!("`{}`", span.name),
            kind => format!("{kind:?}").to_uppercase(),
        };
        let spans: Vec<_> = attribute.spans.iter().map(|span| kind(span)).collect();
        table += &format!("| `{}` | {} | {} |\n", attribute.name, spans.join(", "), attribute.help);
    }
    table += "\n| Attribute of the resource | Meaning |\n|---|---|\n";
    for (name, help) in RESOURCE {
        table += &format!("| `{name}` | {help} |\n");
    }
    table
}

/// The tables of metrics, of the log's fields and of spans in the documentation are made from their declarations.
#[test]
fn the_tables_of_observability_are_up_to_date() {
    let mut metrics = String::from("| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n");
    for metric in proxy_runtime::metrics::ALL {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        metrics += &format!("| `{}` | {kind} | {} | {} |\n", metric.sample(), labels.join(", "), metric.help);
    }
    let mut fields = String::from("| Field | ECS | Without `fields` | Meaning |\n|---|---|---|---|\n");
    for field in proxy_runtime::site::LogField::ALL {
        let usual = if field.usual { "yes" } else { "" };
        fields += &format!("| `{}` | `{}` | {usual} | {} |\n", field.name, field.ecs, field.help);
    }
    let path = workspace().join("docs/observability.md");
    let page = || std::fs::read_to_string(&path).expect("a page");
    let generated = table(&table(&page(), "metrics", &metrics), "log fields", &fields);
    let generated = table(&generated, "spans", &table_of_spans());
    if std::env::var_os("KILN_UPDATE").is_some() {
        std::fs::write(&path, &generated).expect("written");
    }
    assert!(page() == generated, "docs/observability.md: KILN_UPDATE=1 cargo test writes the tables");
}

/// A page with a table in the place of the one between two marks.
fn table(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = page.split_once(&begin).expect("the mark before the table");
    let (_, after) = rest.split_once(&end).expect("the mark behind the table");
    format!("{before}{begin}\n{table}\n{end}{after}")
}

/// The table contains every reason of the compiler and the proxy, with the right status, and no other.
#[test]
fn every_reason_is_explained() {
    let source = |path: &str| {
        let text = std::fs::read_to_string(workspace().join(path)).expect("a source");
        text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
    };
    let of_kind = |kind| {
        let reasons = reasons::all().filter(move |reason| reason.kind == kind);
        reasons.map(|reason| reason.name.to_owned()).collect::<BTreeSet<_>>()
    };

    let codes: BTreeSet<_> = crate::diagnostics::all_codes().into_iter().collect();
    let with_examples = proxy_build::code::all().map(|code| code.name.to_owned());
    let explained: BTreeSet<_> = with_examples.chain(of_kind(ReasonKind::Error)).collect();
    assert_eq!(codes, explained, "codes of the compiler");

    let failure = source("proxy-runtime/src/failure.rs");
    // Matches `NoRoute = "no-route", StatusCode::NOT_FOUND;`.
    let word = |line: &str| {
        let (word, status) = line.strip_suffix(';')?.split_once(" = \"")?.1.split_once("\", ")?;
        let status = status.strip_prefix("StatusCode::").map(|name| name.replace('_', " ").to_lowercase());
        Some((word.to_owned(), status))
    };
    let words: BTreeMap<String, Option<String>> = failure.lines().filter_map(word).collect();
    assert_eq!(words.keys().cloned().collect::<BTreeSet<_>>(), of_kind(ReasonKind::Log), "reasons in the log");
    for reason in reasons::all().filter(|reason| reason.kind == ReasonKind::Log) {
        let status = words[reason.name].clone();
        let name =
            |code: &str| Some(http::StatusCode::from_bytes(code.as_bytes()).ok()?.canonical_reason()?.to_lowercase());
        match reason.status {
            Some("*") => assert_eq!(status, None, "{}", reason.name),
            Some(code) => assert_eq!(name(code), status, "{}", reason.name),
            None => panic!("{} has no status", reason.name),
        }
    }

    let reasons = ["proxy-runtime/src/cache/key.rs", "proxy-runtime/src/cache/freshness.rs"].map(source).concat();
    let mut of_cache: BTreeSet<_> =
        reasons.lines().filter_map(|line| Some(line.split_once(" => \"")?.1.strip_suffix("\",")?.to_owned())).collect();
    let mut serving = source("proxy-runtime/src/serve/cached.rs");
    for (path, _) in crate::tidy::rust_files(&["proxy-runtime/src/serve/cached"]) {
        serving += &source(path.to_str().expect("text"));
    }
    let lines = serving.lines().filter(|line| !line.trim_start().starts_with("//"));
    let literals = lines.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(|word| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            && !NO_REASONS.contains(word)
    });
    of_cache.extend(literals.map(str::to_owned));
    assert_eq!(of_cache, of_kind(ReasonKind::Cache), "reasons of the cache");
}

/// Other words in the cache's code: names of fields, and parameters of `Cache-Status` (RFC 9211 section 2.2).
const NO_REASONS: &[&str] = &[
    "-",
    "accept-language",
    "age",
    "all",
    "cache-group-invalidation",
    "cache-groups",
    "cache-status",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "host",
    "http",
    "https",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "kiln",
    "last-modified",
    "location",
    "partial",
    "purge-groups",
    "purge-mode",
    "purge-pattern",
    "purge-tags",
    "request",
    "soft",
    "uri-miss",
    "vary-miss",
];

#[test]
fn every_example_compiles() {
    // The files that examples compile in.
    let folder = kiln_tests::kiln::scratch("examples");
    std::fs::create_dir(folder.join("pages")).expect("made");
    std::fs::write(folder.join("pages/index.html"), "<p>home\n").expect("written");
    for directive in ALL.iter() {
        let compiled = proxy_build::compile_text(&folder.join("example.kdl"), "example.kdl", directive.example);
        assert!(compiled.model.is_some(), "the example of `{}`:\n{}", directive.name, compiled.diagnostics(false));
    }
}

/// The two examples on every diagnostic's page: the wrong one causes the diagnostic, the right one does not, and
/// compiles.
#[test]
fn every_page_is_right() {
    for code in proxy_build::code::all() {
        let compile = |text: &str| proxy_build::compile_text("example.kdl".as_ref(), "example.kdl", text);
        let found = |compiled: &proxy_build::Compiled| {
            compiled.report.sorted().iter().any(|diagnostic| diagnostic.code == code.name)
        };
        let (wrong, right) = (compile(code.wrong), compile(code.right));
        assert!(found(&wrong), "{}, wrong:\n{}", code.name, wrong.diagnostics(false));
        assert!(right.model.is_some() && !found(&right), "{}, right:\n{}", code.name, right.diagnostics(false));
        let page = proxy_build::code::page(code.name).expect("a page");
        assert!(page.starts_with(code.name) && page.contains("Wrong:"), "{page}");
    }
}

/// Every directive and every property occurs in some case that runs over real sockets.
#[test]
fn every_directive_runs_in_a_case() {
    let mut sites = String::new();
    for tests in [
        "tests/all/wire.rs",
        "tests/all/cli.rs",
        "tests/all/upstreams.rs",
        "tests/all/cache.rs",
        "tests/all/cache/controls.rs",
        "tests/all/cache/selected.rs",
        "tests/all/cache/warm.rs",
        "tests/all/disk.rs",
        "tests/all/tls.rs",
        "tests/all/http2.rs",
        "tests/all/memory.rs",
        "tests/all/http3.rs",
        "tests/all/http3/alternative.rs",
        "tests/all/acme.rs",
        "tests/all/acme/dns01.rs",
        "tests/all/ends.rs",
        "tests/all/auth.rs",
        "tests/all/files.rs",
        "tests/all/files/or_else.rs",
        "tests/all/files/send_file.rs",
        "tests/all/operate.rs",
        "tests/all/servers_admin.rs",
        "tests/all/admin_access.rs",
        "tests/all/status.rs",
        "tests/all/logs.rs",
        "tests/all/tracing.rs",
        "tests/all/ctl.rs",
        "tests/all/privileges.rs",
        "tests/all/sandbox.rs",
        "tests/all/sockets.rs",
        "tests/all/takeover.rs",
        "tests/all/intake.rs",
        "tests/all/compress.rs",
        "tests/all/macros.rs",
    ] {
        // Sites in string literals: their line ends are escaped, and their braces are doubled.
        let text = std::fs::read_to_string(workspace().join(tests)).expect("tests");
        sites += &text.replace("\\n", "\n").replace("{{", "{").replace("}}", "}");
    }
    let mut folders = vec![workspace().join("tests/cases"), workspace().join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "kdl") {
                sites += &std::fs::read_to_string(path).expect("a site");
            }
        }
    }
    let mut missing = Vec::new();
    for directive in ALL.iter() {
        let used = sites.lines().any(|line| line.split_whitespace().next() == Some(directive.name));
        if !used {
            missing.push(directive.name.to_owned());
        }
        for prop in directive.props {
            let used = sites.lines().any(|line| {
                line.split_whitespace().next() == Some(directive.name) && line.contains(&format!(" {}=", prop.name))
            });
            if !used {
                missing.push(format!("{} {}=", directive.name, prop.name));
            }
        }
    }
    assert!(missing.is_empty(), "no case uses: {missing:?}");
}
