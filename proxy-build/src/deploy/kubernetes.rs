//! Manifests of Kubernetes for the image of a site ([`write()`]): a base for Kustomize with a Deployment, a Service and a PodDisruptionBudget.

mod deployment;
mod volumes;

use serde_json::Value;

use self::volumes::{VolumeKind, volumes};
use super::Generated;
use super::footprint::{Endpoint, Footprint};
use super::image;

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
    let besides = image::mounted_besides(footprint).map(|what| format!("to be mounted: {what}"));
    let notes = volumes.iter().filter_map(|volume| volume.note(names.name)).chain(besides).chain(required).collect();
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
    fn refused() {
        let check = |text: &str, expected: &str| {
            let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            let names = ManifestNames { name: "shop", image: "shop", site: "site.kdl" };
            assert_eq!(write(&Footprint::of(site), &names).err().as_deref(), Some(expected));
        };
        check(
            "site * {\n auth api-key (file)\"/etc/keys\"\n respond 200\n}",
            "/etc/keys needs another folder, as in /etc/proxy/keys: a volume at `/etc` would hide `/etc/passwd` of the image",
        );
        check(
            "log access {\n to file \"/data/shop/a.log\"\n}\nsite * {\n auth api-key (file)\"/data/shop/keys\"\n respond 200\n}",
            "/data/shop/keys needs another folder: the proxy writes to `/data/shop`, whose volume has no such file",
        );
        check(
            "admin \"unix:/run/shop/a.sock\"\nsite * {\n error-page 404 (file)\"/run/shop/404.html\"\n respond 200\n}",
            "/run/shop/404.html needs another folder: the proxy writes to `/run/shop`, whose volume has no such file",
        );
        check(
            "admin \"unix:/proxy/a.sock\"\nsite * {\n respond 200\n}",
            "/proxy can't be written to: `/proxy` is a file of the image. /var/lib/proxy could be",
        );
        let served = |folder: &str, why: &str| {
            let expected = format!("{folder} can't be served: {why}. /srv/www could be, or `files ... embed=#true`");
            check(&format!("site * {{\n files \"{folder}\"\n}}"), &expected);
        };
        served("/proxy/www", "`/proxy` is a file of the image");
        served("/", "a volume at `/` would hide `/proxy` of the image");
        served("/etc", "a volume at `/etc` would hide `/etc/passwd` of the image");
        served("/proc/self", "`/proc` is the kernel's");
        let verifies = |more: &str| format!("site a.test {{\n {more}\n proxy \"https://b.test\"\n}}");
        check(
            &format!("{}\nsite b.test {{\n files \"/etc/ssl\"\n}}", verifies("")),
            "/etc/ssl can't be served: a volume at `/etc/ssl` would hide `/etc/ssl/certs/ca-certificates.crt` of the image. /srv/www could be, \
             or `files ... embed=#true`",
        );
        check(
            &verifies("error-page 404 (file)\"/etc/ssl/certs/404.html\""),
            "/etc/ssl/certs/404.html needs another folder, as in /etc/proxy/404.html: a volume at `/etc/ssl/certs` would hide \
             `/etc/ssl/certs/ca-certificates.crt` of the image",
        );
        let keys = |file: &str| format!("site * {{\n auth api-key (file)\"{file}\"\n respond 200\n}}");
        check(
            &keys("/proxy/keys"),
            "/proxy/keys can't be mounted: `/proxy` is a file of the image. /etc/proxy could be",
        );
        check(
            &keys("/keys"),
            "/keys needs another folder, as in /etc/proxy/keys: a volume at `/` would hide `/proxy` of the image",
        );
        check(
            &keys("/etc/shop/the keys"),
            "/etc/shop/the keys needs another name: files in a Secret are named by letters, digits, `-`, `_` and `.`",
        );
        check(
            "site * {\n files \"/srv/a:b\"\n}",
            "/srv/a:b can't be mounted: Kubernetes takes no `:` in the path of a volume",
        );
        check(
            "log access {\n to file \"/srv/www/log/a.log\"\n}\nsite * {\n files \"/srv/www\"\n}",
            "the proxy can't write to /srv/www/log: it is in the volume of the served files, /srv/www, which is only read",
        );
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
