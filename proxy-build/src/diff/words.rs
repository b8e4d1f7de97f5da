//! Differences, in terms of the language: `limits body 1MiB becomes 2MiB`, `203.0.113.0/24 no longer allowed`.
//!
//! A side is a map from subjects (`limits body`, `rate-limit`, `server`) to their descriptions. Values with a form in the
//! language are described by [`wording`]; all others from the values themselves ([`flat`]), so that nothing is omitted.

use std::collections::BTreeMap;

use ipnet::IpNet;
use proxy_runtime::context::addresses::Addresses;
use proxy_runtime::site::{Policy, Upstream};
use serde_json::{Map, Value, json};

use crate::model::Site;
use crate::policy::PolicyDescription;
use crate::{policy, upstream, wording};

/// The settings of a side, by subject.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct SideDescription {
    texts: BTreeMap<String, Vec<String>>,
    /// The allowed clients, if they are known during the build; all without a rule.
    allowed: Option<Addresses>,
    /// The handler in short form, if there is one.
    handler: String,
}

/// Describes a policy, given its values and the other settings.
pub(super) fn policy(site: &Site, policy: &Policy, values: &Value, others: &Value) -> SideDescription {
    let mut said = SideDescription::default();
    policy::ALL.iter().for_each(|kind| said.tell(kind.diff(site, policy), values));
    said.take("", others);
    said
}

/// Describes an upstream, given its values.
pub(super) fn upstream(site: &Site, upstream: &Upstream, values: &Value) -> SideDescription {
    let mut said = SideDescription::default();
    upstream::ALL.iter().flat_map(|kind| kind.diff(site, upstream)).for_each(|told| said.tell(told, values));
    said
}

/// Describes a value by itself.
pub(super) fn value(value: &Value) -> SideDescription {
    let mut said = SideDescription::default();
    said.take("", value);
    said
}

impl SideDescription {
    /// Adds a handler.
    pub(super) fn answered_by(self, handler: String) -> SideDescription {
        SideDescription { handler, ..self }
    }

    /// Adds the description of a member with these values.
    fn tell(&mut self, told: PolicyDescription, values: &Value) {
        told.words.into_iter().for_each(|(subject, text)| self.add(subject, text));
        self.allowed = self.allowed.take().or(told.allowed);
        if let Some(subject) = told.values {
            self.take("", &json!({ subject: values[told.member] }));
        }
    }

    fn add(&mut self, subject: String, text: String) {
        self.texts.entry(subject).or_default().push(text);
    }

    /// Adds a value below a subject.
    fn take(&mut self, subject: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::Array(items) => items.iter().for_each(|item| self.add(singular(subject), inline(item))),
            Value::Object(object) if duration(object).is_none() => {
                for (key, value) in object {
                    let value = &in_units(key, value);
                    let key = word(key);
                    let below = if subject.is_empty() || key.is_empty() {
                        format!("{subject}{key}")
                    } else {
                        format!("{subject} {key}")
                    };
                    self.take(&below, value);
                }
            }
            leaf => self.add(subject.to_owned(), inline(leaf)),
        }
    }
}

/// Returns the differences, one per line.
pub(super) fn differences(before: &SideDescription, now: &SideDescription) -> Vec<String> {
    let mut lines = Vec::new();
    let none = Vec::new();
    // The details of another handler are not compared with those of the previous one.
    let other = first(&before.handler) != first(&now.handler);
    if other {
        lines.push(format!("{} becomes {}", before.handler, now.handler));
    }
    let is_of_other =
        |subject: &str| other && [&before.handler, &now.handler].iter().any(|handler| first(handler) == first(subject));
    // If the cache as a whole is added or removed, its settings are not listed.
    let caches = [before, now].map(|side| side.texts.contains_key("cache"));
    let is_told = |subject: &str| is_of_other(subject) || caches[0] != caches[1] && subject.starts_with("cache ");
    let mut subjects: Vec<&String> = before.texts.keys().chain(now.texts.keys()).collect();
    subjects.sort();
    subjects.dedup();
    for subject in subjects.into_iter().filter(|subject| !is_told(subject)) {
        let [old, new] = [before, now].map(|side| side.texts.get(subject).unwrap_or(&none));
        compare(subject, old, new, &mut lines);
    }
    if let (Some(old), Some(new)) = (&before.allowed, &now.allowed) {
        networks(old, new, &mut lines);
    }
    lines
}

