//! The Kiln compiler: checks a KDL site description, proves properties of it, and generates the Rust code of one proxy.
//!
//! ```text
//! path ─source→ text ─syntax→ nodes ─read→ ast ─check→ model ─lower→ plan ─emit→ tokens
//!                                                │               └ runs the site's tests
//!                                                └ from here on, no user error
//! ```
//!
//! [`compile`] runs all passes; `proxy_macros::site!` and the command `kiln` are thin wrappers. Passes add to one
//! `Report` and continue, so that every error of a run is shown.

#![forbid(unsafe_code)]

pub(crate) mod admin;
pub mod ast;
#[cfg(feature = "bundle")]
pub mod bundle;
pub mod check;
pub mod code;
pub mod declaration;
#[cfg(feature = "kiln")]
pub mod deploy;
#[cfg(feature = "kiln")]
pub mod diff;
pub mod directive;
pub mod emit;
pub mod explain;
pub(crate) mod expression;
pub mod format;
#[cfg_attr(not(feature = "kiln"), allow(dead_code, reason = "what handlers say for `diff`"))]
pub(crate) mod handler;
pub(crate) mod interned;
pub(crate) mod joint;
pub mod lexer;
mod loops;
pub mod lower;
pub mod model;
#[cfg(feature = "kiln")]
pub mod monitoring;
pub mod nearest;
pub mod page;
pub mod pattern;
pub mod plan;
#[cfg_attr(not(feature = "kiln"), allow(dead_code, reason = "what policies say for `diff`"))]
pub(crate) mod policy;
pub mod read;
pub mod reference;
mod render;
pub mod report;
pub(crate) mod requests;
mod sandbox;
mod sites;
pub mod source;
pub mod span;
pub mod syntax;
pub mod testing;
pub(crate) mod trace;
#[cfg_attr(not(feature = "kiln"), allow(dead_code, reason = "what options of upstreams say for `diff`"))]
pub(crate) mod upstream;
pub mod value;
pub(crate) mod wording;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::report::{Diagnostic, Report};
use crate::source::{FileId, Sources};

/// The result of compiling a site file.
#[derive(Debug)]
pub struct Compiled {
    /// The source files.
    pub sources: Sources,
    /// The diagnostics.
    pub report: Report,
    /// The checked site, if there were no errors.
    pub model: Option<model::Site>,
}

impl Compiled {
    /// Returns the diagnostics as text, with terminal colours or plain.
    pub fn diagnostics(&self, colour: bool) -> String {
        self.report.render(&self.sources, colour)
    }

    /// Turns all warnings into errors.
    pub fn deny_warnings(&mut self) {
        self.report.deny_warnings();
        if self.report.has_errors() {
            self.model = None;
        }
    }

    /// Returns all files that the result depends on.
    pub fn dependencies(&self) -> Vec<PathBuf> {
        self.sources.dependencies().map(Path::to_owned).collect()
    }

    /// Returns the SHA-256 of the site's files and embedded files, in hexadecimal.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, text) in self.sources.site_files() {
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        for (path, digest) in self.sources.assets() {
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path);
            hash.update(digest);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns the Rust code of the site, if there were no errors. `bundle` is the path of the [`mod@bundle`] for
    /// rustc, if the site embeds folders.
    pub fn output(&self, bundle: &Path) -> Option<emit::Output> {
        let plan = lower::lower(self.model.as_ref()?);
        Some(emit::emit(&plan, &self.sources, &self.digest(), bundle))
    }
}

/// The variable by which a build script tells the macro that it has called [`prepare`]: its value is the site file's
/// path.
pub const PREPARED: &str = "KILN_PREPARED";

/// The name of the bundle that [`prepare`] writes for the macro.
pub const BUNDLE: &str = "kiln-bundle.bin";

/// Called by build scripts for sites that include files by a pattern, or embed folders: cargo then notices new files, too. Prints
/// warnings as cargo's own. Embedded folders are compressed here, with little effort in a debug build; this needs proxy-build's
/// feature `bundle`.
///
/// `path` is relative to the crate, as in `site!`.
pub fn prepare(path: &str) {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let compiled = compile(&folder.join(path), path);
    for dependency in compiled.dependencies().iter().chain(compiled.sources.folders()) {
        println!("cargo::rerun-if-changed={}", dependency.display());
    }
    println!("cargo::rustc-env={PREPARED}={path}");
    for warning in compiled.report.warnings(&compiled.sources) {
        println!("cargo::warning={warning}");
    }
    if let Some(model) = compiled.model.as_ref().filter(|model| !model.bundle.is_empty())
        && let Err(error) = prepare_bundle(model)
    {
        println!("cargo::error={path}: can't compile its files in: {error}");
    }
}

