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
        Some(Settings {
            profile,
            static_link: property(LINKING)? == "static",
            target: property(TARGET).map(str::to_owned),
        })
    }
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
