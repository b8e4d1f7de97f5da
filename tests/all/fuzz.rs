//! Any input results in a site or in diagnostics, never in a panic: in the compiler and in the formatter.
//!
//! Kinds of input: random characters, real sites with random changes, random nodes out of the language's own words,
//! which get deepest into the compiler, and random tables.

use proptest::prelude::*;
use proxy_build::directive::ALL;
use proxy_build::source::{Archive, Sources};
use proxy_runtime::site::{Files, NormalForm, Setting};

fn survives(text: &str) {
    let compiled = proxy_build::compile_text("fuzz.kdl".as_ref(), "fuzz.kdl", text);
    let shown = compiled.diagnostics(false);
    match compiled.output("bundle".as_ref()) {
        Some(output) => {
            syn::parse2::<syn::File>(output.items).unwrap_or_else(|error| panic!("no Rust comes of\n{text}\n{error}"));
        }
        None => assert!(!shown.is_empty(), "refused without a word:\n{text}"),
    }
    if let Ok(formatted) = proxy_build::format::format(text, "a.kdl") {
        assert_eq!(
            proxy_build::format::format(&formatted, "a.kdl").as_ref(),
            Ok(&formatted),
            "formatting twice:\n{text}"
        );
    }
}

/// The same for the lines of a table.
fn table_survives(table: &str) {
    let site = "site a.test {\n    table \"fuzz.csv\"\n    route \"/else/*\" {\n        respond 404\n    }\n}\n";
    let files = [("fuzz.kdl", site), ("fuzz.csv", table)].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let archive = Archive { files: files.into_iter().collect(), ..Archive::default() };
    let compiled = proxy_build::compile_from(Sources::for_comparison(archive), "fuzz.kdl".as_ref(), "fuzz.kdl");
    let shown = compiled.diagnostics(false);
    assert!(compiled.output("bundle".as_ref()).is_some() || !shown.is_empty(), "refused without a message:\n{table}");
    if let Ok(formatted) = proxy_build::syntax::table::format(table, "a.csv") {
        let again = proxy_build::syntax::table::format(&formatted, "a.csv");
        assert_eq!(again.as_ref(), Ok(&formatted), "formatting twice:\n{table}");
    }
}

fn table() -> impl Strategy<Value = String> {
    let values = prop::sample::select(vec![
        "/a",
        "/{id}",
        "/*",
        "redirect",
        "proxy",
        "respond",
        "echo",
        "301",
        "404",
        "abc",
        "/x/{id}",
        "\"a,b\"",
        "\"a\nb\"",
        "a\"b",
        "\"\"\"\"",
        "\"",
        " ",
        "",
        "é",
        "\u{0}",
        "http://127.0.0.1:1",
        "#",
        "\u{FEFF}",
    ]);
    let header = prop::sample::select(vec![
        "pattern,handler,status,target",
        "pattern,target",
        " Pattern ,status",
        "pattern",
        "patern",
        "pattern,pattern",
        "",
    ]);
    let line = prop::collection::vec(values, 0..5).prop_map(|values| values.join(","));
    (header, prop::collection::vec(line, 0..6), prop::sample::select(vec!["\n", "\r\n", "\n\n"])).prop_map(
        |(header, lines, end)| std::iter::once(header.to_owned()).chain(lines).map(|line| line + end).collect(),
    )
}

fn examples() -> Vec<&'static str> {
    ALL.iter().map(|directive| directive.example).collect()
}

/// Examples with a part that is removed, duplicated, or replaced by odd characters.
fn mutated() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "{",
        "}",
        "\"",
        "=",
        "(param)x",
        "(file)\"/\"",
        "#true",
        "0",
        "-1",
        "999999999999999999999",
        "\"\"",
        "\"{x}\"",
        "\"/{a}/*\"",
        "*",
        "\\",
        "/-",
        "//",
        "/*",
        "é",
        "\u{0}",
        "\r",
        "\"\\u{10FFFF}\"",
        "\"5s\"",
        "site",
        "route",
        "use",
        "include \"fuzz.kdl\"",
    ]);
    (prop::sample::select(examples()), any::<prop::sample::Index>(), any::<prop::sample::Index>(), odd).prop_map(
        |(text, from, to, odd)| {
            let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let (from, to) = (*from.get(&ends), *to.get(&ends));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 12));
            let to = *ends.iter().rev().find(|&&end| end <= to).expect("0 is one");
            format!("{}{odd}{}", &text[..from], &text[to.max(from)..])
        },
    )
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "example.com",
        "*",
        "*.a.b",
        "\"/a\"",
        "\"/{id}/*\"",
        "\"/*\"",
        "200",
        "502",
        "GET",
        "\"5s\"",
        "\"1MiB\"",
        "\"{id} {*} {host}\"",
        "X-A",
        "(regex)\"^a$\"",
        "\"http://127.0.0.1:1\"",
        "\"10.0.0.0/8\"",
        "(param)p",
        "up",
        "#true",
        "json",
        "off",
        "access",
        "\"https://{host}/\"",
        "301",
        "0",
        "websocket",
    ])
    .prop_map(str::to_owned)
}

