//! The device group of a client, by its `User-Agent` and `Sec-CH-UA-Mobile`: a few variants in place of one for each browser.
//! Pure; on the hot path; shared with the compiler.

use memchr::memmem;

use crate::protocol::fields::Fields;
use crate::protocol::names::KnownField;
use crate::site::Device;

/// The most bytes of a `User-Agent` that are matched. Browsers send a quarter of it.
const LONGEST: usize = 1024;

/// A client hint (Client Hints in the User-Agent, section 3.3): `?1` or `?0`.
const HINT: &str = "sec-ch-ua-mobile";

/// Returns the first group that matches the client that sent these fields. Costs the number of patterns times the
/// length of the `User-Agent`; no allocation.
pub fn group<'d>(device: &'d Device, sent: &Fields) -> &'d str {
    let mut lower = [0; LONGEST];
    let agent = sent.get(KnownField::USER_AGENT).unwrap_or_default();
    let agent = &agent[..agent.len().min(LONGEST)];
    let lower = &mut lower[..agent.len()];
    lower.copy_from_slice(agent);
    lower.make_ascii_lowercase();
    let hint = match sent.get(HINT) {
        Some(b"?1") => Some(true),
        Some(b"?0") => Some(false),
        _ => None,
    };
    let mut groups = device.groups.iter();
    let has_it = groups.find(|group| {
        group.mobile.is_some() && group.mobile == hint || group.patterns.iter().any(|pattern| matches(pattern, lower))
    });
    has_it.map_or(&device.default, |group| &group.name)
}

/// Returns whether a text contains the pieces of a pattern, which `*` separates, in their order. Both are in lower
/// case.
pub fn matches(pattern: &str, mut text: &[u8]) -> bool {
    pattern.split('*').all(|piece| match memmem::find(text, piece.as_bytes()) {
        Some(at) => {
            text = &text[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// Tells the server the group of the client that sent `sent`.
pub(crate) fn announce(device: &Device, sent: &Fields, forwarded: &mut Fields) {
    if let Some(header) = &device.header {
        forwarded.set(header, group(device, sent).as_bytes());
    }
}

/// Returns whether `Vary` on this request field can be replaced by the group.
pub(crate) fn stands_for(device: &Device, name: &str) -> bool {
    name.eq_ignore_ascii_case("user-agent")
        || name.eq_ignore_ascii_case(HINT) && looks_at_hint(device)
        || device.header.as_ref().is_some_and(|header| header.eq_ignore_ascii_case(name))
}

/// For clients and their caches, a response that varies by the group varies by the request fields that the group is derived from
/// (RFC 9110 section 12.5.5), as they do not send the field that the server receives.
#[cfg(feature = "serve")]
pub(crate) fn tell_clients(device: &Device, response: &mut Fields) {
    let Some(header) = &device.header else { return };
    let varies_by = |name| crate::protocol::fields::has_token(response, KnownField::VARY, name);
    if varies_by(header) && !varies_by("user-agent") {
        let made_of: &[u8] = if looks_at_hint(device) { b"User-Agent, Sec-CH-UA-Mobile" } else { b"User-Agent" };
        response.add_known(KnownField::VARY, made_of);
    }
}

fn looks_at_hint(device: &Device) -> bool {
    device.groups.iter().any(|group| group.mobile.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{DeviceGroup, Text};

    fn device() -> Device {
        let group = |name: &'static str, patterns: &[&'static str], mobile| DeviceGroup {
            name: name.into(),
            patterns: patterns.iter().map(|pattern| Text::from(*pattern)).collect(),
            mobile,
        };
        Device {
            header: Some("x-device".into()),
            default: "desktop".into(),
            groups: vec![
                group("tablet", &["ipad"], None),
                group("mobile", &["iphone", "android*mobile*safari"], Some(true)),
                group("bot", &["bot/"], None),
            ]
            .into(),
        }
    }

    #[test]
    fn groups() {
        let check = |lines: &[(&str, &str)], expected: &str| {
            let fields: Fields = lines.iter().copied().collect();
            assert_eq!(group(&device(), &fields), expected, "{lines:?}");
        };
        let agent = |agent: &str, expected: &str| check(&[("User-Agent", agent)], expected);
        check(&[], "desktop");
        agent("", "desktop");
        agent("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148 Safari/604.1", "mobile");
        agent("Mozilla/5.0 (iPad; CPU OS 18_0) Mobile/15E148 Safari/604.1", "tablet");
        agent("Mozilla/5.0 (Linux; Android 10; K) Chrome/130.0.0.0 Mobile Safari/537.36", "mobile");
        agent("Mozilla/5.0 (Linux; Android 10; K) Chrome/130.0.0.0 Safari/537.36", "desktop");
        agent("Safari Mobile Android", "desktop");
        agent("IPHONE", "mobile");
        agent("a bot/1", "bot");
        agent("a bot", "desktop");
        agent(&format!("{}iphone", "x".repeat(LONGEST)), "desktop");
        agent(&format!("{}iphone", "x".repeat(LONGEST - 6)), "mobile");
        // The client hint, and the first of several groups.
        check(&[("Sec-CH-UA-Mobile", "?1")], "mobile");
        check(&[("Sec-CH-UA-Mobile", "?0")], "desktop");
        check(&[("Sec-CH-UA-Mobile", "1")], "desktop");
        check(&[("Sec-CH-UA-Mobile", "?1"), ("User-Agent", "iPad")], "tablet");
        check(&[("Sec-CH-UA-Mobile", "?1"), ("User-Agent", "bot/")], "mobile");
    }

    #[test]
    fn vary_for_clients() {
        let check = |hint: bool, vary: &[&str], expected: &[&str]| {
            let mut device = device();
            if !hint {
                device.groups = Vec::new().into();
            }
            let mut fields: Fields = vary.iter().map(|line| ("Vary", *line)).collect();
            tell_clients(&device, &mut fields);
            assert_eq!(
                fields.all("vary").collect::<Vec<_>>(),
                expected.iter().map(|line| line.as_bytes()).collect::<Vec<_>>()
            );
        };
        check(true, &[], &[]);
        check(true, &["Accept-Encoding"], &["Accept-Encoding"]);
        check(true, &["a, X-DEVICE"], &["a, X-DEVICE", "User-Agent, Sec-CH-UA-Mobile"]);
        check(false, &["X-Device"], &["X-Device", "User-Agent"]);
        check(true, &["X-Device", "user-agent"], &["X-Device", "user-agent"]);
    }
}
