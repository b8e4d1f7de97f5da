//! `allow` and `deny`: access control by the client's network.

use ipnet::IpNet;
use proxy_runtime::site::{self, Addresses, Listed, NetworkRule};

use super::{ExplainLine, ExplainStep, ExplainedRequest, Layer, Merge, Policy, PolicyDescription};
use crate::ast::{NetworkSource, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, POLICY, Reading};
use crate::model::Route;
use crate::model::Site;
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};
use crate::value;
use crate::wording;

pub(crate) static ALLOW: Directive = Directive {
    name: "allow",
    places: POLICY,
    args: "CIDR|(file)PATH...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Allows clients from these networks.",
    details: "\
Of all networks in `allow` and `deny` lines, the most specific one that contains the client's address decides; the order of lines
makes no difference. If there is an `allow`, clients in none of the networks are refused; otherwise they are allowed. Lines of a
preset, a site and a route are combined; if the same network is named twice, the inner line applies, so
`allow \"0.0.0.0/0\" \"::/0\"` opens a route again. A refused request gets 403, with the reason `address-denied` in the log.

The client is the peer, or the client that a trusted peer names (see `trusted-proxies`). An IPv4 address in IPv6 form counts as IPv4.
A list in a file has one network or address per line, and `#` for comments; it is read at start and on SIGHUP, and a list with
errors is not used then. A look-up costs the same for ten networks and for ten thousand. In tests of the site, the contents of files
are not known.",
    example: r#"
site example.com {
    deny (file)"/etc/site/blocked.txt"
    route "/admin/*" {
        allow "10.0.0.0/8" "2001:db8::/32"
        deny "10.66.0.0/16"
        proxy "http://127.0.0.1:3000"
    }
    route "/*" {
        proxy "http://127.0.0.1:3000"
    }
}
test "the branch office may not" {
    request GET "http://example.com/admin/" {
        from "10.66.0.1"
    }
    expect status=403
}
"#,
    read: |r| read(r, true),
};

pub(crate) static DENY: Directive = Directive {
    name: "deny",
    places: POLICY,
    args: "CIDR|(file)PATH...",
    props: &[],
    body: None,
    repeats: true,
    summary: "Refuses clients from these networks.",
    details: "See `allow`.",
    example: r#"
site example.com {
    deny "192.0.2.0/24"
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| read(r, false),
};

fn read(r: &mut Reading<'_, '_>, allow: bool) -> Option<What> {
    let list = r.some("a CIDR", value::network_or_file);
    Some(What::policy(Networks { allow, list }))
}

/// `allow` or `deny`.
#[derive(Debug, Clone)]
pub(crate) struct Networks {
    /// Whether it is `allow`.
    allow: bool,
    /// Networks, and files with networks.
    list: Vec<Spanned<NetworkSource>>,
}

impl Policy for Networks {
    const NAME: &'static str = "allow";
    const MERGE: Merge<Self> = Merge::All;

    fn name(&self) -> &'static str {
        if self.allow { "allow" } else { "deny" }
    }

    fn check_place(check: &mut Check<'_>, said: &[Spanned<Networks>]) {
        check.networks_act(said);
    }

    fn check(check: &mut Check<'_>, layer: &Layer, _: &Scope, policy: &mut site::Policy) {
        if let Some(made) = check.networks(layer.all()) {
            policy.access.get_or_insert_default().networks = Some(made);
        }
    }

    fn explain(of: &ExplainedRequest<'_>) -> Vec<ExplainLine> {
        let written = |name| of.route.origins.iter().any(|(found, _)| *found == name);
        let line = |(name, text): (&'static str, String)| {
            // The shorter of both forms is shown.
            let other = if name == "allow" { "deny" } else { "allow" };
            let origin = of.from(if written(name) { name } else { other });
            ExplainLine::new(ExplainStep::Access, name, format!("{text} [{origin}]"))
        };
        let networks = of.route.policy.access.iter().filter_map(|access| access.networks.as_ref());
        networks.flat_map(|networks| said(of.site, networks)).map(line).collect()
    }

    fn guards(route: &Route) -> Vec<String> {
        let any = route.policy.access.as_ref().is_some_and(|access| access.networks.is_some());
        any.then(|| "allow/deny".to_owned()).into_iter().collect()
    }

    fn diff(site: &Site, policy: &site::Policy) -> PolicyDescription {
        let networks = policy.access.as_ref().and_then(|access| access.networks.as_ref());
        match networks {
            // The allowed networks are only known when the files are read.
            Some(networks) if networks.listed.is_some() => {
                let words = said(site, networks).into_iter().map(|(name, text)| (name.to_owned(), text));
                PolicyDescription::words("access", words.collect())
            }
            _ => {
                let everybody = || Addresses::of(&[], true);
                let allowed = networks.map_or_else(everybody, |networks| networks.allowed.clone());
                PolicyDescription { allowed: Some(allowed), ..PolicyDescription::words("access", Vec::new()) }
            }
        }
    }
}

