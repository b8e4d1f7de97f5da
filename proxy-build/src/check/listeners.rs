//! Which sockets there are, and which site is served on which.

use std::net::IpAddr;

use proxy_runtime::settings::{self, Address};
use proxy_runtime::site::{Listener, Place, Setting, Text};

use super::{Check, Listen};
use crate::ast::{self, ListenWord, What};
use crate::model;
use crate::report::{Diagnostic, nearest};
use crate::source::{Span, Spanned};

/// All listeners of a file.
pub(super) struct Listeners {
    /// The listeners.
    pub(super) list: Vec<Listener>,
    /// Per site, in the order of the file: the listeners it is served on.
    pub(super) of_site: Vec<Vec<usize>>,
    /// Listeners that serve nobody.
    pub(super) unused: Vec<Span>,
}

/// A listener while names are looked up.
struct Declared {
    listener: Listener,
    name: Option<String>,
    span: Span,
    /// Declared at the top level, for all sites that say nothing.
    shared: bool,
}

impl Check<'_> {
    pub(super) fn listeners(&mut self, listens: &[Listen], sites: &[(Span, ast::Site)]) -> Listeners {
        let mut declared: Vec<Declared> = Vec::new();
        for listen in listens {
            self.declare_listen(listen, &mut declared);
        }
        let of_site: Vec<Option<Vec<usize>>> =
            sites.iter().map(|(_, site)| self.site_listen(site, &mut declared)).collect();
        let mut shared: Vec<usize> = (0..declared.len()).filter(|&index| declared[index].shared).collect();
        if shared.is_empty() && (of_site.iter().any(Option::is_none) || declared.is_empty()) {
            declared.push(Declared {
                listener: Listener {
                    name: model::LISTEN.into(),
                    address: Setting::Fixed(model::LISTEN.into()),
                    place: Place { file: "(default)".into(), line: 0 },
                },
                name: None,
                span: sites.first().map_or(self.sources.start(), |(span, _)| *span),
                shared: true,
            });
            shared.push(declared.len() - 1);
        }
        let of_site: Vec<Vec<usize>> = of_site.into_iter().map(|own| own.unwrap_or_else(|| shared.clone())).collect();
        let used = |index: usize| of_site.iter().any(|listeners| listeners.contains(&index));
        let unused = (0..declared.len()).filter(|&index| !used(index)).map(|index| declared[index].span).collect();
        if declared.len() > 1024 {
            self.error("too-many-listeners", "more than 1024 listeners", declared[1024].span);
        }
        Listeners { list: declared.into_iter().map(|declared| declared.listener).collect(), of_site, unused }
    }

    fn declare_listen(&mut self, listen: &Listen, declared: &mut Vec<Declared>) {
        let mut name: Option<Spanned<String>> = None;
        let mut addresses = 0;
        for word in &listen.words {
            match &word.value {
                ListenWord::Name(found) if name.is_none() && addresses == 0 => {
                    if declared.iter().any(|other| other.name.as_ref() == Some(found)) {
                        self.error("duplicate-name", format!("there are two listeners `{found}`"), word.span);
                    }
                    name = Some(Spanned { value: found.clone(), span: word.span });
                }
                ListenWord::Name(found) => {
                    let message = format!("`{found}` is no address");
                    self.report.add(
                        Diagnostic::error("bad-address", message, word.span)
                            .help("a listener has one name, and it comes before the addresses"),
                    );
                }
                ListenWord::Address(address) => {
                    addresses += 1;
                    let address = Spanned { value: address.clone(), span: word.span };
                    self.add_listener(&address, name.as_ref(), true, declared);
                }
            }
        }
        if addresses == 0 && !listen.broken {
            self.report.add(
                Diagnostic::error("missing-argument", "`listen` needs an address", listen.span)
                    .help("write: listen \":8080\""),
            );
        }
    }

    fn add_listener(
        &mut self,
        address: &Spanned<ast::Setting<String>>,
        name: Option<&Spanned<String>>,
        shared: bool,
        declared: &mut Vec<Declared>,
    ) -> Option<usize> {
        let found = self.address(address)?;
        if let Some(index) = declared.iter().position(|other| same_socket(&other.listener.address, &found)) {
            if !shared && !declared[index].shared {
                return Some(index);
            }
            let diagnostic = Diagnostic::error("duplicate-listener", "two listeners have this address", address.span)
                .also(declared[index].span, "the first");
            self.report.add(if shared {
                diagnostic
            } else {
                diagnostic.help("give the first one a name, and name it here")
            });
            return None;
        }
        let shown: Text = match (&found, name) {
            (_, Some(name)) => name.value.clone().into(),
            (Setting::Fixed(address), None) => address.clone(),
            (Setting::Param(index), None) => self.params.entries[usize::from(*index)].value.name.clone(),
        };
        declared.push(Declared {
            listener: Listener { name: shown, address: found, place: self.place(address.span) },
            name: name.map(|name| name.value.clone()),
            span: name.map_or(address.span, |name| name.span),
            shared,
        });
        Some(declared.len() - 1)
    }

    /// The listeners a site names, or `None` where it says nothing.
    fn site_listen(&mut self, site: &ast::Site, declared: &mut Vec<Declared>) -> Option<Vec<usize>> {
        let mut own: Option<Vec<usize>> = None;
        for item in &site.items {
            let What::Listen(words) = &item.what else { continue };
            let own = own.get_or_insert_default();
            for word in words {
                let found = match &word.value {
                    ListenWord::Address(address) => {
                        let address = Spanned { value: address.clone(), span: word.span };
                        self.add_listener(&address, None, false, declared).into_iter().collect()
                    }
                    ListenWord::Name(name) => self.named_listener(name, word.span, declared),
                };
                for index in found {
                    if own.contains(&index) {
                        self.error("duplicate-listener", "this site is served there already", word.span);
                    } else {
                        own.push(index);
                    }
                }
            }
        }
        own
    }

    fn named_listener(&mut self, name: &str, span: Span, declared: &[Declared]) -> Vec<usize> {
        let found: Vec<usize> =
            (0..declared.len()).filter(|&index| declared[index].name.as_deref() == Some(name)).collect();
        if found.is_empty() {
            let diagnostic = Diagnostic::error("unknown-name", format!("there is no listener `{name}`"), span);
            let names = declared.iter().filter_map(|declared| declared.name.as_deref());
            self.report.add(match nearest(name, names) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic.help(format!("declare it at the top level: listen {name} \":8080\"")),
            });
        }
        found
    }
}

/// Whether two addresses are one socket: `:80` and `[::]:80` are.
fn same_socket(a: &Setting<Text>, b: &Setting<Text>) -> bool {
    let (Setting::Fixed(left), Setting::Fixed(right)) = (a, b) else { return a == b };
    match (settings::address(left), settings::address(right)) {
        (Ok(Address::Tcp(left, left_port)), Ok(Address::Tcp(right, right_port))) => {
            left_port == right_port && normal_host(left) == normal_host(right)
        }
        (left, right) => left == right,
    }
}

/// The address that a listener's host stands for.
pub(crate) fn normal_host(host: &str) -> Option<IpAddr> {
    match host {
        "" => Some(IpAddr::from([0_u16; 8])),
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse().ok(),
    }
}
