//! The structure of modules: no crate has cyclic imports, and each compiler pass sees only the output of the pass
//! before.
//!
//! Every path in a crate, in `use` and elsewhere, is resolved to its file. A folder counts as one module for everything
//! outside of it, and so do the files within it for each other. Paths between a module and its ancestors
//! are no cycle: in Rust these share one privacy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use kiln_tests::kiln::workspace;

use crate::tidy::rust_files;

/// The crates that are checked.
const CRATES: &[&str] = &["proxy-build", "proxy-macros", "proxy-runtime"];

/// The modules of the compiler that come after `check`: they must not see the syntax.
const AFTER_CHECK: &[&str] =
    &["model", "lower", "plan", "emit", "testing", "loops", "bundle", "explain", "page", "diff", "deploy"];

#[test]
fn imports_make_no_circle() {
    for name in CRATES {
        let found = circles(&imports(&sources(name)));
        assert!(found.is_empty(), "{name} has circles: put what both need below both:\n{}", found.join("\n"));
    }
}

/// ARCHITECTURE.md lists the runtime's files and folders from top to bottom: the list matches the tree, and no module imports from
/// above it.
#[test]
fn the_map_of_the_runtime_is_the_tree() {
    let map = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("a map");
    let listed = map.split("```text\nlib.rs").nth(1).and_then(|rest| rest.split("```").next()).expect("a list");
    let floors: Vec<String> = format!("lib.rs{listed}")
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(|name| name.trim_end_matches(['/']).trim_end_matches(".rs").to_owned())
        .collect();
    let sources = sources("proxy-runtime");
    let top = |module: &Module| module.first().cloned().unwrap_or_else(|| "lib".to_owned());
    let tree: BTreeSet<String> = sources.iter().map(|(module, _)| top(module)).collect();
    assert_eq!(
        floors.iter().cloned().collect::<BTreeSet<_>>(),
        tree,
        "ARCHITECTURE.md lists other files than there are"
    );
    let floor = |module: &Module| floors.iter().position(|name| *name == top(module));
    let upward: Vec<_> = imports(&sources)
        .iter()
        .filter(|import| !import.from.is_empty() && !import.to.is_empty() && floor(&import.from) > floor(&import.to))
        .map(Import::shown)
        .collect();
    assert_eq!(upward, [""; 0], "imports from above");
}

#[test]
fn passes_after_check_do_not_see_the_syntax() {
    let imports = imports(&sources("proxy-build"));
    let is = |module: &Module, names: &[&str]| module.first().is_some_and(|name| names.contains(&name.as_str()));
    let of = |names: &[&str]| -> Vec<String> {
        let found = imports.iter().filter(|import| is(&import.to, &["ast"]) && is(&import.from, names));
        found.map(Import::shown).collect()
    };
    assert_eq!(of(AFTER_CHECK), [""; 0]);
    assert!(!of(&["check"]).is_empty(), "no imports were found");
}

/// The path of a module from its crate's root.
type Module = Vec<String>;

/// A path from one module into another.
struct Import {
    from: Module,
    to: Module,
    path: Vec<String>,
}

impl Import {
    fn shown(&self) -> String {
        format!("  {} has {}", self.from.join("::"), self.path.join("::"))
    }
}

/// The modules of a crate, with their texts.
fn sources(name: &str) -> Vec<(Module, String)> {
    let module = |path: PathBuf| {
        let path = path.strip_prefix(format!("{name}/src")).expect("within").with_extension("");
        let path: Vec<_> = path.iter().filter_map(|name| name.to_str()).map(str::to_owned).collect();
        // The roots of library and binary.
        if path == ["lib"] || path == ["main"] { Vec::new() } else { path }
    };
    rust_files(&[&format!("{name}/src")]).into_iter().map(|(path, text)| (module(path), text)).collect()
}

/// All paths from one module into another.
fn imports(files: &[(Module, String)]) -> Vec<Import> {
    let known: BTreeSet<&[String]> = files.iter().map(|(module, _)| module.as_slice()).collect();
    let mut all = Vec::new();
    for (module, text) in files {
        let mut paths = Vec::new();
        collect(&[], text.parse::<TokenStream>().expect("Rust"), &mut paths);
        let found = paths.into_iter().filter_map(|path| Some((resolve(module, &path, &known)?, path)));
        all.extend(found.map(|(to, path)| Import { from: module.clone(), to, path }));
    }
    all
}

