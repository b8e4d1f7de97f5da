//! Manifests of Kubernetes for the image of a site ([`write()`]): a base for Kustomize with a Deployment, a Service and a PodDisruptionBudget.

mod deployment;

use std::path::Path;

use serde_json::Value;

use super::Generated;
use super::folders::absolute;
use super::footprint::{Endpoint, Footprint};

/// The binary in an image.
const BINARY: &str = "/proxy";

/// What manifests name.
#[derive(Debug)]
pub struct ManifestNames<'a> {
    /// The name of all objects.
    pub name: &'a str,
    /// The image, with its tag or digest.
    pub image: &'a str,
    /// The site file, for comments.
    pub site: &'a str,
}

/// Returns the manifests, and what has to be made besides, as lines for people.
///
/// # Errors
/// A manifest can't be written for the site.
pub fn write(footprint: &Footprint<'_>, names: &ManifestNames<'_>) -> Result<(Vec<Generated>, Vec<String>), String> {
    if footprint.public().next().is_none() {
        return Err("the site has no port that others can reach: addresses by parameters need defaults".to_owned());
    }
    let volumes = volumes(footprint, names.name)?;
    let ports = ports(footprint);
    let mut files = vec![
        file(names, "deployment.yaml", &deployment::write(footprint, names, &ports, &volumes)?),
        file(names, "service.yaml", &service(names, &ports)),
        file(names, "poddisruptionbudget.yaml", &budget(names)),
    ];
    if let Some(state) = volumes.iter().find(|volume| volume.kind == VolumeKind::State) {
        files.push(file(names, "persistentvolumeclaim.yaml", &claim(&state.object(names.name))));
    }
    let resources: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
    files.push(file(names, "kustomization.yaml", &kustomization(footprint, names, &resources)));
    let required =
        footprint.required().map(|(variable, _)| format!("{variable}: give it a value in kustomization.yaml"));
    let notes = volumes.iter().filter_map(|volume| volume.note(names.name)).chain(required).collect();
    Ok((files, notes))
}

fn file(names: &ManifestNames<'_>, name: &str, text: &str) -> Generated {
    let header = format!("# Written by `kiln kubernetes` for {}.\n", names.site);
    Generated { name: name.to_owned(), text: header + text }
}

/// A port of the container.
struct Port<'a> {
    name: String,
    endpoint: &'a Endpoint,
    /// `TCP` or `UDP`.
    protocol: &'static str,
}

fn ports<'a>(footprint: &'a Footprint<'_>) -> Vec<Port<'a>> {
    let mut ports: Vec<Port<'a>> = Vec::new();
    for endpoint in footprint.reachable() {
        // One port may be listened on at several addresses.
        let is_new = |ports: &[Port<'_>], protocol: &str| {
            ports.iter().all(|port| (port.endpoint.port, port.protocol) != (endpoint.port, protocol))
        };
        if is_new(&ports, "TCP") {
            let name = match endpoint {
                Endpoint { admin: true, .. } => "admin",
                Endpoint { tls: true, .. } => "https",
                _ => "http",
            };
            let taken = ports.iter().any(|port| port.name == name);
            let name = if taken { format!("{name}-{}", endpoint.port) } else { name.to_owned() };
            ports.push(Port { name, endpoint, protocol: "TCP" });
        }
        if endpoint.http3 && is_new(&ports, "UDP") {
            let name = format!("http3-{}", endpoint.port);
            ports.push(Port { name, endpoint, protocol: "UDP" });
        }
    }
    ports
}

/// A folder that is mounted.
struct Volume {
    name: String,
    path: String,
    kind: VolumeKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum VolumeKind {
    /// What may be lost with the pod: caches, logs, sockets.
    Scratch,
    /// What must survive: certificates.
    State,
    /// Files that the site reads, by their names.
    Files(Vec<String>),
    /// A folder that the site serves.
    Content,
}

impl Volume {
    /// Returns the name of the object that has its content.
    fn object(&self, name: &str) -> String {
        format!("{name}-{}", self.name)
    }

