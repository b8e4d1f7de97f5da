//! The behaviour of a route, and the global settings, as comparable values: with names in place of indices.

use std::collections::BTreeMap;
use std::time::Duration;

use proxy_runtime::site::{Admin, Policy};
use serde_json::{Map, Value, json};

use super::words::{self, SideDescription};
use crate::handler;
use crate::model::{Folder, Route, Site};
use crate::policy::log::shown;
use crate::wording;

/// Returns the handling of a route's requests; as a value and in words.
pub(super) fn behaviour(site: &Site, route: &Route) -> (Value, SideDescription) {
    let others = json!({
        "handler": route.handler,
        "request": route.request,
        "response": route.response,
        "filter": route.functions,
    });
    let (values, others) = (values(site, &route.policy), without_places(named(site, others)));
    let said = words::policy(site, &route.policy, &values, &others);
    (json!([others, values]), said.answered_by(handler::checked(&route.handler).short(site)))
}

/// Returns a policy in words.
pub(super) fn policy(site: &Site, policy: &Policy) -> SideDescription {
    words::policy(site, policy, &values(site, policy), &Value::Null)
}

fn values(site: &Site, policy: &Policy) -> Value {
    without_places(named(site, json!(policy)))
}

/// Returns the settings for all requests, by name; as values and in words.
pub(super) fn general(site: &Site) -> BTreeMap<String, (Value, SideDescription)> {
    let mut all = BTreeMap::new();
    for upstream in &site.upstreams {
        let values = without_places(named(site, json!(upstream)));
        let said = words::upstream(site, upstream, &values);
        all.insert(format!("upstream {}", upstream.name), (values, said));
    }
    let mut add = |name: String, value: Value| {
        let value = without_places(named(site, value));
        let said = words::value(&value);
        all.insert(name, (value, said));
    };
    for param in &site.params {
        add(format!("param {}", param.name), json!(param));
    }
    for (index, listener) in site.listeners.iter().enumerate() {
        add(
            format!("listener {}", super::listener_name(site, index)),
            json!({
                "address": listener.address,
                "speaks": listener.speaks,
                "mode": listener.file.mode.map(|mode| format!("{mode:04o}")),
                "owner": listener.file.user,
                "group": listener.file.group,
            }),
        );
    }
    for tls in &site.tls {
        add(format!("tls {}", tls.name), json!(tls));
    }
    for stream in &site.streams {
        add(format!("stream {}", stream.name), json!(stream));
    }
    for store in &site.stores {
        add(format!("cache-store {}", store.name), json!(store));
    }
    if let Some(admin) = &site.admin {
        add("admin".to_owned(), operated(admin));
    }
    add("error log".to_owned(), error_log(site));
    add("process".to_owned(), process(site));
    add("acme".to_owned(), json!(site.acme));
    add("trace".to_owned(), json!(site.trace));
    add("trusted-proxies".to_owned(), json!(site.trusted));
    for host in &site.hosts {
        add(format!("site {}", host.name()), json!({ "limits": host.normal_form }));
    }
    all
}

/// Returns the settings of `process`. The rules of the sandbox follow from the rest of the site.
fn process(site: &Site) -> Value {
    let mut said = json!(site.process);
    let required = site.process.sandbox.as_ref().map(|sandbox| sandbox.required);
    said["sandbox"] = match required {
        None => "off",
        Some(false) => "best-effort",
        Some(true) => "required",
    }
    .into();
    said
}

/// Returns the settings of `admin`: its parts as lines, and its access control.
fn operated(admin: &Admin) -> Value {
    // The listener is compared separately.
    let Admin {
        listener: _,
        metrics,
        status,
        tap,
        masked,
        purge,
        servers,
        drain,
        log_level,
        allow,
        auth,
        hosts,
        buckets,
        ready,
    } = admin;
    let parts = [
        ("metrics", metrics),
        ("status", status),
        ("tap", tap),
        ("purge", purge),
        ("servers", servers),
        ("drain", drain),
        ("log-level", log_level),
    ];
    let bound = |micros: &u64| wording::duration(Duration::from_micros(*micros));
    json!({
        "lines": parts.iter().filter(|(_, has)| **has).map(|(name, _)| name).collect::<Vec<_>>(),
        "mask": masked,
        "buckets": buckets.iter().map(bound).collect::<Vec<_>>(),
        "allow": allow.iter().map(wording::network).collect::<Vec<_>>(),
        "auth": auth.as_ref().map(|auth| &auth.scheme),
        "hosts": hosts,
        "ready": ready,
    })
}

