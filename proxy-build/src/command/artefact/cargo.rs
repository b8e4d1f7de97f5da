//! Runs cargo on the crate of a site ([`Crate`]).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::recipe::Recipe;
use crate::command::failed;

/// What the build script of the TLS library is told: to take its seeds from the kernel, and from the processor's generator where there is one (by default it measures
/// the jitter of the processor's clock, which takes 40 ms of each start); and to compile the library of its package, whatever the machine has.
pub(crate) const FOR_TLS: [(&str, &str); 2] = [("AWS_LC_SYS_NO_JITTER_ENTROPY", "1"), ("AWS_LC_SYS_USE_SYSTEM", "0")];

/// Variables that change what cargo and the build scripts of packages make, but are not part of how a binary says that it was built. Their beginnings:
/// settings of profiles, and what is set for build scripts, of which `kiln` may be a child; other builds of the C libraries, or libraries of this machine;
/// other data of Unicode, other types of the C library.
const UNSEEN: [&str; 8] = [
    "CARGO_PROFILE_",
    "CARGO_CFG_",
    "CARGO_FEATURE_",
    "AWS_LC_SYS_",
    "OPENSSL_",
    "ZSTD_SYS_",
    "ICU4X_",
    "RUST_LIBC_UNSTABLE_",
];

/// As [`UNSEEN`], whole names.
const UNSEEN_NAMES: [&str; 5] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    // Packages ask the compiler for what is not stable, and use it.
    "RUSTC_BOOTSTRAP",
];

/// The crate of a site, and its build settings.
pub(super) struct Crate<'a> {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) target: PathBuf,
    pub(super) recipe: &'a Recipe,
}

impl Crate<'_> {
    /// Returns the name of its last build, which contains a hash of the content.
    pub(super) fn name_before(&self) -> Option<String> {
        let manifest = std::fs::read_to_string(self.folder.join("Cargo.toml")).ok()?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "))?.trim_matches('"');
        name.starts_with("site-").then(|| name.to_owned())
    }

    /// Returns a cargo command for the crate.
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.folder).arg(command);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_unseen(name)) {
            cargo.env_remove(name);
        }
        cargo.env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "0").envs(FOR_TLS);
        cargo
    }

    pub(super) fn build(&self, places: &[(PathBuf, &str)]) -> Result<PathBuf, String> {
        let mut cargo = self.cargo("build");
        // Named even if it is this machine's: the bytes would be others without, and a binary does not say on which machine it was built.
        // The flags then apply to neither build scripts nor macros.
        cargo.arg("--profile").arg(self.recipe.settings.profile).arg("--target").arg(&self.recipe.toolchain.target);
        let mut flags: Vec<OsString> = self.recipe.flags.iter().map(OsString::from).collect();
        if self.recipe.is_static() {
            flags.extend(["-C".into(), "target-feature=+crt-static".into()]);
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
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f".as_ref())).env("CFLAGS", c_flags);
        let status =
            cargo.status().map_err(failed("can't run cargo (is a Rust toolchain installed? https://rustup.rs)"))?;
        if !status.success() {
            return Err(format!(
                "cargo failed; if it is about {}/src/main.rs, that is a bug in kiln: please report it",
                self.folder.display()
            ));
        }
        Ok(self.made_in().join(&self.name))
    }

    /// Returns the folder of binaries.
    fn made_in(&self) -> PathBuf {
        self.target.join(&self.recipe.toolchain.target).join(self.recipe.settings.profile)
    }

    /// Returns the metadata of all packages that the site is built from.
    pub(super) fn metadata(&self) -> Result<Value, String> {
        let mut metadata = self.cargo("metadata");
        metadata
            .args(["--format-version=1", "--filter-platform", &self.recipe.toolchain.target])
            .stderr(Stdio::inherit());
        let output =
            metadata.output().map_err(failed("can't run cargo (is a Rust toolchain installed? https://rustup.rs)"))?;
        if !output.status.success() {
            return Err("cargo can't find what the site is built from".to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(failed("cargo metadata"))
    }

    /// Removes the results of the site's previous version, as each change of a site is another crate.
    pub(super) fn forget(&self, before: &str) -> Result<(), String> {
        let made_in = self.made_in();
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

/// Folders whose paths would be in the binary, with their replacements: cargo's sources, the cache, and the target folder in it. The last that matches
/// is applied.
pub(super) fn places(metadata: &Value, cache: &Path, target: &Path) -> Vec<(PathBuf, &'static str)> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let downloaded = packages.iter().filter(|package| package["source"].is_string());
    let folder = |package: &Value| Some(Path::new(package["manifest_path"].as_str()?).parent()?.parent()?.to_owned());
    let sources: BTreeSet<PathBuf> = downloaded.filter_map(folder).collect();
    sources
        .into_iter()
        .map(|folder| (folder, "/crates"))
        .chain([(cache.to_owned(), "/kiln"), (target.to_owned(), "/kiln/target")])
        .collect()
}

/// Returns the compiler flags of the user's environment.
pub(super) fn given_flags() -> Vec<String> {
    let given = |name: &str| std::env::var(name).ok().filter(|given| !given.is_empty());
    match (given("CARGO_ENCODED_RUSTFLAGS"), given("RUSTFLAGS")) {
        (Some(encoded), _) => encoded.split('\x1f').map(str::to_owned).collect(),
        (None, Some(flags)) => flags.split_whitespace().map(str::to_owned).collect(),
        (None, None) => Vec::new(),
    }
}

/// Returns whether a variable of the environment is kept from cargo.
fn is_unseen(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    UNSEEN.iter().any(|start| name.starts_with(start.as_bytes()))
        || UNSEEN_NAMES.iter().any(|whole| name == whole.as_bytes())
}

fn joined(parts: &[&OsStr]) -> OsString {
    parts.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_kept_from_cargo() {
        let check = |name: &str, expected: bool| assert_eq!(is_unseen(name.as_ref()), expected, "{name}");
        check("CARGO_PROFILE_RELEASE_OPT_LEVEL", true);
        check("CARGO_PROFILE_DIST_LTO", true);
        check("CARGO_BUILD_RUSTFLAGS", true);
        check("CARGO_ENCODED_RUSTFLAGS", true);
        check("RUSTFLAGS", true);
        check("RUSTC_BOOTSTRAP", true);
        check("AWS_LC_SYS_SYSTEM_DIR", true);
        check("AWS_LC_SYS_CFLAGS_x86_64_unknown_linux_gnu", true);
        check("ZSTD_SYS_USE_PKG_CONFIG", true);
        check("OPENSSL_DIR", true);
        check("CARGO_FEATURE_SSL", true);
        // What builds need, or says itself what it is.
        check("CARGO_HOME", false);
        check("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", false);
        check("CC_aarch64_unknown_linux_musl", false);
        check("CFLAGS", false);
        check("CARGO_BUILD_JOBS", false);
        check("CARGO_NET_OFFLINE", false);
        check("RUSTC", false);
        check("PATH", false);
    }
}
