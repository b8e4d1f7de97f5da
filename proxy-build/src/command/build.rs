//! `kiln build`: from a site file to one binary, without a crate of the user's.
//!
//! The compiled site is written as a crate into the cache, and built there by cargo against the runtime's own source
//! and the `Cargo.lock` it came with. All sites share one target folder, so the runtime is compiled once.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use proxy_build::Compiled;
use proxy_build::bundle::{self, Effort};
use proxy_build::model::Site;
use sha2::{Digest, Sha256};

use super::{Outcome, compile_to_build, failed};

pub(crate) fn build(file: &Path, output: Option<&Path>, fast: bool, static_link: bool) -> Outcome {
    let Some(compiled) = compile_to_build(file) else { return Ok(ExitCode::FAILURE) };
    let artefact = artefact(&compiled, file, if fast { "release" } else { "dist" }, static_link)?;
    let output = output.map_or_else(|| default_output(file), Path::to_owned);
    // Beside the target first, then in its place: whoever runs the old binary keeps it whole.
    let beside = output.with_extension("new");
    std::fs::copy(&artefact, &beside).map_err(failed(format!("can't write {}", beside.display())))?;
    std::fs::rename(&beside, &output).map_err(failed(format!("can't write {}", output.display())))?;
    let size = std::fs::metadata(&output).map_or(0, |file| file.len());
    anstream::eprintln!("{}: {:.1} MB, site {}", output.display(), size as f64 / 1e6, &compiled.digest()[..16]);
    Ok(ExitCode::SUCCESS)
}

/// `shop.kdl` becomes `shop`; `site.kdl` takes its folder's name.
fn default_output(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default();
    if stem != "site" {
        return PathBuf::from(stem);
    }
    let folder = file.canonicalize().ok().and_then(|file| Some(file.parent()?.file_name()?.to_owned()));
    match folder {
        // Never over a folder of that name.
        Some(folder) if !Path::new(&folder).is_dir() => PathBuf::from(folder),
        _ => PathBuf::from("proxy"),
    }
}

/// Builds a compiled site; gives the path of the binary in the cache.
pub(crate) fn artefact(compiled: &Compiled, file: &Path, profile: &str, static_link: bool) -> Result<PathBuf, String> {
    let output = compiled.output(proxy_build::BUNDLE.as_ref()).ok_or("the site is wrong")?;
    let model = compiled.model.as_ref().ok_or("the site is wrong")?;
    let (cache, source) = (cache()?, source()?);
    let name = crate_name(file);
    let folder = cache.join("sites").join(&name);
    std::fs::create_dir_all(folder.join("src")).map_err(failed(format!("can't make {}", folder.display())))?;
    let (items, site) = (output.items, output.site);
    let main = format!("{items}\nfn main() -> ::std::process::ExitCode {{\n    ::proxy_runtime::run({site})\n}}\n",);
    write_if_changed(&folder.join("src/main.rs"), main)?;
    let all = std::env::var("KILN_FEATURES").is_ok_and(|features| features == "all");
    let manifest = manifest(&name, &source, &features(model, all))?;
    write_if_changed(&folder.join("Cargo.toml"), &manifest)?;
    lock(&folder, &source, &manifest)?;
    if !model.bundle.is_empty() {
        let effort = if profile == "dist" { Effort::Most } else { Effort::Quick };
        let bundle = bundle::bundle(model, &folder.join("compressed"), effort, progress);
        write_if_changed(
            &folder.join("src").join(proxy_build::BUNDLE),
            bundle.map_err(failed("can't compile files in"))?,
        )?;
    }
    cargo(&folder, &cache.join("target"), &name, profile, static_link)
}

/// Gives a site's crate the `Cargo.lock` of Kiln. Cargo reduces it to what the site needs, so it is written again whenever Kiln
/// has another one, or the site needs more: otherwise updates would not arrive, and cargo would choose versions itself.
fn lock(folder: &Path, source: &Path, manifest: &str) -> Result<(), String> {
    let lock = std::fs::read(source.join("Cargo.lock")).map_err(failed("can't read Kiln's Cargo.lock"))?;
    let digest = Sha256::new().chain_update(&lock).chain_update(manifest).finalize();
    let origin: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (ours, known) = (folder.join("Cargo.lock"), folder.join("Cargo.lock.origin"));
    if ours.exists() && std::fs::read(&known).is_ok_and(|known| known == origin.as_bytes()) {
        return Ok(());
    }
    // The lock first: without it, the note would be wrong.
    write_if_changed(&ours, lock)?;
    write_if_changed(&known, origin)
}

/// Says how far the compression of files is, every tenth part of it: it may take a while.
fn progress(done: usize, all: usize) {
    if all >= 100 && done.is_multiple_of(all.div_ceil(10)) {
        anstream::eprintln!("compressing files: {done} of {all}");
    }
}