#[cfg(feature = "bundle")]
fn prepare_bundle(model: &model::Site) -> std::io::Result<()> {
    // Cargo sets both for every build script.
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let effort = if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        bundle::Effort::Quick
    } else {
        bundle::Effort::Most
    };
    let bundle = bundle::bundle(model, &out.join("kiln-compressed"), effort, |_, _| {})?;
    std::fs::write(out.join(BUNDLE), bundle)
}

#[cfg(not(feature = "bundle"))]
fn prepare_bundle(_: &model::Site) -> std::io::Result<()> {
    Err(std::io::Error::other("give proxy-build the feature `bundle`, under [build-dependencies] in Cargo.toml"))
}

/// Like [`compile`], for a crate: a site that includes files by a pattern or embeds folders needs [`prepare`].
pub fn compile_for_crate(path: &Path, shown: &str, prepared: bool) -> Compiled {
    let mut compiled = compile(path, shown);
    let pattern =
        compiled.sources.pattern().map(|span| (span, "cargo can't notice new files that this pattern will match"));
    let bundled = compiled.sources.bundled().map(|span| (span, "a build script is needed to compile a folder in"));
    if let (Some((span, message)), false) = (bundled.or(pattern), prepared) {
        let feature = if bundled.is_some() { ", with the feature `bundle`" } else { "" };
        compiled.report.add(
            Diagnostic::error("not-prepared", message, span)
                .help(format!("add a build.rs with: fn main() {{ proxy_build::prepare(\"{shown}\") }}"))
                .help(format!(
                    "and to Cargo.toml, under [build-dependencies], proxy-build beside proxy-macros{feature}"
                )),
        );
        compiled.model = None;
    }
    compiled
}

/// Like [`compile`], for a binary without the user's crate, and therefore without functions for `filter`. It names files relative to the
/// folder of the site, so that it is the same wherever that is.
pub fn compile_without_crate(path: &Path, shown: &str) -> Compiled {
    let mut compiled = compile_from(Sources::portable(), path, shown);
    let mut hosts = compiled.model.iter().flat_map(|model| &model.hosts);
    let with_functions = hosts.find_map(|host| host.routes.iter().find(|route| !route.functions.is_empty()));
    if let Some(route) = with_functions {
        let mut places = route.origins.iter().filter(|(name, _)| *name == "filter").map(|(_, place)| place);
        let place = places.next().map_or(String::new(), |place| format!(" ({}:{})", place.file, place.line));
        let message = format!("the function of `filter`{place} on this route is in a crate, and there is none here");
        compiled.report.add(
            Diagnostic::error("needs-crate", message, route.span)
                .help("compile the site into a crate by `site!`; `kiln new` makes an example"),
        );
        compiled.model = None;
    }
    compiled
}

/// Compiles a site file up to its model, and runs its tests. `shown` is the file's name in messages.
///
/// The parser's recursion is bounded; the cost is linear, except for routes of one pattern, which are compared in
/// pairs.
pub fn compile(path: &Path, shown: &str) -> Compiled {
    compile_from(Sources::default(), path, shown)
}

/// Like [`compile`], with given sources; see [`Sources::for_comparison`] and [`Sources::portable`].
pub fn compile_from(mut sources: Sources, path: &Path, shown: &str) -> Compiled {
    let mut report = Report::default();
    let file = sources.read(path, shown, &mut report);
    finish(sources, report, file)
}

/// Like [`compile`], for a text in memory; its includes are relative to `path`.
pub fn compile_text(path: &Path, shown: &str, text: &str) -> Compiled {
    let (mut sources, report) = (Sources::default(), Report::default());
    let file = sources.add(path.to_owned(), shown.to_owned(), text.to_owned());
    finish(sources, report, Some(file))
}

fn finish(mut sources: Sources, mut report: Report, file: Option<FileId>) -> Compiled {
    let Some(file) = file else { return Compiled { sources, report, model: None } };
    let items = read::read(&mut sources, file, &mut report);
    let mut model = sites::check(&mut sources, items, &mut report);
    if let Some(site) = &model {
        let plan = lower::lower(site);
        // A comparison of two sites does not depend on their tests.
        if !sources.compares() {
            testing::run(site, &plan, &mut report);
        }
        loops::report(site, &plan, &mut report);
    }
    if report.has_errors() {
        model = None;
    }
    Compiled { sources, report, model }
}
