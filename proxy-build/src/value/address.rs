//! Leaf parsers of addresses, hosts and URLs.

use std::net::IpAddr;

use ipnet::IpNet;
use proxy_runtime::settings;

use super::{Parsed, problem, text};
use crate::ast::HostPattern;
use crate::syntax::Leaf;

/// A network, as in `10.0.0.0/8`, or an address alone. Bits behind the prefix are a mistake, not a wish.
pub fn network(leaf: &Leaf) -> Parsed<IpNet> {
    let found = text(leaf)?;
    if let Ok(address) = found.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = found.parse().map_err(|_| {
        problem("bad-network", format!("`{found}` is no address or network"))
            .help("write 10.0.0.0/8, 2001:db8::/32 or a single address")
    })?;
    if network.trunc() != network {
        return Err(problem("bad-network", format!("`{found}` has bits set behind its prefix")).help(format!(
            "write \"{}\" for the network, or \"{}\" for the address",
            network.trunc(),
            network.addr()
        )));
    }
    Ok(network)
}

/// An IP address.
pub fn ip(leaf: &Leaf) -> Parsed<IpAddr> {
    let found = text(leaf)?;
    found.parse().map_err(|_| problem("bad-address", format!("`{found}` is no IP address")))
}

/// An address to connect to: `host:port`, `[v6]:port`, `unix:/path`.
pub fn server_address(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if found.contains("://") {
        return Err(problem("bad-address", "a server is `host:port`, without a scheme")
            .help(format!("write \"{}\"", found.split("://").nth(1).unwrap_or_default())));
    }
    match settings::address(&found) {
        Ok(settings::Address::Tcp("", port)) => {
            Err(problem("bad-address", "a server's host is missing").help(format!("write \"127.0.0.1:{port}\"")))
        }
        Ok(_) => Ok(found),
        Err(reason) => Err(problem("bad-address", reason)),
    }
}

/// An address to listen on: also `:port`, but an address rather than a name.
pub fn listen_address(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match settings::address(&found) {
        Ok(settings::Address::Tcp(host, _))
            if !host.is_empty() && host.parse::<IpAddr>().is_err() && host != "localhost" =>
        {
            Err(problem("bad-address", format!("`{host}` is no address to listen on")).help(
                "write an IP address, `localhost`, or nothing before the colon for all of the machine's addresses",
            ))
        }
        Ok(_) => Ok(found),
        Err(reason) => Err(problem("bad-address", reason)),
    }
}

/// The name that a server is asked for and that its certificate is for.
pub fn server_name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match proxy_runtime::target::is_host(&found) && !found.is_empty() {
        true => Ok(found),
        false => Err(problem("bad-host", format!("`{found}` is no host"))),
    }
}

/// The URL of a server: `http://host[:port]`, `https://host[:port]` or `unix:/path`. Gives the address, and whether it is
/// encrypted.
pub fn server_url(leaf: &Leaf) -> Parsed<(String, bool)> {
    let found = text(leaf)?;
    if found.starts_with("unix:") {
        return server_address(leaf).map(|address| (address, false));
    }
    let (scheme, authority) = split_scheme(&found)?;
    if let Some((authority, path)) = authority.split_once('/') {
        let problem = problem("bad-url", "the URL of a server has no path: what is matched is what is forwarded");
        return Err(if path.is_empty() {
            problem.help(format!("write \"{scheme}{authority}\""))
        } else {
            problem.help(format!("write \"{scheme}{authority}\" and beside it: rewrite add-prefix=\"/{path}\""))
        });
    }
    authority_address(scheme, authority)
}

/// The URL of something that a server is asked for, with `http` or `https`: the address, whether it is encrypted, and path and query.
pub fn service_url(leaf: &Leaf) -> Parsed<(String, bool, String)> {
    let found = text(leaf)?;
    let (scheme, rest) = split_scheme(&found)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (address, tls) = authority_address(scheme, authority)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    to_ask_for(&found, scheme.len() + authority.len())?;
    Ok((address, tls, path))
}