fn compare(subject: &str, old: &[String], new: &[String], lines: &mut Vec<String>) {
    let (mut gone, mut come) = (without(old, new), without(new, old));
    if gone.is_empty() && come.is_empty() && old != new {
        lines.push(format!("{subject}: in another order, or another number of times"));
    }
    // Lines with the same beginning are a change, and so is a single line on both sides.
    let alone = gone.len() == 1 && come.len() == 1;
    gone.retain(|old| {
        let same = come.iter().position(|new| alone || (first(old) == first(new) && old.contains(' ')));
        if let Some(at) = same {
            lines.push(becomes(subject, old, come.remove(at)));
        }
        same.is_none()
    });
    let subject = if subject.is_empty() { String::new() } else { format!("{subject} ") };
    lines.extend(gone.iter().map(|text| format!("{subject}{} is gone", short(text))));
    lines.extend(come.iter().map(|text| format!("{subject}{} is new", short(text))));
}

/// Returns the texts of `all` that `others` lacks.
fn without<'a>(all: &'a [String], others: &[String]) -> Vec<&'a str> {
    all.iter().filter(|text| !others.contains(text)).map(String::as_str).collect()
}

fn first(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

/// Only the words that differ, after the first one.
fn becomes(subject: &str, old: &str, new: &str) -> String {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (before, now) = (words(old), words(new));
    let (old, new) = if before.len() == now.len() && before.len() > 1 {
        let differ = |at: usize| before[at] != now[at];
        let kept = |words: &[String], name: bool| {
            let kept = words.iter().enumerate().filter(|(at, _)| differ(*at) || (name && *at == 0));
            kept.map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(" ")
        };
        (kept(&before, true), kept(&now, false))
    } else {
        (old.to_owned(), new.to_owned())
    };
    let subject = if subject.is_empty() { String::new() } else { format!("{subject} ") };
    format!("{subject}{} becomes {}", short(&old), short(&new))
}

/// The most networks that are listed.
const MOST: usize = 8;

fn networks(old: &Addresses, new: &Addresses, lines: &mut Vec<String>) {
    let named = |networks: &[IpNet]| networks.iter().map(wording::network).collect::<Vec<_>>().join(" ");
    for (from, to, verb) in [(old, new, "no longer allowed"), (new, old, "allowed now")] {
        let moved = wording::networks(&wording::difference(from, to));
        let inside = wording::networks(new);
        match moved.len() {
            0 => {}
            1..=MOST => lines.push(format!("{} {verb}", named(&moved))),
            _ if inside.len() <= MOST => lines.push(format!("only {} allowed now", named(&inside))),
            many => lines.push(format!("{} and {} more networks {verb}", named(&moved[..MOST]), many - MOST)),
        }
    }
}

/// Returns a value on one line, beginning with its name.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(is) => format!("#{is}"),
        Value::Number(number) if number.as_u64() == Some(u64::MAX) => "unlimited".to_owned(),
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(" "),
        Value::Object(object) => match duration(object) {
            Some(duration) => duration,
            None => members(object),
        },
        other => other.to_string(),
    }
}

fn members(object: &Map<String, Value>) -> String {
    const NAMES: [&str; 3] = ["name", "address", "upstream"];
    let said = |key: &String, value: &Value| match (word(key).as_str(), inline(value)) {
        ("", text) => text,
        (word, text) if text.contains(' ') || object.len() == 1 => format!("{word} {text}"),
        (word, text) => format!("{word}={text}"),
    };
    let names = NAMES.iter().filter_map(|name| object.get(*name)).map(inline);
    let others = object.iter().filter(|(key, value)| !NAMES.contains(&key.as_str()) && says_something(value));
    names.chain(others.map(|(key, value)| said(key, value))).collect::<Vec<_>>().join(" ")
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(object) => !object.is_empty(),
        _ => true,
    }
}

/// Returns a size in its unit.
fn in_units(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("memory" | "max_object" | "size", Value::Object(setting)) if setting.contains_key("Fixed") => {
            in_units(key, &setting["Fixed"])
        }
        ("memory" | "max_object" | "size", Value::Number(bytes)) => {
            bytes.as_u64().map_or(value.clone(), |bytes| wording::size(bytes).into())
        }
        _ => value.clone(),
    }
}

/// Returns the text of a serialized `Duration`.
fn duration(object: &Map<String, Value>) -> Option<String> {
    let (secs, nanos) = (object.get("secs")?.as_u64()?, object.get("nanos")?.as_u64()?);
    Some(wording::duration(std::time::Duration::new(secs, u32::try_from(nanos).ok()?)))
}