/// Returns the description of the rules.
fn said(site: &Site, networks: &site::Networks) -> Vec<(&'static str, String)> {
    let Some(listed) = networks.listed.and_then(|index| site.listed.get(index as usize)) else {
        // As allowed or denied networks, whichever is shorter.
        let inside = wording::networks(&networks.allowed);
        let outside = wording::networks(&wording::complement(&networks.allowed));
        let (name, found) = if inside.len() <= outside.len() { ("allow", inside) } else { ("deny", outside) };
        return vec![(name, wording::list(&found.iter().map(wording::network).collect::<Vec<_>>()))];
    };
    let rules = |allowed: bool| {
        let rule = move |rule: &NetworkRule| match rule {
            NetworkRule::Network(net, is) => (*is == allowed).then(|| wording::network(net)),
            NetworkRule::File(index, is) => (*is == allowed).then(|| wording::file(site, *index)),
        };
        listed.rules.iter().filter_map(rule).collect::<Vec<_>>()
    };
    let all = [("allow", rules(true)), ("deny", rules(false))].into_iter().filter(|(_, rules)| !rules.is_empty());
    all.map(|(name, rules)| (name, wording::list(&rules))).collect()
}

impl Check<'_> {
    /// Combines all networks into one table.
    fn networks(&mut self, written: &[Spanned<Networks>]) -> Option<site::Networks> {
        let (mut rules, mut all) = (Vec::new(), Vec::new());
        for (allow, source) in
            written.iter().flat_map(|said| said.value.list.iter().map(|source| (said.value.allow, source)))
        {
            match &source.value {
                NetworkSource::Network(network) => {
                    rules.push((*network, allow));
                    all.push(NetworkRule::Network(*network, allow));
                }
                NetworkSource::File(file) => {
                    all.push(NetworkRule::File(self.own_file(file, source.span, false)?, allow))
                }
            }
        }
        if all.is_empty() {
            return None;
        }
        let default = !written.iter().any(|networks| networks.value.allow);
        let listed = all.iter().any(|rule| matches!(rule, NetworkRule::File(..))).then(|| {
            let listed = Listed { rules: list(all), default };
            let index = self.listed.iter().position(|known| *known == listed).unwrap_or_else(|| {
                self.listed.push(listed);
                self.listed.len() - 1
            });
            index as u32
        });
        Some(site::Networks { allowed: Addresses::of(&rules, default), listed })
    }

    /// Reports networks, written in one place, that change nothing.
    fn networks_act(&mut self, written: &[Spanned<Networks>]) {
        let rules: Vec<(IpNet, bool, Span)> = written
            .iter()
            .flat_map(|said| said.value.list.iter().map(|source| (said.value.allow, source)))
            .filter_map(|(allow, source)| match &source.value {
                NetworkSource::Network(network) => Some((*network, allow, source.span)),
                NetworkSource::File(_) => None,
            })
            .collect();
        let mut sorted: Vec<usize> = (0..rules.len()).collect();
        // Outer networks come before inner ones.
        sorted.sort_by_key(|&at| (rules[at].0.network(), rules[at].0.prefix_len(), at));
        let mut around: Vec<usize> = Vec::new();
        for at in sorted {
            let (network, allow, span) = rules[at];
            while around.pop_if(|&mut outer| !rules[outer].0.contains(&network)).is_some() {}
            if let Some(&outer) = around.last() {
                let (other, verdict, first) = rules[outer];
                let message = match (other == network, verdict == allow) {
                    (true, false) => format!("`{network}` is allowed and denied"),
                    (true, true) => format!("`{network}` is there twice"),
                    (false, true) => format!("`{network}` changes nothing: `{other}` has it already"),
                    (false, false) => String::new(),
                };
                if !message.is_empty() {
                    let code = if other == network && verdict != allow { "contradiction" } else { "no-effect" };
                    self.report.add(Diagnostic::error(code, message, span).also(first, "here"));
                }
            }
            around.push(at);
        }
    }
}
