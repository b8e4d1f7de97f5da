//! Files for those who run a proxy: images for containers, units of systemd, manifests of Kubernetes. Each is given to the program that
//! reads it, where that is installed.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::client::get;
use kiln_tests::kiln::{command, kiln, scratch, stderr, stdout};
use kiln_tests::proxy::{Proxy, address};
use proxy_build::source::sha256;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// Sites with all that decides what is written about them.
const SITES: [(&str, &str); 4] = [
    ("small", "site * {\n    respond 200\n}\n"),
    (
        "shop",
        r#"
param backend type=addr
param spare type=duration default="20s"
admin "127.0.0.1:9000" {
    metrics
}
acme email="a@a.test" state="/var/lib/shop/acme"
cache-store main memory="256MiB" {
    disk "/var/cache/shop" size="1GiB"
    disk "/data/pages 100%" size="1GiB"
}
log access {
    to file "/var/log/shop/access.log"
}
process {
    capabilities none
    drain timeout=(param)spare
}
upstream app {
    server (param)backend
}
lint allow cache-behind-auth
site shop.example.com {
    tls acme
    auth api-key (file)"/etc/shop/keys"
    route "/files/*" {
        files "/srv/shop"
    }
    route "/*" {
        cache main
        proxy app
    }
}
"#,
    ),
    (
        "operated",
        "admin \"0.0.0.0:9000\" {\n    allow \"10.0.0.0/8\"\n}\nlisten \":80\"\nsite * {\n    respond 200\n}\n",
    ),
    (
        "local",
        r#"
listen ":8080"
listen "unix:/run/local/public.sock" mode="0660" owner="www-data:adm"
process {
    user www-data
    group adm
}
upstream app {
    server "unix:/tmp/app.sock"
    health-check "/healthz"
}
site a.test {
    route "/readyz" {
        health app
    }
    route "/*" {
        proxy app
    }
}
"#,
    ),
];

/// Writes a site, and runs a command on it that writes files to a folder beside it.
fn written(name: &str, text: &str, what: &str, more: &[&str]) -> (PathBuf, String) {
    let folder = scratch(&format!("{what}-{name}"));
    let site = folder.join(format!("{name}.kdl"));
    std::fs::write(&site, text).expect("written");
    let out = folder.join("out");
    let output = kiln(&[&[what, site.to_str().expect("UTF-8"), "-o", out.to_str().expect("UTF-8")], more].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    (out, stderr(&output))
}

/// Returns whether a program is installed.
fn is_there(program: &str) -> bool {
    Command::new(program).arg("--help").output().is_ok()
}

/// systemd takes the units, and rates them as well hardened.
#[test]
fn units_of_systemd() {
    for (name, text) in SITES {
        let (out, said) = written(name, text, "unit", &["--binary", "/bin/true"]);
        let unit = out.join(format!("{name}.service"));
        let needs = said.lines().find(|line| line.contains("has to set"));
        let expected = "/etc/default/shop has to set BACKEND, a value of the type addr";
        assert_eq!(needs, (name == "shop").then_some(expected), "{said}");
        if !is_there("systemd-analyze") {
            eprintln!("SKIPPED: there is no systemd-analyze, so nothing is seen of how systemd reads the units");
            continue;
        }
        let systemd = |arguments: &[&str]| {
            let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().expect("it runs");
            assert!(output.status.success(), "{name}: {}{}", stdout(&output), stderr(&output));
            stderr(&output)
        };
        assert_eq!(systemd(&["verify", "--man=no"]), "", "{name}");
        // The exposure level is at most 2.0 of 10.
        systemd(&["security", "--offline=true", "--no-pager", "--threshold=20"]);
    }
}

/// systemd's own programs take the users and the folders.
#[test]
fn users_and_folders_of_a_unit() {
    let (out, _) = written("shop", SITES[1].1, "unit", &[]);
    for (program, file) in [("systemd-sysusers", "shop.sysusers.conf"), ("systemd-tmpfiles", "shop.tmpfiles.conf")] {
        let text = std::fs::read_to_string(out.join(file)).expect("a file");
        if !is_there(program) {
            eprintln!("SKIPPED: there is no {program}, so nothing is seen of how it reads {file}: {text}");
            continue;
        }
        let root = scratch(&format!("{program}-root"));
        std::fs::create_dir_all(root.join("etc")).expect("made");
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nshop:x:990:990::/:/bin/sh\n")
            .expect("written");
        std::fs::write(root.join("etc/group"), "root:x:0:\nshop:x:990:\n").expect("written");
        // With another root, paths of files would be in that.
        let output = Command::new(program)
            .arg(format!("--root={}", root.display()))
            .args(if program == "systemd-tmpfiles" { &["--create"][..] } else { &[] })
            .arg("-")
            .stdin(std::fs::File::open(out.join(file)).expect("a file"))
            .output()
            .expect("it runs");
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| stdout(&output).trim() == "0");
        if !is_root {
            eprintln!("SKIPPED: only root may make users and folders");
            continue;
        }
        assert!(output.status.success(), "{program}: {}", stderr(&output));
        if program == "systemd-tmpfiles" {
            let made = std::fs::metadata(root.join("data/pages 100%")).expect("a folder");
            assert_eq!(made.permissions().mode() & 0o7777, 0o750);
        }
    }
}

/// Returns the documents of a manifest, by their kinds.
fn manifests(folder: &Path) -> HashMap<String, Yaml> {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let text = std::fs::read_to_string(entry.path()).expect("text");
        for document in YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")) {
            let kind = document["kind"].as_str().unwrap_or_else(|| panic!("no kind: {text}")).to_owned();
            assert!(all.insert(kind, document).is_none(), "twice: {text}");
        }
    }
    all
}