/// Returns a member's name as in the language; none for `Fixed` and the like.
fn word(key: &str) -> String {
    match key {
        "Fixed" | "policy" | "Bytes" | "handler" | "code" | "from" => String::new(),
        "Param" => "(param)".to_owned(),
        "File" => "(file)".to_owned(),
        key => {
            let mut word = String::new();
            for (at, char) in key.char_indices() {
                if char.is_ascii_uppercase() && at > 0 {
                    word.push('-');
                }
                word.push(if char == '_' { '-' } else { char.to_ascii_lowercase() });
            }
            word
        }
    }
}

/// Returns the subject of one of several items.
fn singular(subject: &str) -> String {
    let ies = subject.strip_suffix("ies").filter(|_| !subject.ends_with("cookies"));
    ies.map(|stem| format!("{stem}y")).unwrap_or_else(|| match subject.strip_suffix('s') {
        Some(stem) if !stem.ends_with('s') => stem.to_owned(),
        _ => subject.to_owned(),
    })
}

/// Returns a text, shortened to fit on a line.
fn short(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differing_values() {
        let check = |old: Value, new: Value, expected: &[&str]| {
            assert_eq!(differences(&value(&old), &value(&new)), expected);
        };
        check(json!({"a": 1}), json!({"a": 1}), &[]);
        check(
            json!({"ttl_max": {"Fixed": {"secs": 60, "nanos": 0}}}),
            json!({"ttl_max": null}),
            &["ttl-max 1m is gone"],
        );
        let servers =
            |weight: u64| json!({"servers": [{"address": {"Fixed": "10.0.0.1:80"}, "weight": weight, "place": null}]});
        check(servers(1), servers(2), &["server 10.0.0.1:80 weight=1 becomes weight=2"]);
        check(
            json!({"names": ["a", "b"]}),
            json!({"names": ["b", "c", "d"]}),
            &["name a is gone", "name c is new", "name d is new"],
        );
        check(
            json!({"names": ["a", "b"]}),
            json!({"names": ["b", "a"]}),
            &["name: in another order, or another number of times"],
        );
    }

    /// Every member of a policy is described.
    #[test]
    fn every_member_is_described() {
        let site =
            crate::compile_text("site.kdl".as_ref(), "site.kdl", "site * { respond 200; }").model.expect("a site");
        let mut told: Vec<_> = policy::ALL.iter().map(|kind| kind.diff(&site, &site.root).member).collect();
        told.retain(|member| !member.is_empty());
        told.sort_unstable();
        told.dedup();
        let values = json!(site.root);
        let mut members: Vec<_> = values.as_object().expect("an object").keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(told, members);
    }

    /// Every member of an upstream is described.
    #[test]
    fn every_member_of_an_upstream_is_described() {
        let text = "upstream app { server \"10.0.0.1:80\"; }; site * { proxy app; }";
        let site = crate::compile_text("site.kdl".as_ref(), "site.kdl", text).model.expect("a site");
        let upstream = &site.upstreams[0];
        let mut told: Vec<_> = upstream::ALL.iter().flat_map(|kind| kind.diff(&site, upstream)).collect();
        told.sort_unstable_by_key(|told| told.member);
        let told: Vec<_> = told.iter().map(|told| told.member).collect();
        let values = json!(upstream);
        let members = values.as_object().expect("an object").keys().map(String::as_str);
        let mut members: Vec<_> = members.filter(|member| !["name", "place"].contains(member)).collect();
        members.sort_unstable();
        assert_eq!(told, members);
    }

    #[test]
    fn differing_networks() {
        let check = |old: &[(&str, bool)], new: &[(&str, bool)], expected: &[&str]| {
            let side = |rules: &[(&str, bool)]| {
                let default = rules.iter().all(|(_, inside)| !inside);
                Addresses::of(
                    &rules.iter().map(|(net, is)| (net.parse().expect("a network"), *is)).collect::<Vec<_>>(),
                    default,
                )
            };
            let mut lines = Vec::new();
            networks(&side(old), &side(new), &mut lines);
            assert_eq!(lines, expected);
        };
        check(&[], &[("203.0.113.0/24", false)], &["203.0.113.0/24 no longer allowed"]);
        check(&[("203.0.113.0/24", false)], &[], &["203.0.113.0/24 allowed now"]);
        check(&[], &[("10.0.0.0/8", true)], &["only 10.0.0.0/8 allowed now"]);
        check(
            &[("10.0.0.0/8", true)],
            &[("10.0.0.0/9", true), ("192.0.2.1/32", true)],
            &["10.128.0.0/9 no longer allowed", "192.0.2.1 allowed now"],
        );
    }
}
