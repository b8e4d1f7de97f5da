//! Translates values of other proxies into Kiln's form, for help lines; each proposal is checked by the parser.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Subnets};
use proxy_runtime::context::settings;

use crate::syntax::quoted;

/// Foreign words for the values that [`word`](super::word) parses, and the equivalents with their context.
static WORDS: phf::Map<&str, &str> = phf::phf_map! {
    "ip-hash" => "hash key=\"{client.ip}\"",
    "source" => "hash key=\"{client.ip}\"",
    "consistent-hash" => "hash key=\"{client.ip}\"",
    "least-connections" => "least-conn",
    "least-request" => "least-conn",
    "common" => "combined",
    "int" => "number",
    "integer" => "number",
    "text" => "string",
    "address" => "addr",
    "path" => "file",
    "password" => "secret",
    "ignore" => "allow",
    "off" => "allow",
    "error" => "deny",
    "tlsv1.2" => "\"1.2\"",
    "tlsv1.3" => "\"1.3\"",
    "tls1.2" => "\"1.2\"",
    "tls1.3" => "\"1.3\"",
    "1.0" => "\"1.2\"",
    "1.1" => "\"1.2\"",
    "p-256" => "secp256r1",
    "prime256v1" => "secp256r1",
    "p-384" => "secp384r1",
    "deflate" => "gzip",
    "brotli" => "br",
    "ws" => "websocket",
    "wss" => "websocket",
    "token" => "jwt",
};

/// Returns the known word that was meant, as written in a file: in another case, by another name, or abbreviated.
pub(super) fn word(found: &str, known: &[&'static str]) -> Option<String> {
    let lower = found.to_ascii_lowercase().replace('_', "-");
    if let Some(same) = known.iter().find(|word| word.eq_ignore_ascii_case(&lower)) {
        return Some(written(same));
    }
    let first = |ours: &str| ours.split(' ').next().unwrap_or_default().trim_matches('"').to_owned();
    if let Some(ours) = WORDS.get(lower.as_str()).filter(|ours| known.contains(&first(ours).as_str())) {
        return Some((*ours).to_owned());
    }
    let mut longer =
        known.iter().filter(|word| word.strip_prefix(lower.as_str()).is_some_and(|rest| rest.starts_with('-')));
    match (longer.next(), longer.next()) {
        (Some(only), None) => Some(written(only)),
        // TLS and a version of HTTP are only similar in spelling.
        _ if lower == "https" => None,
        _ => crate::nearest::nearest(&lower, known.iter().copied()).map(written),
    }
}

/// Returns a word as written in a file: bare, unless it would be a number.
fn written(word: &str) -> String {
    if word.starts_with(|char: char| char.is_ascii_digit()) { quoted(word) } else { word.to_owned() }
}

/// Whole numbers: a percentage, or several in one text.
pub(super) fn numbers(found: &str, fits: impl Fn(u64) -> bool) -> Option<String> {
    let parts = found.trim_end_matches('%').split([',', ' ']).filter(|part| !part.is_empty());
    let numbers: Vec<u64> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let fit = !numbers.is_empty() && numbers.iter().all(|number| fits(*number));
    fit.then(|| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" "))
}

/// Foreign time units, with the equivalent ones.
pub(super) const DURATION_UNITS: &[(&str, &str)] = &[
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("msec", "ms"),
];

/// Foreign size units, with the equivalent ones; for single letters, nginx uses powers of two.
pub(super) const SIZE_UNITS: &[(&str, &str)] = &[
    ("k", "KiB"),
    ("kib", "KiB"),
    ("kb", "kB"),
    ("m", "MiB"),
    ("mib", "MiB"),
    ("mb", "MB"),
    ("g", "GiB"),
    ("gib", "GiB"),
    ("gb", "GB"),
    ("kbytes", "kB"),
    ("mbytes", "MB"),
    ("gbytes", "GB"),
    ("bytes", "B"),
];

