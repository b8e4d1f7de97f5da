//! The Deployment of a site: its probes, ports, volumes and rights.

use std::fmt::Write as _;

use super::volumes::{Volume, VolumeKind};
use super::{ManifestNames, Port, quoted};
use crate::deploy::footprint::{Footprint, HealthProbe};
use crate::deploy::image::BINARY;

/// How long a pod goes on to accept connections after it was chosen to end: others need that to notice.
const GRACE: u64 = 5;

/// What a process takes besides caches and the memory of its clients.
const OWN_MEMORY: u64 = 64 << 20;

/// Returns the manifest.
///
/// # Errors
/// The site wants to be root.
pub(super) fn write(
    footprint: &Footprint<'_>,
    names: &ManifestNames<'_>,
    ports: &[Port<'_>],
    volumes: &[Volume],
) -> Result<String, String> {
    let (user, group) = footprint.ids()?;
    let name = names.name;
    // Two pods can't order certificates into one folder.
    let (replicas, strategy) = if volumes.iter().any(|volume| volume.kind == VolumeKind::State) {
        (1, "type: Recreate".to_owned())
    } else {
        (2, "rollingUpdate:\n      maxUnavailable: 0\n      maxSurge: 1".to_owned())
    };
    let seconds = footprint.drain().as_secs().saturating_add(2 * GRACE);
    let mut out = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  labels:\n    app.kubernetes.io/name: {name}\nspec:\n  \
        replicas: {replicas}\n  strategy:\n    {strategy}\n  selector:\n    matchLabels:\n      app.kubernetes.io/name: {name}\n  \
        template:\n    metadata:\n      labels:\n        app.kubernetes.io/name: {name}\n    spec:\n"
    );
    let pod = pod(name, user, group, seconds, footprint.privileged_ports());
    indented(&mut out, 6, &pod);
    indented(&mut out, 6, &format!("containers:\n- name: proxy\n  image: {name}\n"));
    indented(&mut out, 8, &container(footprint, ports, volumes, name));
    if !volumes.is_empty() {
        indented(&mut out, 6, "volumes:\n");
        for volume in volumes {
            indented(&mut out, 6, &format!("- name: {}\n  {}\n", volume.name, content(volume, name)));
        }
    }
    Ok(out)
}

fn pod(name: &str, user: u32, group: u32, seconds: u64, privileged_ports: bool) -> String {
    let sysctls = if privileged_ports {
        "  sysctls:\n  - name: net.ipv4.ip_unprivileged_port_start\n    value: \"0\"\n"
    } else {
        ""
    };
    // Variables of services would be taken for parameters.
    format!(
        "automountServiceAccountToken: false\nenableServiceLinks: false\nterminationGracePeriodSeconds: {seconds}\nsecurityContext:\n  \
        runAsNonRoot: true\n  runAsUser: {user}\n  runAsGroup: {group}\n  fsGroup: {group}\n  seccompProfile:\n    \
        type: RuntimeDefault\n{sysctls}topologySpreadConstraints:\n- maxSkew: 1\n  topologyKey: kubernetes.io/hostname\n  \
        whenUnsatisfiable: ScheduleAnyway\n  labelSelector:\n    matchLabels:\n      app.kubernetes.io/name: {name}\n"
    )
}

fn container(footprint: &Footprint<'_>, ports: &[Port<'_>], volumes: &[Volume], name: &str) -> String {
    let mut out = "ports:\n".to_owned();
    for port in ports {
        // A write to a String cannot fail.
        let _ = writeln!(
            out,
            "- name: {}\n  containerPort: {}\n  protocol: {}",
            port.name, port.endpoint.port, port.protocol
        );
    }
    if !footprint.params().is_empty() {
        let _ = writeln!(out, "envFrom:\n- configMapRef:\n    name: {name}");
    }
    out.push_str(
        "securityContext:\n  allowPrivilegeEscalation: false\n  readOnlyRootFilesystem: true\n  capabilities:\n    drop:\n    - ALL\n",
    );
    for (kind, probe) in [("readinessProbe", footprint.ready()), ("livenessProbe", footprint.alive())] {
        if let Some(probe) = probe {
            let _ = write!(out, "{kind}:\n  periodSeconds: 5\n  timeoutSeconds: 3\n");
            indented(&mut out, 2, &probe_text(&probe));
        }
    }
    let _ = writeln!(out, "lifecycle:\n  preStop:\n    sleep:\n      seconds: {GRACE}");
    let memory = footprint.memory();
    let (request, limit) = (memory.saturating_add(OWN_MEMORY), memory.saturating_mul(5) / 4 + 2 * OWN_MEMORY);
    let _ = writeln!(
        out,
        "resources:\n  requests:\n    cpu: 100m\n    memory: {}Mi\n  limits:\n    memory: {}Mi",
        request.div_ceil(1 << 20),
        limit.div_ceil(1 << 20)
    );
    if !volumes.is_empty() {
        out.push_str("volumeMounts:\n");
    }
    for volume in volumes {
        let _ = writeln!(out, "- name: {}\n  mountPath: {}", volume.name, quoted(&volume.path));
        if matches!(volume.kind, VolumeKind::Files(_) | VolumeKind::Content) {
            out.push_str("  readOnly: true\n");
        }
    }
    out
}

fn probe_text(probe: &HealthProbe) -> String {
    match probe {
        HealthProbe::Http { port, tls, path, host } => {
            let scheme = if *tls { "HTTPS" } else { "HTTP" };
            let host = host
                .as_ref()
                .map_or(String::new(), |host| format!("  httpHeaders:\n  - name: Host\n    value: {}\n", quoted(host)));
            format!("httpGet:\n  port: {port}\n  scheme: {scheme}\n  path: {}\n{host}", quoted(path))
        }
        HealthProbe::Ctl => format!("exec:\n  command: [{}, \"ctl\", \"ready\"]\n", quoted(BINARY)),
        HealthProbe::Connect(port) => format!("tcpSocket:\n  port: {port}\n"),
    }
}

/// Returns where the content of a volume comes from.
fn content(volume: &Volume, name: &str) -> String {
    let object = volume.object(name);
    match volume.kind {
        VolumeKind::Scratch => "emptyDir: {}".to_owned(),
        VolumeKind::State => format!("persistentVolumeClaim:\n    claimName: {object}"),
        VolumeKind::Content => format!("persistentVolumeClaim:\n    claimName: {object}\n    readOnly: true"),
        VolumeKind::Files(_) => format!("secret:\n    secretName: {object}"),
    }
}

/// Adds lines, each after so many blanks.
fn indented(out: &mut String, blanks: usize, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "{:blanks$}{line}", "");
    }
}
