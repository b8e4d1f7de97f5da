//! `kiln check` for programs: the JSON and SARIF output for wrong sites, and the proposed changes.

use std::collections::BTreeSet;

use kiln_tests::kiln::{kiln, scratch, stderr, stdout, workspace};
use serde_json::Value;

const WRONG: &str = "// a site that says \u{fc}bel things\nsite example.com {\n    proxi \"http://127.0.0.1:3000\"\n}\nupstream idle {\n    server \"10.0.0.1:80\"\n}\n";

fn check(arguments: &[&str]) -> (i32, Value) {
    let output = kiln(&[&["check"], arguments].concat());
    assert_eq!(stderr(&output), "", "all output is on standard output");
    (output.status.code().expect("an exit code"), serde_json::from_str(&stdout(&output)).expect("JSON"))
}

fn site(name: &str, text: &str) -> String {
    let path = scratch(name).join("my site.kdl");
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn json() {
    let path = site("json", WRONG);
    let (code, found) = check(&["--format=json", &path]);
    assert_eq!((code, &found["ok"], &found["site"]), (1, &Value::from(false), &Value::Null));
    let unknown = found["diagnostics"].as_array().expect("a list").iter().find(|found| found["code"] == "unknown-node");
    let unknown = unknown.expect("found");
    assert_eq!((&unknown["severity"], &unknown["span"]["file"]), (&"error".into(), &path.as_str().into()));
    assert_eq!((&unknown["span"]["start"]["line"], &unknown["span"]["start"]["column"]), (&3.into(), &5.into()));
    let edit = &unknown["fixes"][0]["edits"][0];
    let (start, end) = (edit["span"]["start"]["byte"].as_u64(), edit["span"]["end"]["byte"].as_u64());
    let range = start.expect("a number") as usize..end.expect("a number") as usize;
    assert_eq!((&WRONG[range.clone()], edit["text"].as_str()), ("proxi", Some("proxy")));
    let mut fixed = WRONG.to_owned();
    fixed.replace_range(range, "proxy");
    let (code, found) =
        check(&["--format=json", &site("json-fixed", &fixed.replace("upstream idle", "/-upstream idle"))]);
    assert_eq!(code, 0, "{found}");
    assert_eq!(found["site"]["routes"], 1);
}

/// The documentation's page lists exactly the members that exist.
#[test]
fn the_page_lists_all_members() {
    fn members(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) if !path.ends_with("span") && path != "site" => {
                for (name, value) in object {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    members(value, &path, into);
                    into.insert(path);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| members(item, &format!("{path}[]"), into)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    let clash = "site a.test {\n    proxi \"http://10.0.0.1:80\"\n}\nsite b.test {\n    route \"/a\" {\n        respond 200\n    }\n    route \"/a\" {\n        respond 404\n    }\n}\n";
    members(&check(&["--format=json", &site("json-page", clash)]).1, "", &mut found);
    members(&check(&["--format=json", &site("json-page-ok", "site * {\n    respond 200\n}\n")]).1, "", &mut found);
    let page = std::fs::read_to_string(workspace().join("docs/check.md")).expect("the page");
    let listed: BTreeSet<_> =
        page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect();
    // These are described in the text beside the name of their list.
    found.retain(|name| {
        !name.contains("related[].") && !name.contains("edits[].") && !name.ends_with("fixes[].message")
    });
    assert_eq!(found, listed);
}

#[test]
fn sarif() {
    let path = site("sarif", WRONG);
    let (code, log) = check(&["--format=sarif", &path]);
    assert_eq!((code, &log["version"]), (1, &"2.1.0".into()));
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    for result in run["results"].as_array().expect("results") {
        let rule = &rules[result["ruleIndex"].as_u64().expect("a number") as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(rule["help"]["text"].as_str().is_some_and(|text| text.len() > 20), "{rule}");
    }
    let result = &run["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["region"]["startLine"], 3);
    assert_eq!(place["artifactLocation"]["uri"], format!("file://{}", path.replace(' ', "%20")));
    let change = &result["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["artifactLocation"], place["artifactLocation"]);
    assert_eq!(change["replacements"][0]["insertedContent"]["text"], "proxy");
    let deleted = &change["replacements"][0]["deletedRegion"];
    assert_eq!((&deleted["startColumn"], &deleted["endColumn"]), (&5.into(), &10.into()));
}

/// Every fixture has machine-readable findings, with locations that are within its file.
#[test]
fn every_fixture() {
    for entry in std::fs::read_dir(workspace().join("tests/diagnostics")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "kdl") {
            continue;
        }
        let (code, found) = check(&["--format=json", path.to_str().expect("text")]);
        let diagnostics = found["diagnostics"].as_array().expect("a list");
        assert!(code == 1 && !diagnostics.is_empty(), "{}", path.display());
        for diagnostic in diagnostics {
            let file = diagnostic["span"]["file"].as_str().expect("a name");
            let Ok(text) = std::fs::read_to_string(file) else { continue };
            let end = diagnostic["span"]["end"].clone();
            let lines = text.split('\n').count() as u64;
            assert!(end["line"].as_u64().is_some_and(|line| (1..=lines).contains(&line)), "{diagnostic}");
            assert!(end["byte"].as_u64().is_some_and(|byte| byte <= text.len() as u64), "{diagnostic}");
        }
    }
}

#[test]
fn warnings_that_are_denied() {
    let path = site("deny", &format!("lint warn unused\n{}", WRONG.replace("proxi", "proxy")));
    let (code, found) = check(&["--format=json", &path]);
    assert_eq!((code, &found["diagnostics"][0]["severity"]), (0, &"warning".into()), "{found}");
    let (code, found) = check(&["--format=json", "--deny", "warnings", &path]);
    assert_eq!((code, &found["diagnostics"][0]["severity"]), (1, &"error".into()), "{found}");
    let text = kiln(&["check", "--deny=warnings", &path]);
    assert!(text.status.code() == Some(1) && stderr(&text).contains("error[unused]"), "{}", stderr(&text));
    assert_eq!(kiln(&["check", "--deny=everything", &path]).status.code(), Some(2));
}
