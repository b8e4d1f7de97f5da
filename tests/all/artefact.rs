//! The result of `kiln build` depends on the site, Kiln and the toolchain: not on the path, nor on the user. And it needs only
//! `kiln` itself, cargo, and the crates.

use std::path::{Path, PathBuf};
use std::process::Output;

use kiln_tests::kiln::{command, scratch, stderr};

const SITE: &str = "site * {\n    respond 200 \"made of {path}\"\n}\n";

/// A user: a home with cargo's downloads, and a cache of builds.
struct User {
    home: PathBuf,
}

impl User {
    fn new(folder: &Path, name: &str) -> User {
        let home = folder.join(name);
        std::fs::create_dir_all(home.join("cargo")).expect("made");
        let real = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let real = real.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))).expect("a home");
        // The crates are shared; cargo sees them in a folder of this user.
        for entry in ["registry", "config.toml"] {
            let there = real.join(entry);
            if there.exists() {
                std::os::unix::fs::symlink(there, home.join("cargo").join(entry)).expect("linked");
            }
        }
        User { home }
    }

    /// Runs `kiln` without a checkout.
    fn kiln(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = command(arguments);
        command.current_dir(folder).env_remove("KILN_SOURCE").env_remove("KILN_FEATURES");
        command.env("CARGO_HOME", self.home.join("cargo")).env("KILN_CACHE", self.home.join("cache of builds"));
        command.output().expect("kiln runs")
    }

    fn build(&self, folder: &Path, name: &str) -> Vec<u8> {
        std::fs::create_dir_all(folder).expect("made");
        std::fs::write(folder.join("site.kdl"), SITE).expect("written");
        let output = self.kiln(folder, &["build", "--fast", "site.kdl", "-o", name]);
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::read(folder.join(name)).expect("a binary")
    }
}

/// The licences of linked code are in the binary and beside it.
fn licences(folder: &Path) {
    let output = std::process::Command::new(folder.join("shop.v1")).arg("--licences").output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text, std::fs::read_to_string(folder.join("shop.v1.licences.txt")).expect("a file"));
    for part in
        ["\ntokio 1.", "\nproxy-runtime 0.", "MIT OR Apache-2.0", "Copyright (c) Tokio Contributors", "Apache License"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Neither code that the site does not need, nor build dependencies.
    for part in ["\nrustls ", "\nsyn ", "\nproptest "] {
        assert!(!text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_same_bytes_from_two_folders_and_two_users() {
    let folder = scratch("artefact");
    let (one, other) = (User::new(&folder, "one"), User::new(&folder, "another one"));
    let here = folder.join("here");
    std::fs::create_dir_all(&here).expect("made");
    std::fs::write(here.join("shop.new"), "not to be touched").expect("written");
    let made = one.build(&here, "shop.v1");
    assert!(made == other.build(&folder.join("elsewhere/deep"), "shop"), "builds are reproducible");
    let place = folder.as_os_str().as_encoded_bytes();
    assert!(!made.windows(place.len()).any(|part| part == place), "no local path is in the binary");
    let mut names: Vec<_> =
        std::fs::read_dir(&here).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["shop.new", "shop.v1", "shop.v1.licences.txt", "site.kdl"], "no other files are written");
    licences(&here);

    // The build of the site's previous version is not kept.
    let changed = SITE.replace("made of", "made again of");
    std::fs::write(here.join("site.kdl"), changed).expect("written");
    let output = one.kiln(&here, &["build", "--fast", "site.kdl", "-o", "shop.v1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let kept = std::fs::read_dir(one.home.join("cache of builds/target/release")).expect("a folder").flatten();
    let kept = kept.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"site-"));
    assert_eq!(kept.filter(|entry| entry.path().extension().is_none()).count(), 1);
}
