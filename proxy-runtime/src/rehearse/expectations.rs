//! Runs the tests of a site: compares the result of a simulated request with the expected one.

use super::{Rehearsal, RehearsalOutcome, SiteRules, rehearse};
use crate::context::settings::Settings;
use crate::site::{Expect, ExpectField, Side, Test, Text};

/// Simulates a test's request.
///
/// # Errors
/// See [`rehearse()`].
pub fn outcome(rules: &impl SiteRules, test: &Test, settings: &Settings) -> Result<RehearsalOutcome, String> {
    let headers = test.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    let request = Rehearsal {
        method: &test.method,
        url: &test.url,
        listener: u32::from(test.listener),
        headers,
        body: test.body,
        from: test.from,
        version: test.version,
    };
    rehearse(rules, &request, settings)
}

/// Runs one test; returns the expectations that it fails, or why the request is invalid.
///
/// # Errors
/// See [`rehearse()`].
pub fn run(rules: &impl SiteRules, test: &Test, settings: &Settings) -> Result<Vec<(String, String, String)>, String> {
    Ok(misses(&test.expect, &outcome(rules, test, settings)?))
}

/// Returns the failed expectations: the property, the expected value, the actual value.
pub fn misses(expect: &Expect, outcome: &RehearsalOutcome) -> Vec<(String, String, String)> {
    let mut misses = Vec::new();
    let mut compare = |name: &str, expected: Option<String>, found: Option<String>| {
        if let Some(expected) = expected
            && found.as_ref() != Some(&expected)
        {
            misses.push((name.to_owned(), expected, found.unwrap_or_else(|| outcome.in_short())));
        }
    };
    let text = |text: &Option<Text>| text.as_ref().map(ToString::to_string);
    compare("status", expect.status.map(|status| status.to_string()), outcome.status.map(|status| status.to_string()));
    compare("route", text(&expect.route), outcome.pattern.clone());
    compare("handler", text(&expect.handler), outcome.handler.map(str::to_owned));
    compare("upstream", text(&expect.upstream), outcome.upstream.clone());
    compare("upstream-path", text(&expect.upstream_path), outcome.upstream_path.clone());
    compare("cache", text(&expect.cache), outcome.cache.map(|(cache, _)| cache.to_owned()));
    compare("cache-key", text(&expect.cache_key), outcome.cache_key.clone());
    compare("location", text(&expect.location), outcome.location.clone());
    for field in expect.fields.iter() {
        let fields = match field.side {
            Side::Upstream => &outcome.upstream_headers,
            Side::Response => &outcome.response_headers,
        };
        let values: Vec<_> = fields.iter().filter(|(name, _)| *name == field.name).map(|(_, value)| value).collect();
        let is = values.iter().any(|value| field.value.as_ref().is_none_or(|wanted| wanted == value.as_str()));
        if is != field.there {
            let wanted = match (&field.value, field.there) {
                (Some(value), true) => format!("\"{value}\""),
                (None, true) => "there".to_owned(),
                (_, false) => "missing".to_owned(),
            };
            let found: Vec<_> = values.iter().map(|value| format!("\"{value}\"")).collect();
            let found = if found.is_empty() { "missing".to_owned() } else { found.join(", ") };
            misses.push((field.property(), wanted, found));
        }
    }
    misses
}

impl ExpectField {
    /// Returns its name in messages, such as `upstream-header x-user`.
    pub fn property(&self) -> String {
        let side = match self.side {
            Side::Upstream => "upstream-header",
            Side::Response => "response-header",
        };
        format!("{side} {}", self.name)
    }
}
