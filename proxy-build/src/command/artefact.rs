//! Builds the binary of a compiled site, with a cache.
//!
//! The site is written as a crate, and built by cargo against the runtime's own source ([`Source`]) and the `Cargo.lock` that it came
//! with. All sites share one target folder, so the runtime is compiled once.
//!
//! The same site, Kiln and toolchain produce the same bytes on any machine. Therefore everything that differs between machines is
//! excluded: a site's crate is named by its content; the runtime is within it (a link), as cargo hashes paths that lead elsewhere; and
//! the paths of sources and caches are replaced by names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proxy_build::Compiled;
use proxy_build::bundle::{self, Effort};
use proxy_build::model::Site;
use proxy_build::source::sha256;
use serde_json::Value;

use super::source::Source;
use super::{failed, licences};

/// The profiles of the workspace, from the compiler profiles on.
pub(crate) const PROFILES: &str = include_str!("../../templates/profiles.toml");

/// A binary in the cache. No other build replaces or removes it while this exists.
pub(crate) struct Artefact {
    pub(crate) path: PathBuf,
    /// The licences of all linked code, as text.
    pub(crate) licences: String,
    _alone: File,
}

/// Builds a compiled site.
///
/// # Errors
/// The cache can't be used, or cargo failed.
pub(crate) fn make(compiled: &Compiled, file: &Path, profile: &str, static_link: bool) -> Result<Artefact, String> {
    let output = compiled.output(proxy_build::BUNDLE.as_ref()).ok_or("the site is wrong")?;
    let model = compiled.model.as_ref().ok_or("the site is wrong")?;
    let cache = cache()?;
    let target = cache.join("target");
    std::fs::create_dir_all(&target).map_err(failed(format!("can't make {}", target.display())))?;
    let alone = alone(&target, profile)?;
    let source = Source::find(&cache)?;
    let folder = cache.join("sites").join(format!("{}-{profile}", place(file)));
    let src = folder.join("src");
    std::fs::create_dir_all(&src).map_err(failed(format!("can't make {}", src.display())))?;
    link(&folder, &source)?;

    let (items, site) = (output.items, output.site);
    let main = format!(
        "{items}\nfn main() -> ::std::process::ExitCode {{\n    ::proxy_runtime::run_licensed({site}, include_str!(\"licences.txt\"))\n}}\n"
    );
    let all = std::env::var("KILN_FEATURES").is_ok_and(|features| features == "all");
    let features = features(model, all);
    // The linked code is determined by the source and its features.
    let mut content = format!("{} {features:?}\n{main}", source.name()).into_bytes();
    write_if_changed(&src.join("main.rs"), main)?;
    if !model.bundle.is_empty() {
        let effort = if profile == "dist" { Effort::Most } else { Effort::Quick };
        let bundle = bundle::bundle(model, &folder.join("compressed"), effort, progress);
        let bundle = bundle.map_err(failed("can't compile files in"))?;
        content.extend_from_slice(&bundle);
        write_if_changed(&src.join(proxy_build::BUNDLE), bundle)?;
    }
    let crate_ = Crate { name: format!("site-{}", &sha256(&content)[..16]), folder, target, profile, static_link };
    let before = crate_.name_before();
    let inherited = source.inherited()?;
    lock(&crate_.folder, &source.lock()?, &format!("{inherited}{features:?}"))?;
    write_if_changed(&crate_.folder.join("Cargo.toml"), manifest(&crate_.name, &source.name(), &features, &inherited))?;
    let metadata = crate_.metadata()?;
    let licences = licences::collect(&metadata)?;
    write_if_changed(&src.join("licences.txt"), &licences)?;
    let path = crate_.build(&places(&metadata, &cache))?;
    if let Some(before) = before.filter(|before| *before != crate_.name) {
        crate_.forget(&before)?;
    }
    Ok(Artefact { path, licences, _alone: alone })
}

/// Locks a profile, from writing the crate to using its result: two builds may be of the same site.
fn alone(target: &Path, profile: &str) -> Result<File, String> {
    let path = target.join(format!("{profile}.lock"));
    let wrong = || failed(format!("can't lock {}", path.display()));
    let file = File::create(&path).map_err(wrong())?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => anstream::eprintln!("waiting for another build to end"),
        Err(TryLockError::Error(error)) => return Err(wrong()(error)),
    }
    file.lock().map_err(wrong())?;
    Ok(file)
}

/// Links to the runtime from within the site's crate.
fn link(folder: &Path, source: &Source) -> Result<(), String> {
    let (name, wrong) = (source.name(), || failed(format!("can't write to {}", folder.display())));
    if std::fs::read_link(folder.join(&name)).is_ok_and(|to| to == source.runtime()) {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(wrong())?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"kiln-") {
            std::fs::remove_file(entry.path()).map_err(wrong())?;
        }
    }
    std::os::unix::fs::symlink(source.runtime(), folder.join(&name)).map_err(wrong())
}

