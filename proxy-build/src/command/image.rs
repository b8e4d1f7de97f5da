//! `kiln image`: the binary of a site as an image for containers, without Docker. The same site, Kiln and toolchain give the same bytes.

mod layer;
mod layout;
mod platform;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use proxy_build::Compiled;
use proxy_build::deploy::image::{AUTHORITIES, BINARY, mounted_besides, mounted_files, verify};
use proxy_build::deploy::{Endpoint, Footprint};
use proxy_runtime::net::certificate::Chain;
use serde_json::{Map, Value, json};

use self::layer::RootFiles;
use self::layout::Layout;
use self::platform::{Platform, platforms};
use super::artefact::recipe::Settings;
use super::{Outcome, artefact, compile_to_build, failed, service_name, spare};

/// Where systems have the certificates of authorities.
const OF_SYSTEMS: [&str; 4] =
    [AUTHORITIES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// Builds the binary for each target, and writes the image.
pub(crate) fn image(
    file: &Path,
    output: &Path,
    tag: Option<&str>,
    (fast, targets): (bool, &[String]),
    ca: Option<&Path>,
) -> Outcome {
    let tag = match tag {
        Some(tag) => tag.to_owned(),
        None => format!("{}:latest", service_name(file, None)?),
    };
    if title(&tag).is_empty() || tag.contains(|char: char| char.is_whitespace() || char.is_control() || char == '@') {
        return Err(format!("`{tag}` is no name of an image: NAME:TAG is expected"));
    }
    // Two that contradict each other are told before minutes of work.
    let platforms = platforms(targets)?;
    let Some(compiled) = compile_to_build(file) else { return Ok(ExitCode::FAILURE) };
    let Some(site) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    spare(compiled.dependencies().into_iter().chain(ca.map(Path::to_owned)), &[output.to_owned()])?;
    let footprint = Footprint::of(site);
    let (uid, gid) = footprint.ids()?;
    let writable = footprint.writable()?;
    verify(&footprint)?;
    let ca = if footprint.verifies { Some(authorities(ca)?) } else { None };
    let is_name = |account: &&str| account.parse::<u32>().is_err();
    let user = footprint.account().0.filter(is_name).unwrap_or("proxy");
    let names = (user, footprint.account().1.filter(is_name).unwrap_or(user));
    let layer = |(platform, target): (Platform, Option<String>)| -> Result<(Platform, Vec<u8>), String> {
        // An image has no libraries.
        let artefact = artefact::make(&compiled, file, Settings::new(fast, true, target))?;
        let binary =
            std::fs::read(&artefact.path).map_err(failed(format!("can't read {}", artefact.path.display())))?;
        let files = RootFiles { binary: &binary, ca: ca.as_deref(), writable: &writable, names, ids: (uid, gid) };
        Ok((platform, files.layer().map_err(failed("can't make the layer"))?))
    };
    let layers = platforms.into_iter().map(layer).collect::<Result<Vec<_>, _>>()?;
    let config = config(&footprint, &writable, (uid, gid), labels(title(&tag), &compiled));
    let layout = Layout::new(&layers, &config, &tag).map_err(failed("can't make the image"))?;
    std::fs::write(output, layout.archive().map_err(failed("can't make the image"))?)
        .map_err(failed(format!("can't write {}", output.display())))?;
    anstream::eprintln!("{}: {:.1} MB, {tag}, {}", output.display(), layout.size() as f64 / 1e6, layout.digest());
    mounts(&footprint);
    Ok(ExitCode::SUCCESS)
}

/// Returns the certificates of authorities.
fn authorities(given: Option<&Path>) -> Result<Vec<u8>, String> {
    let found = || OF_SYSTEMS.map(PathBuf::from).into_iter().find(|path| path.is_file());
    let path = given.map(Path::to_owned).or_else(found).ok_or(
        "the site verifies servers by the system's authorities, and this machine has no certificates of them: give --ca FILE",
    )?;
    let text = std::fs::read(&path).map_err(failed(format!("can't read {}", path.display())))?;
    let certificates = certificates(&String::from_utf8_lossy(&text));
    if !certificates.iter().any(|pem| Chain::read(pem.as_bytes()).is_ok()) {
        return Err(format!("{} has no certificates (PEM)", path.display()));
    }
    Ok(certificates.concat().into_bytes())
}

/// Returns the certificates of a file (RFC 7468), without all else that it contains: comments, and keys above all.
fn certificates(text: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), None::<String>);
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("-----BEGIN ") {
            open = (line == "-----BEGIN CERTIFICATE-----").then(String::new);
        }
        if let Some(block) = &mut open {
            block.push_str(line);
            block.push('\n');
        }
        if line.starts_with("-----END ") {
            found.extend(open.take().filter(|_| line == "-----END CERTIFICATE-----"));
        }
    }
    found
}

