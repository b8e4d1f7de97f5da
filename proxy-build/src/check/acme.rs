//! Checks `acme`: the challenges that each host can use, and the providers of its DNS records.

use std::net::IpAddr;
use std::time::Duration;

use proxy_runtime::site::{
    Acme, Certificates, Challenge, DnsProvider, DnsUpdate, Listener, ParamKind, Setting, TsigAlgorithm,
};

use super::{Check, list};
use crate::ast::{self, DnsBy, HostPattern, Item, What};
use crate::model::Host;
use crate::report::{Diagnostic, Edit, Help};
use crate::source::{Span, Spanned};

/// The default and the longest time between setting records and telling the authority.
const PROPAGATION: Duration = Duration::from_secs(10);
const LONGEST_PROPAGATION: Duration = Duration::from_secs(3600);

impl Check<'_> {
    /// Checks `acme` for the sites that need it.
    pub(crate) fn acme(&mut self, acme: Option<&ast::Acme>, hosts: &[Host], listeners: &[Listener]) -> Option<Acme> {
        let wanted = self.tls.entries.iter().find(|entry| entry.value.tls.certificates == Certificates::Acme);
        let Some(acme) = acme else {
            if let Some(span) = wanted.map(|entry| entry.span) {
                self.report.add(
                    Diagnostic::error(
                        "no-acme",
                        "`tls acme` needs an `acme` with the folder of the certificates",
                        span,
                    )
                    .help(self.at_top("acme state=\"/var/lib/site\" email=\"you@example.com\"")),
                );
            }
            return None;
        };
        if wanted.is_none() {
            let message = "`acme` has no effect: no site has `tls acme`";
            self.report.add(Diagnostic::lint("unused", message, acme.span).help("remove it, or use it"));
        }
        self.authority_can_ask(acme, hosts);
        let plain = |index: &usize| !listeners[*index].speaks.tls;
        let written = acme.challenge.as_ref().map(|challenge| challenge.value);
        if let (Some(Challenge::Http01), Some(place), false) =
            (written, &acme.challenge, (0..listeners.len()).any(|index| plain(&index)))
        {
            self.report.add(
                Diagnostic::error(
                    "no-effect",
                    "the challenge `http-01` needs a plain listener, and all listeners have TLS",
                    place.span,
                )
                .help(Help::write(place.span, "tls-alpn-01"))
                .help(self.at_top("listen \":80\" { redirect-https; }")),
            );
        }
        let asked_plain = hosts
            .iter()
            .filter(|host| {
                host.tls
                    .is_some_and(|tls| self.tls.entries[usize::from(tls)].value.tls.certificates == Certificates::Acme)
            })
            .all(|host| host.listeners.iter().any(plain));
        let reachable = if asked_plain { Challenge::Http01 } else { Challenge::TlsAlpn01 };
        let written_dns = acme.items.iter().filter(|item| !item.broken).filter_map(|Item { what, .. }| match what {
            What::Dns(dns) => Some(dns),
            _ => None,
        });
        let written_dns: Vec<&ast::Dns> = written_dns.collect();
        let challenge = written.unwrap_or(if acme.items.is_empty() { reachable } else { Challenge::Dns01 });
        let dns: Option<Vec<_>> = written_dns.iter().map(|dns| self.dns_provider(dns)).collect();
        let external = match (&acme.eab_id, &acme.eab_key) {
            (Some(id), Some(key)) => Some((id.value.clone().into(), self.file_of(key, true)?)),
            (Some(alone), None) => {
                self.error("missing-property", "`eab-id` needs `eab-key=` beside it", alone.span);
                None
            }
            (None, Some(alone)) => {
                self.error("missing-property", "`eab-key` needs `eab-id=` beside it", alone.span);
                None
            }
            (None, None) => None,
        };
        let directory = match &acme.directory {
            Some(directory) => self.text_setting(directory)?,
            None => Setting::Fixed("https://acme-v02.api.letsencrypt.org/directory".into()),
        };
        let made = Acme {
            email: acme.email.as_ref().map(|email| email.value.clone().into()),
            state: self.text_setting(&acme.state)?,
            directory,
            ca: match &acme.ca {
                Some(ca) => Some(self.file_of(ca, false)?),
                None => None,
            },
            external,
            profile: acme.profile.as_ref().map(|profile| profile.value.clone().into()),
            challenge,
            address_challenge: if challenge == Challenge::Dns01 { reachable } else { challenge },
            dns: list(dns?),
            place: self.place(acme.span),
        };
        if acme.items.len() == written_dns.len() {
            self.hosts_can_be_shown(&made, &written_dns);
        }
        Some(made)
    }

    /// Finds hosts for which no authority issues certificates: local names, and with a public authority those that are not in
    /// public DNS (RFC 6761, RFC 6762, RFC 8375, RFC 9476).
    fn authority_can_ask(&mut self, acme: &ast::Acme, hosts: &[Host]) {
        const PRIVATE: &[&str] =
            &["local", "internal", "test", "invalid", "example", "home.arpa", "onion", "alt", "lan", "corp", "home"];
        let public = acme.directory.is_none();
        let on = |host: &&Host| {
            host.tls.is_some_and(|tls| self.tls.entries[usize::from(tls)].value.tls.certificates == Certificates::Acme)
        };
        let asking: Vec<&Host> = hosts.iter().filter(on).collect();
        for host in &asking {
            let span = self.tls.entries[usize::from(host.tls.unwrap_or_default())].span;
            let name = host.hosts.iter().find_map(|name| match name {
                // Control over an IP address can be proved (RFC 8738).
                HostPattern::Exact(name) if name.trim_matches(['[', ']']).parse::<IpAddr>().is_err() => {
                    let own = !name.contains('.') || name.ends_with(".localhost");
                    let below = |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.ends_with('.'));
                    (own || (public && PRIVATE.iter().any(below))).then_some(name)
                }
                _ => None,
            });
            if let Some(name) = name {
                let message = format!("no authority signs a certificate for `{name}`: it is not in public DNS");
                let found = Diagnostic::error("acme-host", message, span);
                let internal = self.sources.argument(span).map(|at| Edit { at, text: "internal".to_owned() });
                // Without a site that uses it, `acme` would have no effect; it can only be removed if it has no block.
                let only = asking.len() == 1 && acme.items.is_empty();
                let idle = only.then(|| Edit { at: self.sources.rest_of_line(acme.span), text: String::new() });
                let words =
                    if idle.is_some() { "write tls internal, and leave `acme` out" } else { "write tls internal" };
                let help = internal.map(|edit| Help::told(words, idle.into_iter().chain([edit]).collect()));
                self.report.add(
                    found
                        .maybe_help(help)
                        .help("for an authority of your own, write in `acme`: directory=\"https://...\""),
                );
            }
        }
    }

    /// Checks that each host has a usable challenge, and that each `dns` is used.
    fn hosts_can_be_shown(&mut self, made: &Acme, written: &[&ast::Dns]) {
        let mut used = vec![false; written.len()];
        for (host, span) in std::mem::take(&mut self.acme_hosts) {
            let name = match &host.value {
                HostPattern::Exact(name) if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() => continue,
                HostPattern::Any => {
                    let help = "name the hosts, or give it a site of its own, with a `certificate`";
                    self.not_shown("no authority signs a certificate for all hosts".to_owned(), &host, span, help);
                    continue;
                }
                HostPattern::Exact(_) if made.challenge != Challenge::Dns01 => continue,
                HostPattern::Exact(name) | HostPattern::Wildcard(name) => name,
            };
            let Some(provider) = made.dns_provider(name) else {
                let message = match (&host.value, made.dns.is_empty()) {
                    (HostPattern::Wildcard(_), true) => {
                        format!("a certificate for `{host}` needs the challenge `dns-01`, and `acme` has no `dns`")
                    }
                    (_, true) => format!("`dns-01` needs a `dns` to set the record of `{host}`"),
                    (_, false) => format!("no `dns` has the zone of `{host}`"),
                };
                let help = "declare a `dns` in `acme`, as in: dns exec \"/usr/local/bin/set-record\"; or give it a site of its own, with a `certificate`";
                self.not_shown(message, &host, span, help);
                continue;
            };
            used[made.dns.iter().position(|one| one == provider).unwrap_or_default()] = true;
        }
        for (dns, _) in written.iter().zip(used).filter(|(_, used)| !used) {
            let why = match (&dns.zone, made.challenge) {
                (None, Challenge::Http01 | Challenge::TlsAlpn01) => "only hosts with a wildcard need a record",
                (None, Challenge::Dns01) => "all hosts that need a record are in the zones of others",
                (Some(_), _) => "no host that needs a record is in its zone, or another `dns` has it",
            };
            let span = dns.zone.as_ref().map_or(dns.span, |zone| zone.span);
            self.report
                .add(Diagnostic::error("no-effect", format!("`dns` has no effect: {why}"), span).help("leave it out"));
        }
    }

    fn not_shown(&mut self, message: String, host: &Spanned<HostPattern>, asked: Span, help: &str) {
        let wrong = Diagnostic::error("acme-host", message, host.span);
        self.report.add(wrong.also(asked, "it is ordered from an authority here").help(help));
    }

    fn dns_provider(&mut self, dns: &ast::Dns) -> Option<DnsProvider> {
        let (name, allowed): (_, &[&str]) = match &dns.by {
            DnsBy::Rfc2136(_) => ("rfc2136", &["key-name", "key", "algorithm"]),
            DnsBy::Webhook(_) => ("webhook", &["token", "ca"]),
            DnsBy::Exec(_) => ("exec", &[]),
        };
        let given = [
            ("key-name", dns.key_name.as_ref().map(|it| it.span)),
            ("key", dns.key.as_ref().map(|it| it.span)),
            ("algorithm", dns.algorithm.as_ref().map(|it| it.span)),
            ("token", dns.token.as_ref().map(|it| it.span)),
            ("ca", dns.ca.as_ref().map(|it| it.span)),
        ];
        for (prop, span) in given.into_iter().filter(|(prop, _)| !allowed.contains(prop)) {
            if let Some(span) = span {
                self.error("no-effect", format!("`{prop}` has no effect with `{name}`"), span);
            }
        }
        let update = match &dns.by {
            DnsBy::Rfc2136(server) => {
                let (Some(_), Some(key_name), Some(key)) = (&dns.zone, &dns.key_name, &dns.key) else {
                    let message = "`rfc2136` needs `zone=`, `key-name=` and `key=`";
                    let help = "write: dns rfc2136 \"10.0.0.53\" zone=\"example.com\" key-name=\"kiln\" key=\"/etc/site/dns.key\"";
                    self.report.add(Diagnostic::error("missing-property", message, dns.span).help(help));
                    return None;
                };
                DnsUpdate::Rfc2136 {
                    server: self.text_setting(server)?,
                    key_name: key_name.value.clone().into(),
                    key: self.file_of(key, true)?,
                    algorithm: dns.algorithm.as_ref().map_or(TsigAlgorithm::HmacSha256, |algorithm| algorithm.value),
                }
            }
            DnsBy::Webhook(url) => DnsUpdate::Webhook {
                url: self.text_setting(url)?,
                token: match &dns.token {
                    Some(token) => Some(self.file_of(token, true)?),
                    None => None,
                },
                ca: match &dns.ca {
                    Some(ca) => Some(self.file_of(ca, false)?),
                    None => None,
                },
            },
            DnsBy::Exec(command) => {
                DnsUpdate::Exec(list(command.iter().map(|word| word.value.clone().into()).collect()))
            }
        };
        Some(DnsProvider {
            zone: dns.zone.as_ref().map(|zone| zone.value.clone().into()),
            update,
            propagation: match &dns.propagation {
                Some(propagation) => {
                    if let ast::Setting::Fixed(written) = propagation.value
                        && written > LONGEST_PROPAGATION
                    {
                        self.error("out-of-range", "`propagation` is an hour at most", propagation.span);
                    }
                    self.setting(propagation, ParamKind::Duration)?
                }
                None => Setting::Fixed(PROPAGATION),
            },
            place: self.place(dns.span),
        })
    }
}