    /// Returns what has to be made for it.
    fn note(&self, name: &str) -> Option<String> {
        let object = self.object(name);
        match &self.kind {
            VolumeKind::Files(files) => {
                let from: String = files.iter().map(|file| format!(" --from-file={file}=FILE")).collect();
                Some(format!("{}: kubectl create secret generic {object}{from}", self.path))
            }
            VolumeKind::Content => Some(format!(
                "{}: make a PersistentVolumeClaim {object} with these files, or write `files ... embed=#true`",
                self.path
            )),
            VolumeKind::Scratch | VolumeKind::State => None,
        }
    }
}

/// Returns the volumes of a site, each path once.
fn volumes(footprint: &Footprint<'_>, name: &str) -> Result<Vec<Volume>, String> {
    let state = footprint.state.as_deref().and_then(absolute);
    let kind_of = |path: &String| if Some(path) == state.as_ref() { VolumeKind::State } else { VolumeKind::Scratch };
    let mut all: Vec<(String, VolumeKind)> =
        footprint.writable()?.into_iter().map(|path| (path.clone(), kind_of(&path))).collect();
    let mut content: Vec<String> = footprint.folders.iter().filter_map(|folder| absolute(folder)).collect();
    content.retain(|folder| all.iter().all(|(path, _)| path != folder));
    content.sort();
    content.dedup();
    for file in footprint.files.iter().filter_map(|file| absolute(file)) {
        let (folder, leaf) = file.rsplit_once('/').unwrap_or(("", &file));
        if ["", "/etc", "/proc", "/dev", "/sys"].contains(&folder) {
            return Err(format!("{file} needs a folder of its own: a volume would hide `{folder}/`"));
        }
        // It is among the files that are served, whose volume a Secret would hide.
        if content.iter().any(|served| Path::new(&file).starts_with(served)) {
            continue;
        }
        match all.iter_mut().find(|(path, _)| path == folder) {
            Some((_, VolumeKind::Files(files))) => files.push(leaf.to_owned()),
            Some(_) => {
                return Err(format!(
                    "{file} needs another folder: the proxy writes to `{folder}`, whose volume has no such file"
                ));
            }
            None => all.push((folder.to_owned(), VolumeKind::Files(vec![leaf.to_owned()]))),
        }
    }
    all.extend(content.into_iter().map(|folder| (folder, VolumeKind::Content)));
    if let Some((path, _)) = all.iter().find(|(path, _)| Path::new(path).starts_with(BINARY)) {
        return Err(format!("{path} can't be mounted: `{BINARY}` is the proxy itself"));
    }
    let mut volumes: Vec<Volume> = Vec::new();
    for (path, kind) in all {
        let mut slug = slug(&path, 60usize.saturating_sub(name.len()));
        if volumes.iter().any(|volume| volume.name == slug) {
            slug = format!("{slug}-{}", volumes.len());
        }
        volumes.push(Volume { name: slug, path, kind });
    }
    Ok(volumes)
}

/// Returns a path as a label of DNS (RFC 1123): lower case, digits and hyphens.
fn slug(path: &str, most: usize) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' };
    let text: String = path.trim_start_matches('/').chars().map(plain).collect();
    let cut: String = text.chars().take(most.max(8)).collect();
    let trimmed = cut.trim_matches('-');
    if trimmed.is_empty() { "folder".to_owned() } else { trimmed.to_owned() }
}

fn service(names: &ManifestNames<'_>, ports: &[Port<'_>]) -> String {
    let entry = |Port { name, endpoint, protocol }: &Port<'_>| {
        format!("  - name: {name}\n    port: {}\n    targetPort: {name}\n    protocol: {protocol}\n", endpoint.port)
    };
    let public: String = ports.iter().filter(|port| !port.endpoint.admin).map(entry).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {0}\n  labels:\n    app.kubernetes.io/name: {0}\nspec:\n  \
        selector:\n    app.kubernetes.io/name: {0}\n  ports:\n{public}",
        names.name
    )
}