/// The imports that are part of a cycle, one for each two modules.
fn circles(imports: &[Import]) -> Vec<String> {
    // For each folder: which of its modules imports which, and an example.
    let mut folders: BTreeMap<&[String], BTreeMap<&str, BTreeMap<&str, String>>> = BTreeMap::new();
    for import in imports {
        let same = import.from.iter().zip(&import.to).take_while(|(from, to)| from == to).count();
        if let (Some(from), Some(to)) = (import.from.get(same), import.to.get(same)) {
            let folder = folders.entry(&import.from[..same]).or_default().entry(from).or_default();
            folder.entry(to).or_insert_with(|| import.shown());
        }
    }
    let mut lines = Vec::new();
    for modules in folders.values() {
        let reaches = |from: &str, to: &str| {
            let (mut open, mut seen) = (vec![from], BTreeSet::new());
            while let Some(module) = open.pop() {
                for &next in modules.get(module).into_iter().flat_map(BTreeMap::keys) {
                    if next == to {
                        return true;
                    }
                    if seen.insert(next) {
                        open.push(next);
                    }
                }
            }
            false
        };
        for (module, others) in modules {
            let back = others.iter().filter(|(other, _)| reaches(other, module));
            lines.extend(back.map(|(_, example)| example.clone()));
        }
    }
    lines
}

/// The module that a path leads into; `None` for paths out of the crate.
fn resolve(module: &[String], path: &[String], known: &BTreeSet<&[String]>) -> Option<Module> {
    let mut at = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => {
            at.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {}
        child => {
            at.push(child.to_owned());
            known.contains(at.as_slice()).then_some(())?;
            rest = &rest[1..];
        }
    }
    while rest.first().is_some_and(|name| name == "super") {
        at.pop();
        rest = &rest[1..];
    }
    for name in rest {
        at.push(name.clone());
        if !known.contains(at.as_slice()) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// Collects all paths in tokens, with nested `use` braces expanded; code that is compiled only for tests is skipped.
fn collect(before: &[String], tokens: TokenStream, paths: &mut Vec<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '#' && is_for_tests(tokens.get(at)) => {
                let ends = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    TokenTree::Punct(sign) => sign.as_char() == ';',
                    _ => false,
                };
                at += tokens[at..].iter().position(ends).map_or(0, |end| end + 1);
            }
            TokenTree::Group(group) => collect(&[], group.stream(), paths),
            TokenTree::Ident(name) => {
                let mut path = before.to_vec();
                path.push(name.to_string());
                while is_path_sign(&tokens[at..]) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(name)) => path.push(name.to_string()),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            collect(&path, group.stream(), paths);
                        }
                        _ => break,
                    }
                    at += 3;
                }
                paths.push(path);
            }
            _ => {}
        }
    }
}

fn is_for_tests(attribute: Option<&TokenTree>) -> bool {
    attribute.is_some_and(|attribute| attribute.to_string().replace(' ', "") == "[cfg(test)]")
}

fn is_path_sign(tokens: &[TokenTree]) -> bool {
    let colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(sign)) if sign.as_char() == ':');
    let joint = matches!(tokens.first(), Some(TokenTree::Punct(sign)) if sign.spacing() == Spacing::Joint);
    joint && colon(tokens.first()) && colon(tokens.get(1))
}

#[test]
fn circles_are_found() {
    let check = |files: &[(&str, &str)], expected: &[&str]| {
        let module = |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (module(path), (*text).to_owned())).collect();
        assert_eq!(circles(&imports(&files)), expected);
    };
    check(&[("a", "use crate::b::B;"), ("b", "use std::fmt;")], &[]);
    check(&[("a", "use crate::b::B;"), ("b", "use crate::a::A;")], &["  a has crate::b::B", "  b has crate::a::A"]);
    // In any form, and over any number of modules.
    check(
        &[("a", "use {crate::{b::{self, B}}};"), ("b", "fn f() { super::c::f() }"), ("c", "type A = crate::a::A;")],
        &["  a has crate::b::self", "  b has super::c::f", "  c has crate::a::A"],
    );
    check(
        &[("a", "use crate::b;"), ("b", "fn f() { assert!(matches!(1, crate::a::ONE)); }")],
        &["  a has crate::b", "  b has crate::a::ONE"],
    );
    // A folder is one module for others, and its files are separate for each other.
    check(
        &[("a", ""), ("a::x", "use crate::b::B;"), ("a::y", ""), ("b", "use crate::a::y::Y;")],
        &["  a::x has crate::b::B", "  b has crate::a::y::Y"],
    );
    check(
        &[("a", ""), ("a::x", "use super::y::Y;"), ("a::y", "use super::x::X;")],
        &["  a::x has super::y::Y", "  a::y has super::x::X"],
    );
    // A module and its ancestors are one.
    check(&[("", "use a::A;"), ("a", "use self::x::X;"), ("a::x", "use super::A; use crate::B;")], &[]);
    // Comments, strings and test code do not count.
    check(&[("a", "use crate::b::B; // crate::a"), ("b", "//! crate::a\nfn f() -> &str { \"crate::a::A\" }")], &[]);
    check(&[("a", "use crate::b::B;"), ("b", "#[cfg(test)]\nmod tests { use crate::a::A; }\nstruct B;")], &[]);
}
