//! The result of `kiln build` depends on the site, Kiln and the toolchain: not on the path, nor on the user. It needs only
//! `kiln` itself, cargo, and the crates. It says what it is made of, and `kiln verify` builds it again.

use std::path::{Path, PathBuf};
use std::process::Output;

use kiln_tests::kiln::{command, scratch, stderr, stdout};
use minisign::KeyPair;
use proxy_build::source::sha256;
use serde_json::Value;

const SITE: &str = "site * {\n    respond 200 \"made of {path}\"\n}\n";

/// Returns the target that rustc compiles for by default.
fn host() -> String {
    let output = std::process::Command::new("rustc").arg("-vV").output().expect("rustc runs");
    stdout(&output).lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned()
}

/// A user: a home with cargo's downloads, and a cache of builds.
struct User {
    home: PathBuf,
    /// Another name of the C compiler, for which it tells another version.
    cc: Option<&'static str>,
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
        User { home, cc: None }
    }

    /// Runs `kiln` without a checkout.
    fn kiln(&self, folder: &Path, arguments: &[&str]) -> Output {
        let mut command = command(arguments);
        command.current_dir(folder).env_remove("KILN_SOURCE").env_remove("KILN_FEATURES");
        command.env("CARGO_HOME", self.home.join("cargo")).env("KILN_CACHE", self.home.join("cache of builds"));
        if let Some(cc) = self.cc {
            command.env("CC", cc);
        }
        command.output().expect("kiln runs")
    }

    /// Builds the site of a folder, with its path as it is seen from another one.
    fn build(&self, from: &Path, folder: &str, name: &str) -> Vec<u8> {
        let folder = from.join(folder);
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("site.kdl"), SITE).expect("written");
        let (site, binary) = (folder.join("site.kdl"), folder.join(name));
        let within = |path: &Path| path.strip_prefix(from).expect("within").to_str().expect("text").to_owned();
        let output = self.kiln(from, &["build", "--fast", &within(&site), "-o", &within(&binary)]);
        assert!(output.status.success(), "{}", stderr(&output));
        std::fs::read(binary).expect("a binary")
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

/// Scanners for vulnerabilities find the linked packages, also after `strip`.
fn packages(folder: &Path) {
    let check = |binary: &Path| {
        let info = auditable_info::audit_info_from_file(binary, auditable_info::Limits::default());
        let info = info.unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let names: Vec<&str> = info.packages.iter().map(|package| package.name.as_str()).collect();
        for (name, is_there) in [("tokio", true), ("proxy-runtime", true), ("syn", false), ("rustls", false)] {
            assert_eq!(names.contains(&name), is_there, "{name}: {names:?}");
        }
        assert_eq!(info.packages.iter().filter(|package| package.root).count(), 1);
        assert!(info.packages.iter().any(|package| package.root && !package.dependencies.is_empty()));
    };
    check(&folder.join("shop.v1"));
    let stripped = folder.join("stripped");
    let strip = std::process::Command::new("strip").arg("-o").arg(&stripped).arg(folder.join("shop.v1")).status();
    match strip {
        Ok(status) if status.success() => check(&stripped),
        _ => eprintln!("SKIPPED: there is no `strip`, so nothing is seen of what it leaves"),
    }
}