fn budget(names: &ManifestNames<'_>) -> String {
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata:\n  name: {0}\nspec:\n  maxUnavailable: 1\n  \
        selector:\n    matchLabels:\n      app.kubernetes.io/name: {0}\n",
        names.name
    )
}

fn claim(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: {name}\nspec:\n  accessModes:\n  - ReadWriteOnce\n  \
        resources:\n    requests:\n      storage: 1Gi\n"
    )
}

fn kustomization(footprint: &Footprint<'_>, names: &ManifestNames<'_>, resources: &[String]) -> String {
    let list: String = resources.iter().map(|name| format!("- {name}\n")).collect();
    let (image, version) = match names.image.split_once('@') {
        Some((image, digest)) => (image, format!("digest: {}", quoted(digest))),
        None => {
            let (image, tag) = match names.image.rsplit_once(':') {
                // A colon before a slash is that of a registry's port.
                Some((image, tag)) if !tag.contains('/') => (image, tag),
                _ => (names.image, "latest"),
            };
            (image, format!("newTag: {}", quoted(tag)))
        }
    };
    let mut out = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{list}images:\n- name: {}\n  newName: {}\n  {version}\n",
        names.name,
        quoted(image)
    );
    if !footprint.params().is_empty() {
        out.push_str(&format!("configMapGenerator:\n- name: {}\n  literals:\n", names.name));
        for param in footprint.params() {
            let variable = proxy_runtime::context::settings::variable(&param.name);
            out.push_str(&format!(
                "  - {}\n",
                quoted(&format!("{variable}={}", param.default.as_deref().unwrap_or_default()))
            ));
        }
    }
    out
}

