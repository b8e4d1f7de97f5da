//! Formats the policy of a cache in the language of sites.

use std::time::Duration;

use proxy_runtime::site::{Cache, ControlField, Key, Mark, Override, Part, Query, Setting};

use super::{duration, list, network, setting, size};
use crate::model::Site;
use crate::syntax::quoted;

/// Returns the settings of a `cache`, one per line with its subject.
pub(crate) fn cache(site: &Site, cache: &Cache) -> Vec<(&'static str, String)> {
    let time = |time: &Setting<Duration>| setting(site, time, |&time| duration(time));
    let mut said = vec![
        ("cache", site.stores.get(usize::from(cache.store)).map_or_else(String::new, |store| store.name.to_string())),
        ("cache lock", time(&cache.lock)),
        ("cache methods", if cache.head { "GET HEAD" } else { "GET" }.to_owned()),
        ("cache stale while-revalidate", time(&cache.stale.while_revalidate)),
        ("cache stale if-error", time(&cache.stale.if_error)),
        ("cache ttl min", time(&cache.ttl.min)),
        ("cache ttl max", time(&cache.ttl.max)),
        ("cache ttl heuristic", cache.ttl.heuristic.to_string()),
        ("cache store-set-cookie", if cache.strips_set_cookie { "strip" } else { "off" }.to_owned()),
        ("cache strip-cookies", format!("#{}", cache.strips_cookies)),
        ("cache key query", query(&cache.key)),
        ("cache no-vary-search", if cache.key.follows_search { "on" } else { "off" }.to_owned()),
    ];
    let mut add = |subject, text: Option<String>| said.extend(text.map(|text| (subject, text)));
    add("cache ttl default", cache.ttl.default.as_ref().map(time));
    add("cache ttl refresh-ahead", cache.ttl.refresh_ahead.as_ref().map(time));
    for rule in cache.overrides.iter() {
        add("cache ttl", Some(overriding(rule, &time)));
    }
    for (status, ttl) in cache.negative.iter() {
        add("cache negative", Some(format!("{status} ttl={}", duration(*ttl))));
    }
    let named = |names: &[_]| (!names.is_empty()).then(|| list(names));
    add("cache key header", named(&cache.key.headers));
    add("cache key cookie", named(&cache.key.cookies));
    if let Some(device) = &cache.key.device {
        let header = device.header.as_ref().map_or(String::new(), |header| format!("header={header} "));
        add("cache key device", Some(format!("{header}default={}", device.default)));
        for group in device.groups.iter() {
            let patterns: Vec<String> = group.patterns.iter().map(|pattern| quoted(pattern)).collect();
            let hint = group.mobile.map_or(String::new(), |mobile| format!(" mobile-hint=#{mobile}"));
            add("cache key device group", Some(format!("{} {}{hint}", group.name, list(&patterns)).replace("  ", " ")));
        }
    }
    add("cache vary", cache.vary.as_ref().map(|names| list(names)));
    add("cache tags from", cache.tags.as_ref().map(ToString::to_string));
    add("cache languages", named(&cache.languages));
    add("cache slice", cache.slice.as_ref().map(|slice| setting(site, slice, |&slice| size(slice))));
    add("cache ignore", cache.ignores_requests.then(|| "request-cache-control".to_owned()));
    for mark in cache.bypass.iter() {
        add("cache bypass", Some(in_words(mark)));
    }
    for mark in cache.refresh.iter() {
        add("cache refresh", Some(in_words(mark)));
    }
    for field in cache.control_fields.iter() {
        let name = match field {
            ControlField::XAccelExpires => "X-Accel-Expires",
            ControlField::SurrogateControl => "Surrogate-Control",
        };
        add("cache control-fields", Some(name.to_owned()));
    }
    for allowed in cache.purge.iter() {
        add("cache purge", Some(network(allowed)));
    }
    said
}

fn query(key: &Key) -> String {
    let send = if key.send_keyed { "keyed" } else { "all" };
    match &key.query {
        Query::Whole => "whole".to_owned(),
        Query::Only(names) if names.is_empty() => format!("off send={send}"),
        Query::Only(names) => format!("{} send={send}", list(names)),
        Query::Except { names, sorted } => {
            let sort = if *sorted { " sort=#true" } else { "" };
            let except = if names.is_empty() { String::new() } else { format!(" {{ except {} }}", list(names)) };
            format!("send={send}{sort}{except}")
        }
    }
}

fn overriding(rule: &Override, time: &impl Fn(&Setting<Duration>) -> String) -> String {
    let statuses = if rule.statuses.is_empty() { String::new() } else { format!("{} ", list(&rule.statuses)) };
    let media = rule.media_type.as_ref().map(|media| match media.as_bytes() {
        [b'+', ..] => format!(" type=\"*{media}\""),
        [.., b'/'] => format!(" type=\"{media}*\""),
        _ => format!(" type=\"{media}\""),
    });
    format!("{statuses}override={}{}", time(&rule.ttl), media.unwrap_or_default())
}

fn in_words(mark: &Mark) -> String {
    let part = match mark.part {
        Part::Header => "header",
        Part::Query => "query",
        Part::Cookie => "cookie",
    };
    let value = mark.value.as_ref().map(|value| format!(" {}", quoted(value)));
    format!("{part} {}{}", mark.name, value.unwrap_or_default())
}
