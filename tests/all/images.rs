//! Images for containers: what is in them, what they are refused for, and one that runs. Programs of others read it, where they are installed.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use kiln_tests::client::get;
use kiln_tests::kiln::{command, scratch, stderr, stdout};
use kiln_tests::proxy::{Proxy, address};
use proxy_build::source::sha256;
use serde_json::Value;

/// Reads an archive: the content of each of its files.
fn unpacked(archive: &[u8]) -> HashMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let files = archive.entries().expect("an archive").map(|entry| {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("read");
        (entry.path().expect("a path").display().to_string(), content)
    });
    files.collect()
}

/// Targets that can't be built for are told before anything is compiled.
#[test]
fn targets_that_are_missing() {
    let folder = scratch("targets");
    std::fs::write(folder.join("site.kdl"), "site * {\n    respond 200\n}\n").expect("written");
    let check = |arguments: &[&str], expected: &str| {
        let output = command(arguments).current_dir(&folder).output().expect("kiln runs");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
        assert!(!folder.join("out").exists(), "{arguments:?}: nothing is written");
    };
    let build = |target: &str, expected: &str| {
        check(&["build", "site.kdl", "-o", "out", "--target", target], expected);
        check(&["image", "site.kdl", "-o", "out", "--target", target], expected);
    };
    // Of the third tier: its libraries are not distributed, so that nobody has it installed.
    let missing = "x86_64-unikraft-linux-musl";
    build(missing, &format!("error: the target `{missing}` is not installed for rustc "));
    build(missing, &format!("\nhelp: rustup target add {missing}\n"));
    build(
        "x86_64-unknown-linux-gnuu",
        "error: there is no target `x86_64-unknown-linux-gnuu`\nhelp: did you mean `x86_64-unknown-linux-gnu`?",
    );
    build("aarch64-apple-darwin", "error: `aarch64-apple-darwin` is not a target of Linux, which the runtime needs");
    let twice = ["--target", "aarch64-unknown-linux-gnu", "--target", "aarch64-unknown-linux-musl"];
    let both = "error: `aarch64-unknown-linux-gnu` and `aarch64-unknown-linux-musl` are both for arm64";
    check(&[&["image", "site.kdl", "-o", "out"], &twice[..]].concat(), both);
}

/// Folders that the proxy can't have for itself are told before anything is compiled.
#[test]
fn folders_of_others() {
    let folder = scratch("shared-folders");
    let check = |commands: &[&str], socket: &str, expected: &str| {
        let site = format!("admin \"unix:{socket}\"\nsite * {{\n    respond 200\n}}\n");
        std::fs::write(folder.join("site.kdl"), site).expect("written");
        for &what in commands {
            let output = command(&[what, "site.kdl", "-o", "out"]).current_dir(&folder).output().expect("kiln runs");
            assert_eq!(output.status.code(), Some(1), "{what} {socket}");
            assert!(stderr(&output).contains(expected), "{what} {socket}: {}", stderr(&output));
            assert!(!folder.join("out").exists(), "{what} {socket}: nothing is written");
        }
    };
    check(
        &["unit", "kubernetes", "image"],
        "/run/site.sock",
        "error: /run/site.sock needs a folder of its own, as in /run/proxy/site.sock: `/run` is used by other programs",
    );
    let in_the_place_of_the_binary = "error: /proxy can't be written to: `/proxy` is a file of the image";
    check(&["kubernetes", "image"], "/proxy/site.sock", in_the_place_of_the_binary);
}

/// The same for folders that are served: a volume would hide the image itself.
#[test]
fn folders_of_the_image() {
    let folder = scratch("folders-of-the-image");
    let check = |served: &str, why: &str| {
        std::fs::write(folder.join("site.kdl"), format!("site * {{\n    files \"{served}\"\n}}\n")).expect("written");
        for what in ["kubernetes", "image"] {
            let output = command(&[what, "site.kdl", "-o", "out"]).current_dir(&folder).output().expect("kiln runs");
            assert_eq!(output.status.code(), Some(1), "{what} {served}");
            let expected = format!("error: {served} can't be served: {why}. /srv/www could be");
            assert!(stderr(&output).contains(&expected), "{what} {served}: {}", stderr(&output));
            assert!(!folder.join("out").exists(), "{what} {served}: nothing is written");
        }
    };
    check("/", "a volume at `/` would hide `/proxy` of the image");
    check("/etc", "a volume at `/etc` would hide `/etc/passwd` of the image");
    check("/proxy", "`/proxy` is a file of the image");
}