/// Returns a string of YAML, which takes JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        let check = |path: &str, expected: &str| assert_eq!(slug(path, 20), expected);
        check("/var/cache/shop", "var-cache-shop");
        check("/A b/ü", "a-b");
        check("/a/very/long/path/to/files", "a-very-long-path-to");
        check("/ü", "folder");
    }

    #[test]
    fn http3_has_a_port_for_udp() {
        let text = "listen \":8443\" {\n tls\n http h1 h2 h3\n}\nsite a.test {\n tls internal\n respond 200\n}";
        let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
        let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
        let names = ManifestNames { name: "shop", image: "shop", site: "site.kdl" };
        let (files, _) = write(&Footprint::of(site), &names).expect("written");
        for (file, expected) in [
            ("deployment.yaml", "- name: http3-8443\n          containerPort: 8443\n          protocol: UDP\n"),
            ("service.yaml", "  - name: http3-8443\n    port: 8443\n    targetPort: http3-8443\n    protocol: UDP\n"),
        ] {
            let found = files.iter().find(|found| found.name == file).map(|found| found.text.as_str());
            assert!(found.is_some_and(|text| text.contains(expected)), "{file}: {found:?}");
        }
    }

    #[test]
    fn ports_by_protocol() {
        let check = |listeners: &str, expected: &[(&str, u16, &str)]| {
            let text = format!("{listeners}\nsite a.test {{\n tls internal\n respond 200\n}}");
            let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", &text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            let footprint = Footprint::of(site);
            let found = ports(&footprint);
            let found: Vec<_> =
                found.iter().map(|port| (port.name.as_str(), port.endpoint.port, port.protocol)).collect();
            assert_eq!(found, expected, "{text}");
        };
        let listen = |address: &str, http: &str| format!("listen \"{address}\" {{\n tls\n http {http}\n}}\n");
        let (tcp, udp) = (("https", 8443, "TCP"), ("http3-8443", 8443, "UDP"));
        check(&listen("10.0.0.1:8443", "h1"), &[tcp]);
        check(&(listen("10.0.0.1:8443", "h1 h2") + &listen("10.0.0.2:8443", "h1")), &[tcp]);
        check(&(listen("10.0.0.1:8443", "h1") + &listen("10.0.0.2:8443", "h1 h3")), &[tcp, udp]);
        check(&(listen("10.0.0.1:8443", "h1 h3") + &listen("10.0.0.2:8443", "h1 h3")), &[tcp, udp]);
        check(
            &(listen("10.0.0.1:8443", "h1 h3") + &listen("10.0.0.1:8444", "h1 h3")),
            &[tcp, udp, ("https-8444", 8444, "TCP"), ("http3-8444", 8444, "UDP")],
        );
    }

    #[test]
    fn volumes_by_path() {
        let check = |text: &str, expected: &[(&str, VolumeKind)]| {
            let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            let found = volumes(&Footprint::of(site), "shop").expect("volumes");
            let found: Vec<_> = found.iter().map(|volume| (volume.path.as_str(), volume.kind.clone())).collect();
            assert_eq!(found, expected, "{text}");
        };
        let files = |names: &[&str]| VolumeKind::Files(names.iter().map(|name| (*name).to_owned()).collect());
        let served = |more: &str| format!("site * {{\n {more}\n files \"/srv/www\"\n}}");
        let page = |path: &str| format!("error-page 404 (file)\"{path}\"");
        check(&served(""), &[("/srv/www", VolumeKind::Content)]);
        // What is among the served files comes with them.
        check(&served(&page("/srv/www/404.html")), &[("/srv/www", VolumeKind::Content)]);
        check(&served(&page("/srv/www/errors/404.html")), &[("/srv/www", VolumeKind::Content)]);
        check(
            &served(&page("/srv/www-errors/404.html")),
            &[("/srv/www-errors", files(&["404.html"])), ("/srv/www", VolumeKind::Content)],
        );
        check(
            &format!("log access {{\n to file \"/var/log/shop/a.log\"\n}}\n{}", served(&page("/etc/shop/404.html"))),
            &[
                ("/var/log/shop", VolumeKind::Scratch),
                ("/etc/shop", files(&["404.html"])),
                ("/srv/www", VolumeKind::Content),
            ],
        );
    }

    #[test]
    fn refused() {
        let check = |text: &str, expected: &str| {
            let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            let names = ManifestNames { name: "shop", image: "shop", site: "site.kdl" };
            assert_eq!(write(&Footprint::of(site), &names).err().as_deref(), Some(expected));
        };
        check(
            "site * {\n auth api-key (file)\"/etc/keys\"\n respond 200\n}",
            "/etc/keys needs a folder of its own: a volume would hide `/etc/`",
        );
        check(
            "log access {\n to file \"/data/shop/a.log\"\n}\nsite * {\n auth api-key (file)\"/data/shop/keys\"\n respond 200\n}",
            "/data/shop/keys needs another folder: the proxy writes to `/data/shop`, whose volume has no such file",
        );
        check(
            "admin \"unix:/run/shop/a.sock\"\nsite * {\n error-page 404 (file)\"/run/shop/404.html\"\n respond 200\n}",
            "/run/shop/404.html needs another folder: the proxy writes to `/run/shop`, whose volume has no such file",
        );
        let mounted = |path: &str| format!("{path} can't be mounted: `/proxy` is the proxy itself");
        check("admin \"unix:/proxy/a.sock\"\nsite * {\n respond 200\n}", &mounted("/proxy"));
        check("site * {\n files \"/proxy/www\"\n}", &mounted("/proxy/www"));
        check("site * {\n auth api-key (file)\"/proxy/keys\"\n respond 200\n}", &mounted("/proxy"));
        check(
            "param at type=addr\nlisten (param)at\nsite * {\n respond 200\n}",
            "the site has no port that others can reach: addresses by parameters need defaults",
        );
        check(
            "admin \"unix:/run/site.sock\"\nsite * {\n respond 200\n}",
            "/run/site.sock needs a folder of its own, as in /run/proxy/site.sock: `/run` is used by other programs",
        );
        check(
            "process {\n user \"0\"\n}\nsite * {\n respond 200\n}",
            "an image is never run as root: name another `user` in `process`",
        );
    }
}