/// The SBOM names the site's files, the packages and how they were built, and no time.
fn sbom(folder: &Path) {
    let output = std::process::Command::new(folder.join("shop.v1")).arg("--sbom").output().expect("it runs");
    let sbom: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&sbom["bomFormat"], &sbom["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let components = sbom["components"].as_array().expect("a list");
    let component = |name: &str| components.iter().find(|component| component["name"] == name);
    let tokio = component("tokio").expect("tokio");
    assert_eq!(tokio["licenses"][0]["expression"], "MIT");
    assert_eq!(tokio["purl"], format!("pkg:cargo/tokio@{}", tokio["version"].as_str().expect("a version")));
    assert_eq!(tokio["hashes"][0]["content"].as_str().map(str::len), Some(64));
    assert_eq!(component("site.kdl").expect("the site")["hashes"][0]["content"], sha256(SITE.as_bytes()));
    assert!(component("syn").is_none() && component("rustls").is_none(), "only what is linked");
    let references: Vec<&Value> = components
        .iter()
        .map(|component| &component["bom-ref"])
        .chain([&sbom["metadata"]["component"]["bom-ref"]])
        .collect();
    for dependency in sbom["dependencies"].as_array().expect("a list") {
        let targets = dependency["dependsOn"].as_array().expect("a list");
        for reference in targets.iter().chain([&dependency["ref"]]) {
            assert!(references.contains(&reference), "{reference} is no component");
        }
    }
    let properties = sbom["metadata"]["properties"].as_array().expect("a list");
    let property =
        |name: &str| properties.iter().find(|property| property["name"] == name).map(|found| &found["value"]);
    assert_eq!(property("kiln:profile"), Some(&"release".into()));
    assert!(property("kiln:rustc").and_then(Value::as_str).is_some_and(|rustc| rustc.starts_with("rustc 1.")));
    assert!(sbom["metadata"]["timestamp"].is_null() && sbom["serialNumber"].is_null(), "the same each time");
}

/// The provenance names the binary and what it was built of.
fn provenance(folder: &Path, binary: &[u8]) {
    let text = std::fs::read_to_string(folder.join("shop.v1.provenance.json")).expect("a file");
    let statement: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0]["name"], "shop.v1");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], sha256(binary));
    let materials = statement["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().expect("a list");
    let named = |key: &str, start: &str| {
        materials.iter().find(|material| material[key].as_str().is_some_and(|name| name.starts_with(start)))
    };
    assert_eq!(named("name", "site.kdl").expect("the site")["digest"]["sha256"], sha256(SITE.as_bytes()));
    assert!(named("name", "Cargo.lock").is_some() && named("name", "rustc 1.").is_some(), "{text}");
    assert!(named("uri", "pkg:cargo/tokio@1.").is_some(), "{text}");
}

/// `kiln verify`: the exit code and a part of what it says.
fn verified(user: &User, folder: &Path, arguments: &[&str], expected: (i32, &str)) {
    let output = user.kiln(folder, &[&["verify"], arguments].concat());
    let said = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(expected.0), "{arguments:?}: {said}");
    assert!(said.contains(expected.1), "{arguments:?}: {said}");
}

