//! Finds variables of other proxies in strings: they would be sent literally.

use super::Check;
use super::scope::{Phase, Scope, available};
use crate::ast;
use crate::code::Level;
use crate::report::{Diagnostic, Edit, Help};

/// nginx's variables, with the equivalent placeholders; empty if there is none.
static NGINX: phf::Map<&str, &str> = phf::phf_map! {
    "remote_addr" => "{client.ip}",
    "binary_remote_addr" => "{client.ip}",
    "realip_remote_addr" => "{client.ip}",
    "host" => "{host}",
    "http_host" => "{host}",
    "server_name" => "{host}",
    "hostname" => "",
    "request_uri" => "{uri}",
    "uri" => "{path}",
    "document_uri" => "{path}",
    "scheme" => "{scheme}",
    "https" => "",
    "request" => "",
    "request_method" => "{method}",
    "request_id" => "{request.id}",
    "otel_trace_id" => "{trace.id}",
    "request_body" => "",
    "request_filename" => "",
    "request_time" => "{duration}",
    "request_length" => "",
    "args" => "{query}",
    "query_string" => "{query}",
    "is_args" => "",
    "remote_user" => "{user}",
    "remote_port" => "",
    "server_addr" => "",
    "server_port" => "",
    "server_protocol" => "{protocol}",
    "ssl_protocol" => "{tls.version}",
    "ssl_cipher" => "",
    "ssl_server_name" => "{host}",
    "ssl_client_s_dn" => "{client.cert.subject}",
    "ssl_client_fingerprint" => "{client.cert.fingerprint}",
    "ssl_client_verify" => "",
    "ssl_client_cert" => "",
    "status" => "{status}",
    "body_bytes_sent" => "{bytes}",
    "bytes_sent" => "{bytes}",
    "time_iso8601" => "{time}",
    "time_local" => "{time.common}",
    "msec" => "",
    "upstream_addr" => "{server}",
    "upstream_status" => "",
    "upstream_response_time" => "",
    "upstream_cache_status" => "",
    "proxy_host" => "",
    "proxy_port" => "",
    "proxy_add_x_forwarded_for" => "",
    "document_root" => "",
    "realpath_root" => "",
    "connection" => "",
    "connection_upgrade" => "",
    "content_type" => "{header.Content-Type}",
    "content_length" => "{header.Content-Length}",
    "geoip_country_code" => "",
};

/// Families of variables that contain a name.
const FAMILIES: &[(&str, &str)] = &[("http_", "header"), ("cookie_", "cookie"), ("arg_", "query")];

/// Placeholders of Caddy and Traefik, with the equivalent ones.
static PLACEHOLDERS: phf::Map<&str, &str> = phf::phf_map! {
    "remote_host" => "client.ip",
    "remote_ip" => "client.ip",
    "remote_addr" => "client.ip",
    "client_ip" => "client.ip",
    "ip" => "client.ip",
    "http.request.remote.host" => "client.ip",
    "http.request.uri" => "uri",
    "http.request.uri.path" => "path",
    "request_uri" => "uri",
    "http.request.uri.query" => "query",
    "args" => "query",
    "http.request.host" => "host",
    "hostport" => "host",
    "http_host" => "host",
    "server_name" => "host",
    "http.request.method" => "method",
    "http.request.scheme" => "scheme",
    "proto" => "protocol",
    "http.request.proto" => "protocol",
    "http.request.id" => "request.id",
    "request_id" => "request.id",
    "http.vars.trace_id" => "trace.id",
    "trace_id" => "trace.id",
    "uuid" => "request.id",
    "http.auth.user.id" => "user",
    "remote_user" => "user",
    "username" => "user",
    "upstream_hostport" => "server",
    "upstream_addr" => "server",
    "status_code" => "status",
    "bytes_sent" => "bytes",
    "request_time" => "duration",
    "latency" => "duration",
    "tls_version" => "tls.version",
    "http.request.tls.version" => "tls.version",
};

/// Returns the equivalent of another proxy's placeholder.
pub(crate) fn placeholder(word: &str) -> Option<&'static str> {
    PLACEHOLDERS.get(word).copied()
}

/// A variable in a text: `start..end` in bytes, and its equivalent.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    start: usize,
    end: usize,
    ours: String,
}