#[test]
fn manifests_of_kubernetes() {
    for (name, text) in SITES {
        let (out, said) = written(name, text, "kubernetes", &["--image", "registry.test:5000/web/shop:v1"]);
        let manifests = manifests(&out);
        let pod = &manifests["Deployment"]["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
        assert_eq!(pod["enableServiceLinks"].as_bool(), Some(false));
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true));
        assert_eq!(container["securityContext"]["capabilities"]["drop"][0].as_str(), Some("ALL"));
        assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64(), Some(5));
        let label = manifests["Deployment"]["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"].as_str();
        assert_eq!(label, Some(name));
        assert_eq!(manifests["Service"]["spec"]["selector"]["app.kubernetes.io/name"].as_str(), label);
        let of_budget = &manifests["PodDisruptionBudget"]["spec"];
        assert_eq!(of_budget["selector"]["matchLabels"]["app.kubernetes.io/name"].as_str(), label);
        let image = &manifests["Kustomization"]["images"][0];
        assert_eq!(image["newName"].as_str(), Some("registry.test:5000/web/shop"));
        assert_eq!((image["name"].as_str(), image["newTag"].as_str()), (Some(name), Some("v1")));
        let probe = |kind: &str| &container[kind];
        match name {
            "shop" => {
                shop(pod, &manifests, &said);
                assert_eq!(probe("readinessProbe")["exec"]["command"][1].as_str(), Some("ctl"));
                assert_eq!(probe("livenessProbe")["tcpSocket"]["port"].as_i64(), Some(443));
            }
            "operated" => {
                for (kind, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
                    let get = &probe(kind)["httpGet"];
                    assert_eq!((get["port"].as_i64(), get["path"].as_str()), (Some(9000), Some(path)));
                }
                let sysctl = &pod["securityContext"]["sysctls"][0];
                assert_eq!(sysctl["name"].as_str(), Some("net.ipv4.ip_unprivileged_port_start"));
                let ports = manifests["Service"]["spec"]["ports"].as_vec().expect("ports");
                assert_eq!(ports.len(), 1, "operators don't come by the service");
            }
            "local" => {
                let get = &probe("readinessProbe")["httpGet"];
                assert_eq!((get["port"].as_i64(), get["path"].as_str()), (Some(8080), Some("/readyz")));
                assert_eq!(get["httpHeaders"][0]["value"].as_str(), Some("a.test"));
            }
            _ => assert_eq!(probe("readinessProbe")["tcpSocket"]["port"].as_i64(), Some(8080)),
        }
        if is_there("kubectl") {
            let output = Command::new("kubectl").arg("kustomize").arg(&out).output().expect("it runs");
            assert!(output.status.success(), "{name}: {}", stderr(&output));
            let built = YamlLoader::load_from_str(&stdout(&output)).expect("YAML");
            let deployment =
                built.iter().find(|document| document["kind"].as_str() == Some("Deployment")).expect("one");
            let container = &deployment["spec"]["template"]["spec"]["containers"][0];
            assert_eq!(container["image"].as_str(), Some("registry.test:5000/web/shop:v1"), "{name}");
        } else {
            eprintln!("SKIPPED: there is no kubectl, so nothing is seen of how Kustomize reads the base");
        }
    }
}

/// What a site with parameters, files and folders needs.
fn shop(pod: &Yaml, manifests: &HashMap<String, Yaml>, said: &str) {
    let mounts = pod["containers"][0]["volumeMounts"].as_vec().expect("mounts");
    let paths: Vec<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
    let expected =
        ["/data/pages 100%", "/var/cache/shop", "/var/lib/shop/acme", "/var/log/shop", "/etc/shop", "/srv/shop"];
    assert_eq!(paths, expected);
    let names: Vec<_> = mounts.iter().map(|mount| &mount["name"]).collect();
    let volumes = pod["volumes"].as_vec().expect("volumes");
    assert_eq!(volumes.iter().map(|volume| &volume["name"]).collect::<Vec<_>>(), names);
    // Certificates survive, and one pod alone orders them.
    let claim = manifests["PersistentVolumeClaim"]["metadata"]["name"].as_str();
    assert_eq!(volumes[2]["persistentVolumeClaim"]["claimName"].as_str(), claim);
    assert_eq!(manifests["Deployment"]["spec"]["replicas"].as_i64(), Some(1));
    let literals = manifests["Kustomization"]["configMapGenerator"][0]["literals"].as_vec().expect("a list");
    let literals: Vec<_> = literals.iter().filter_map(Yaml::as_str).collect();
    assert_eq!(literals, ["BACKEND=", "SPARE=20s"]);
    assert_eq!(pod["containers"][0]["envFrom"][0]["configMapRef"]["name"].as_str(), Some("shop"));
    for part in [
        "/etc/shop: kubectl create secret generic shop-etc-shop --from-file=keys=FILE\n",
        "/srv/shop: make a PersistentVolumeClaim shop-srv-shop",
        "BACKEND: give it a value in kustomization.yaml\n",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The caches fit into the memory that the pod asks for.
    assert_eq!(pod["containers"][0]["resources"]["requests"]["memory"].as_str(), Some("330Mi"));
    assert_eq!(pod["terminationGracePeriodSeconds"].as_i64(), Some(30));
}

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
    check(&["image"], "/proxy/site.sock", "error: /proxy can't be written to: `/proxy` is a file of the image");
    check(&["kubernetes"], "/proxy/site.sock", "error: /proxy can't be mounted: `/proxy` is the proxy itself");
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
    };
    let image = |output: &str| image_for(output, &[]);
    image("image.tar");
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
