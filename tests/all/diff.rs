//! `kiln diff`: pairs of sites with the exact text of their differences, and random sites with reordered routes, or one less.
//!
//! `KILN_UPDATE=1 cargo test` rewrites the texts.

use kiln_tests::kiln::{kiln, scratch, stdout, workspace};
use proptest::prelude::*;
use proxy_build::source::{Archive, Sources};

use crate::oracle::{Parts, parts, text};

#[test]
fn pairs() {
    let folder = workspace().join("tests/diff");
    for name in ["admin", "all", "none", "words"] {
        let model = |which: &str| {
            let shown = format!("{name}.{which}.kdl");
            let sources = Sources::for_comparison(Archive::default());
            let compiled = proxy_build::compile_from(sources, &folder.join(&shown), &shown);
            compiled.model.unwrap_or_else(|| panic!("{shown} is wrong"))
        };
        let found = proxy_build::diff::diff(&model("old"), &model("new"));
        let golden = folder.join(format!("{name}.txt"));
        if std::env::var_os("KILN_UPDATE").is_some() {
            std::fs::write(&golden, &found).expect("written");
        }
        assert_eq!(found, std::fs::read_to_string(golden).unwrap_or_default(), "{name}");
    }
}

/// The text for two sites is always the same, in the order of the new site's routes (five of which are shown).
#[test]
fn same_sites_same_text() {
    let model = |text: &str| proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text).model.expect("a site");
    let routes: String = (0..20).map(|n| format!("    route \"/{n}\" {{ respond 200 \"new\"; }}\n")).collect();
    let (old, new) = (model("site * { respond 200 \"old\"; }"), model(&format!("site * {{\n{routes}}}\n")));
    let text = proxy_build::diff::diff(&old, &new);
    let places: Vec<_> = (0..5).map(|n| text.find(&format!("now /{n} (")).unwrap_or_default()).collect();
    assert!(places[0] > 0 && places.is_sorted(), "{text}");
    assert_eq!(proxy_build::diff::diff(&old, &new), text);
}

/// A binary contains its sources, including tables and embedded files.
#[test]
fn binaries() {
    let dir = scratch("diff");
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("written");
    write(
        "site.kdl",
        "site example.com {\n    table \"more.csv\"\n    route \"/page\" {\n        respond 200 file=\"page.html\"\n    }\n    \
         route \"/docs/*\" {\n        files \"docs\" embed=#true\n    }\n}\n",
    );
    std::fs::create_dir(dir.join("docs")).expect("made");
    write("docs/a.txt", "one");
    write("docs/b.txt", "one");
    write("more.csv", "pattern,status,target\n/a,301,/b\n");
    write("page.html", "<p>one</p>");
    let path = |name: &str| dir.join(name).to_str().expect("text").to_owned();
    let built = kiln(&["build", "--fast", &path("site.kdl"), "-o", &path("binary")]);
    assert!(built.status.success());
    let diff = || kiln(&["diff", &path("binary"), &path("site.kdl")]);
    let same = diff();
    assert_eq!((same.status.code(), stdout(&same).as_str()), (Some(0), ""));
    write("page.html", "<p>two</p>");
    write("more.csv", "pattern,status,target\n/a,302,/b\n");
    write("docs/b.txt", "two");
    let changed = diff();
    assert_eq!(changed.status.code(), Some(1));
    let text = stdout(&changed);
    assert!(text.contains("redirect 301 becomes 302"), "{text}");
    assert!(text.contains("GET http://example.com/page\n"), "{text}");
    assert!(text.contains("files bundled b.txt ") && !text.contains("a.txt"), "{text}");
    // Failing tests do not affect the differences.
    let site = std::fs::read_to_string(dir.join("site.kdl")).expect("the site");
    let test = "test \"fails\" {\n    request GET \"http://example.com/page\"\n    expect status=404\n}\n";
    write("site.kdl", &format!("{site}{test}"));
    assert_eq!((diff().status.code(), stdout(&diff())), (Some(1), text));
    assert_eq!(kiln(&["check", &path("site.kdl")]).status.code(), Some(1));
    write("site.kdl", "site {");
    assert_eq!(diff().status.code(), Some(2));
}

proptest! {
    #![proptest_config(crate::kiln_config(300))]

    /// Reordering the file changes nothing; removing a route always does, as every route of a valid site is reachable.
    #[test]
    fn order_does_not_matter_but_every_route_does(mut old in parts(), remove in any::<bool>(), which in any::<prop::sample::Index>()) {
        // Each route has its own response.
        for (number, route) in old.iter_mut().flat_map(|(_, routes)| routes).enumerate() {
            *route = route.replace("respond 200", &format!("respond 200 \"{number}\""));
        }
        let mut new = old.clone();
        new.reverse();
        new.iter_mut().for_each(|(_, routes)| routes.reverse());
        if remove {
            let at = which.index(new.len());
            let routes = &mut new[at].1;
            routes.remove(which.index(routes.len()));
        }
        let compile = |parts: &Parts| proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text(parts)).model;
        let (Some(before), Some(now)) = (compile(&old), compile(&new)) else { return Ok(()) };
        let said = proxy_build::diff::diff(&before, &now);
        prop_assert_eq!(said.is_empty(), !remove, "{}\n{}\n{}", said, text(&old), text(&new));
    }
}
