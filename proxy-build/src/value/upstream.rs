//! Leaf parsers of what stands in an `upstream` and in `retry`.

use std::net::{IpAddr, SocketAddr};

use proxy_runtime::site::DiscoverFrom;

use super::address::to_ask_for;
use super::{Advice, Parsed, integer, problem, server_address, status, text};
use crate::ast::{Probe, RetryOn};
use crate::syntax::{Leaf, Scalar, quoted};

/// What a health check asks.
pub fn health_check(leaf: &Leaf) -> Parsed<Probe> {
    let found = text(leaf)?;
    match found.as_str() {
        "tcp" => return Ok(Probe::Tcp),
        "grpc" => return Ok(Probe::Grpc),
        _ => {}
    }
    if !found.starts_with('/') {
        let problem = problem("bad-path", "the path of a health check begins with `/`");
        if matches!(found.as_str(), "GET" | "HEAD" | "http" | "https" | "HTTP" | "HTTPS") {
            return Err(problem.help("it is asked for with GET: health-check \"/healthz\""));
        }
        // Of a URL, the server is known.
        let path = match found.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/".to_owned(), |at| rest[at..].to_owned()),
            None => format!("/{found}"),
        };
        return Err(match to_ask_for(&path, 0) {
            Ok(()) => problem.write_text(&path),
            Err(_) => problem,
        });
    }
    to_ask_for(&found, 0)?;
    Ok(Probe::Path(found))
}

/// The name of a service of gRPC.
pub fn service_name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match found.len() {
        1..=120 if found.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(found),
        _ => Err(problem("bad-name", "the name of a service has 1 to 120 letters, digits, dots and the like")),
    }
}

/// A status, or a range of them as text.
pub fn statuses(leaf: &Leaf) -> Parsed<(u16, u16)> {
    let Scalar::Text(range) = &leaf.value else {
        return integer(100, 599)(leaf).map(|code| (code as u16, code as u16));
    };
    let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code) && text.len() == 3);
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    match (code(from), code(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        (Some(_), Some(_)) => Err(problem("bad-status", format!("`{range}` ends before it begins"))),
        _ => Err(problem("bad-status", format!("`{range}` is no status and no range of statuses"))
            .help("a status is written as 200, a range as \"200-299\"")),
    }
}

/// The statuses of gRPC (grpc/doc/statuscodes.md), from 0.
pub const GRPC_STATUSES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// `grpc-` and the name of a status of gRPC.
fn grpc_status(word: &str) -> Option<Parsed<RetryOn>> {
    let code =
        |name: &str| GRPC_STATUSES.iter().position(|known| *known == name).and_then(|code| u8::try_from(code).ok());
    let name = match word.strip_prefix("grpc-") {
        Some(name) => name,
        None => {
            // As Envoy writes them.
            code(word)?;
            let message = format!("`{word}` is a status of gRPC");
            return Some(Err(problem("unknown-value", message).write(format!("grpc-{word}"))));
        }
    };
    Some(match code(name) {
        Some(0) => Err(problem("bad-status", "`grpc-ok` is no failure: nothing is to be tried again")),
        Some(code) => Ok(RetryOn::Grpc(code)),
        None => Err(problem("unknown-value", format!("gRPC has no status `{name}`"))
            .help(format!("these are known: {}", GRPC_STATUSES[1..].join(" ")))),
    })
}

/// What a retry follows.
pub fn retry_on(leaf: &Leaf) -> Parsed<RetryOn> {
    if let Scalar::Text(word) = &leaf.value {
        match word.as_str() {
            "reset" => return Ok(RetryOn::Reset),
            "timeout" => return Ok(RetryOn::Timeout),
            "connect" => {
                return Err(problem("unknown-value", "a server that can't be connected to is always passed over")
                    .help("leave `connect` out"));
            }
            word => {
                if let Some(parsed) = grpc_status(word) {
                    return parsed;
                }
            }
        }
    }
    if matches!(leaf.value, Scalar::Text(_)) && leaf.ty.is_none() && !is_status_like(leaf) {
        return Err(problem("unknown-value", "`reset`, `timeout`, a status or a status of gRPC is expected here"));
    }
    match status(leaf)? {
        code @ ..400 => Err(problem("bad-status", format!("{code} is no failure: nothing is to be tried again"))),
        code => Ok(RetryOn::Status(code)),
    }
}

fn is_status_like(leaf: &Leaf) -> bool {
    matches!(&leaf.value, Scalar::Text(text) if text.starts_with(|char: char| char.is_ascii_digit()))
}

/// The name of a cookie: a token (RFC 6265 section 4.1.1).
pub fn cookie_name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    // A token is what a method is, too.
    match http::Method::from_bytes(found.as_bytes()) {
        Ok(_) => Ok(found),
        Err(_) => Err(problem("bad-cookie", format!("`{found}` can't be the name of a cookie"))
            .help("letters, digits and ! # $ % & ' * + - . ^ _ ` | ~ are allowed")),
    }
}

/// The value of a cookie's attribute (RFC 6265 section 4.1.1).
pub fn cookie_attribute(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match found.find(|char: char| !char.is_ascii_graphic() || matches!(char, ';' | ',')) {
        None if !found.is_empty() => Ok(found),
        _ => Err(problem("bad-cookie", "an attribute of a cookie has no blanks, `;` or `,`, and is not empty")),
    }
}

/// Where servers may be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoverKind {
    /// Addresses of a name.
    Dns,
    /// Servers of a service.
    Srv,
    /// A file.
    File,
}

/// Their names.
pub const DISCOVER_KINDS: &[(&str, DiscoverKind)] =
    &[("dns", DiscoverKind::Dns), ("srv", DiscoverKind::Srv), ("file", DiscoverKind::File)];

/// What is looked for there.
pub fn discover_target(kind: DiscoverKind) -> impl Fn(&Leaf) -> Parsed<DiscoverFrom> {
    move |leaf| {
        let found = text(leaf)?;
        match kind {
            DiscoverKind::File if found.is_empty() => Err(problem("bad-path", "the path of a file is not empty")),
            DiscoverKind::File => Ok(DiscoverFrom::File(found.into())),
            DiscoverKind::Srv => {
                let labels: Vec<&str> = found.trim_end_matches('.').split('.').collect();
                let is_service =
                    labels.len() > 2 && labels[..2].iter().all(|label| label.len() > 1 && label.starts_with('_'));
                if is_service && labels.iter().all(|label| is_label(label)) {
                    return Ok(DiscoverFrom::Srv(found.into()));
                }
                Err(problem("bad-address", format!("`{found}` is no name of a service"))
                    .help("a service is named as in \"_http._tcp.example.com\""))
            }
            DiscoverKind::Dns => {
                let found = server_address(leaf)?;
                let Some((host, port)) =
                    found.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)))
                else {
                    return Err(problem("bad-address", "a name and a port are looked for here")
                        .help("a name with a port is written as in \"app.internal:8080\""));
                };
                if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
                    return Err(problem("bad-address", format!("`{host}` is an address already"))
                        .help(Advice::Node(format!("server {}", quoted(&found)))));
                }
                Ok(DiscoverFrom::Dns(host.to_owned().into(), port))
            }
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A name server: an IP address, perhaps with a port.
pub fn name_server(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if found.parse::<IpAddr>().is_ok() || found.parse::<SocketAddr>().is_ok() {
        return Ok(found);
    }
    Err(problem("bad-address", format!("`{found}` is no IP address"))
        .help("a name server is written as \"10.0.0.2\", or with a port as \"10.0.0.2:5353\""))
}
