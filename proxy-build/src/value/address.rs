//! Leaf parsers of addresses, hosts and URLs.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use proxy_runtime::context::{addresses, settings};

use super::{Advice, Parsed, Problem, meant, problem, text};
use crate::pattern::HostPattern;
use crate::syntax::{Leaf, quoted};

/// Parses a network, such as `10.0.0.0/8`, or a single address. Bits after the prefix are an error.
pub fn network(leaf: &Leaf) -> Parsed<IpNet> {
    let found = text(leaf)?;
    if let Ok(address) = found.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = found.parse().map_err(|_| {
        let problem = problem("bad-network", format!("`{found}` is not an IP address or network"));
        if let Some(networks) = meant::networks(&found) {
            return problem.write(networks);
        }
        problem.help("a network is written as \"10.0.0.0/8\" or \"2001:db8::/32\", an address as \"192.0.2.1\"")
    })?;
    if network.trunc() != network {
        let problem = problem("bad-network", format!("`{found}` has bits set after its prefix"));
        return Err(problem.write_text(&network.trunc().to_string()).write_text(&network.addr().to_string()));
    }
    Ok(addresses::canonical(network))
}

/// Parses an IP address.
pub fn ip(leaf: &Leaf) -> Parsed<IpAddr> {
    let found = text(leaf)?;
    found.parse().map_err(|_| {
        let problem = problem("bad-address", format!("`{found}` is not an IP address"));
        match found.parse::<IpNet>().ok().and_then(|network| network.hosts().next()) {
            Some(first) => problem.write_text(&first.to_string()),
            None => problem,
        }
    })
}

/// Parses an address to connect to: `host:port`, `[v6]:port`, `unix:/path`.
pub fn server_address(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if found.contains("://") {
        let problem = problem("bad-address", "a server is `host:port`, without a scheme");
        return Err(match meant_url(&found).and_then(|(_, tls, authority, _)| with_port(&authority, tls)) {
            Some(address) => problem.write_text(&address),
            None => problem.help("a server is written as \"10.0.0.1:8080\""),
        });
    }
    // nginx has a colon after the path of a socket, possibly followed by a URL path.
    if let Some((socket, _)) = found.strip_prefix("unix:").and_then(|path| path.split_once(':')) {
        return Err(
            problem("bad-address", "the path of a socket ends without a colon").write_text(&format!("unix:{socket}"))
        );
    }
    match settings::address(&found) {
        Ok(settings::Address::Tcp("", port)) => {
            Err(problem("bad-address", "a server's host is missing").write_text(&format!("10.0.0.1:{port}")))
        }
        Ok(_) => Ok(found),
        Err(reason) if found.starts_with('/') => Err(address_problem(reason, &found, Some(format!("unix:{found}")))),
        Err(reason) => {
            let meant = meant::bracketed(&found).or_else(|| with_port(unquoted(&found), false));
            Err(address_problem(reason, &found, meant))
        }
    }
}

/// Parses an address to listen on: also `:port`, and IP addresses rather than names.
pub fn listen_address(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match settings::address(&found) {
        Ok(settings::Address::Tcp(host, port))
            if !host.is_empty() && host.parse::<IpAddr>().is_err() && host != "localhost" =>
        {
            Err(problem("bad-address", format!("`{host}` is not an address to listen on"))
                .write_text(&format!(":{port}"))
                .help("this means all of the machine's addresses; for one of them, write its IP address"))
        }
        Ok(_) => Ok(found),
        Err(reason) => {
            let inner = unquoted(&found);
            // `http://*:80` and `*:80` mean all addresses.
            let bare = inner.split_once("://").map_or(inner, |(_, rest)| rest).trim_end_matches('/');
            let bare = bare.strip_prefix('*').unwrap_or(bare);
            let meant = match bare {
                _ if bare.parse::<u16>().is_ok() => format!(":{bare}"),
                _ if bare.parse::<std::net::Ipv4Addr>().is_ok() => format!("{bare}:8080"),
                _ => meant::bracketed(bare).unwrap_or_else(|| bare.to_owned()),
            };
            Err(address_problem(reason, &found, Some(meant)))
        }
    }
}