/// The features of the runtime that a site needs; with `all`, each of them if it needs any.
fn features(site: &Site, all: bool) -> Vec<&'static str> {
    let features = site.features();
    let any = all && features.iter().any(|(_, needed)| *needed);
    features.into_iter().filter(|(_, needed)| *needed || any).map(|(feature, _)| feature.name).collect()
}

fn manifest(name: &str, source: &Path, features: &[&str]) -> Result<String, String> {
    let workspace =
        std::fs::read_to_string(source.join("Cargo.toml")).map_err(failed("can't read Kiln's Cargo.toml"))?;
    // The profiles are the workspace's own, so that both doors build alike.
    let profiles = workspace.find("\n[profile.dist]").map_or("", |at| &workspace[at..]);
    let features = if features.is_empty() { String::new() } else { format!(", features = {features:?}") };
    Ok(format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
        proxy-runtime = {{ path = {:?}{features} }}\n{profiles}",
        source.join("proxy-runtime")
    ))
}

fn cargo(folder: &Path, target: &Path, name: &str, profile: &str, static_link: bool) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(folder).arg("build").arg("--profile").arg(profile);
    cargo.env("CARGO_TARGET_DIR", target).env_remove("CARGO_MANIFEST_DIR");
    let mut folder_of = target.to_owned();
    if static_link {
        let host = host_triple()?;
        // Naming the target keeps build scripts and macros dynamic.
        cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").arg("--target").arg(&host);
        folder_of.push(host);
    }
    let status =
        cargo.status().map_err(failed("can't run cargo (is a Rust toolchain installed? https://rustup.rs)"))?;
    if !status.success() {
        return Err(format!(
            "cargo failed; if it is about {}/src/main.rs, that is a bug in kiln: please report it",
            folder.display()
        ));
    }
    Ok(folder_of.join(profile).join(name))
}

fn host_triple() -> Result<String, String> {
    let rustc = Command::new("rustc").arg("-vV").output().map_err(failed("can't run rustc"))?;
    let text = String::from_utf8_lossy(&rustc.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc does not tell its host".to_owned())
}

/// Different sites are different crates in the shared target folder.
fn crate_name(file: &Path) -> String {
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let hash = Sha256::digest(path.to_string_lossy().as_bytes());
    let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("site-{hash}")
}

/// Cargo goes by times: an unchanged file must keep its own.
fn write_if_changed(path: &Path, content: impl AsRef<[u8]>) -> Result<(), String> {
    if std::fs::read(path).is_ok_and(|old| old == content.as_ref()) {
        return Ok(());
    }
    std::fs::write(path, content).map_err(failed(format!("can't write {}", path.display())))
}

fn cache() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = variable("KILN_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("kiln")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/kiln")))
        .ok_or("there is no home folder to keep builds in: set KILN_CACHE")?;
    std::path::absolute(found).map_err(failed("KILN_CACHE"))
}

/// Where the runtime's source is.
pub(crate) fn source() -> Result<PathBuf, String> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
    let source = std::env::var_os("KILN_SOURCE").map(PathBuf::from).or(built_from).unwrap_or_default();
    if source.join("proxy-runtime/Cargo.toml").is_file() {
        return std::path::absolute(source).map_err(failed("KILN_SOURCE"));
    }
    Err(format!("Kiln's source is not at {}: set KILN_SOURCE to a checkout of it", source.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_gets_what_it_needs() {
        let check = |text: &str, all: bool, expected: &[&str]| {
            let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            assert_eq!(features(site, all), expected, "{text}");
        };
        let every = ["acme", "auth", "compress", "dns", "jwt", "tls"];
        check("site * {\n respond 200\n}", false, &[]);
        check("site * {\n respond 200\n}", true, &[]);
        check("site * {\n compress\n respond 200\n}", false, &["compress"]);
        check("site * {\n compress\n respond 200\n}", true, &every);
        check("site * {\n auth api-key (file)\"k\"\n respond 200\n}", false, &["auth"]);
        let jwt = "site * {\n auth jwt (file)\"k\" {\n algorithms ES256\n }\n respond 200\n}";
        check(jwt, false, &["jwt"]);
        check("site a.test {\n tls internal\n respond 200\n}", false, &["tls"]);
        check("site * {\n proxy \"https://a.test\"\n}", false, &["tls"]);
        check("upstream a {\n discover dns \"a.test:80\"\n}\nsite * {\n proxy a\n}", false, &["dns"]);
        let acme = "acme email=\"a@a.test\" state=\"/x\"\nsite a.test {\n tls acme\n respond 200\n}";
        check(acme, false, &["acme", "tls"]);
    }
}