/// Copies Kiln's `Cargo.lock` to a site's crate. Cargo reduces it to what the site needs, so it is written again when Kiln's
/// changes, or the site needs more: otherwise updates would not arrive, and cargo would choose versions itself.
fn lock(folder: &Path, lock: &[u8], needs: &str) -> Result<(), String> {
    let origin = sha256(&[lock, needs.as_bytes()].concat());
    let (ours, known) = (folder.join("Cargo.lock"), folder.join("Cargo.lock.origin"));
    if ours.exists() && std::fs::read(&known).is_ok_and(|known| known == origin.as_bytes()) {
        return Ok(());
    }
    // The lock first: without it, the note would be wrong.
    write_if_changed(&ours, lock)?;
    write_if_changed(&known, origin)
}

/// Prints the progress of compression in steps of a tenth, because it may take a while.
fn progress(done: usize, all: usize) {
    if all >= 100 && done.is_multiple_of(all.div_ceil(10)) {
        anstream::eprintln!("compressing files: {done} of {all}");
    }
}

/// Returns the runtime features that a site needs; with `all`, all of them if it needs any.
fn features(site: &Site, all: bool) -> Vec<&'static str> {
    let features = site.features();
    let any = all && features.iter().any(|(_, needed)| *needed);
    features.into_iter().filter(|(_, needed)| *needed || any).map(|(feature, _)| feature.name).collect()
}

fn manifest(name: &str, runtime: &str, features: &[&str], inherited: &str) -> String {
    let profile = PROFILES.find("[profile.dist]").map_or("", |at| &PROFILES[at..]);
    let features = if features.is_empty() { String::new() } else { format!(", features = {features:?}") };
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
        proxy-runtime = {{ path = \"{runtime}\"{features} }}\n\n{inherited}{profile}"
    )
}

/// The crate of a site, and its build settings.
struct Crate<'a> {
    name: String,
    folder: PathBuf,
    target: PathBuf,
    profile: &'a str,
    static_link: bool,
}

impl Crate<'_> {
    /// Returns the name of its last build, which contains a hash of the content.
    fn name_before(&self) -> Option<String> {
        let manifest = std::fs::read_to_string(self.folder.join("Cargo.toml")).ok()?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "))?.trim_matches('"');
        name.starts_with("site-").then(|| name.to_owned())
    }

    /// Returns a cargo command for the crate.
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.folder).arg(command);
        cargo.env("CARGO_TARGET_DIR", &self.target).env_remove("CARGO_MANIFEST_DIR");
        cargo
    }

    fn build(&self, places: &[(PathBuf, &str)]) -> Result<PathBuf, String> {
        let mut cargo = self.cargo("build");
        cargo.arg("--profile").arg(self.profile);
        let mut flags = given_flags();
        let mut made_in = self.target.clone();
        if self.static_link {
            let host = host_triple()?;
            flags.extend(["-C".into(), "target-feature=+crt-static".into()]);
            // Naming the target keeps build scripts and macros dynamic.
            cargo.arg("--target").arg(&host);
            made_in.push(host);
        }
        let mut c_flags = std::env::var_os("CFLAGS").unwrap_or_default();
        for (place, name) in places {
            flags.push(joined(&["--remap-path-prefix=".as_ref(), place.as_os_str(), "=".as_ref(), name.as_ref()]));
            // These flags are separated by blanks.
            if !place.as_os_str().as_encoded_bytes().contains(&b' ') {
                c_flags.push(joined(&[" -ffile-prefix-map=".as_ref(), place.as_os_str(), "=".as_ref(), name.as_ref()]));
            }
        }
        // These override the flags in cargo's configuration files, which do not belong to the site.
        cargo
            .env_remove("RUSTFLAGS")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f".as_ref()))
            .env("CFLAGS", c_flags);
        let status =
            cargo.status().map_err(failed("can't run cargo (is a Rust toolchain installed? https://rustup.rs)"))?;
        if !status.success() {
            return Err(format!(
                "cargo failed; if it is about {}/src/main.rs, that is a bug in kiln: please report it",
                self.folder.display()
            ));
        }
        Ok(made_in.join(self.profile).join(&self.name))
    }

    /// Returns the metadata of all packages that the site is built from.
    fn metadata(&self) -> Result<Value, String> {
        let mut metadata = self.cargo("metadata");
        metadata.args(["--format-version=1", "--filter-platform", &host_triple()?]).stderr(Stdio::inherit());
        let output =
            metadata.output().map_err(failed("can't run cargo (is a Rust toolchain installed? https://rustup.rs)"))?;
        if !output.status.success() {
            return Err("cargo can't find what the site is built from".to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(failed("cargo metadata"))
    }

    /// Removes the results of the site's previous version, as each change of a site is another crate.
    fn forget(&self, before: &str) -> Result<(), String> {
        let host = if self.static_link { host_triple()? } else { String::new() };
        let made_in = self.target.join(host).join(self.profile);
        let begins = [before.to_owned(), before.replace('-', "_")];
        for folder in ["", "deps", ".fingerprint"].map(|folder| made_in.join(folder)) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if !begins.iter().any(|begins| name.as_encoded_bytes().starts_with(begins.as_bytes())) {
                    continue;
                }
                let path = entry.path();
                let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                removed.map_err(failed(format!("can't remove {}", path.display())))?;
            }
        }
        Ok(())
    }
}

