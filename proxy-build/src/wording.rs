//! Formats values of a checked site in the language of sites: `"100/s"`, `"16MiB"`, `10.0.0.0/8`. It is for messages
//! (`explain`, `diff`), and makes no decisions.

mod cache;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use proxy_runtime::context::addresses::Addresses;
use proxy_runtime::context::template::{Piece, Template};
use proxy_runtime::site::{By, FilePath, FileRef, Setting, Text};

use crate::check::scope::SIMPLE;
use crate::model::Site;

pub(crate) use self::cache::cache;

/// The most networks or strings that are listed; the others are counted.
const MOST: usize = 8;

/// Returns a duration in the largest unit that it is a multiple of.
pub(crate) fn duration(duration: Duration) -> String {
    if duration == Duration::MAX {
        return "off".to_owned();
    }
    let millis = duration.as_millis();
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    match units.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit)) {
        Some((name, unit)) if duration.subsec_nanos().is_multiple_of(1_000_000) => format!("{}{name}", millis / unit),
        _ => format!("{duration:?}"),
    }
}

/// Returns a size in the largest unit that it is a multiple of.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        _ if bytes == u64::MAX => "unlimited".to_owned(),
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// Returns a rate with this interval between requests.
pub(crate) fn rate(interval: Duration) -> String {
    let units = [("s", 1_u64), ("m", 60), ("h", 3600), ("d", 86_400)];
    let as_rate = units.iter().find_map(|(name, seconds)| {
        let per = Duration::from_secs(*seconds);
        let most = u32::try_from(per.as_nanos().checked_div(interval.as_nanos())?).ok()?;
        // Several rates have this interval, which is in whole nanoseconds: choose the roundest.
        let round = (0..=6).rev().map(|zeros| 10_u32.pow(zeros)).map(|step| most / step * step);
        let count = round.into_iter().find(|&count| count > 0 && per / count == interval)?;
        Some(format!("{count}/{name}"))
    });
    as_rate.unwrap_or_else(|| format!("one in {interval:?}"))
}

/// Returns a number that may be unlimited.
pub(crate) fn number(number: u64) -> String {
    if number == u64::MAX { "unlimited".to_owned() } else { number.to_string() }
}

/// Returns a fixed value, or a parameter.
pub(crate) fn setting<T>(site: &Site, setting: &Setting<T>, fixed: impl FnOnce(&T) -> String) -> String {
    match setting {
        Setting::Fixed(value) => fixed(value),
        Setting::Param(index) => {
            format!("(param){}", site.params.get(usize::from(*index)).map_or("", |param| &*param.name))
        }
    }
}

/// Returns a file that is read at start.
pub(crate) fn file(site: &Site, index: u16) -> String {
    match site.files.get(usize::from(index)) {
        Some(FileRef { path: FilePath::Fixed(path), .. }) => format!("(file){path}"),
        Some(FileRef { path: FilePath::Param(index), .. }) => {
            setting::<Text>(site, &Setting::Param(*index), ToString::to_string)
        }
        None => String::new(),
    }
}

/// Returns a template, approximately as written.
pub(crate) fn template(site: &Site, template: &Template) -> String {
    template.pieces.iter().map(|piece| self::piece(site, piece)).collect()
}

fn piece(site: &Site, piece: &Piece) -> String {
    match piece {
        Piece::Text(text) => text.to_string(),
        Piece::Param(index) => setting::<Text>(site, &Setting::Param(*index), ToString::to_string),
        Piece::File(index) => file(site, *index),
        Piece::Claim(name) => format!("{{jwt.{name}}}"),
        Piece::QueryValue(name) => format!("{{query.{name}}}"),
        Piece::Header(name) => format!("{{header.{name}}}"),
        Piece::Cookie(name) => format!("{{cookie.{name}}}"),
        Piece::PathAndQuery => "{path}?{query}".to_owned(),
        other => match SIMPLE.iter().find(|(_, known, _)| known == other) {
            Some((name, ..)) => format!("{{{name}}}"),
            None => "{...}".to_owned(),
        },
    }
}