fn node(depth: u32) -> BoxedStrategy<String> {
    let names: Vec<&'static str> = ALL.iter().map(|directive| directive.name).collect();
    let props = prop::sample::select(vec![
        "host", "weight", "type", "file", "format", "body", "total", "status", "priority", "regex", "replace", "path",
        "default", "header",
    ]);
    let head = (prop::sample::select(names), prop::collection::vec(word(), 0..3), prop::option::of((props, word())))
        .prop_map(|(name, args, prop)| {
            format!(
                "{name} {} {}",
                args.join(" "),
                prop.map_or(String::new(), |(name, value)| format!("{name}={value}"))
            )
        });
    if depth == 0 {
        return head.prop_map(|head| head + "\n").boxed();
    }
    (head, prop::option::weighted(0.7, prop::collection::vec(node(depth - 1), 0..5)))
        .prop_map(|(head, children)| match children {
            Some(children) => format!("{head} {{\n{}}}\n", children.concat()),
            None => head + "\n",
        })
        .boxed()
}

proptest! {
    #![proptest_config(crate::kiln_config(600))]

    #[test]
    fn random_text(text in "\\PC{0,200}|[a-z{}=\"/#\\\\ \n;*()0-9.-]{0,300}") {
        survives(&text);
    }

    #[test]
    fn random_tables(text in table()) {
        table_survives(&text);
    }

    #[test]
    fn changed_examples(text in mutated()) {
        survives(&text);
    }

    #[test]
    fn random_nodes(text in prop::collection::vec(node(3), 1..5).prop_map(|nodes| nodes.concat())) {
        survives(&text);
    }
}

proptest! {
    #![proptest_config(crate::kiln_config(2000))]

    /// Access control with arbitrary credentials, encodings, addresses and paths. No file path leads out of its folder.
    #[test]
    fn random_requests(
        value in prop::collection::vec(any::<u8>(), 0..60),
        text in "(Basic |)[A-Za-z0-9+/=:, ;.q*-]{0,40}",
        path in "/[a-z./%2eEfF0-9c\\\\]{0,40}",
        trace in "[0-9a-f]{2}-[0-9a-fg]{32}-[0-9a-f]{15,17}-[0-9a-f]{2}(-.{0,8})?|[0-9a-f]{16}-[0-9a-f]{16}-[01d]|(a|b)=.{0,8}",
    ) {
        use proxy_runtime::{context::addresses, access, protocol::b3, protocol::encodings, protocol::fields::Fields, protocol::trace_context, content::files::RelativePath, protocol::canonical};
        let mut fields = Fields::new();
        for name in ["authorization", "accept-encoding", "x-api-key"] {
            fields.add(name.as_bytes(), &value);
            fields.add(name.as_bytes(), text.as_bytes());
        }
        let one: Fields = [("authorization", text.as_str())].into_iter().collect();
        if let Some((name, password)) = access::basic_credentials(&one) {
            let control = name.contains(char::is_control) || password.contains(char::is_control);
            prop_assert!(!name.contains(':') && !control);
        }
        prop_assert!(access::basic_credentials(&fields).is_none() && access::api_key(&fields, "x-api-key").is_none());
        prop_assert!(encodings::weight(&fields, "br") <= 1000);
        let _ = addresses::parse(&value);
        for name in ["traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"] {
            fields.add(name.as_bytes(), &value);
            fields.add(name.as_bytes(), trace.as_bytes());
        }
        for text in [trace.as_bytes(), &value] {
            let found = trace_context::parse(text);
            prop_assert!(found.is_none_or(|found| found.trace.0 != 0 && found.span != 0));
            prop_assert!(b3::parse(text).is_none_or(|found| found.span != 0 || found.sampled.is_some()));
        }
        prop_assert!(trace_context::of_fields(&fields).is_none() && b3::of_multiple(&fields).is_none());
        prop_assert!(trace_context::state(&fields).is_none_or(|state| state.len() <= 512));
        for encoded_slash in [false, true] {
            let form = NormalForm { encoded_slash, merge_slashes: !encoded_slash, refuse_parameters: false };
            let Ok(normal) = canonical::path(&path, form) else { continue };
            let Some(below) = RelativePath::of(&normal, &FILES) else { continue };
            let below = below.as_bytes();
            let names = || below.split(|&byte| byte == b'/');
            let plain = below.is_empty() || names().all(|name| !matches!(name, b"" | b"." | b".."));
            prop_assert!(plain && !below.contains(&0), "{}", String::from_utf8_lossy(below));
        }
    }
}

/// A folder of which everything may be served, and nothing outside of it.
static FILES: Files = Files {
    bundled: None,
    folder: Setting::Fixed(std::borrow::Cow::Borrowed("/srv")),
    rest: None,
    index: std::borrow::Cow::Borrowed("index.html"),
    fallback: None,
    listing: true,
    dotfiles: true,
    symlinks: true,
    precompressed: true,
    immutable: true,
    or_else: std::borrow::Cow::Borrowed(&[]),
};

#[test]
fn deep_and_long() {
    survives(&"site a {".repeat(10_000));
    survives(&"}".repeat(10_000));
    survives(&format!("site a {{ respond 200 \"{}\" }}", "x".repeat(1 << 20)));
    survives(&format!("site a {{ route \"{}\" {{ respond 200; }} }}", "/x".repeat(1000)));
    survives(&format!("site {} {{ respond 200; }}", "a.".repeat(1000)));
    survives("/*".repeat(5000).as_str());
    survives(&"/-".repeat(5000));
    survives(&format!("site {}", "\\\n".repeat(5000)));
    survives(&"(".repeat(5000));
    survives(&format!("site {}", "/* */ ".repeat(5000)));
    survives(&";".repeat(5000));
    survives("\"\"\"");
    survives("#\"");
}
