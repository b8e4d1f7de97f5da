//! A site is built with the versions of Kiln's `Cargo.lock`, also after changes of Kiln or of the site.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kiln_tests::kiln::{command, scratch, stderr, workspace};

/// Replaces cargo (`build --profile P --target T`): prints the lock it was called with, reduces it as cargo does, and builds nothing.
const CARGO: &str = r##"#!/bin/sh
if [ "$1" = metadata ]; then : > "$SEEN.metadata"; echo '{"packages":[],"resolve":{"nodes":[],"root":""}}'; exit; fi
cp Cargo.lock "$SEEN"
env > "$SEEN.environment"
cp Cargo.toml "$SEEN.manifest"
printf "# reduced" > Cargo.lock
made="$CARGO_TARGET_DIR/$5/$3"
mkdir -p "$made"
: > "$made/$(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.toml)"
"##;

pub(crate) struct Sources {
    folder: PathBuf,
}

impl Sources {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// A folder for this test, with the cargo of above and a Kiln.
    pub(crate) fn new(name: &str) -> Sources {
        let sources = Sources { folder: scratch(name) };
        sources.write("cargo", CARGO);
        std::fs::set_permissions(sources.path("cargo"), std::fs::Permissions::from_mode(0o755)).expect("changed");
        sources.write("kiln/Cargo.toml", &text(&workspace().join("Cargo.toml")));
        sources.write("kiln/Cargo.lock", "# first");
        sources.write("kiln/proxy-runtime/Cargo.toml", "");
        sources
    }

    /// Returns the command that builds the site.
    fn kiln(&self) -> Command {
        self.command(&["build", "--fast", "site.kdl", "-o", "binary"])
    }

    /// Returns a command of Kiln, with the cargo of above.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(arguments);
        command
            .current_dir(&self.folder)
            .env("CARGO", self.path("cargo"))
            .env("SEEN", self.path("seen"))
            .env("KILN_CACHE", self.path("cache"))
            .env("KILN_SOURCE", self.path("kiln"))
            .env_remove("KILN_FEATURES");
        command
    }

    /// Checks which lock cargo gets for a site.
    #[track_caller]
    fn check(&self, site: &str, expected: &str) {
        self.write("site.kdl", site);
        let output = self.kiln().output().expect("kiln runs");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(std::fs::read_to_string(self.path("seen")).expect("seen"), expected);
    }
}

#[test]
fn versions_are_those_of_kiln() {
    let sources = Sources::new("lock");
    let (plain, encrypted) = ("site * {\n respond 200\n}\n", "site a.test {\n tls internal\n respond 200\n}\n");

    sources.check(plain, "# first");
    sources.check(plain, "# reduced");
    sources.check("site * {\n respond 404\n}\n", "# reduced");
    // An update of Kiln.
    sources.write("kiln/Cargo.lock", "# second");
    sources.check(plain, "# second");
    sources.check(plain, "# reduced");
    // The site needs crates that the reduced lock does not contain.
    sources.check(encrypted, "# second");
    sources.check(encrypted, "# reduced");
    // Kiln is downgraded.
    sources.write("kiln/Cargo.lock", "# first");
    sources.check(encrypted, "# first");
}

/// While another site is compiled, a build goes on up to there.
#[test]
fn builds_wait_for_each_other_to_compile() {
    let sources = Sources::new("alone");
    sources.write("site.kdl", "site * {\n respond 200\n}\n");
    sources.write("cache/target/release.lock", "");
    let compiles = std::fs::File::open(sources.path("cache/target/release.lock")).expect("a file");
    compiles.lock().expect("locked");
    let mut build = sources.kiln().stderr(Stdio::piped()).spawn().expect("kiln runs");
    let mut said = BufReader::new(build.stderr.take().expect("piped")).lines();
    assert_eq!(said.next().expect("a line").expect("text"), "waiting for another build to end");
    assert!(sources.path("seen.metadata").exists() && !sources.path("seen").exists());
    drop(compiles);
    let rest: Vec<_> = said.map_while(Result::ok).collect();
    assert!(build.wait().expect("it ends").success(), "{rest:#?}");
    assert!(sources.path("seen").exists());
}