/// Returns the problem of an address, with the address that was meant, if it can be guessed.
fn address_problem(reason: &str, found: &str, meant: Option<String>) -> Problem {
    let problem = problem("bad-address", reason);
    let fits = |text: &String| text != found && settings::address(text).is_ok();
    match meant.filter(fits) {
        Some(meant) => problem.write_text(&meant),
        None => problem,
    }
}

/// Removes typographic quotes, which editors substitute for plain ones, and surrounding blanks.
fn unquoted(found: &str) -> &str {
    found.trim_matches(|char: char| {
        matches!(char, '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '\'' | '`' | '\u{200b}'..='\u{200d}' | '\u{feff}')
            || char.is_whitespace()
    })
}

/// Returns an authority with a port: its own, or the scheme's default.
fn with_port(authority: &str, tls: bool) -> Option<String> {
    if settings::address(authority).is_ok() {
        return Some(authority.to_owned());
    }
    let host = authority.trim_end_matches(':');
    (!host.is_empty() && proxy_runtime::protocol::target::is_host(host))
        .then(|| format!("{host}:{}", if tls { 443 } else { 80 }))
}

/// Returns the parts of a URL that was most likely meant: the scheme, whether it uses TLS, the authority and the path. Typographic
/// quotes, misspellings of the scheme, user names and the part from `?` on are removed.
fn meant_url(found: &str) -> Option<(&'static str, bool, String, String)> {
    let found = unquoted(found);
    let lower = found.to_ascii_lowercase();
    let known = [
        ("https", true),
        ("http", false),
        ("h2c", false),
        ("wss", true),
        ("ws", false),
        ("grpcs", true),
        ("grpc", false),
    ];
    let scheme = known.iter().find_map(|&(scheme, tls)| {
        let rest = lower.strip_prefix(scheme)?.strip_prefix(':')?;
        let slashes = rest.len() - rest.trim_start_matches('/').len();
        (slashes > 0).then_some((scheme.len() + 1 + slashes, tls))
    });
    let (start, tls) = match scheme {
        Some(found) => found,
        None if lower.contains("://") => return None,
        None => (0, false),
    };
    let rest = &found[start..];
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let written = if tls { "https://" } else { "http://" };
    let fits = with_port(authority, tls).is_some_and(|address| !address.starts_with(':'));
    fits.then(|| (written, tls, authority.trim_end_matches(':').to_owned(), path.to_owned()))
}

/// Parses the server name for the TLS handshake and the certificate.
pub fn server_name(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    match proxy_runtime::protocol::target::is_host(&found) && !found.is_empty() {
        true => Ok(found),
        false => Err(problem("bad-host", format!("`{found}` is not a host"))),
    }
}

/// Parses the URL of a server: `http://host[:port]`, `https://host[:port]` or `unix:/path`. Returns the address, and
/// whether it uses TLS.
pub fn server_url(leaf: &Leaf) -> Parsed<(String, bool)> {
    let found = text(leaf)?;
    if found.starts_with("unix:") {
        return server_address(leaf).map(|address| (address, false));
    }
    // The syntax of nginx, Docker and curl for sockets: `http://unix:/run/app.sock:/`, `http+unix:///run/app.sock`.
    let socket = ["http://unix:", "http+unix://"].iter().find_map(|start| found.strip_prefix(start));
    if let Some(socket) = socket.and_then(|path| path.split(':').next()).filter(|path| path.starts_with('/')) {
        return Err(problem("bad-url", "a socket has only its own scheme").write_text(&format!("unix:{socket}")));
    }
    let (scheme, authority) = split_scheme(&found)?;
    if authority.contains(['/', '?', '#']) {
        let message = "the URL of a server has no path: the path of the request is forwarded";
        return Err(server_problem(problem("bad-url", message), &found));
    }
    if authority.contains('@') {
        let message = "the URL of a server has no name and password: they would be in the binary, and are not sent";
        return Err(server_problem(problem("bad-url", message), &found)
            .help("if a server needs them, set `Authorization` in `request-headers`, with a value from a (param)"));
    }
    authority_address(scheme, authority)
}

