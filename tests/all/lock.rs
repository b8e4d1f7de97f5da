//! A site is built with the versions of Kiln's `Cargo.lock`, also after changes of Kiln or of the site.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kiln_tests::kiln::{command, scratch, stderr, workspace};

/// Replaces cargo (`build --profile P --target T`): prints the lock it was called with, reduces it as cargo does, and builds nothing.
const CARGO: &str = r##"#!/bin/sh
if [ "$1" = metadata ]; then echo '{"packages":[],"resolve":{"nodes":[],"root":""}}'; exit; fi
cp Cargo.lock "$SEEN"
printf "# reduced" > Cargo.lock
made="$CARGO_TARGET_DIR/$5/$3"
mkdir -p "$made"
: > "$made/$(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.toml)"
"##;

struct Sources {
    folder: PathBuf,
}

impl Sources {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    /// Checks which lock cargo gets for a site.
    #[track_caller]
    fn check(&self, site: &str, expected: &str) {
        self.write("site.kdl", site);
        let output = command(&["build", "--fast", "site.kdl", "-o", "binary"])
            .current_dir(&self.folder)
            .env("CARGO", self.path("cargo"))
            .env("SEEN", self.path("seen"))
            .env("KILN_CACHE", self.path("cache"))
            .env("KILN_SOURCE", self.path("kiln"))
            .env_remove("KILN_FEATURES")
            .output()
            .expect("kiln runs");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(std::fs::read_to_string(self.path("seen")).expect("seen"), expected);
    }
}

#[test]
fn versions_are_those_of_kiln() {
    let sources = Sources { folder: scratch("lock") };
    sources.write("cargo", CARGO);
    std::fs::set_permissions(sources.path("cargo"), std::fs::Permissions::from_mode(0o755)).expect("changed");
    sources.write("kiln/Cargo.toml", &text(&workspace().join("Cargo.toml")));
    sources.write("kiln/proxy-runtime/Cargo.toml", "");
    let (plain, encrypted) = ("site * {\n respond 200\n}\n", "site a.test {\n tls internal\n respond 200\n}\n");

    sources.write("kiln/Cargo.lock", "# first");
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

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}