/// Path and query of something that an upstream is asked for.
pub fn asked_path(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if !found.starts_with('/') {
        return Err(problem("bad-path", "beside `upstream` it is a path, which begins with `/`"));
    }
    to_ask_for(&found, 0)?;
    Ok(found)
}

/// A path that the proxy asks for itself: what may stand in a request line (RFC 9112 section 3.2). It is what begins at `from`.
pub(super) fn to_ask_for(found: &str, from: usize) -> Parsed<()> {
    let Some(at) = found[from..].find(|char: char| !char.is_ascii_graphic() || char == '#') else { return Ok(()) };
    let wrong = found[from + at..].chars().next().unwrap_or_default();
    Err(problem("bad-path", "a path to ask for has no blanks, control characters, `#` or letters beyond ASCII")
        .part(from + at, from + at + wrong.len_utf8()))
}

/// The scheme of a URL, with what separates it, and what is behind.
fn split_scheme(found: &str) -> Parsed<(&'static str, &str)> {
    for scheme in ["https://", "http://"] {
        if let Some(rest) = found.strip_prefix(scheme) {
            return Ok((scheme, rest));
        }
    }
    Err(match found.split_once("://") {
        Some((scheme, _)) => problem("bad-url", format!("`{scheme}` upstreams are not supported"))
            .help("http://, https:// and unix: are")
            .part(0, scheme.len()),
        None => problem("bad-url", format!("`{found}` is no URL")).help(format!("write \"http://{found}\"")),
    })
}

/// The address in a URL, and whether it is encrypted.
fn authority_address(scheme: &str, authority: &str) -> Parsed<(String, bool)> {
    let tls = scheme == "https://";
    let address = match settings::address(authority) {
        Ok(_) => authority.to_owned(),
        Err(_) if !authority.is_empty() && proxy_runtime::target::is_host(authority) => {
            format!("{authority}:{}", if tls { 443 } else { 80 })
        }
        Err(reason) => {
            return Err(problem("bad-url", reason).part(scheme.len(), scheme.len() + authority.len()));
        }
    };
    if address.starts_with(':') {
        return Err(problem("bad-url", "the URL's host is missing"));
    }
    Ok((address, tls))
}

/// A site's host: exact, `*.suffix` or `*`; IDNA names become what they are in requests (RFC 5890).
pub fn host(leaf: &Leaf) -> Parsed<HostPattern> {
    let found = text(leaf)?;
    if found == "*" {
        return Ok(HostPattern::Any);
    }
    if let Some((scheme, rest)) = found.split_once("://") {
        return Err(problem("bad-host", format!("a host has no scheme (`{scheme}://`)"))
            .help(format!("write {}", rest.trim_end_matches('/'))));
    }
    if let Some((host, path)) = found.split_once('/') {
        return Err(
            problem("bad-host", "a host has no path").help(format!("write {host}, and inside it: route \"/{path}\""))
        );
    }
    let (wildcard, name) = match found.strip_prefix("*.") {
        Some(suffix) => (true, suffix),
        None => (false, found.as_str()),
    };
    if name.contains('*') {
        return Err(
            problem("bad-host", "`*` stands for whole labels, at the beginning of a host").help("write *.example.com")
        );
    }
    if !name.starts_with('[') && name.contains(':') {
        let host = name.split(':').next().unwrap_or_default();
        return Err(problem("bad-host", "a host has no port: that belongs to `listen`")
            .help(format!("write {host}, and: listen \":{}\"", name.rsplit(':').next().unwrap_or_default())));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let ascii = if name.starts_with('[') {
        name.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(name).map_err(|_| problem("bad-host", format!("`{name}` is no host name")))?
    };
    let labels_fit = ascii.starts_with('[')
        || ascii.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    if !labels_fit || !proxy_runtime::target::is_host(&ascii) {
        let problem = problem("bad-host", format!("`{name}` is no host name"));
        return Err(if name.contains('_') { problem.help("a host has no underscore") } else { problem });
    }
    Ok(if wildcard { HostPattern::Wildcard(ascii) } else { HostPattern::Exact(ascii) })
}