/// Returns a value on one line.
fn short(value: &Value) -> String {
    const LONGEST: usize = 100;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(object) if object.len() == 1 && object.contains_key("Fixed") => short(&object["Fixed"]),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Replaces the indices of parameters, files and upstreams with names, because indices differ between sites.
fn named(site: &Site, value: Value) -> Value {
    match value {
        Value::Object(object) if object.len() == 1 && object.contains_key("pieces") => {
            template(site, &object["pieces"])
        }
        // A plain `proxy` in short form.
        Value::Object(mut object)
            if object.get("shares").and_then(Value::as_array).is_some_and(|all| all.len() == 1) =>
        {
            let upstream = object["shares"][0]["upstream"].clone();
            object.retain(|key, _| !["shares", "by", "cookie"].contains(&key.as_str()));
            object.insert("upstream".to_owned(), upstream);
            named(site, Value::Object(object))
        }
        Value::Object(object) => {
            let members = object.into_iter().map(|(key, mut value)| {
                // Files with their rules are shown by path.
                if let ("File" | "ApiKey", Some([number @ Value::Number(_), ..])) =
                    (key.as_str(), value.as_array_mut().map(Vec::as_mut_slice))
                    && let Some(path) = file(site, number)
                {
                    *number = path;
                }
                // Outputs of the access log are shown by target.
                if let ("outputs", Some(numbers)) = (key.as_str(), value.as_array_mut()) {
                    numbers.iter_mut().for_each(|number| *number = output(site, number));
                }
                let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
                let name = number.and_then(|number| match key.as_str() {
                    "Param" => site.params.get(number).map(|param| json!(param.name)),
                    "File" | "Basic" | "Bearer" | "chain" | "key" | "ocsp" | "ca" => file(site, &json!(number)),
                    "listed" => site.listed.get(number).map(|listed| named(site, json!(listed))),
                    "key_source" => site.key_sources.get(number).map(|source| named(site, json!(source))),
                    "bundled" => site.bundle.get(number).map(bundled),
                    "default" | "tls" => site.tls.get(number).map(|tls| json!(tls.name)),
                    "store" => site.stores.get(number).map(|store| json!(store.name)),
                    "stream" => site.streams.get(number).map(|stream| json!(stream.name)),
                    "upstream" | "otherwise" => site.upstreams.get(number).map(|upstream| json!(upstream.name)),
                    _ => None,
                });
                if let ("upstreams" | "ready", Value::Array(numbers)) = (key.as_str(), &value) {
                    let names = numbers.iter().filter_map(|number| site.upstreams.get(number.as_u64()? as usize));
                    return (key, names.map(|upstream| json!(upstream.name)).collect());
                }
                let value = name.unwrap_or_else(|| named(site, value));
                let value = if key == "Bytes" { text(value) } else { value };
                (key, value)
            });
            Value::Object(members.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| named(site, item)).collect()),
        other => other,
    }
}

/// Returns the settings of the error log.
fn error_log(site: &Site) -> Value {
    let Some(errors) = &site.errors else { return Value::Null };
    let to: Vec<_> = errors.outputs.iter().map(|output| shown::target(site, &output.target)).collect();
    json!({ "level": errors.level.name(), "format": if errors.json { "json" } else { "text" }, "to": to })
}

/// Returns an output of the access log, by its target.
fn output(site: &Site, number: &Value) -> Value {
    let found = number.as_u64().and_then(|number| site.outputs.get(usize::try_from(number).ok()?));
    found.map_or_else(|| number.clone(), |output| json!(shown::target(site, &output.target)))
}

/// Returns a file by its path.
fn file(site: &Site, number: &Value) -> Option<Value> {
    let number = usize::try_from(number.as_u64()?).ok()?;
    site.files.get(number).map(|file| named(site, json!(file.path)))
}

/// Returns the files of an embedded folder, by their digests.
fn bundled(folder: &Folder) -> Value {
    folder.content.iter().map(|(path, digest)| (path.clone(), json!(String::from_utf8_lossy(digest)))).collect()
}

/// Decodes bytes, which are serialized as numbers.
fn text(value: Value) -> Value {
    let numbers =
        value["Fixed"].as_array().map(|bytes| bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()));
    match numbers {
        Some(bytes) => json!(String::from_utf8_lossy(&bytes.collect::<Vec<u8>>())),
        None => value,
    }
}

/// Returns a template, approximately as written.
fn template(site: &Site, pieces: &Value) -> Value {
    let piece = |piece: &Value| match named(site, piece.clone()) {
        Value::Object(object) => match object.into_iter().next() {
            Some((kind, Value::String(text))) if kind == "Text" => text,
            Some((kind, value)) => format!("{{{kind} {}}}", short(&value)),
            None => String::new(),
        },
        other => format!("{{{}}}", short(&other)),
    };
    json!(pieces.as_array().into_iter().flatten().map(piece).collect::<String>())
}

/// Removes source locations and indices, which do not affect the behaviour.
fn without_places(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let members = object.into_iter().filter(|(key, value)| key != "place" && !(key == "id" && value.is_u64()));
            Value::Object(members.map(|(key, value)| (key, without_places(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_places).collect()),
        other => other,
    }
}