/// Returns a number with a foreign unit, converted.
pub(super) fn respelled(found: &str, units: &[(&str, &str)]) -> Option<String> {
    let end = found.find(|char: char| !char.is_ascii_digit()).filter(|&end| end > 0)?;
    let unit = found[end..].trim().to_ascii_lowercase();
    let (_, ours) = units.iter().find(|(theirs, ours)| *theirs == unit || ours.eq_ignore_ascii_case(&unit))?;
    Some(format!("{}{ours}", &found[..end]))
}

/// Returns a duration of several units, with a fraction, or in weeks.
pub(super) fn duration(found: &str) -> Option<String> {
    const UNITS: &[(&str, u64)] =
        &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
    let mut rest = found.trim();
    let mut milliseconds = 0_u64;
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.').filter(|&end| end > 0)?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit = rest[end..].trim_start();
        let len = unit.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(unit.len());
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == &unit[..len])?;
        let part = number * *scale as f64;
        if part.fract() != 0.0 || !(0.0..1e15).contains(&part) {
            return None;
        }
        milliseconds = milliseconds.checked_add(part as u64)?;
        rest = unit[len..].trim_start();
    }
    let (unit, scale) = UNITS[..5].iter().rev().find(|(_, scale)| milliseconds.is_multiple_of(*scale))?;
    let text = format!("{}{unit}", milliseconds / scale);
    (milliseconds > 0 && settings::duration(&text).is_ok()).then_some(text)
}

/// Returns a size with a fraction, in the next smaller unit.
pub(super) fn size(found: &str) -> Option<String> {
    const UNITS: &[(&str, &str, f64)] = &[
        ("gib", "MiB", 1024.0),
        ("g", "MiB", 1024.0),
        ("gb", "MB", 1000.0),
        ("mib", "KiB", 1024.0),
        ("m", "KiB", 1024.0),
        ("mb", "kB", 1000.0),
    ];
    let end = found.find(|char: char| !char.is_ascii_digit() && char != '.').filter(|&end| end > 0)?;
    let unit = found[end..].trim().to_ascii_lowercase();
    let (_, smaller, scale) = UNITS.iter().find(|(theirs, ..)| *theirs == unit)?;
    let amount = found[..end].parse::<f64>().ok()? * scale;
    let text = format!("{}{smaller}", amount as u64);
    (amount.fract() == 0.0 && settings::size(&text).is_ok()).then_some(text)
}