/// Folders whose paths would be in the binary, with their replacements: cargo's sources, and the cache.
fn places(metadata: &Value, cache: &Path) -> Vec<(PathBuf, &'static str)> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let downloaded = packages.iter().filter(|package| package["source"].is_string());
    let folder = |package: &Value| Some(Path::new(package["manifest_path"].as_str()?).parent()?.parent()?.to_owned());
    let sources: BTreeSet<PathBuf> = downloaded.filter_map(folder).collect();
    sources.into_iter().map(|folder| (folder, "/crates")).chain([(cache.to_owned(), "/kiln")]).collect()
}

/// Returns the compiler flags of the user's environment.
fn given_flags() -> Vec<OsString> {
    let given = |name: &str| std::env::var(name).ok().filter(|given| !given.is_empty());
    match (given("CARGO_ENCODED_RUSTFLAGS"), given("RUSTFLAGS")) {
        (Some(encoded), _) => encoded.split('\x1f').map(OsString::from).collect(),
        (None, Some(flags)) => flags.split_whitespace().map(OsString::from).collect(),
        (None, None) => Vec::new(),
    }
}

fn joined(parts: &[&std::ffi::OsStr]) -> OsString {
    parts.iter().copied().collect()
}

fn host_triple() -> Result<String, String> {
    let rustc = Command::new("rustc").arg("-vV").output().map_err(failed("can't run rustc"))?;
    let text = String::from_utf8_lossy(&rustc.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc does not tell its host".to_owned())
}

/// Returns a name for a site's folder in the cache, derived from its path.
fn place(file: &Path) -> String {
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    sha256(path.as_os_str().as_encoded_bytes())[..12].to_owned()
}

/// Cargo compares modification times, so an unchanged file is not written.
fn write_if_changed(path: &Path, content: impl AsRef<[u8]>) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|old| old == content.as_ref()) {
        return Ok(());
    }
    std::fs::write(path, content).map_err(failed(format!("can't write {}", path.display())))
}

pub(crate) fn cache() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = variable("KILN_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("kiln")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/kiln")))
        .ok_or("there is no home folder to keep builds in: set KILN_CACHE")?;
    std::path::absolute(found).map_err(failed("KILN_CACHE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_match_the_workspace() {
        let workspace = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
        assert!(workspace.expect("a manifest").ends_with(PROFILES), "the profiles must be those of the workspace");
    }

    #[test]
    fn features_of_sites() {
        let check = |text: &str, all: bool, expected: &[&str]| {
            let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            assert_eq!(features(site, all), expected, "{text}");
        };
        let every = ["acme", "admin", "auth", "compress", "dns", "jwt", "logs", "takeover", "tls", "trace"];
        check("site * {\n respond 200\n}", false, &[]);
        check("site * {\n respond 200\n}", true, &[]);
        check("site * {\n compress\n respond 200\n}", false, &["compress"]);
        check("site * {\n compress\n respond 200\n}", true, &every);
        check("log access {\n to file \"/var/log/a.log\"\n}\nsite * {\n respond 200\n}", false, &["logs"]);
        check("log access {\n to stderr\n}\nsite * {\n respond 200\n}", false, &[]);
        check("site * {\n auth api-key (file)\"k\"\n respond 200\n}", false, &["auth"]);
        let jwt = "site * {\n auth jwt (file)\"k\" {\n algorithms ES256\n }\n respond 200\n}";
        check(jwt, false, &["jwt"]);
        check("site a.test {\n tls internal\n respond 200\n}", false, &["tls"]);
        check("site * {\n proxy \"https://a.test\"\n}", false, &["tls"]);
        check("upstream a {\n discover dns \"a.test:80\"\n}\nsite * {\n proxy a\n}", false, &["dns"]);
        let takeover = "process {\n takeover \"/run/a.sock\"\n}\nsite * {\n respond 200\n}";
        check(takeover, false, &["takeover"]);
        let trace = |url: &str| format!("trace otlp \"{url}/v1/traces\"\nsite * {{\n respond 200\n}}");
        check(&trace("http://a.test:4318"), false, &["trace"]);
        check(&trace("https://a.test"), false, &["tls", "trace"]);
        let acme = "acme email=\"a@a.test\" state=\"/x\"\nsite a.example.com {\n tls acme\n respond 200\n}";
        check(acme, false, &["acme", "tls"]);
    }
}
