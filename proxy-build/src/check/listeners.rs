//! Checks listeners: their sockets, their protocols, and the sites that they serve.

use std::net::IpAddr;

use proxy_runtime::context::settings::{self, Address};
use proxy_runtime::site::{Listener, Place, ProxyProtocol, ProxyProtocolIn, Setting, SocketFile, Speaks, Text};

use super::{Check, ListenItem, list};
use crate::ast::{self, InListen, InStream, Item, ListenWord, Top, What};
use crate::model;
use crate::nearest::nearest;
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};

/// All listeners of a file.
pub(crate) struct Listeners {
    /// The listeners.
    pub(crate) list: Vec<Listener>,
    /// The listeners of each site, in the order of the file.
    pub(crate) of_site: Vec<Vec<usize>>,
    /// Listeners without sites.
    pub(crate) unused: Vec<Span>,
    /// The first whose port is below 1024.
    pub(crate) privileged: Option<Span>,
}

impl Listeners {
    /// Returns the listener for a site's `https` URLs, given its `tls`.
    pub(crate) fn secure(&self, listeners: &[usize], tls: Option<usize>) -> Option<u16> {
        tls?;
        listeners.iter().copied().find(|&index| self.list[index].speaks.tls).map(|index| index as u16)
    }
}

/// A listener during name lookup.
pub(crate) struct DeclaredListener {
    listener: Listener,
    name: Option<String>,
    span: Span,
    /// Declared at the top level, for all sites without their own.
    shared: bool,
}

