//! Two corpora of sites. `corpus/wrong/*.txt` has sites with one mistake each: the compiler reports exactly that mistake, on its line, and
//! each help that proposes a change leads to a site that compiles. `corpus/right/*.kdl` has realistic sites, among them front ends of
//! known applications: `kiln`, built alone, has no findings, and their tests pass.
//!
//! A case begins with a line `=== CODE LINE description`; `-` in place of the code means that the site is right. `KILN_SHOW=1` prints
//! the findings.

use std::path::Path;

use kiln_tests::kiln::{kiln, stderr, workspace};
use proxy_build::report::{Diagnostic, Edit, Help};
use proxy_build::source::Span;

/// A site with or without a mistake.
struct Case<'a> {
    code: &'a str,
    line: u32,
    title: &'a str,
    text: &'a str,
}

fn cases(file: &str) -> Vec<Case<'_>> {
    let parts = file.split("=== ").skip(1);
    parts
        .map(|part| {
            let (head, text) = part.split_once('\n').expect("a site below its title");
            let mut words = head.splitn(3, ' ');
            let (code, line, title) = (words.next(), words.next(), words.next());
            let line = line.and_then(|line| line.parse().ok()).unwrap_or_else(|| panic!("no line in `{head}`"));
            Case { code: code.expect("a code"), line, title: title.unwrap_or_default(), text }
        })
        .collect()
}

fn compile(text: &str) -> proxy_build::Compiled {
    proxy_build::compile_text(&workspace().join("tests/corpus/site.kdl"), "site.kdl", text)
}

/// Applies edits to a text.
fn changed(text: &str, edits: &[Edit]) -> String {
    let mut edits: Vec<_> = edits.iter().collect();
    edits.sort_by_key(|edit| std::cmp::Reverse((edit.at.start, edit.at.end)));
    let replace = |mut text: String, edit: &&Edit| {
        text.replace_range(edit.at.start as usize..edit.at.end as usize, &edit.text);
        text
    };
    edits.iter().fold(text.to_owned(), replace)
}

#[test]
fn wrong() {
    let folder = workspace().join("tests/corpus/wrong");
    let (mut count, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let file = std::fs::read_to_string(entry.expect("an entry").path()).expect("text");
        for case in cases(&file) {
            count += usize::from(case.code != "-");
            failed.extend(wrong_case(&case).err().map(|why| format!("{}: {why}", case.title)));
        }
    }
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
    assert!(count >= 550, "there were more: {count}");
}

/// No false alarms: no error, no warning, no lint.
#[test]
fn right() {
    let folder = workspace().join("tests/corpus/right");
    let (mut count, mut tested, mut failed) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "kdl") {
            continue;
        }
        count += 1;
        let shown = path.to_str().expect("text");
        let output = kiln(&["check", shown]);
        let said = stderr(&output);
        tested += usize::from(said.contains(" passed"));
        if !(output.status.success() && said.starts_with(&format!("{shown}: ok: ")) && said.lines().count() == 1) {
            failed.push(said);
        }
    }
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
    assert!(count >= 60 && tested >= 12, "there were more: {count}, {tested} with tests");
}

fn wrong_case(case: &Case<'_>) -> Result<(), String> {
    let compiled = compile(case.text);
    let shown = compiled.diagnostics(false);
    if std::env::var_os("KILN_SHOW").is_some() {
        eprintln!("=== {}\n{shown}", case.title);
    }
    let found = compiled.report.sorted();
    if case.code == "-" {
        return if found.is_empty() { Ok(()) } else { Err(format!("it is right\n{shown}")) };
    }
    let lines: Vec<_> = found.iter().map(|found| (found.code, compiled.sources.line(found.at))).collect();
    if lines != [(case.code, case.line)] {
        return Err(format!("expected {} in line {}\n{shown}", case.code, case.line));
    }
    if !says_something(found[0]) {
        return Err(format!("it says nothing but its name\n{shown}"));
    }
    if let Some(help) = found[0].help.iter().find(|help| proposes(help) && help.edits.is_empty()) {
        return Err(format!("nothing to apply for `{}`\n{shown}", help.text));
    }
    for edits in found[0].fixes() {
        let fixed = changed(case.text, edits);
        let after = compile(&fixed);
        if after.model.is_none() || after.report.sorted().iter().any(|left| left.code == case.code) {
            return Err(format!("the help does not help\n{shown}\n{fixed}\n{}", after.diagnostics(false)));
        }
    }
    Ok(())
}

/// Whether a help contains text to write, so that it can be applied.
fn proposes(help: &Help) -> bool {
    ["write ", "add "].iter().any(|start| help.text.starts_with(start))
}

fn says_something(found: &Diagnostic) -> bool {
    !found.help.is_empty() || !found.label.is_empty() || !found.also.is_empty() || found.message.len() > 20
}