/// The environment of whoever builds has no say in the bytes, beyond what the binary tells of.
#[test]
fn settings_of_the_environment_do_not_reach_cargo() {
    let sources = Sources::new("environment");
    sources.write("site.kdl", "site * {\n respond 200\n}\n");
    let mut build = sources.kiln();
    let settings = [
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
        ("CARGO_PROFILE_RELEASE_STRIP", "none"),
        ("CARGO_BUILD_RUSTFLAGS", "-Copt-level=1"),
        ("AWS_LC_SYS_SYSTEM_DIR", "/usr"),
        ("ZSTD_SYS_USE_PKG_CONFIG", "1"),
        ("RUSTC_BOOTSTRAP", "1"),
    ];
    build.envs(settings).env("CARGO_INCREMENTAL", "1").env("AWS_LC_SYS_USE_SYSTEM", "1").env("CARGO_NET_RETRY", "7");
    let output = build.output().expect("kiln runs");
    assert!(output.status.success(), "{}", stderr(&output));
    let environment = text(&sources.path("seen.environment"));
    let check = |name: &str, expected: Option<&str>| {
        let start = format!("{name}=");
        assert_eq!(environment.lines().find_map(|line| line.strip_prefix(&start)), expected, "{name}");
    };
    for (name, _) in settings {
        check(name, None);
    }
    check("CARGO_INCREMENTAL", Some("0"));
    check("AWS_LC_SYS_USE_SYSTEM", Some("0"));
    check("AWS_LC_SYS_NO_JITTER_ENTROPY", Some("1"));
    check("CARGO_NET_RETRY", Some("7"));
    assert!(text(&sources.path("seen.manifest")).contains("\n[profile.release]\nstrip = true\n"), "no symbols");
}

/// The C compiler: it tells a version, and where its libraries are.
const CC: &str = r##"#!/bin/sh
here="${0%/*}"
case "$1" in
  --version) cat "$here/version" ;;
  -print-file-name=*) echo "$here/${1#*=}" ;;
  *) exit 1 ;;
esac
"##;

/// What one C compiler or library has made is not taken for what another one would.
#[test]
fn each_toolchain_has_a_folder() {
    let sources = Sources::new("toolchains");
    for (name, text) in [("site.kdl", "site * {\n respond 200\n}\n"), ("tools/cc", CC), ("tools/version", "cc 12\n")] {
        sources.write(name, text);
    }
    std::fs::set_permissions(sources.path("tools/cc"), std::fs::Permissions::from_mode(0o755)).expect("changed");
    let folder = |arguments: &[&str]| {
        let mut build = sources.kiln();
        let output = build.args(arguments).env("CC", sources.path("tools/cc")).output().expect("kiln runs");
        assert!(output.status.success(), "{}", stderr(&output));
        let environment = text(&sources.path("seen.environment"));
        environment.lines().find_map(|line| line.strip_prefix("CARGO_TARGET_DIR=")).expect("a folder").to_owned()
    };
    let mut seen = vec![folder(&[])];
    assert_eq!(folder(&[]), seen[0]);
    let mut check = |name: &str, text: &str, arguments: &[&str]| {
        sources.write(name, text);
        let now = folder(arguments);
        assert!(!seen.contains(&now), "{name}");
        assert_eq!(folder(arguments), now, "{name}");
        seen.push(now);
    };
    check("tools/version", "cc 13\n", &[]);
    check("tools/libc.so.6", "one", &[]);
    check("tools/libc.so.6", "two", &[]);
    check("tools/libc.a", "one", &["--static"]);
    check("tools/libc.a", "two", &["--static"]);
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}
