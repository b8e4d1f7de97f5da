//! Leaf parsers of access control: networks, rates, origins.

use std::time::Duration;

use proxy_runtime::site::Origin;

use super::{Advice, Parsed, file_at_start, network, problem, text};
use crate::ast::{NetworkSource, Rate};
use crate::syntax::{Leaf, Scalar};

/// Parses a network, or a file with networks that is read at start.
pub fn network_or_file(leaf: &Leaf) -> Parsed<NetworkSource> {
    if leaf.ty.is_none() {
        let everybody = matches!(&leaf.value, Scalar::Text(text) if matches!(text.as_str(), "all" | "any" | "*"));
        return network(leaf).map(NetworkSource::Network).map_err(|mut problem| {
            if everybody {
                problem.help = vec![Advice::Write("\"0.0.0.0/0\" \"::/0\"".to_owned())];
            }
            problem
        });
    }
    file_at_start(leaf).map(NetworkSource::File)
}

/// Parses a rate, such as `50/s`; `None` for `off`.
pub fn rate(leaf: &Leaf) -> Parsed<Option<Rate>> {
    if let Scalar::Integer(number @ 1..=1_000_000, _) = &leaf.value {
        let problem = problem("bad-rate", "a rate has a unit of time");
        return Err(problem.write_text(&format!("{number}/s")).write_text(&format!("{number}/m")));
    }
    let found = text(leaf)?;
    if found == "off" {
        return Ok(None);
    }
    let expected = || {
        let problem = problem("bad-rate", format!("`{found}` is not a rate"));
        match meant_rate(&found) {
            Some(meant) => problem.write_text(&meant),
            None => problem.help("a rate is a number per s, m, h or d, as in \"50/s\" or \"1000/h\""),
        }
    };
    let (count, unit) = found.split_once('/').ok_or_else(expected)?;
    let per = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    match count.parse::<u32>() {
        Ok(0) => Err(problem("bad-rate", "a rate of 0 refuses all requests")
            .help("to refuse all requests, use the handler: respond 403")),
        Ok(count) if count <= 1_000_000 && !found.starts_with('+') => {
            Ok(Some(Rate { count, per: Duration::from_secs(per) }))
        }
        _ => Err(expected()),
    }
}

/// Returns a rate in the syntax of others: `10r/s`, `10 / second`, `10rps`.
fn meant_rate(found: &str) -> Option<String> {
    let found = &found.replace(" per ", "/");
    let end = found.find(|char: char| !char.is_ascii_digit() && char != '.').filter(|&end| end > 0)?;
    let unit = match found[end..]
        .trim()
        .to_ascii_lowercase()
        .replace(' ', "")
        .trim_start_matches("req")
        .trim_start_matches('r')
    {
        "/s" | "/sec" | "/second" | "ps" | "" => "s",
        "/m" | "/min" | "/minute" | "pm" => "m",
        "/h" | "/hour" => "h",
        "/d" | "/day" => "d",
        _ => return None,
    };
    let count: u32 = match found[..end].parse() {
        Ok(count) => count,
        // A fraction of a request per second is several per minute.
        Err(_) => {
            let more = found[..end].parse::<f64>().ok()? * 60.0;
            let smaller = match unit {
                "s" => "m",
                "m" => "h",
                _ => return None,
            };
            return (more.fract() == 0.0 && (1.0..1e6).contains(&more)).then(|| format!("{}/{smaller}", more as u32));
        }
    };
    (1..=1_000_000).contains(&count).then(|| format!("{count}/{unit}"))
}

/// Parses a byte rate, such as `1KiB/s`, in bytes per second; 0 for `off`.
pub fn byte_rate(leaf: &Leaf) -> Parsed<u64> {
    /// The largest rate: beyond it, every client would be too slow.
    const MOST: u64 = 1 << 30;
    let found = text(leaf)?;
    if found == "off" {
        return Ok(0);
    }
    let expected = || {
        problem("bad-rate", format!("`{found}` is not a rate of bytes"))
            .help("it is a size per second, as in \"1KiB/s\"")
    };
    let bytes = found
        .strip_suffix("/s")
        .and_then(|size| proxy_runtime::context::settings::size(size).ok())
        .ok_or_else(expected)?;
    match bytes {
        0 => Err(problem("bad-rate", "a rate of 0 has no effect").write("off")),
        1..=MOST => Ok(bytes),
        _ => Err(problem("out-of-range", format!("`{found}` is out of range: at most \"1GiB/s\" is allowed here"))),
    }
}

/// Returns the origin that was meant by a host, a URL, or a wrong spelling.
fn meant_origin(found: &str) -> Option<String> {
    let lower = found.trim().to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://").unwrap_or(("https", &lower));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let usual = if scheme == "http" { ":80" } else { ":443" };
    let authority = authority.strip_suffix(usual).unwrap_or(authority);
    let host = authority.strip_prefix("*.").unwrap_or(authority).split(':').next().unwrap_or_default();
    let meant = format!("{scheme}://{authority}");
    let fits =
        matches!(scheme, "http" | "https") && (host.contains('.') || host == "localhost") && !authority.contains('@');
    (fits && meant != found && meant.replacen("*.", "", 1).parse::<http::Uri>().is_ok()).then_some(meant)
}

/// Parses an allowed origin: a scheme and a host, or all hosts below one.
pub fn origin(leaf: &Leaf) -> Parsed<Origin> {
    let found = text(leaf)?;
    if found == "*" {
        return Ok(Origin::Any);
    }
    let wrong = |message: String| {
        let problem = problem("bad-origin", message);
        match meant_origin(&found) {
            Some(meant) => problem.write_text(&meant),
            None => problem.help(
                "browsers send it as in \"https://app.example.com\"; \"https://*.example.com\" matches all hosts below",
            ),
        }
    };
    if found.split_once("://").is_some_and(|(_, host)| host == "*" || host == "*/") {
        return Err(problem("bad-origin", format!("`{found}` is not an origin")).write_text("*"));
    }
    if found == "null" {
        return Err(wrong(
            "`null` is the origin of any page that hides its own: it would allow all of them".to_owned(),
        ));
    }
    let uri = found.replacen("*.", "", 1).parse::<http::Uri>().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let Some((scheme, authority)) = parts else { return Err(wrong(format!("`{found}` is not an origin"))) };
    let port = authority.port().map_or(String::new(), |port| format!(":{port}"));
    let usual = matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    let (below, host) = (found.contains("*."), authority.host());
    // RFC 6454 section 6.2: lower case, and no default port.
    let exact = format!("{scheme}://{}{host}{port}", if below { "*." } else { "" });
    if exact != found
        || usual
        || host.is_empty()
        || host != host.to_ascii_lowercase()
        || authority.as_str().contains('@')
    {
        return Err(wrong(format!("`{found}` is not an origin in the form of browsers")));
    }
    Ok(match below {
        true => Origin::Below(format!("{scheme}://").into(), format!(".{host}{port}").into()),
        false => Origin::Exact(found.into()),
    })
}

/// What fits between the quotes of a challenge (RFC 9110 section 5.6.4).
pub fn realm(leaf: &Leaf) -> Parsed<String> {
    let found = text(leaf)?;
    if found.is_ascii() && !found.contains(|char: char| char.is_control() || char == '"' || char == '\\') {
        return Ok(found);
    }
    Err(problem("bad-realm", "a realm has ASCII letters, and no quotes or backslashes"))
}