/// A binary is compared with a build of its site by another user; differences have names.
fn verification(user: &User, folder: &Path, binary: &[u8]) {
    let check = |arguments: &[&str], code, says| verified(user, folder, arguments, (code, says));
    check(&["shop.v1", "site.kdl"], 0, "shop.v1: the same bytes as a build of site.kdl");
    let mut changed = binary.to_vec();
    let text = changed.windows(8).position(|part| part == b"made of ").expect("the text");
    changed[text] = b'M';
    std::fs::write(folder.join("changed"), &changed).expect("written");
    check(&["changed", "site.kdl"], 1, "changed bytes\n  first difference: byte ");
    check(&["changed", "site.kdl"], 1, ", in section .");
    let statement = std::fs::read_to_string(folder.join("shop.v1.provenance.json")).expect("a file");
    let statement = statement.replace(&sha256(binary), &sha256(&changed)).replace("\"libc\": \"", "\"libc\": \"old ");
    std::fs::write(folder.join("changed.provenance.json"), statement).expect("written");
    check(&["changed", "site.kdl"], 1, "C library: \"old ");
    std::fs::write(folder.join("other.kdl"), SITE.replace("200", "201")).expect("written");
    check(&["shop.v1", "other.kdl"], 1, "file site.kdl: only in the binary");
    std::fs::write(folder.join("wrong.kdl"), "site *").expect("written");
    check(&["shop.v1", "wrong.kdl"], 2, "wrong.kdl has errors");
    check(&["site.kdl", "site.kdl"], 2, "site.kdl is no binary of Linux");
    check(&["/proc/self/exe", "site.kdl"], 2, "was not made by `kiln build`");
    check(&["missing", "site.kdl"], 2, "can't read missing");
    // The target is that of the binary.
    let target = |name: &str| {
        let host = host();
        let mut other = binary.to_vec();
        let property = format!("\"kiln:target\",\"value\":\"{host}\"");
        let at = binary.windows(property.len()).position(|part| part == property.as_bytes()).expect("the property");
        let value = at + property.len() - 1 - host.len();
        other[value..value + host.len()].copy_from_slice(name.as_bytes());
        std::fs::write(folder.join("another-target"), other).expect("written");
    };
    let missing = host().replace("linux-gnu", "linux-gnx");
    target(&missing);
    let unknown = format!("there is no target `{missing}`\nhelp: did you mean `");
    verified(user, folder, &["another-target", "site.kdl"], (2, &unknown));
    // It would be written to the terminal.
    target(&format!("{}\u{7f}", &missing[1..]));
    check(&["another-target", "site.kdl"], 2, "another-target does not say how it was built");
    check(&["/dev/zero", "site.kdl"], 2, "can't read /dev/zero: not a file");
    // The provenance of the same bytes is that of this build, but for the machine.
    let path = folder.join("shop.v1.provenance.json");
    let statement = std::fs::read_to_string(&path).expect("a file");
    let forged = |from: &str, to: &str| {
        assert!(statement.contains(from), "{from}: {statement}");
        std::fs::write(&path, statement.replace(from, to)).expect("written");
    };
    forged("\"profile\": \"release\"", "\"profile\": \"dist\"");
    check(&["shop.v1", "site.kdl"], 1, "shop.v1.provenance.json: not the provenance of a build of site.kdl\n");
    check(&["shop.v1", "site.kdl"], 1, "/profile: \"dist\" in the provenance, \"release\" here\n");
    forged(&sha256(binary), &sha256(&changed));
    check(&["shop.v1", "site.kdl"], 1, "  /subject/0/digest/sha256: ");
    forged("\"name\": \"shop.v1\"", "\"name\": \"renamed\"");
    check(&["shop.v1", "site.kdl"], 0, "shop.v1: the same bytes");
    std::fs::write(&path, &statement).expect("written");
}

