//! The arguments of `ctl` ([`parse`]).

use std::collections::HashMap;

use http::Uri;
use lexopt::Arg;

use crate::protocol::canonical;
use crate::site::Site;

/// What `ctl --help` prints.
pub(super) const HELP: &str = "\
Operates the running proxy, by the `admin` of its site.

Usage: PROXY [PARAMETERS] ctl [OPTIONS] COMMAND

Commands:
  status                             Whether it is ready, its servers, its caches
  ready                              Whether it is ready; exit code 1 if not
  servers                            The servers of upstreams
  server UPSTREAM SERVER drain       Send a server no new requests
  server UPSTREAM SERVER enable      Send it requests again
  server UPSTREAM SERVER weight N    Set its weight, 0 to 1000
  drain                              End the process, as SIGTERM does
  purge URL [--soft]                 Take responses out of caches, or make them stale
  metrics                            Metrics, as Prometheus reads them
  tap [NAME=VALUE...]                Requests as they are answered
  log-level LEVEL                    Set the level of the error log

Options:
  --json                  Print JSON, not tables
  --user NAME             Who you are, where `admin` has `auth basic`; or variable KILN_CTL_USER
  --password-file FILE    Your password; or variable KILN_CTL_PASSWORD
  --token-file FILE       Your key, where it has `auth bearer`; or variable KILN_CTL_TOKEN
  --ca FILE               Certificates to verify the endpoint by, where it has `tls`; default: those that the machine trusts
  --name NAME             The name in its certificate; default: the first host of its `tls`, or its address
  --cert FILE --key FILE  Your certificate, where it requires one
  --help                  Print this

The address is the one in the site; if that is a parameter, give it as to the proxy.
Exit codes: 0 success, 1 it failed or is not ready, 2 wrong usage.
";

/// The command, and how the endpoint is reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ctl {
    pub(super) action: CtlCommand,
    pub(super) json: bool,
    /// The values of options by name.
    pub(super) options: HashMap<String, String>,
    /// The values of the site's parameters.
    pub(super) params: HashMap<String, String>,
}

/// A command of `ctl`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CtlCommand {
    Help,
    Status,
    Ready,
    Servers,
    Server {
        path: String,
        change: String,
    },
    Drain,
    Purge {
        host: String,
        path: String,
        soft: bool,
    },
    Metrics,
    /// The path and query.
    Tap(String),
    /// The path and query.
    LogLevel(String),
}

/// Options with a value.
const OPTIONS: [&str; 7] = ["user", "password-file", "token-file", "ca", "name", "cert", "key"];

/// Parses the arguments after `ctl`; `params` are the site's parameters before it.
///
/// # Errors
/// Fails if an argument is not valid.
pub(crate) fn parse(
    site: &Site,
    parser: &mut lexopt::Parser,
    mut params: HashMap<String, String>,
) -> Result<Ctl, lexopt::Error> {
    let (mut words, mut options) = (Vec::new(), HashMap::new());
    let (mut json, mut soft, mut help) = (false, false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Value(word) => words.push(text(word)?),
            Arg::Short('h') | Arg::Long("help") => help = true,
            Arg::Long("json") => json = true,
            Arg::Long("soft") => soft = true,
            Arg::Long(name) if OPTIONS.contains(&name) => {
                let name = name.to_owned();
                options.insert(name, text(parser.value()?)?);
            }
            Arg::Long(name) if site.params.iter().any(|param| param.name == name) => {
                let name = name.to_owned();
                params.insert(name, text(parser.value()?)?);
            }
            other => return Err(other.unexpected()),
        }
    }
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let action = if help { CtlCommand::Help } else { action(&words, soft).map_err(lexopt::Error::from)? };
    Ok(Ctl { action, json, options, params })
}

fn text(value: std::ffi::OsString) -> Result<String, lexopt::Error> {
    value.into_string().map_err(lexopt::Error::NonUnicodeValue)
}

fn action(words: &[&str], soft: bool) -> Result<CtlCommand, String> {
    let action = match *words {
        [] => return Err("`ctl` needs a command, as in `ctl status`".to_owned()),
        ["status"] => CtlCommand::Status,
        ["ready"] => CtlCommand::Ready,
        ["servers"] => CtlCommand::Servers,
        ["server", upstream, server, ref change @ ..] => CtlCommand::Server {
            path: format!("/servers/{}/{}", segment(upstream), segment(server)),
            change: match *change {
                ["drain"] => "state=drain".to_owned(),
                ["enable"] => "state=enabled".to_owned(),
                ["weight", weight] => format!("weight={}", canonical::encoded_parameter(weight)),
                _ => return Err("what is to be done with the server is `drain`, `enable` or `weight N`".to_owned()),
            },
        },
        ["drain"] => CtlCommand::Drain,
        ["purge", url] => {
            let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
            let (Some(_), Some(authority)) = (uri.scheme(), uri.authority()) else {
                return Err(format!("`{url}` is not a URL, as in http://example.com/path"));
            };
            let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            return Ok(CtlCommand::Purge { host: authority.to_string(), path, soft });
        }
        ["metrics"] => CtlCommand::Metrics,
        ["tap", ref arguments @ ..] => {
            let pair = |argument: &&str| match argument.split_once('=') {
                Some((name, value)) => format!("{}={}", escaped(name), escaped(value)),
                None => escaped(argument),
            };
            let query = arguments.iter().map(pair).collect::<Vec<_>>().join("&");
            CtlCommand::Tap(if query.is_empty() { "/tap".to_owned() } else { format!("/tap?{query}") })
        }
        ["log-level", level] => CtlCommand::LogLevel(format!("/log-level?level={}", escaped(level))),
        [command, ..] => return Err(format!("`ctl {command}` with these arguments is no command; see `ctl --help`")),
    };
    if soft { Err("`--soft` is for `purge`".to_owned()) } else { Ok(action) }
}

fn escaped(text: &str) -> String {
    canonical::encoded_parameter(text)
}

/// Returns a name as a segment of a path.
fn segment(name: &str) -> String {
    canonical::encoded_name(name).replace('/', "%2F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let check = |words: &str, expected: Option<CtlCommand>| {
            let words: Vec<_> = words.split_whitespace().collect();
            assert_eq!(action(&words, false).ok(), expected, "{words:?}");
        };
        let server =
            |path: &str, change: &str| Some(CtlCommand::Server { path: path.to_owned(), change: change.to_owned() });
        check("status", Some(CtlCommand::Status));
        check("", None);
        check("status now", None);
        check("server app 10.0.0.1:80 drain", server("/servers/app/10.0.0.1%3A80", "state=drain"));
        check("server app unix:/a.sock enable", server("/servers/app/unix%3A%2Fa.sock", "state=enabled"));
        check("server app x weight 5", server("/servers/app/x", "weight=5"));
        check("server app x weight", None);
        check("server app x off", None);
        let purge = |host: &str, path: &str| {
            Some(CtlCommand::Purge { host: host.to_owned(), path: path.to_owned(), soft: false })
        };
        check("purge https://a.test:8443/x?y=1", purge("a.test:8443", "/x?y=1"));
        check("purge https://a.test", purge("a.test", "/"));
        check("purge /x", None);
        check("purge a.test", None);
        check("tap", Some(CtlCommand::Tap("/tap".to_owned())));
        check("tap status=5xx path=/a&b slow", Some(CtlCommand::Tap("/tap?status=5xx&path=/a%26b&slow".to_owned())));
        check("log-level debug", Some(CtlCommand::LogLevel("/log-level?level=debug".to_owned())));
        assert!(action(&["drain"], true).is_err());
    }
}