/// Returns the networks that form a set of addresses.
pub(crate) fn networks(addresses: &Addresses) -> Vec<IpNet> {
    let v4 = addresses.v4.as_chunks().0.chunks(2).flat_map(|bounds| {
        let end = bounds.get(1).map_or(u32::MAX, |bound| u32::from_be_bytes(*bound) - 1);
        Ipv4Subnets::new(u32::from_be_bytes(bounds[0]).into(), end.into(), 0).map(IpNet::V4)
    });
    let v6 = addresses.v6.as_chunks().0.chunks(2).flat_map(|bounds| {
        let end = bounds.get(1).map_or(u128::MAX, |bound| u128::from_be_bytes(*bound) - 1);
        Ipv6Subnets::new(u128::from_be_bytes(bounds[0]).into(), end.into(), 0).map(IpNet::V6)
    });
    v4.chain(v6).collect()
}

/// Networks on one line.
pub(crate) fn list<T: ToString>(items: &[T]) -> String {
    let mut words: Vec<String> = items.iter().take(MOST).map(ToString::to_string).collect();
    if items.len() > MOST {
        words.push(format!("and {} more", items.len() - MOST));
    }
    words.join(" ")
}

/// Returns a network, or a single address.
pub(crate) fn network(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => IpAddr::to_string(&network.addr()),
        false => network.to_string(),
    }
}

/// Returns the key by which requests are counted.
pub(crate) fn by(site: &Site, by: &By) -> String {
    match by {
        By::Client(32, 64) => "client".to_owned(),
        By::Client(v4, v6) => format!("client ipv4-prefix={v4} ipv6-prefix={v6}"),
        By::Text(text) => template(site, text),
    }
}

/// Returns the addresses that are in one set and not in another.
#[cfg(feature = "kiln")]
pub(crate) fn difference(one: &Addresses, other: &Addresses) -> Addresses {
    fn bounds<const N: usize>(sets: [&[u8]; 2], is_in: impl Fn([u8; N]) -> bool) -> Vec<u8> {
        let mut all: Vec<[u8; N]> = sets.iter().flat_map(|set| set.as_chunks().0).copied().collect();
        all.sort_unstable();
        all.dedup();
        let mut inside = false;
        // Between two bounds, either all addresses are in the set or none.
        all.retain(|&bound| std::mem::replace(&mut inside, is_in(bound)) != is_in(bound));
        all.concat()
    }
    let is_in = |address: IpAddr| one.contains(address) && !other.contains(address);
    Addresses {
        v4: bounds([&one.v4, &other.v4], |bound: [u8; 4]| is_in(bound.into())).into(),
        v6: bounds([&one.v6, &other.v6], |bound: [u8; 16]| is_in(bound.into())).into(),
    }
}

/// Returns the addresses that are not in a set.
pub(crate) fn complement(addresses: &Addresses) -> Addresses {
    let nets: Vec<_> = networks(addresses).into_iter().map(|network| (network, false)).collect();
    Addresses::of(&nets, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_rates() {
        let check = |found: String, expected: &str| assert_eq!(found, expected);
        check(duration(Duration::from_millis(250)), "250ms");
        check(duration(Duration::from_millis(1500)), "1500ms");
        check(duration(Duration::from_secs(120)), "2m");
        check(duration(Duration::ZERO), "0s");
        check(duration(Duration::from_secs(172_800)), "2d");
        check(duration(Duration::from_secs(90_000)), "25h");
        check(duration(Duration::MAX), "off");
        check(size(16 << 20), "16MiB");
        check(size(1000), "1000B");
        check(size(u64::MAX), "unlimited");
        for (count, per, expected) in [
            (100, 1, "100/s"),
            (7, 1, "7/s"),
            (1, 60, "1/m"),
            (60, 60, "1/s"),
            (1000, 3600, "1000/h"),
            (5, 86_400, "5/d"),
            (300_000, 1, "300000/s"),
            (1_000_000, 1, "1000000/s"),
        ] {
            check(rate(Duration::from_secs(per) / count), expected);
        }
    }

    #[test]
    fn address_sets() {
        let check = |rules: &[(&str, bool)], default, expected: &[&str]| {
            let rules: Vec<_> = rules.iter().map(|(net, is)| (net.parse().expect("a network"), *is)).collect();
            let found: Vec<_> = networks(&Addresses::of(&rules, default)).iter().map(network).collect();
            assert_eq!(found, expected);
        };
        check(&[("10.0.0.0/8", true), ("2001:db8::/32", true)], false, &["10.0.0.0/8", "2001:db8::/32"]);
        check(&[("10.0.0.1/32", true)], false, &["10.0.0.1"]);
        check(&[("0.0.0.0/1", false)], true, &["128.0.0.0/1", "::/0"]);
        check(&[], true, &["0.0.0.0/0", "::/0"]);
    }
}