/// A signed build is verified by the public key, and by no other.
fn signatures(user: &User, folder: &Path) {
    let pair = |name: &str| {
        // As a public key could be the name of a file.
        let mut pairs = std::iter::repeat_with(|| KeyPair::generate_unencrypted_keypair().expect("a key"));
        let pair = pairs.find(|pair| !pair.pk.to_base64().contains('/')).expect("one in two");
        let (public, secret) = (pair.pk.to_box().expect("a key"), pair.sk.to_box(None).expect("a key"));
        std::fs::write(folder.join(format!("{name}.pub")), public.into_string()).expect("written");
        std::fs::write(folder.join(format!("{name}.key")), secret.into_string()).expect("written");
        pair.pk.to_base64()
    };
    let (public, _) = (pair("ours"), pair("others"));
    let built = |key: &str| user.kiln(folder, &["build", "--fast", "site.kdl", "-o", "signed", "--sign", key]);
    let output = built("ours.pub");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("can't sign with ours.pub"), "{}", stderr(&output));
    let output = built("ours.key");
    assert!(output.status.success(), "{}", stderr(&output));
    let check = |arguments: &[&str], code, says| verified(user, folder, arguments, (code, says));
    check(
        &["signed", "site.kdl", "--public-key", "ours.pub"],
        0,
        "signed: signed with the key ours.pub\nsigned.provenance.json: signed with the key ours.pub\nsigned: the same",
    );
    check(&["signed", "site.kdl", "--public-key", &public], 0, "signed: the same bytes");
    check(&["signed", "site.kdl", "--public-key", "others.pub"], 1, "signed: not signed with the key others.pub");
    check(&["signed", "site.kdl", "--public-key", "site.kdl"], 2, "site.kdl is no public key");
    check(&["shop.v1", "site.kdl", "--public-key", "ours.pub"], 2, "can't read shop.v1.minisig");
    // The provenance is signed as well.
    let statement = std::fs::read(folder.join("signed.provenance.json")).expect("a file");
    let signature = std::fs::read_to_string(folder.join("signed.provenance.json.minisig")).expect("a signature");
    let signature = minisign::SignatureBox::from_string(&signature).expect("a signature");
    let key = minisign::PublicKey::from_base64(&public).expect("a key");
    minisign::verify(&key, &signature, std::io::Cursor::new(statement), true, false, false).expect("signed");
    assert!(signature.trusted_comment().expect("a comment").starts_with("file:signed site:"));
    let beside = folder.join("signed.provenance.json");
    let text = std::fs::read_to_string(&beside).expect("a file");
    std::fs::write(&beside, text.replace("\"name\": \"signed\"", "\"name\": \"renamed\"")).expect("written");
    let wrong = "signed.provenance.json: not signed with the key ours.pub\n";
    check(&["signed", "site.kdl", "--public-key", "ours.pub"], 1, wrong);
    check(&["signed", "site.kdl"], 0, "signed: the same bytes");
    std::fs::write(&beside, text).expect("written");
    // A file of the key's name does not replace the key.
    std::fs::copy(folder.join("others.pub"), folder.join(&public)).expect("written");
    check(&["signed", "site.kdl", "--public-key", &public], 0, "signed: the same bytes");
    check(&["signed", "site.kdl", "--public-key", &format!("./{public}")], 1, "signed: not signed with the key ./");
}

#[test]
fn the_same_bytes_from_two_folders_and_two_users() {
    let folder = scratch("artefact");
    let (one, mut other) = (User::new(&folder, "one"), User::new(&folder, "another one"));
    let gcc = std::process::Command::new("gcc").arg("--version").output();
    other.cc = gcc.is_ok_and(|output| output.status.success()).then_some("gcc");
    let here = folder.join("here");
    std::fs::create_dir_all(&here).expect("made");
    std::fs::write(here.join("shop.new"), "not to be touched").expect("written");
    let made = one.build(&here, "", "shop.v1");
    assert!(made == other.build(&folder, "elsewhere/deep", "shop"), "builds are reproducible");
    let place = folder.as_os_str().as_encoded_bytes();
    assert!(!made.windows(place.len()).any(|part| part == place), "no local path is in the binary");
    let mut names: Vec<_> =
        std::fs::read_dir(&here).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let expected = ["shop.new", "shop.v1", "shop.v1.licences.txt", "shop.v1.provenance.json", "site.kdl"];
    assert_eq!(names, expected, "no other files are written");
    licences(&here);
    packages(&here);
    sbom(&here);
    provenance(&here, &made);
    verification(&other, &here, &made);
    signatures(&one, &here);

    // The build of the site's previous version is not kept.
    let changed = SITE.replace("made of", "made again of");
    std::fs::write(here.join("site.kdl"), changed).expect("written");
    let output = one.kiln(&here, &["build", "--fast", "site.kdl", "-o", "shop.v1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let targets: Vec<_> =
        std::fs::read_dir(one.home.join("cache of builds/target")).expect("a folder").flatten().collect();
    let [target] = &targets.iter().filter(|entry| entry.path().is_dir()).collect::<Vec<_>>()[..] else {
        panic!("one toolchain, and more folders: {targets:?}")
    };
    let made_in = target.path().join(host()).join("release");
    let kept = std::fs::read_dir(made_in).expect("a folder").flatten();
    let kept = kept.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"site-"));
    assert_eq!(kept.filter(|entry| entry.path().extension().is_none()).count(), 1);
}