/// Returns the nginx variables in a text, in order: `$name` and `${name}`.
fn variables(text: &str) -> Vec<Variable> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices('$') {
        let rest = &text[start + 1..];
        let (inner, braces) = rest.strip_prefix('{').map_or((rest, 0), |inner| (inner, 2));
        let len = inner.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(inner.len());
        let name = &inner[..len];
        if braces > 0 && !inner[len..].starts_with('}') {
            continue;
        }
        let known = NGINX.get(name).map(|ours| (*ours).to_owned());
        let family = || {
            let (prefix, ours) =
                FAMILIES.iter().find(|(prefix, _)| name.strip_prefix(prefix).is_some_and(|of| !of.is_empty()))?;
            let of = &name[prefix.len()..];
            Some(if *ours == "header" {
                format!("{{header.{}}}", of.replace('_', "-"))
            } else {
                format!("{{{ours}.{of}}}")
            })
        };
        if let Some(ours) = known.or_else(family) {
            found.push(Variable { start, end: start + 1 + len + braces, ours });
        }
    }
    found
}

impl Check<'_> {
    /// Finds nginx variables in a template. Returns whether one was in braces, which is an error.
    pub(crate) fn foreign_variables(&mut self, template: &ast::Template, scope: &Scope, phase: Phase) -> bool {
        // `${name}` was parsed as a dollar and a placeholder, so the source text is searched.
        let source = self.sources.slice(template.span);
        if !source.contains('$') || template.parts.iter().all(|part| !matches!(part, ast::Part::Text(_))) {
            return false;
        }
        let mut in_braces = false;
        for variable in variables(source) {
            let at = template.span.part(variable.start, variable.end);
            let name = self.sources.slice(at);
            let found = Diagnostic::lint(
                "foreign-variable",
                format!("`{name}` has no meaning here: it would be sent as it is written"),
                at,
            );
            let has_value = available(&variable.ours, scope, phase);
            let edit = Edit { at, text: variable.ours.clone() };
            let help = match (variable.ours.is_empty(), has_value) {
                (false, true) => Help::told(format!("write {}", variable.ours), vec![edit]),
                (false, false) => {
                    Help::from(format!("{} is the placeholder for it, and has no value here", variable.ours))
                }
                (true, _) => Help::from("there is no placeholder for it"),
            };
            let braces = name.ends_with('}');
            let allowed = (!braces).then(|| self.allowed("if it is intended literally", "foreign-variable"));
            in_braces |= braces;
            self.report.add(found.help(help).maybe_help(allowed));
        }
        in_braces && self.report.level("foreign-variable") == Level::Deny
    }

    /// `$1` in a target: captures have names here.
    pub(crate) fn groups_of_nginx(&mut self, template: &ast::Template) {
        let source = self.sources.slice(template.span);
        let is_group = |&(at, _): &(usize, &str)| source[at + 1..].starts_with(|char: char| char.is_ascii_digit());
        let Some((at, _)) = source.match_indices('$').find(is_group) else { return };
        let at = template.span.part(at, at + 2);
        let found = format!("`{}` has no meaning here: it would be sent as it is written", self.sources.slice(at));
        let help = "the part of the path that `*` matches is {*}; a group of `path-regex` has a name, as in (?<page>[a-z]+), and is {page}";
        let allowed = self.allowed("if it is intended literally", "foreign-variable");
        self.report.add(Diagnostic::lint("foreign-variable", found, at).help(help).help(allowed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_nginx() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let found = variables(text);
            let found: Vec<_> =
                found.iter().map(|found| (&text[found.start..found.end], found.ours.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("$remote_addr", &[("$remote_addr", "{client.ip}")]);
        check("https://$host$request_uri", &[("$host", "{host}"), ("$request_uri", "{uri}")]);
        check("${scheme}://x", &[("${scheme}", "{scheme}")]);
        check(
            "$http_x_api_key $cookie_a $arg_q",
            &[("$http_x_api_key", "{header.x-api-key}"), ("$cookie_a", "{cookie.a}"), ("$arg_q", "{query.q}")],
        );
        for text in ["$5", "$HOME", "a$", "$1", "$(host)", "$foo", "$http_", "${host", "$hosts"] {
            check(text, &[]);
        }
    }
}
