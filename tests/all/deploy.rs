//! Files for those who run a proxy: units of systemd, manifests of Kubernetes. Each is given to the program that reads it, where that is
//! installed.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_tests::kiln::{kiln, scratch, stderr, stdout};
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
    let mut written_files = Vec::new();
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
            let built = out.join("built.yaml");
            std::fs::write(&built, stdout(&output)).expect("written");
            written_files.push(built);
        } else {
            eprintln!("SKIPPED: there is no kubectl, so nothing is seen of how Kustomize reads the base");
        }
        // There is no schema of what Kustomize reads.
        let files = std::fs::read_dir(&out).expect("a folder").flatten().map(|entry| entry.path());
        written_files
            .extend(files.filter(|file| !file.ends_with("kustomization.yaml") && !file.ends_with("built.yaml")));
    }
    valid_by_schema(&written_files);
}

/// Files have what the schemas of Kubernetes' API have, and nothing else: in the oldest version that has all of it, and in the newest that is known.
fn valid_by_schema(files: &[PathBuf]) {
    assert!(files.len() >= 3 * SITES.len(), "{files:?}");
    if !is_there("kubernetes-validate") {
        eprintln!("SKIPPED: there is no kubernetes-validate, so nothing is seen of how Kubernetes reads the manifests");
        return;
    }
    for version in [&["--kubernetes-version", "1.30"][..], &[]] {
        let mut command = Command::new("kubernetes-validate");
        let output = command.arg("--strict").args(version).args(files).output().expect("it runs");
        let told = stdout(&output);
        assert!(output.status.success(), "{told}{}", stderr(&output));
        // For a kind that it does not know it warns alone.
        assert!(told.lines().count() >= files.len() && !told.contains("WARN"), "{told}");
    }
}

/// What a site with parameters, files and folders needs.
fn shop(pod: &Yaml, manifests: &HashMap<String, Yaml>, said: &str) {
    let mounts = pod["containers"][0]["volumeMounts"].as_vec().expect("mounts");
    let paths: Vec<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
    let expected =
        ["/data/pages 100%", "/etc/shop", "/srv/shop", "/var/cache/shop", "/var/lib/shop/acme", "/var/log/shop"];
    assert_eq!(paths, expected);
    let names: Vec<_> = mounts.iter().map(|mount| &mount["name"]).collect();
    let volumes = pod["volumes"].as_vec().expect("volumes");
    assert_eq!(volumes.iter().map(|volume| &volume["name"]).collect::<Vec<_>>(), names);
    // Certificates survive, and one pod alone orders them.
    let claim = manifests["PersistentVolumeClaim"]["metadata"]["name"].as_str();
    assert_eq!(volumes[4]["persistentVolumeClaim"]["claimName"].as_str(), claim);
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
