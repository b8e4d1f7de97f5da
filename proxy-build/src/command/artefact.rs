//! Builds the binary of a compiled site, with a cache.
//!
//! The site is written as a crate, and built by cargo against the runtime's own source ([`Source`]) and the `Cargo.lock` that it came
//! with. All sites share one target folder, so the runtime is compiled once; another C compiler or library has another one.
//!
//! The same site, Kiln and toolchain produce the same bytes on any machine. Therefore everything that differs between machines is
//! excluded: a site's crate is named by its content; the runtime is within it (a link), as cargo hashes paths that lead elsewhere; and
//! the paths of sources and caches are replaced by names.

mod auditable;
mod cargo;
mod licences;
mod packages;
mod provenance;
pub(crate) mod recipe;
pub(crate) mod sbom;
mod toolchain;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use proxy_build::Compiled;
use proxy_build::bundle::{self, Effort};
use proxy_build::emit::Output;
use proxy_build::model::Site;
use proxy_build::source::sha256;
use serde_json::Value;

pub(crate) use self::cargo::FOR_TLS;
use self::cargo::{Crate, given_flags, places};
use self::packages::Packages;
use self::recipe::{DIST, Recipe, Settings};
use self::toolchain::Toolchain;
use super::failed;
use super::source::Source;

/// The profiles of the workspace, from the compiler profiles on.
pub(crate) const PROFILES: &str = include_str!("../../templates/profiles.toml");

/// A binary in the cache. No other build of the site replaces it, and none removes it, while this exists.
pub(crate) struct Artefact {
    pub(crate) path: PathBuf,
    /// The licences of all linked code, as text.
    pub(crate) licences: String,
    /// What its provenance says of the build.
    predicate: Value,
    _alone: [File; 2],
}

impl Artefact {
    /// Returns the provenance of a copy of the binary with this name and content.
    pub(crate) fn provenance(&self, name: &str, binary: &[u8]) -> String {
        provenance::statement(name, binary, &self.predicate)
    }

    /// Returns what the provenance of a binary, which has the same bytes, has differently, in words.
    pub(crate) fn differences(&self, statement: &str, binary: &[u8]) -> Vec<String> {
        provenance::differences(statement, binary, &self.predicate)
    }

    /// Returns what the provenance of another binary says that this one's does not, in words.
    pub(crate) fn other_tools(&self, statement: &str, binary: &[u8]) -> Vec<String> {
        provenance::other_tools(statement, binary, &self.predicate)
    }
}

/// Builds a compiled site.
///
/// # Errors
/// The cache can't be used, or cargo failed.
pub(crate) fn make(compiled: &Compiled, file: &Path, settings: Settings) -> Result<Artefact, String> {
    let output = compiled.output(proxy_build::BUNDLE.as_ref()).ok_or("the site is wrong")?;
    let model = compiled.model.as_ref().ok_or("the site is wrong")?;
    let (cache, profile) = (cache()?, settings.profile);
    let targets = cache.join("target");
    let folder = cache.join("sites").join(format!("{}-{profile}", place(file)));
    let src = folder.join("src");
    std::fs::create_dir_all(&src).map_err(failed(format!("can't make {}", src.display())))?;
    // Others may build this site.
    let site_alone = alone(&folder.join("lock"))?;
    let source = Source::find(&cache)?;
    link(&folder, &source)?;

    let toolchain = Toolchain::find(&folder, settings.target.as_deref())?;
    let all = std::env::var("KILN_FEATURES").is_ok_and(|features| features == "all");
    let recipe =
        Recipe { settings, features: features(model, all), flags: given_flags(), source: source.name(), toolchain };
    let main = main_file(&output);
    let target = targets.join(&recipe.toolchain.digest(recipe.is_static())[..12]);
    std::fs::create_dir_all(&target).map_err(failed(format!("can't make {}", target.display())))?;
    // The linked code is determined by the source and its features.
    let mut content = format!("{} {:?}\n{main}", recipe.source, recipe.features).into_bytes();
    write_if_changed(&src.join("main.rs"), main)?;
    if !model.bundle.is_empty() {
        let effort = if profile == DIST { Effort::Most } else { Effort::Quick };
        let bundle = bundle::bundle(model, &folder.join("compressed"), effort, progress);
        let bundle = bundle.map_err(failed("can't compile files in"))?;
        content.extend_from_slice(&bundle);
        write_if_changed(&src.join(proxy_build::BUNDLE), bundle)?;
    }
    let crate_ = Crate { name: format!("site-{}", &sha256(&content)[..16]), folder, target, recipe: &recipe };
    let before = crate_.name_before();
    let inherited = source.inherited()?;
    lock(&crate_.folder, &source.lock()?, &format!("{inherited}{:?}", recipe.features))?;
    let manifest = manifest(&crate_.name, &recipe.source, &recipe.features, &inherited);
    write_if_changed(&crate_.folder.join("Cargo.toml"), manifest)?;
    let metadata = crate_.metadata()?;
    // Cargo has reduced it to what the site needs.
    let lock = std::fs::read_to_string(crate_.folder.join("Cargo.lock")).map_err(failed("can't read Cargo.lock"))?;
    let packages = Packages::new(&metadata, &lock);
    let licences = licences::collect(&packages, &recipe)?;
    write_if_changed(&src.join(LICENCES), &licences)?;
    write_if_changed(&src.join(SBOM), sbom::write(compiled, &packages, &recipe))?;
    write_if_changed(&src.join(DEPENDENCIES), auditable::write(&packages, &crate_.name)?)?;
    // Others may build a site of the same content, whose binary has the same name.
    let alone = alone(&targets.join(format!("{profile}.lock")))?;
    let path = crate_.build(&places(&metadata, &cache, &crate_.target))?;
    if let Some(before) = before.filter(|before| *before != crate_.name) {
        crate_.forget(&before)?;
    }
    let predicate = provenance::predicate(compiled, &packages, &recipe, &lock);
    Ok(Artefact { path, licences, predicate, _alone: [site_alone, alone] })
}

