//! How a binary is built ([`Recipe`]), in the form in which it says so itself.

use super::toolchain::Toolchain;

/// The profile of binaries that are shipped.
pub(crate) const DIST: &str = "dist";

/// The profile of binaries that are built quickly.
const FAST: &str = "release";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Cargo's profile, [`DIST`] or [`FAST`].
    pub(crate) profile: &'static str,
    /// Everything is linked in.
    pub(crate) static_link: bool,
    /// The target, as rustc calls it; `None` for that of this machine.
    pub(crate) target: Option<String>,
}

/// All that decides the bytes of a binary, beside the site and the packages.
pub(crate) struct Recipe {
    pub(crate) settings: Settings,
    /// The features of the runtime.
    pub(crate) features: Vec<&'static str>,
    /// Compiler flags of the user's environment.
    pub(crate) flags: Vec<String>,
    /// Identifies the source of the runtime.
    pub(crate) source: String,
    pub(crate) toolchain: Toolchain,
}

/// The name of a C library.
pub(super) const MUSL: &str = "musl";

/// A C library as a part of a binary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LinkedLibc<'a> {
    pub(super) name: &'static str,
    pub(super) version: Option<&'a str>,
    /// Its licence.
    pub(super) terms: &'static str,
}

/// The names of properties; [`words`] explains them.
const PROFILE: &str = "kiln:profile";
const LINKING: &str = "kiln:linking";
const FEATURES: &str = "kiln:features";
const FLAGS: &str = "kiln:flags";
const SOURCE: &str = "kiln:source";
const RUSTC: &str = "kiln:rustc";
const TARGET: &str = "kiln:target";

impl Recipe {
    /// Returns names and values that an SBOM lists.
    pub(super) fn properties(&self) -> [(&'static str, String); 7] {
        [
            (PROFILE, self.settings.profile.to_owned()),
            (LINKING, if self.is_static() { "static" } else { "dynamic" }.to_owned()),
            (FEATURES, self.features.join(" ")),
            (FLAGS, self.flags.join(" ")),
            (SOURCE, self.source.clone()),
            (RUSTC, self.toolchain.rustc.clone()),
            (TARGET, self.toolchain.target.clone()),
        ]
    }

    /// Returns the C library that is in the binary; `None` if it is linked when the binary starts.
    pub(super) fn linked_libc(&self) -> Option<LinkedLibc<'_>> {
        let glibc = || self.toolchain.libc.as_deref().and_then(|libc| libc.split_once(' ')).map(|(_, version)| version);
        match &self.toolchain.target {
            _ if !self.is_static() => None,
            // That of the Rust toolchain, which does not tell its version.
            target if target.contains("-musl") => Some(LinkedLibc { name: MUSL, version: None, terms: "MIT" }),
            target if target.contains("-gnu") => {
                Some(LinkedLibc { name: "glibc", version: glibc(), terms: "LGPL-2.1-or-later" })
            }
            _ => None,
        }
    }

    /// Returns whether everything is linked in. Targets with musl have nothing else to link to on most machines that run the binary.
    pub(super) fn is_static(&self) -> bool {
        self.settings.static_link || self.toolchain.target.contains("-musl")
    }
}

impl Settings {
    /// Those of a binary that is run here.
    pub(crate) const QUICK: Settings = Settings { profile: FAST, static_link: false, target: None };

    /// Returns the settings of the command's flags.
    pub(crate) fn new(fast: bool, static_link: bool, target: Option<String>) -> Settings {
        Settings { profile: if fast { FAST } else { DIST }, static_link, target }
    }

    /// Returns the settings that the properties of a binary tell.
    pub(crate) fn of<'a>(property: impl Fn(&str) -> Option<&'a str>) -> Option<Settings> {
        let profile = [DIST, FAST].into_iter().find(|profile| property(PROFILE) == Some(profile))?;
        let target = property(TARGET);
        if target.is_some_and(|target| !is_name(target)) {
            return None;
        }
        Some(Settings { profile, static_link: property(LINKING)? == "static", target: target.map(str::to_owned) })
    }
}

/// Returns whether a text has the form of the name of a target: it is printed, and an argument of other programs.
fn is_name(target: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&target.len()) && !target.starts_with('-') && target.bytes().all(part)
}

/// Returns what a property is, in words.
pub(crate) fn words(property: &str) -> &str {
    match property {
        PROFILE => "profile (`dist`, or `release` by --fast)",
        LINKING => "linking (--static)",
        FEATURES => "features of the runtime (KILN_FEATURES)",
        FLAGS => "compiler flags (RUSTFLAGS)",
        SOURCE => "source of Kiln's runtime",
        RUSTC => "compiler",
        TARGET => "target (--target)",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_libraries() {
        let check =
            |target: &str, static_link: bool, libc: Option<&str>, expected: Option<(&str, Option<&str>, &str)>| {
                let toolchain = Toolchain {
                    told: String::new(),
                    compiler: None,
                    rustc: String::new(),
                    commit: None,
                    host: String::new(),
                    target: target.to_owned(),
                    cc: None,
                    libc: libc.map(str::to_owned),
                };
                let settings = Settings { profile: DIST, static_link, target: None };
                let recipe =
                    Recipe { settings, features: Vec::new(), flags: Vec::new(), source: String::new(), toolchain };
                let found = recipe.linked_libc().map(|libc| (libc.name, libc.version, libc.terms));
                assert_eq!(found, expected, "{target}");
            };
        let lgpl = "LGPL-2.1-or-later";
        let glibc = Some("glibc 2.36");
        check("x86_64-unknown-linux-gnu", false, glibc, None);
        check("x86_64-unknown-linux-gnu", true, glibc, Some(("glibc", Some("2.36"), lgpl)));
        check("aarch64-unknown-linux-gnu", true, None, Some(("glibc", None, lgpl)));
        check("x86_64-unknown-linux-musl", false, None, Some(("musl", None, "MIT")));
        // A machine of musl, where a `getconf` knows of glibc.
        check("x86_64-unknown-linux-musl", true, glibc, Some(("musl", None, "MIT")));
        check("armv7-unknown-linux-musleabihf", true, None, Some(("musl", None, "MIT")));
        check("armv7-unknown-linux-gnueabihf", true, None, Some(("glibc", None, lgpl)));
    }

    #[test]
    fn settings_of_binaries() {
        let check = |target: Option<&str>, expected: bool| {
            let settings = Settings::of(|property| match property {
                PROFILE => Some(DIST),
                LINKING => Some("static"),
                TARGET => target,
                _ => None,
            });
            let wanted = Settings { profile: DIST, static_link: true, target: target.map(str::to_owned) };
            assert_eq!(settings, expected.then_some(wanted), "{target:?}");
        };
        check(None, true);
        check(Some("thumbv8m.main-none-eabi"), true);
        check(Some("x86_64-unknown-linux-gnu"), true);
        check(Some(""), false);
        check(Some("x86_64\x1b[2J"), false);
        check(Some("../../x"), false);
        check(Some("--help"), false);
        check(Some(&"x".repeat(64)), true);
        check(Some(&"x".repeat(65)), false);
    }
}
