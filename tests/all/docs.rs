//! The documentation: its code compiles, its commands exist, its links work, and important search terms occur.
//!
//! A block marked `kdl` is a complete site; `kdl site` and `kdl upstream` are fragments, which compile within one of [`FRAMES`]; `kdl
//! wrong` does not compile, and the block after it is the message. `KILN_UPDATE=1` rewrites these messages.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use kiln_tests::kiln::{command, kiln, scratch, stderr, stdout, workspace};
use proxy_build::Compiled;
use proxy_build::deploy::Footprint;
use proxy_build::deploy::image::verify;

/// The base of links from the book to files of the repository.
const REPOSITORY: &str = "https://github.com/kiln-proxy/kiln/blob/main/";

/// Generated pages: their examples are those of directives, which may have warnings.
const GENERATED: &[&str] = &["docs/reference.md", "docs/reasons.md"];

struct Page {
    /// Relative to the workspace.
    path: String,
    text: String,
}

struct Block<'t> {
    /// The info string of the fence.
    info: &'t str,
    text: &'t str,
}

impl Page {
    fn new(path: &str) -> Page {
        let text = std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Page { path: path.to_owned(), text }
    }

    /// The blocks of code.
    fn blocks(&self) -> Vec<Block<'_>> {
        let block = |part| {
            let (info, text) = str::split_once(part, '\n').unwrap_or((part, ""));
            Block { info, text }
        };
        fences(&self.text).skip(1).step_by(2).map(block).collect()
    }

    /// The text without blocks of code.
    fn prose(&self) -> String {
        fences(&self.text).step_by(2).collect()
    }

    fn headings(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
    }

    /// The anchors of headings, as code hosts and mdBook generate them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut seen: HashMap<String, usize> = HashMap::new();
        let anchor = |heading: String| {
            let kept = heading.to_lowercase().replace(' ', "-");
            let kept: String = kept.chars().filter(|char| char.is_alphanumeric() || "-_".contains(*char)).collect();
            let count = seen.entry(kept.clone()).or_insert(0);
            *count += 1;
            if *count == 1 { kept } else { format!("{kept}-{}", *count - 1) }
        };
        self.headings().into_iter().map(anchor).collect()
    }

    /// The targets of links.
    fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.map(str::to_owned).collect()
    }
}