/// The files of a site's crate that are compiled in.
const LICENCES: &str = "licences.txt";
const SBOM: &str = "sbom.json";
const DEPENDENCIES: &str = "dependencies";

/// Returns the main file of a site's crate. Two of the constants have sections of their own, where programs find them that don't run the
/// binary.
fn main_file(output: &Output) -> String {
    let (items, site) = (&output.items, &output.site);
    let section = |name: &str, section: &str, file: &str| {
        format!(
            "#[unsafe(link_section = \"{section}\")]\nstatic {name}: [u8; include_bytes!(\"{file}\").len()] = \
            *include_bytes!(\"{file}\");\n"
        )
    };
    let (sbom, dependencies) =
        (section("SBOM", sbom::SECTION, SBOM), section("DEPENDENCIES", auditable::SECTION, DEPENDENCIES));
    format!(
        "{items}\n{sbom}{dependencies}fn main() -> ::std::process::ExitCode {{\n    \
        // Without a use, it would not be linked.\n    ::std::hint::black_box(&DEPENDENCIES);\n    \
        ::proxy_runtime::run_documented({site}, ::proxy_runtime::Documents {{ \
        licences: include_str!(\"{LICENCES}\"), sbom: Some(&SBOM) }})\n}}\n"
    )
}

/// Locks a file, until the result is used: first that of the site's crate, and to compile that of the profile.
fn alone(path: &Path) -> Result<File, String> {
    let wrong = || failed(format!("can't lock {}", path.display()));
    let file = File::create(path).map_err(wrong())?;
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

/// The profile of binaries that are built quickly. Their symbols would be of use to debuggers alone, and fill the cache.
const QUICK_PROFILE: &str = "[profile.release]\nstrip = true\n\n";

fn manifest(name: &str, runtime: &str, features: &[&str], inherited: &str) -> String {
    let profile = PROFILES.find("[profile.dist]").map_or("", |at| &PROFILES[at..]);
    let features = if features.is_empty() { String::new() } else { format!(", features = {features:?}") };
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
        proxy-runtime = {{ path = \"{runtime}\"{features} }}\n\n{inherited}{QUICK_PROFILE}{profile}"
    )
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
        let every = ["acme", "admin", "auth", "compress", "dns", "h3", "jwt", "logs", "takeover", "tls", "trace"];
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
        let http3 = "listen \":8443\" {\n tls\n http h1 h2 h3\n}\nsite a.test {\n tls internal\n respond 200\n}";
        check(http3, false, &["h3", "tls"]);
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