/// Proposes the URL that was meant, and a `rewrite` for its path.
fn server_problem(problem: Problem, found: &str) -> Problem {
    let Some((scheme, _, authority, path)) = meant_url(found) else { return problem };
    let url = quoted(&format!("{scheme}{authority}"));
    match path.is_empty() || path.contains('$') {
        true => problem.write(url),
        false => problem.help(Advice::WriteWith(url, format!("rewrite add-prefix={}", quoted(&path)))),
    }
}

/// Parses the URL of a service, with `http` or `https`: returns the address, whether it uses TLS, and path and query.
pub fn service_url(leaf: &Leaf) -> Parsed<(String, bool, String)> {
    let found = text(leaf)?;
    let (scheme, rest) = split_scheme(&found)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (address, tls) = authority_address(scheme, authority)?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    to_ask_for(&found, scheme.len() + authority.len())?;
    Ok((address, tls, path))
}

/// Parses path and query of a request to an upstream.
pub fn asked_path(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if !found.starts_with('/') {
        return Err(problem("bad-path", "beside `upstream` it is a path, which begins with `/`"));
    }
    to_ask_for(&found, 0)?;
    Ok(found)
}

/// Checks a request target of the proxy's own, which begins at `from`: only characters of a request line (RFC 9112 section
/// 3.2).
pub(crate) fn to_ask_for(found: &str, from: usize) -> Parsed<()> {
    let Some(at) = found[from..].find(|char: char| !char.is_ascii_graphic() || char == '#') else { return Ok(()) };
    let wrong = found[from + at..].chars().next().unwrap_or_default();
    Err(problem("bad-path", "a path has no blanks, control characters, `#` or letters beyond ASCII")
        .part(from + at, from + at + wrong.len_utf8()))
}

/// Parses the scheme of a URL with its separator, and the rest.
fn split_scheme(found: &str) -> Parsed<(&'static str, &str)> {
    for scheme in ["https://", "http://"] {
        if let Some(rest) = found.strip_prefix(scheme) {
            return Ok((scheme, rest));
        }
    }
    Err(match found.split_once("://") {
        Some((scheme, _))
            if unquoted(found) == found
                && !scheme.eq_ignore_ascii_case("http")
                && !scheme.eq_ignore_ascii_case("https") =>
        {
            let problem = problem("bad-url", format!("`{scheme}` upstreams are not supported"))
                .help("http://, https:// and unix: are")
                .part(0, scheme.len());
            server_problem(problem, found)
        }
        _ => server_problem(problem("bad-url", format!("`{found}` is not a URL")), found),
    })
}

/// Parses the address in a URL, and whether it uses TLS.
fn authority_address(scheme: &str, authority: &str) -> Parsed<(String, bool)> {
    let tls = scheme == "https://";
    let address = match settings::address(authority) {
        Ok(_) => authority.to_owned(),
        Err(_) if !authority.is_empty() && proxy_runtime::protocol::target::is_host(authority) => {
            format!("{authority}:{}", if tls { 443 } else { 80 })
        }
        Err(reason) => {
            let problem = problem("bad-url", reason).part(scheme.len(), scheme.len() + authority.len());
            if let Some(address) = meant::bracketed(authority) {
                return Err(problem.write_text(&format!("{scheme}{address}")));
            }
            return Err(server_problem(problem, &format!("{scheme}{authority}")));
        }
    };
    if let Some(port) = address.strip_prefix(':') {
        return Err(problem("bad-url", "the URL's host is missing").write_text(&format!("{scheme}10.0.0.1:{port}")));
    }
    // The other scheme's default port is almost certainly a mistake.
    if let Some((host, wrong)) = address.rsplit_once(':').filter(|(_, port)| *port == if tls { "80" } else { "443" }) {
        let other = if tls { "http" } else { "https" };
        return Err(problem("bad-url", format!("port {wrong} is that of `{other}`"))
            .write_text(&format!("{other}://{host}"))
            .write_text(&format!("{scheme}{host}"))
            .part(0, scheme.len() + authority.len()));
    }
    Ok((address, tls))
}