/// Networks: several in one text, with a wildcard or a mask, as a range, or by name.
pub(super) fn networks(found: &str) -> Option<String> {
    let lower = found.trim().to_ascii_lowercase();
    let list: Vec<IpNet> = match lower.as_str() {
        "localhost" | "loopback" => vec!["127.0.0.0/8".parse().ok()?, "::1/128".parse().ok()?],
        "private" | "private-ranges" | "private_ranges" | "lan" => {
            vec!["10.0.0.0/8".parse().ok()?, "172.16.0.0/12".parse().ok()?, "192.168.0.0/16".parse().ok()?]
        }
        _ if lower.contains([',', ' ']) => {
            let parts = lower.split([',', ' ']).filter(|part| !part.is_empty());
            parts.map(network).collect::<Option<_>>()?
        }
        _ if lower.contains('*') => vec![starred(&lower)?],
        _ if lower.contains('-') => {
            let (first, last) = lower.split_once('-')?;
            let (first, last): (Ipv4Addr, Ipv4Addr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then(|| Ipv4Subnets::new(first, last, 0).map(IpNet::from).take(9).collect())?
        }
        _ => {
            let (address, mask) = lower.split_once('/')?;
            let address: Ipv4Addr = address.parse().ok()?;
            let prefix = match mask.parse::<Ipv4Addr>() {
                Ok(mask) => ipnet::ipv4_mask_to_prefix(mask).ok()?,
                Err(_) => mask.parse::<u16>().ok().filter(|prefix| *prefix > 32).map(|_| 32)?,
            };
            vec![IpNet::new(IpAddr::V4(address), prefix).ok()?.trunc()]
        }
    };
    let distinct = list.iter().enumerate().all(|(index, network)| !list[..index].contains(network));
    (list.len() <= 8 && distinct)
        .then(|| list.iter().map(|network| quoted(&shown(network))).collect::<Vec<_>>().join(" "))
}

fn network(text: &str) -> Option<IpNet> {
    let alone = text.parse::<IpAddr>().ok().map(IpNet::from);
    alone.or_else(|| text.parse().ok()).filter(|network: &IpNet| network.trunc() == *network)
}

/// `10.0.*`, `10.0.0.*`: whole bytes.
fn starred(text: &str) -> Option<IpNet> {
    let known: Vec<u8> =
        text.split('.').take_while(|part| *part != "*").map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let stars = text.split('.').skip(known.len()).all(|part| part == "*");
    let mut bytes = [0; 4];
    bytes.get_mut(..known.len())?.copy_from_slice(&known);
    let fits = stars && (1..4).contains(&known.len());
    fits.then(|| IpNet::new(IpAddr::from(bytes), known.len() as u8 * 8).ok())?
}

fn shown(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

/// Returns an IPv6 address and a port, with the missing brackets.
pub(super) fn bracketed(found: &str) -> Option<String> {
    let (host, port) = found.rsplit_once(':')?;
    let fits = host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok();
    fits.then(|| format!("[{host}]:{port}"))
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(parse: impl Fn(&str) -> Option<String>, found: &str, expected: Option<&str>) {
        assert_eq!(parse(found).as_deref(), expected, "{found}");
    }

    #[test]
    fn durations() {
        for (found, expected) in [
            ("1h30m", Some("90m")),
            ("1.5s", Some("1500ms")),
            ("1w", Some("7d")),
            ("1 h 30 m", Some("90m")),
            ("0.0001s", None),
            ("0s", None),
            ("h", None),
            ("1x", None),
            ("99999999999999999999d", None),
        ] {
            check(super::duration, found, expected);
        }
    }

    #[test]
    fn sizes() {
        for (found, expected) in
            [("1.5GiB", Some("1536MiB")), ("0.5m", Some("512KiB")), ("1.00001GiB", None), ("1.5B", None), ("GiB", None)]
        {
            check(super::size, found, expected);
        }
    }

    #[test]
    fn networks() {
        for (found, expected) in [
            ("10.0.0.0/8,192.168.0.0/16", Some("\"10.0.0.0/8\" \"192.168.0.0/16\"")),
            ("10.0.0.0/8, 192.0.2.1", Some("\"10.0.0.0/8\" \"192.0.2.1\"")),
            ("10.0.0.*", Some("\"10.0.0.0/24\"")),
            ("10.*.*.*", Some("\"10.0.0.0/8\"")),
            ("10.*.0.1", None),
            ("*", None),
            ("10.0.0.0/255.255.0.0", Some("\"10.0.0.0/16\"")),
            ("10.0.0.0/255.0.255.0", None),
            ("10.0.0.7/33", Some("\"10.0.0.7\"")),
            ("10.0.0.0-10.0.0.255", Some("\"10.0.0.0/24\"")),
            ("10.0.0.9-10.0.0.1", None),
            ("10.0.0.1,10.0.0.1", None),
            ("0.0.0.1-255.255.255.254", None),
            ("localhost", Some("\"127.0.0.0/8\" \"::1\"")),
            ("cloudflare", None),
        ] {
            check(super::networks, found, expected);
        }
    }

    #[test]
    fn words() {
        let known = ["hash", "least-conn", "RS256", "HS256", "http-01", "tls-alpn-01", "1.2", "http1"];
        for (found, expected) in [
            ("rs256", Some("RS256")),
            ("ip_hash", Some("hash key=\"{client.ip}\"")),
            ("leastconn", Some("least-conn")),
            ("http", Some("http-01")),
            ("TLSv1.2", Some("\"1.2\"")),
            ("https", None),
            ("elsewhere", None),
        ] {
            check(|found| super::word(found, &known), found, expected);
        }
    }
}