impl Check<'_> {
    /// `secured` has the `tls` of each site.
    pub(crate) fn listeners(
        &mut self,
        listens: &[ListenItem],
        sites: &[(Span, ast::Site)],
        secured: &[Option<usize>],
        (streams, admin): (&[(Span, ast::Stream)], Option<&ast::Admin>),
    ) -> Listeners {
        let mut declared: Vec<DeclaredListener> = Vec::new();
        for listen in listens {
            self.declare_listen(listen, &mut declared);
        }
        let mut streaming = self.stream_listen(streams, &mut declared);
        streaming.extend(admin.and_then(|admin| self.admin_listen(admin, &mut declared)));
        let own: Vec<Option<Vec<usize>>> =
            sites.iter().map(|(_, site)| self.site_listen(site, &mut declared)).collect();
        let shared: Vec<usize> = (0..declared.len()).filter(|&index| declared[index].shared).collect();
        let start = self.sources.start();
        let mut secure = Speaks { http2: true, tls: true, ..model::PLAIN };
        if shared.is_empty() && own.iter().zip(secured).any(|(own, tls)| own.is_none() && tls.is_some()) {
            self.speak_default(&mut secure);
        }
        self.default_http_fits();
        let mut default = |address: &'static str, speaks: Speaks| {
            let usual = Setting::Fixed(address.into());
            let found = declared.iter().position(|other| same_socket(&other.listener.address, &usual));
            found.unwrap_or_else(|| {
                let place = Place { file: "(default)".into(), line: 0 };
                let listener = Listener {
                    name: address.into(),
                    address: Setting::Fixed(address.into()),
                    file: SocketFile::default(),
                    speaks,
                    place,
                };
                let span = sites.first().map_or(start, |(span, _)| *span);
                declared.push(DeclaredListener { listener, name: None, span, shared: true });
                declared.len() - 1
            })
        };
        let of_site: Vec<Vec<usize>> = own
            .iter()
            .zip(secured)
            .map(|(own, tls)| match (own, tls) {
                (Some(own), _) => own.clone(),
                (None, _) if !shared.is_empty() => shared.clone(),
                (None, None) => vec![default(model::LISTEN, model::PLAIN)],
                (None, Some(_)) => vec![
                    default(model::LISTEN_TLS, secure.clone()),
                    default(model::LISTEN_PLAIN, Speaks { redirect_https: true, ..model::PLAIN }),
                ],
            })
            .collect();
        let clash = of_site.iter().flatten().find(|index| streaming.contains(index));
        if let Some(other) = clash.map(|&index| &declared[index]) {
            let message =
                format!("sites without `listen` are served at {}, and this has the address", other.listener.name);
            self.report.add(
                Diagnostic::error("duplicate-listener", message, other.span).help(self.at_top("listen \":8081\"")),
            );
        }
        if declared.is_empty() {
            // A file without sites has other errors.
            let place = Place { file: "(default)".into(), line: 0 };
            let (name, address) = (model::LISTEN.into(), Setting::Fixed(model::LISTEN.into()));
            let file = SocketFile::default();
            let listener = Listener { name, address, file, speaks: model::PLAIN, place };
            declared.push(DeclaredListener { listener, name: None, span: start, shared: true });
        }
        let of_site = self.sites_fit(&declared, sites, secured, &own, of_site);
        for (index, listener) in declared.iter().enumerate().filter(|(_, one)| one.listener.speaks.redirect_https) {
            let redirected = |(site, tls): (&Vec<usize>, &Option<usize>)| tls.is_some() && site.contains(&index);
            if !of_site.iter().zip(secured).any(redirected) && !self.report.has_errors() {
                self.report.add(
                    Diagnostic::error(
                        "no-effect",
                        "`redirect-https` has no effect: no site here has `tls`",
                        listener.span,
                    )
                    .help("give the sites a `tls`, or leave it out"),
                );
            }
        }
        let used =
            |index: usize| streaming.contains(&index) || of_site.iter().any(|listeners| listeners.contains(&index));
        let unused = (0..declared.len()).filter(|&index| !used(index)).map(|index| declared[index].span).collect();
        if declared.len() > 1024 {
            self.error("too-many-listeners", "more than 1024 listeners", declared[1024].span);
        }
        let privileged = declared.iter().find(|declared| is_privileged(&declared.listener.address));
        let privileged = privileged.map(|declared| declared.span);
        Listeners {
            list: declared.into_iter().map(|declared| declared.listener).collect(),
            of_site,
            unused,
            privileged,
        }
    }

    fn declare_listen(&mut self, listen: &ListenItem, declared: &mut Vec<DeclaredListener>) {
        let mut name: Option<Spanned<String>> = None;
        let mut addresses = 0;
        let (speaks, file) = (self.speaks(&listen.listen.items), self.socket_file(&listen.listen));
        for word in &listen.listen.words {
            match &word.value {
                ListenWord::Name(found) if name.is_none() && addresses == 0 => {
                    if declared.iter().any(|other| other.name.as_ref() == Some(found)) {
                        self.error("duplicate-name", format!("the listener `{found}` is declared twice"), word.span);
                    }
                    name = Some(Spanned { value: found.clone(), span: word.span });
                }
                ListenWord::Name(found) => {
                    let message = format!("`{found}` is not an address");
                    self.report.add(
                        Diagnostic::error("bad-address", message, word.span)
                            .help("a listener has one name, and it comes before the addresses"),
                    );
                }
                ListenWord::Address(address) => {
                    addresses += 1;
                    let address = Spanned { value: address.clone(), span: word.span };
                    self.add_listener(&address, name.as_ref(), (true, &speaks, &file), declared);
                }
            }
        }
        if addresses == 0 && !listen.broken {
            self.report.add(
                Diagnostic::error("missing-argument", "`listen` needs an address", listen.span)
                    .help(Help::beside(listen.listen.words.last().map_or(listen.span, |word| word.span), "\":8080\"")),
            );
        }
    }

    pub(crate) fn add_listener(
        &mut self,
        address: &Spanned<ast::Setting<String>>,
        name: Option<&Spanned<String>>,
        (shared, speaks, file): (bool, &Speaks, &SocketFile),
        declared: &mut Vec<DeclaredListener>,
    ) -> Option<usize> {
        let found = self.address(address)?;
        if speaks.http3 && matches!(&found, Setting::Fixed(address) if address.starts_with("unix:")) {
            let message = "`h3` needs an address with a port, and this is a unix socket";
            self.report
                .add(Diagnostic::error("no-http3", message, address.span).help(Help::write(address.span, "\":8443\"")));
            return None;
        }
        if let Some(index) = declared.iter().position(|other| same_socket(&other.listener.address, &found)) {
            if !shared
                && !declared[index].shared
                && declared[index].listener.speaks == *speaks
                && declared[index].listener.file == *file
            {
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
        declared.push(DeclaredListener {
            listener: Listener {
                name: shown,
                address: found,
                file: file.clone(),
                speaks: speaks.clone(),
                place: self.place(address.span),
            },
            name: name.map(|name| name.value.clone()),
            span: name.map_or(address.span, |name| name.span),
            shared,
        });
        Some(declared.len() - 1)
    }

    /// Declares the listeners of streams.
    fn stream_listen(&mut self, streams: &[(Span, ast::Stream)], declared: &mut Vec<DeclaredListener>) -> Vec<usize> {
        let mut all = Vec::new();
        for (index, (_, stream)) in streams.iter().enumerate() {
            let speaks = Speaks { stream: Some(index as u16), http1: false, ..model::PLAIN };
            for item in &stream.items {
                let What::InStream(InStream::Listen(addresses)) = &item.what else { continue };
                for address in addresses {
                    all.extend(self.add_listener(address, None, (false, &speaks, &SocketFile::default()), declared));
                }
            }
        }
        all
    }

    /// Returns the listeners that a site names; `None` if it names none.
    fn site_listen(&mut self, site: &ast::Site, declared: &mut Vec<DeclaredListener>) -> Option<Vec<usize>> {
        let mut own: Option<Vec<usize>> = None;
        for item in &site.items {
            let What::Top(Top::Listen(listen)) = &item.what else { continue };
            let own = own.get_or_insert_default();
            let (speaks, file) = (self.speaks(&listen.items), self.socket_file(listen));
            for word in &listen.words {
                let found = match &word.value {
                    ListenWord::Address(address) => {
                        let address = Spanned { value: address.clone(), span: word.span };
                        self.add_listener(&address, None, (false, &speaks, &file), declared).into_iter().collect()
                    }
                    ListenWord::Name(name) => {
                        if let Some(item) = listen.items.first() {
                            let message =
                                "this has no effect: the protocols of a named listener are set at its declaration";
                            self.error("no-effect", message, item.span);
                        }
                        self.named_listener(name, word.span, declared)
                    }
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

    /// Checks the permissions of a Unix socket.
    pub(crate) fn socket_file(&mut self, listen: &ast::Listen) -> SocketFile {
        let given = [
            ("mode", listen.mode.as_ref().map(|mode| mode.span)),
            ("owner", listen.owner.as_ref().map(|owner| owner.span)),
        ];
        for (name, span) in given.into_iter().filter_map(|(name, span)| Some((name, span?))) {
            // The value of a parameter is known at start; and the first word at the top level is the listener's name.
            let other = listen.words.iter().find(|word| match &word.value {
                ListenWord::Address(ast::Setting::Fixed(address)) => !address.starts_with("unix:"),
                ListenWord::Address(_) => false,
                ListenWord::Name(_) => listen.words.len() == 1,
            });
            if let Some(other) = other {
                let message = format!("`{name}` is for unix sockets, and this is not one");
                self.report.add(Diagnostic::error("no-effect", message, span).also(other.span, "this one"));
            }
        }
        let owner = listen.owner.as_ref().map(|owner| &owner.value);
        SocketFile {
            mode: listen.mode.as_ref().map(|mode| mode.value),
            user: owner.and_then(|(user, _)| user.clone()).map(Into::into),
            group: owner.and_then(|(_, group)| group.clone()).map(Into::into),
        }
    }

    /// Reads the protocols in the braces of a `listen`.
    fn speaks(&mut self, items: &[Item]) -> Speaks {
        let mut speaks = model::PLAIN;
        let mut own: Option<&ast::HttpLine> = None;
        let mut networks = Vec::new();
        for Item { what, .. } in items {
            let What::InListen(item) = what else { continue };
            match item {
                InListen::Http(written) => own = Some(written),
                InListen::Tls(name) => {
                    speaks.tls = true;
                    let default = name.as_ref().and_then(|name| self.tls.look_up("tls", name, self.report));
                    speaks.default = default.map(|index| index as u16);
                }
                InListen::ProxyProtocol { versions, from } => {
                    let of = |wanted| versions.iter().any(|version| version.value == wanted);
                    let (v1, v2) = (of(ProxyProtocol::V1), of(ProxyProtocol::V2));
                    networks.push(from.value);
                    let before = speaks.proxy_protocol.take();
                    let was = |one: fn(&ProxyProtocolIn) -> bool| before.as_ref().is_some_and(one);
                    speaks.proxy_protocol = Some(ProxyProtocolIn {
                        v1: v1 || was(|before| before.v1),
                        v2: v2 || was(|before| before.v2),
                        from: list(networks.clone()),
                    });
                    if from.value.prefix_len() == 0 {
                        self.report.add(
                            Diagnostic::lint(
                                "trusts-everybody",
                                "this trusts everybody: any client could forge its address",
                                from.span,
                            )
                            .help("name the networks of the proxies in front of this one"),
                        );
                    }
                }
                InListen::RedirectHttps => speaks.redirect_https = true,
            }
        }
        // Over TLS, the client chooses by ALPN.
        speaks.http2 = speaks.tls;
        match own {
            Some(http) => self.speak(&mut speaks, http),
            None if speaks.tls => self.speak_default(&mut speaks),
            None => {}
        }
        let redirects = items.iter().find(|item| matches!(item.what, What::InListen(InListen::RedirectHttps)));
        if let (true, Some(item)) = (speaks.tls, redirects) {
            self.error("no-effect", "`redirect-https` has no effect: all requests here are `https`", item.span);
        }
        speaks
    }

    /// Checks that each site can be served on its listeners: with TLS if the listener uses it, and not where its
    /// requirements for clients can't be met. Shared listeners skip sites that they can't serve.
    fn sites_fit(
        &mut self,
        declared: &[DeclaredListener],
        sites: &[(Span, ast::Site)],
        secured: &[Option<usize>],
        own: &[Option<Vec<usize>>],
        of_site: Vec<Vec<usize>>,
    ) -> Vec<Vec<usize>> {
        let mut fitting = Vec::new();
        for ((((span, site), tls), own), listeners) in sites.iter().zip(secured).zip(own).zip(of_site) {
            let speaks = |index: usize| &declared[index].listener.speaks;
            let name = site.hosts.first().map(|host| host.value.to_string()).unwrap_or_default();
            let tls_span = site.items.iter().find_map(|item| match &item.what {
                What::Tls(tls) => Some(tls.span),
                _ => None,
            });
            match (tls, tls_span) {
                (Some(tls), Some(tls_span)) => {
                    if !listeners.is_empty() && !listeners.iter().any(|&index| speaks(index).tls) {
                        // A site's own `listen` replaces the shared ones; otherwise all listeners of the top level
                        // serve it.
                        let help = match own {
                            Some(_) => self.inside(*span, "listen \":443\" { tls; }"),
                            None => self.at_top("listen \":443\" { tls; }"),
                        };
                        self.report.add(
                            Diagnostic::error(
                                "tls-on-plain",
                                format!("`{name}` has `tls`, and none of its listeners has"),
                                tls_span,
                            )
                            .also(declared[listeners[0]].span, "it is served here")
                            .help(help),
                        );
                    }
                    let open = listeners.iter().find(|&&index| !speaks(index).tls && !speaks(index).redirect_https);
                    let asks = self.tls.entries[*tls].value.asks_clients();
                    if let (Some(&open), true) = (open, asks && listeners.iter().any(|&index| speaks(index).tls)) {
                        self.report.add(
                            Diagnostic::error(
                                "client-ca-on-plain",
                                format!("`{name}` asks for client certificates, and is served without TLS as well"),
                                tls_span,
                            )
                            .also(declared[open].span, "here no client is asked for one")
                            .help("that listener may have `redirect-https`, or the site a `listen` of its own"),
                        );
                    }
                    fitting.push(listeners);
                }
                (None, None) => {
                    let bare = |&index: &usize| speaks(index).tls && speaks(index).default.is_none();
                    let bare_ones: Vec<usize> = listeners.iter().copied().filter(bare).collect();
                    let rest: Vec<usize> = listeners.iter().copied().filter(|index| !bare(index)).collect();
                    if let Some(&first) = bare_ones.first()
                        && (own.is_some() || rest.is_empty())
                    {
                        self.report.add(
                            Diagnostic::error("no-certificate", format!("there is no certificate for `{name}`"), *span)
                                .also(declared[first].span, "this listener has TLS")
                                .help(
                                    self.inside(*span, "tls { certificate (file)\"cert.pem\" key=(file)\"key.pem\"; }"),
                                ),
                        );
                    }
                    fitting.push(rest);
                }
                // Errors of its `tls` are in the report already.
                _ => fitting.push(listeners),
            }
        }
        fitting
    }

    fn named_listener(&mut self, name: &str, span: Span, declared: &[DeclaredListener]) -> Vec<usize> {
        let found: Vec<usize> =
            (0..declared.len()).filter(|&index| declared[index].name.as_deref() == Some(name)).collect();
        if found.is_empty() {
            let diagnostic = Diagnostic::error("unknown-name", format!("there is no listener `{name}`"), span);
            let names = declared.iter().filter_map(|declared| declared.name.as_deref());
            self.report.add(match nearest(name, names) {
                Some(near) => diagnostic.meant(near),
                None => diagnostic.help(self.at_top(&format!("listen {name} \":8080\""))),
            });
        }
        found
    }
}

/// Returns whether two addresses are the same socket, such as `:80` and `[::]:80`.
fn same_socket(a: &Setting<Text>, b: &Setting<Text>) -> bool {
    let (Setting::Fixed(left), Setting::Fixed(right)) = (a, b) else { return a == b };
    match (settings::address(left), settings::address(right)) {
        (Ok(Address::Tcp(left, left_port)), Ok(Address::Tcp(right, right_port))) => {
            left_port == right_port && normal_host(left) == normal_host(right)
        }
        (left, right) => left == right,
    }
}

/// Returns the IP address of a listener's host.
pub(crate) fn normal_host(host: &str) -> Option<IpAddr> {
    match host {
        "" => Some(IpAddr::from([0_u16; 8])),
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse().ok(),
    }
}

/// Whether only root, or a process with CAP_NET_BIND_SERVICE, may listen there.
fn is_privileged(address: &Setting<Text>) -> bool {
    let Setting::Fixed(written) = address else { return false };
    matches!(settings::address(written), Ok(Address::Tcp(_, port)) if port < 1024)
}