/// An image without a base: each digest is right, and the binary runs in a root that has nothing else.
#[test]
fn an_image_runs_in_an_empty_root() {
    let folder = scratch("image");
    let here = address();
    let site = format!(
        "listen \"{here}\"\nlog access {{\n    to file \"/var/log/shop/access.log\"\n}}\nsite * {{\n    respond 200 \"from an image\"\n}}\n"
    );
    std::fs::write(folder.join("shop.kdl"), site).expect("written");
    let image_for = |output: &str, more: &[&str]| {
        let mut command =
            command(&["image", "shop.kdl", "--fast", "-o", output, "--tag", "registry.test:5000/shop:v1"]);
        command.args(more);
        // The fewest features, as TLS would be compiled once more.
        let output = command.env_remove("KILN_FEATURES").current_dir(&folder).output().expect("kiln runs");
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let image = |output: &str| image_for(output, &[]);
    let told = image("image.tar");
    image("again.tar");
    // The target of this machine, by its name, is no other one.
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let host = stdout(&rustc).lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned();
    image_for("named.tar", &["--target", &host]);
    let archive = std::fs::read(folder.join("image.tar")).expect("an image");
    assert!(archive == std::fs::read(folder.join("again.tar")).expect("an image"), "images are reproducible");
    assert!(archive == std::fs::read(folder.join("named.tar")).expect("an image"), "the target has its name or none");

    let files = unpacked(&archive);
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).expect("a digest");
        let content = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!((sha256(content).as_str(), Some(content.len() as u64)), (digest, descriptor["size"].as_u64()));
        content
    };
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).expect("JSON") };
    let index = json(&files["index.json"]);
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "v1");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = serde_json::json!({"architecture": architecture, "os": "linux"});
    assert_eq!(index["manifests"][0]["platform"], platform);
    let manifest = json(blob(&index["manifests"][0]));
    let config = json(blob(&manifest["config"]));
    assert_eq!((&config["architecture"], &config["os"]), (&platform["architecture"], &platform["os"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/proxy"]));
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.title"], "shop");
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 1);
    let mut layer = Vec::new();
    flate2::read::GzDecoder::new(blob(&layers[0]).as_slice()).read_to_end(&mut layer).expect("gzip");
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
    let for_docker = json(&files["manifest.json"]);
    assert!(files.contains_key(for_docker[0]["Layers"][0].as_str().expect("a path")));
    assert_eq!(for_docker[0]["RepoTags"][0], "registry.test:5000/shop:v1");

    read_by_skopeo(&folder.join("image.tar"), &told);

    let root = folder.join("root");
    std::fs::create_dir_all(&root).expect("made");
    let mut unpack = tar::Archive::new(&layer[..]);
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| stdout(&output).trim() == "0");
    unpack.set_preserve_permissions(true);
    unpack.set_preserve_ownerships(is_root);
    unpack.unpack(&root).expect("unpacked");
    let mut command = if is_root {
        let mut command = Command::new("chroot");
        command.arg("--userspec=65532:65532");
        command
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
        command
    };
    command.arg(&root).arg("/proxy");
    let mut probe = Command::new(command.get_program());
    let version = probe.args(command.get_args()).arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        // Without root, the system may not allow namespaces.
        assert!(!is_root, "the binary does not run in an empty root");
        eprintln!("SKIPPED: neither chroot nor unshare is allowed here, so nothing is seen of the image running");
        return;
    }
    let mut proxy = Proxy::spawn(command, HashMap::from([("listen".to_owned(), here.clone())]));
    let response = get(&here, "shop.test", "/");
    assert_eq!((response.status, response.text().as_str()), (200, "from an image"));
    proxy.signal("TERM");
    assert!(proxy.wait().success());
    let log =
        std::fs::read_to_string(root.join("var/log/shop/access.log")).expect("the log, in a folder of the user's");
    assert!(log.contains("200"), "{log}");
}

/// skopeo reads the archive in both of its forms, verifies each digest, and finds the one that `kiln image` has told.
fn read_by_skopeo(archive: &Path, told: &str) {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no skopeo, so nothing is seen of how others read the image");
        return;
    }
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").arg("--insecure-policy").args(arguments).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    for form in ["oci-archive", "docker-archive"] {
        let image = format!("{form}:{}", archive.display());
        let found: Value = serde_json::from_str(&skopeo(&["inspect", &image])).expect("JSON");
        assert_eq!(
            (&found["Os"], &found["Labels"]["org.opencontainers.image.title"]),
            (&"linux".into(), &"shop".into())
        );
        let copy = archive.with_file_name(form);
        skopeo(&["copy", &image, &format!("dir:{}", copy.display())]);
        let manifest = std::fs::read(copy.join("manifest.json")).expect("a manifest");
        let digest = format!("sha256:{}", sha256(&manifest));
        // Docker's form has no manifest of a registry: skopeo makes one.
        assert!(form != "oci-archive" || (told.contains(&digest) && found["Digest"] == *digest), "{digest}: {told}");
    }
}