/// Returns the last part of the name of an image without its tag: it does not depend on the folder that the site is in.
fn title(tag: &str) -> &str {
    let last = tag.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// Returns the part of the image's configuration that containers are started with.
fn config(footprint: &Footprint<'_>, writable: &[String], (uid, gid): (u32, u32), labels: Value) -> Value {
    let set = |names: Vec<String>| -> Map<String, Value> { names.into_iter().map(|name| (name, json!({}))).collect() };
    let by = |protocol| move |endpoint: &Endpoint| format!("{}/{protocol}", endpoint.port);
    let by_udp = footprint.reachable().filter(|endpoint| endpoint.http3).map(by("udp"));
    let ports = footprint.reachable().map(by("tcp")).chain(by_udp).collect();
    let mut config = json!({
        "User": format!("{uid}:{gid}"),
        "ExposedPorts": set(ports),
        "Entrypoint": [BINARY],
        "WorkingDir": "/",
        "StopSignal": "SIGTERM",
        "Labels": labels,
    });
    if !writable.is_empty() {
        config["Volumes"] = set(writable.to_vec()).into();
    }
    // Not part of OCI's configuration, but read by Docker and Podman. From within, `ctl` reaches each address of `admin`.
    if footprint.is_checked_by_ctl() {
        const SECOND: u64 = 1_000_000_000;
        config["Healthcheck"] = json!({
            "Test": ["CMD", BINARY, "ctl", "ready"], "Interval": 10 * SECOND, "Timeout": 5 * SECOND, "StartPeriod": 5 * SECOND,
        });
    }
    config
}

/// Returns the labels of the image, by the names of OCI.
fn labels(title: &str, compiled: &Compiled) -> Value {
    let digest = compiled.digest();
    json!({
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.version": digest[..16],
        "io.github.kiln-proxy.site.sha256": digest,
        "io.github.kiln-proxy.kiln.version": env!("CARGO_PKG_VERSION"),
    })
}

/// Says what a container needs besides the image.
fn mounts(footprint: &Footprint<'_>) {
    for path in footprint.folders.iter().cloned().chain(mounted_files(footprint)) {
        anstream::eprintln!("not in the image, and to be mounted: {path}");
    }
    for other in mounted_besides(footprint) {
        anstream::eprintln!("not in the image, and to be mounted: {other}");
    }
    for (variable, param) in footprint.required() {
        anstream::eprintln!("to be set in its environment: {variable}, a value of the type {}", param.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles() {
        let check = |tag: &str, expected: &str| assert_eq!(title(tag), expected, "{tag}");
        check("shop:latest", "shop");
        check("shop", "shop");
        check("registry.test:5000/team/shop:v1", "shop");
        check("registry.test:5000/shop", "shop");
        check(":v1", "");
        check("registry.test/", "");
    }

    #[test]
    fn certificates_alone() {
        let check = |text: &str, expected: &[&str]| assert_eq!(certificates(text), expected, "{text}");
        let one = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        check(one, &[one]);
        check(&format!("# An authority\n{one}\n{}", one.replace('\n', "\r\n")), &[one, one]);
        let key = one.replace("CERTIFICATE", "PRIVATE KEY");
        check(&format!("{key}{one}{key}"), &[one]);
        check(&key, &[]);
        // A key within an open certificate.
        check(&format!("-----BEGIN CERTIFICATE-----\nMIIB\n{key}{one}"), &[one]);
        check("-----BEGIN CERTIFICATE-----\nMIIB\n", &[]);
        check("", &[]);
    }

    #[test]
    fn configuration() {
        let check = |text: &str, expected: Value| {
            let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text);
            let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
            let footprint = Footprint::of(site);
            let writable = footprint.writable().expect("folders of its own");
            let config = config(&footprint, &writable, (7, 8), json!({}));
            for (member, value) in expected.as_object().expect("an object") {
                assert_eq!(config[member], *value, "{member} of {text}");
            }
        };
        let site = "site * {\n respond 200\n}";
        let plain = json!({"User": "7:8", "ExposedPorts": {"8080/tcp": {}}, "Healthcheck": null, "Volumes": null});
        check(site, plain);
        let health = json!({
            "Test": ["CMD", "/proxy", "ctl", "ready"],
            "Interval": 10_000_000_000u64, "Timeout": 5_000_000_000u64, "StartPeriod": 5_000_000_000u64,
        });
        // What listens on the loopback address can't be published.
        let local = json!({"Healthcheck": health, "ExposedPorts": {"8080/tcp": {}}, "Volumes": null});
        check(&format!("admin \"127.0.0.1:9000\"\n{site}"), local);
        let socket = json!({"Healthcheck": health, "Volumes": {"/run/shop": {}}});
        check(&format!("admin \"unix:/run/shop/admin.sock\"\n{site}"), socket);
        check(&format!("log access {{\n to file \"/dev/stdout\"\n}}\n{site}"), json!({"Volumes": null}));
        let guarded = json!({"Healthcheck": null, "ExposedPorts": {"8080/tcp": {}, "9000/tcp": {}}});
        check(&format!("admin \"0.0.0.0:9000\" {{\n auth bearer (file)\"/k/key\"\n}}\n{site}"), guarded);
    }
}