/// Alternating text and blocks.
fn fences(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n```")
}

/// README, the manual, and the list of examples.
fn pages() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned(), "examples/README.md".to_owned()];
    let mut folders = vec![workspace().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path.strip_prefix(workspace()).expect("within").to_str().expect("text").to_owned());
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| Page::new(path)).collect()
}

/// A folder with the files that sites in the documentation embed or include.
fn folder() -> PathBuf {
    let folder = scratch("docs");
    for (path, text) in
        [("pages/index.html", "<p>home\n"), ("sites/a.kdl", "site a.example.com {\n    respond 200\n}\n")]
    {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    folder
}

fn compile(folder: &Path, text: &str) -> Compiled {
    proxy_build::compile_text(&folder.join("site.kdl"), "site.kdl", text)
}

/// The contexts of fragments, which replace HERE. NAMES are upstreams and a preset that fragments use.
const FRAMES: &[&str] = &[
    "HERE\nlint allow unused\nsite docs.example.com {\nrespond 200\n}\n",
    "NAMES\nUPSTREAM\nsite docs.example.com {\nHERE\n}\n",
    "NAMES\nUPSTREAM\nsite docs.example.com {\nHERE\nproxy app\n}\n",
    "acme state=\"/var/lib/site\"\nsite docs.example.com {\nHERE\nrespond 200\n}\n",
    "HERE\nsite docs.example.com {\ntls acme\nrespond 200\n}\n",
    "HERE\nlisten \":443\" {\ntls\n}\nsite docs.example.com {\ntls internal\nrespond 200\n}\n",
    "NAMES\nUPSTREAM\nHERE\n",
    "NAMES\nHERE\nsite docs.example.com {\nproxy app\n}\n",
    "upstream app {\nHERE\n}\nsite docs.example.com {\nproxy app\n}\n",
    "upstream app {\nserver \"10.9.0.1:80\"\nserver \"10.9.0.2:80\"\nHERE\n}\nsite docs.example.com {\nproxy app\n}\n",
];
const NAMES: &str =
    "lint allow unused password-on-plain\nupstream canary {\nserver \"10.9.0.3:80\"\n}\npreset common {\ncompress\n}\n";
const UPSTREAM: &str = "upstream app {\nserver \"10.9.0.1:80\"\n}\n";

/// The errors of a fragment, in the context with the fewest.
fn wrong_with(folder: &Path, fragment: &str) -> Option<String> {
    let mut found = Vec::new();
    for frame in FRAMES {
        let text = frame.replace("NAMES", NAMES).replace("UPSTREAM", UPSTREAM).replace("HERE", fragment);
        let compiled = compile(folder, &text);
        if compiled.model.is_some() {
            return None;
        }
        found.push(compiled.diagnostics(false));
    }
    found.into_iter().min_by_key(String::len)
}

#[test]
fn sites_compile() {
    let (folder, mut failed, mut count) = (folder(), String::new(), 0);
    for page in pages() {
        let strict = !GENERATED.contains(&&*page.path);
        for block in page.blocks() {
            let wrong = match block.info {
                "kdl" => {
                    let compiled = compile(&folder, block.text);
                    let clean = compiled.model.is_some() && (!strict || compiled.report.sorted().is_empty());
                    // What is shown can be deployed, too: by units, images and manifests.
                    let refused = compiled.model.as_ref().and_then(|site| verify(&Footprint::of(site)).err());
                    (!clean).then(|| compiled.diagnostics(false)).or(refused)
                }
                "kdl site" | "kdl upstream" => wrong_with(&folder, block.text),
                "kdl wrong" | "sh" | "text" | "ini" | "yaml" | "dockerfile" | "csv" | "rust" => continue,
                info => Some(format!("no test knows blocks of `{info}`\n")),
            };
            count += 1;
            if let Some(wrong) = wrong {
                let _ = writeln!(failed, "{}:\n{}\n{wrong}", page.path, block.text);
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert!(count > 150, "only {count} blocks were found");
}

/// Messages in the documentation are those of the compiler.
#[test]
fn messages_are_the_compilers() {
    let (folder, mut count) = (folder(), 0);
    for page in pages() {
        let blocks = page.blocks();
        let mut text = page.text.clone();
        for pair in blocks.windows(2).filter(|pair| pair[0].info == "kdl wrong") {
            let compiled = compile(&folder, pair[0].text);
            assert!(compiled.model.is_none(), "{}: this compiles:\n{}", page.path, pair[0].text);
            let message = format!("{}\n", compiled.diagnostics(false).trim_end());
            if std::env::var_os("KILN_UPDATE").is_some() {
                let shown = |message: &str| format!("{}\n```\n\n```text\n{message}", pair[0].text.trim_end());
                text = text.replace(&shown(&with_end(pair[1].text)), &shown(&message));
            } else {
                let written = with_end(pair[1].text);
                assert_eq!(written, message, "{}: update it with KILN_UPDATE=1 cargo test", page.path);
            }
            count += 1;
        }
        if text != page.text {
            std::fs::write(workspace().join(&page.path), text).expect("written");
        }
    }
    assert!(count >= 2, "{count} messages");
}

/// The last line of a block, whose end is part of the fence.
fn with_end(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

/// The equivalents of other proxies' settings compile.
#[test]
fn translations_compile() {
    let (folder, mut failed) = (folder(), String::new());
    for proxy in ["nginx", "haproxy", "caddy", "traefik"] {
        let page = Page::new(&format!("docs/coming-from/{proxy}.md"));
        let prose = page.prose();
        let rows = prose.lines().filter(|line| line.starts_with("| ")).skip(1);
        let mut translated = 0;
        for row in rows {
            let ours = row.split(" | ").nth(1).unwrap_or_else(|| panic!("{proxy}: {row}"));
            let fragments: Vec<_> = ours.split('`').skip(1).step_by(2).collect();
            translated += usize::from(!fragments.is_empty());
            for fragment in fragments {
                if let Some(wrong) = wrong_with(&folder, fragment) {
                    let _ = writeln!(failed, "{proxy}: {fragment}\n{wrong}");
                }
            }
        }
        assert!(translated >= 20, "{proxy}: {translated} translations");
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn links_lead_somewhere() {
    let mut failed = String::new();
    let others = ["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(Page::new);
    for page in pages().into_iter().chain(others) {
        let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
        for link in page.links() {
            let (target, anchor) = link.split_once('#').map_or((&*link, None), |(path, anchor)| (path, Some(anchor)));
            let path = match target.strip_prefix(REPOSITORY) {
                Some(path) => PathBuf::from(path),
                None if target.contains("://") => continue,
                None if target.is_empty() => PathBuf::from(&page.path),
                None => folder.join(target),
            };
            let there = workspace().join(&path).canonicalize().ok();
            let Some(there) =
                there.as_deref().and_then(|path| path.strip_prefix(workspace().canonicalize().ok()?).ok())
            else {
                let _ = writeln!(failed, "{}: {link} leads nowhere", page.path);
                continue;
            };
            let Some(anchor) = anchor else { continue };
            let there = there.to_str().expect("text");
            if !Page::new(there).anchors().contains(anchor) {
                let _ = writeln!(failed, "{}: {there} has no heading for #{anchor}", page.path);
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn the_summary_lists_every_page() {
    let listed: BTreeSet<_> = Page::new("docs/SUMMARY.md").links().iter().map(|link| format!("docs/{link}")).collect();
    let there = pages().into_iter().map(|page| page.path);
    let there: BTreeSet<_> = there.filter(|path| path.starts_with("docs/") && path != "docs/SUMMARY.md").collect();
    assert_eq!(listed, there);
}

#[test]
fn every_example_is_listed() {
    let listed: BTreeSet<_> = Page::new("examples/README.md").links().into_iter().collect();
    let entries = std::fs::read_dir(workspace().join("examples")).expect("the folder");
    let names = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
    let there: BTreeSet<_> = names
        .map(|path| format!("{}/site.kdl", path.file_name().and_then(|name| name.to_str()).expect("text")))
        .collect();
    assert_eq!(listed, there);
    assert!(there.len() >= 6);
}

/// Each of these search terms occurs in README or the table of contents, and in a heading of the page.
#[test]
fn search_terms_are_found() {
    let (readme, summary) = (Page::new("README.md").prose(), Page::new("docs/SUMMARY.md").prose());
    let check = |word: &str, page: &str| {
        let word = word.to_lowercase();
        let headings = Page::new(&format!("docs/{page}")).headings();
        assert!(
            headings.iter().any(|heading| heading.to_lowercase().contains(&word)),
            "{page}: no heading with {word}"
        );
        let leads = |text: &str, link: String| {
            text.lines().any(|line| line.to_lowercase().contains(&word) && line.contains(&format!("]({link}")))
        };
        let found = leads(&readme, format!("docs/{page}")) || leads(&summary, page.to_owned());
        assert!(found, "nothing leads from {word} to {page}");
    };
    check("load balancing", "load-balancing.md");
    check("rate limit", "access-control.md");
    check("static files", "static-files.md");
    check("metrics", "observability.md");
    check("reload", "deployment.md");
    check("Docker", "deployment.md");
    check("systemd", "deployment.md");
    check("virtual host", "reverse-proxy.md");
    check("mTLS", "access-control.md");
    check("HTTP/3", "websocket-grpc.md");
    check("error log", "observability.md");
    check("basic auth", "access-control.md");
    check("sticky sessions", "load-balancing.md");
    check("WebSocket", "websocket-grpc.md");
}

/// Commands in blocks and in the text exist, and so do their flags.
#[test]
fn commands_exist() {
    let general = stdout(&kiln(&["--help"]));
    let subcommands: BTreeSet<_> =
        general.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let mut helps: HashMap<String, String> = HashMap::new();
    let (mut failed, mut count) = (String::new(), 0);
    for page in pages() {
        let blocks = page.blocks();
        let lines = blocks.iter().filter(|block| block.info == "sh").flat_map(|block| block.text.lines());
        let prose = page.prose();
        let inline = prose.split('`').skip(1).step_by(2);
        for line in lines.chain(inline).filter(|line| line.starts_with("kiln ")) {
            // Without quoted text.
            let plain: String = line.split('"').step_by(2).collect();
            let mut words = plain.split_whitespace().skip(1);
            let Some(subcommand) = words.next().filter(|word| !word.starts_with('-')) else { continue };
            let subcommand = subcommand.trim_end_matches(',');
            count += 1;
            if !subcommands.contains(subcommand) {
                let _ = writeln!(failed, "{}: `{line}`: no such command", page.path);
                continue;
            }
            let help = helps.entry(subcommand.to_owned()).or_insert_with(|| stdout(&kiln(&[subcommand, "--help"])));
            for flag in words.filter(|word| word.starts_with('-')).filter_map(|word| word.split('=').next()) {
                if !help.split([' ', ',', '\n']).any(|word| word == flag) {
                    let _ = writeln!(failed, "{}: `{line}`: no {flag}", page.path);
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert!(count > 30, "only {count} commands were found");
}

/// The commands of "Getting started" work in that order, and its site is the one that `kiln new` creates. Commands that serve
/// (`dev`) or take a minute (`build`) are tested elsewhere.
#[test]
fn getting_started_works() {
    let page = Page::new("docs/getting-started.md");
    let folder = scratch("getting-started");
    let mut ran = Vec::new();
    for block in page.blocks().iter().filter(|block| block.info == "sh") {
        for line in block.text.lines().filter_map(|line| line.strip_prefix("kiln ")) {
            let arguments: Vec<_> = line.split_whitespace().map(|word| word.trim_matches('"')).collect();
            if ["build", "dev"].contains(&arguments[0]) {
                continue;
            }
            let output = command(&arguments).current_dir(&folder).output().expect("kiln runs");
            assert!(output.status.success(), "kiln {line}:\n{}{}", stdout(&output), stderr(&output));
            ran.push(arguments[0].to_owned());
        }
    }
    assert_eq!(ran, ["new", "check", "test", "explain", "diff"]);

    let made = std::fs::read_to_string(folder.join("hello/site.kdl")).expect("a site");
    let made: Vec<_> = made.lines().filter(|line| !line.starts_with("//")).collect();
    let shown = page.blocks().into_iter().find(|block| block.info == "kdl").expect("a site").text.to_owned();
    assert_eq!(shown.trim(), made.join("\n").trim());
}

/// The example crate in the README is the quickstart.
#[test]
fn the_readme_shows_the_quickstart() {
    let readme = Page::new("README.md");
    let block = readme.blocks().into_iter().find(|block| block.info == "rust").expect("a block").text.to_owned();
    let main = std::fs::read_to_string(workspace().join("examples/quickstart/src/main.rs")).expect("a file");
    assert!(main.contains(&block), "{block}");
}