/// Also in the fixtures, which have many mistakes each, applying a help removes the mistake that it belongs to.
#[test]
fn helps_of_fixtures() {
    let folder = workspace().join("tests/diagnostics");
    let (mut count, mut failed) = (0, Vec::new());
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "kdl") {
            count += fixture(&path, &mut failed);
        }
    }
    assert!(failed.is_empty(), "{} of {count}:\n{}", failed.len(), failed.join("\n"));
    assert!(count > 100, "{count} helps were applied");
}

fn fixture(path: &Path, failed: &mut Vec<String>) -> usize {
    let Ok(text) = std::fs::read_to_string(path) else { return 0 };
    let compiled = proxy_build::compile_text(path, "site.kdl", &text);
    let mut count = 0;
    for found in compiled.report.sorted() {
        for help in &found.help {
            if proposes(help) && help.edits.is_empty() {
                failed.push(format!("{}: nothing to apply for `{}`", path.display(), help.text));
            }
        }
        for edits in found.fixes() {
            if edits.iter().any(|edit| edit.at.file != compiled.sources.start().file) {
                continue;
            }
            count += 1;
            let fixed = changed(&text, edits);
            let after = proxy_build::compile_text(path, "site.kdl", &fixed);
            let at = moved(found.at, edits);
            let same = |left: &&&Diagnostic| {
                left.message == found.message && (left.at.start, left.at.file) == (at, found.at.file)
            };
            let broken = |left: &&&Diagnostic| left.code == "syntax" && found.code != "syntax";
            let sorted = after.report.sorted();
            if let Some(left) = sorted.iter().find(same).or_else(|| sorted.iter().find(broken)) {
                failed.push(format!("{}: {} [{}] after {edits:?}", path.display(), left.message, found.message));
            }
        }
    }
    count
}

/// The position of a span after edits.
fn moved(at: Span, edits: &[Edit]) -> u32 {
    let before = edits.iter().filter(|edit| edit.at.end <= at.start);
    let by: i64 = before.map(|edit| edit.text.len() as i64 - i64::from(edit.at.end - edit.at.start)).sum();
    u32::try_from(i64::from(at.start) + by).expect("within the text")
}

/// Every word of another proxy has an equivalent, and the proposed text compiles.
#[test]
fn words_of_other_proxies() {
    const FRAMES: &[&str] = &[
        "HERE\nsite a.test {\n    respond 200\n}\n",
        "HERE\n",
        "site a.test {\n    HERE\n}\n",
        "upstream app {\n    server \"10.0.0.2:80\"\n}\nupstream canary {\n    server \"10.0.0.3:80\"\n}\nlint allow unused\nsite a.test {\n    HERE\n}\n",
        "site a.test {\n    HERE\n    proxy \"http://127.0.0.1:3000\"\n}\n",
        "site a.test {\n    route \"/x\" {\n        HERE\n        proxy \"http://127.0.0.1:3000\"\n    }\n}\n",
        "site a.test {\n    route \"/x\" {\n        HERE\n    }\n}\n",
        "site a.test {\n    route \"/*\" {\n        HERE\n        respond 200\n    }\n}\n",
        "site a.test {\n    response-headers {\n        HERE\n    }\n    respond 200\n}\n",
        "upstream app {\n    HERE\n    server \"10.0.0.2:80\"\n}\nsite a.test {\n    proxy app\n}\n",
        "upstream app {\n    HERE\n}\nsite a.test {\n    proxy app\n}\n",
        "site a.test {\n    tls {\n        HERE\n    }\n    respond 200\n}\n",
        "site a.test {\n    tls {\n        HERE\n        certificate (file)\"cert.pem\" key=(file)\"key.pem\"\n    }\n    respond 200\n}\n",
        "preset common {\n    compress\n}\nsite a.test {\n    HERE\n    respond 200\n}\n",
        "site a.test {\n    route \"/x\" {\n        auth forward \"http://127.0.0.1:9091/\" {\n            HERE\n        }\n        proxy \"http://127.0.0.1:3000\"\n    }\n}\n",
    ];
    let mut failed = Vec::new();
    for alias in proxy_build::directive::aliases::TABLE {
        let allowed = "lint allow unused password-on-plain\n";
        let mut proposed = 0;
        let mut compiled = false;
        let in_auth = matches!(alias.ours, "send-headers" | "copy-headers");
        for frame in FRAMES.iter().filter(|frame| in_auth || !frame.contains("auth forward")) {
            let text = allowed.to_owned() + &frame.replace("lint allow unused\n", "").replace("HERE", alias.word);
            let found = compile(&text);
            for found in
                found.report.sorted().iter().filter(|found| matches!(found.code, "unknown-node" | "misplaced-node"))
            {
                assert!(!found.help.is_empty() || !found.label.is_empty(), "{}: no help", alias.word);
                proposed += usize::from(found.help.iter().any(|help| help.text.contains(alias.example)));
                compiled |= found.fixes().any(|edits| compile(&changed(&text, edits)).model.is_some());
            }
        }
        if proposed == 0 || !(compiled || alias.ours.is_empty()) {
            failed.push(format!("`{}`: {} ({proposed} times)", alias.word, alias.example));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
