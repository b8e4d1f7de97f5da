//! The forwarding properties of `proxy` and `split`: how they are read, checked and described.

use proxy_runtime::context::template::Template;
use proxy_runtime::protocol::target::{is_host, split_port};
use proxy_runtime::site::{self, HostField, Share, Text};

use super::{CheckedHandler, Leads};
use crate::check::is_on;
use crate::declaration::Reading;
use crate::model::{Site, list};
use crate::source::Spanned;
use crate::syntax::Leaf;
use crate::value::{self, Parsed};

/// The `Host` for the server, additional fields about the client, and whether the server asks for bodies.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    host: Option<Spanned<HostField>>,
    forwarded: Option<Spanned<bool>>,
    /// `forwarded-port=`.
    pub(crate) port: Option<Spanned<bool>>,
    pub(crate) real_ip: Option<Spanned<bool>>,
    /// `continue=`: whether the server decides about `100 Continue`.
    pub(crate) asks_server: Option<Spanned<bool>>,
}

/// The sender of `100 Continue` to a client that waits for it.
const WHO_ASKS: &[(&str, bool)] = &[("proxy", false), ("upstream", true)];

impl Forwarding {
    pub(super) fn read(r: &mut Reading<'_, '_>) -> Forwarding {
        Forwarding {
            host: r.prop("host", host),
            forwarded: r.prop("forwarded", value::boolean),
            port: r.prop("forwarded-port", value::boolean),
            real_ip: r.prop("real-ip", value::boolean),
            asks_server: r.prop("continue", value::word(WHO_ASKS)),
        }
    }

    /// Returns the handler that forwards to these upstreams.
    pub(super) fn to(&self, shares: Vec<Share>, by: Option<Template>, cookie: Option<Text>) -> site::Handler {
        site::Handler::Proxy(site::Proxy {
            shares: list(shares),
            by,
            cookie,
            host: self.host.as_ref().map_or(HostField::Client, |host| host.value.clone()),
            forwarded: is_on(&self.forwarded),
            forwarded_port: is_on(&self.port),
            real_ip: is_on(&self.real_ip),
            asks_server: is_on(&self.asks_server),
        })
    }
}

fn host(leaf: &Leaf) -> Parsed<HostField> {
    Ok(match value::text(leaf)?.as_str() {
        "client" => HostField::Client,
        "upstream" => HostField::Upstream,
        host if split_port(host).is_some_and(|(name, _)| !name.is_empty() && is_host(name)) => {
            HostField::Fixed(host.to_owned().into())
        }
        other => {
            return Err(value::Problem {
                code: "bad-host",
                message: format!("`{other}` is neither `client`, `upstream` nor a host"),
                // nginx's variable for the default.
                help: if other.starts_with('$') { vec![value::Advice::Write("client".to_owned())] } else { Vec::new() },
                part: None,
            });
        }
    })
}

impl CheckedHandler for site::Proxy {
    fn short(&self, site: &Site) -> String {
        let names = self.shares.iter().map(|share| &*site.upstreams[usize::from(share.upstream)].name);
        format!("{} {}", self.name(), names.collect::<Vec<_>>().join(" "))
    }

    fn explain(&self, _: &Site) -> Option<String> {
        None
    }

    fn leads(&self) -> Leads<'_> {
        Leads::To(self)
    }
}

/// For `explain`: the fields that a server receives, in lines with a name.
pub(crate) fn said(proxy: &site::Proxy) -> Vec<(&'static str, String)> {
    let host = match &proxy.host {
        HostField::Client => "the client's".to_owned(),
        HostField::Upstream => "the server's address".to_owned(),
        HostField::Fixed(host) => host.to_string(),
    };
    let said = [("forwarded", proxy.forwarded), ("forwarded-port", proxy.forwarded_port), ("real-ip", proxy.real_ip)];
    let said: Vec<_> = said.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    let says = (!said.is_empty()).then(|| ("says", said.join(" ")));
    [("host", host)].into_iter().chain(says).collect()
}