/// Parses a site's host: exact, `*.suffix` or `*`; IDNA names are converted to their form in requests (RFC 5890).
pub fn host(leaf: &Leaf) -> Parsed<HostPattern> {
    let found = text(leaf)?;
    if found == "*" {
        return Ok(HostPattern::Any);
    }
    let meant = meant_host(&found);
    let wrong = |message: &str| {
        let problem = problem("bad-host", message);
        match &meant {
            Some(host) => problem.write_text(host),
            None => problem,
        }
    };
    if let Some((scheme, _)) = found.split_once("://") {
        return Err(wrong(&format!("a host has no scheme (`{scheme}://`)")));
    }
    if let Some((_, path)) = found.split_once('/') {
        let problem = wrong("a host has no path");
        return Err(match path.is_empty() {
            true => problem,
            false => problem.help("for a path, write a `route` in the site"),
        });
    }
    let (wildcard, name) = match found.strip_prefix("*.") {
        Some(suffix) => (true, suffix),
        None => (false, found.as_str()),
    };
    if name.contains('*') || found.starts_with(['.', '~', '_']) {
        return Err(wrong("`*` matches whole labels, at the beginning of a host, and is the only wildcard"));
    }
    if !name.starts_with('[') && name.contains(':') {
        let problem = wrong("a host has no port: that belongs to `listen`");
        let port = name.rsplit(':').next().unwrap_or_default();
        return Err(match port.parse::<u16>() {
            Ok(port) if port > 0 => {
                problem.help(format!("to serve a site only on that port, write: listen \":{port}\""))
            }
            _ => problem,
        });
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let ascii = if name.starts_with('[') {
        name.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(name).map_err(|_| wrong(&format!("`{name}` is not a host name")))?
    };
    let labels_fit = ascii.starts_with('[')
        || ascii.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    if !labels_fit || !proxy_runtime::protocol::target::is_host(&ascii) {
        let problem = wrong(&format!("`{name}` is not a host name"));
        return Err(if name.contains('_') { problem.help("a host has no underscore") } else { problem });
    }
    Ok(if wildcard { HostPattern::Wildcard(ascii) } else { HostPattern::Exact(ascii) })
}

/// Returns the host that was meant by a URL, by a host with a port, or by another proxy's wildcard.
fn meant_host(found: &str) -> Option<String> {
    let inner = unquoted(found);
    let rest = inner.split_once("://").map_or(inner, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !authority.ends_with(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    };
    // nginx: `.example.com`, `_`; Apache and others: `*` within a name.
    let name = match name {
        "_" => "*".to_owned(),
        name if name.starts_with('.') => format!("*{name}"),
        name => name.to_owned(),
    };
    let suffix = name.strip_prefix("*.").unwrap_or(&name);
    let fits = name == "*"
        || (!suffix.is_empty()
            && !suffix.contains(['*', '_', ' ', '~', '^', '('])
            && suffix.split('.').all(|label| {
                !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.len() <= 63
            })
            && proxy_runtime::protocol::target::is_host(suffix));
    (fits && name != found).then_some(name)
}

/// Parses a name server: an IP address, optionally with a port.
pub fn name_server(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if found.parse::<IpAddr>().is_ok() || found.parse::<SocketAddr>().is_ok() {
        return Ok(found);
    }
    Err(problem("bad-address", format!("`{found}` is not an IP address"))
        .help("a name server is written as \"10.0.0.2\", or with a port as \"10.0.0.2:5353\""))
}
