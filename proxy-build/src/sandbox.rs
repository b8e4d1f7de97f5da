//! Derives the sandbox of a site ([`derive`]): the folders that it reads and writes, and the addresses that it connects
//! to.

use std::collections::HashSet;
use std::net::IpAddr;

use proxy_runtime::context::settings::{self, Address};
use proxy_runtime::site::{
    Acme, DiscoverFrom, DnsUpdate, Files, Handler, LogTarget, Place, Sandbox, Setting, Text, Upstream,
};

use crate::model::{Site, list};

/// Returns a sandbox that allows nothing.
pub(crate) fn empty(required: bool, place: Place) -> Sandbox {
    let none = || list(Vec::new());
    Sandbox {
        required,
        read: none(),
        read_files: none(),
        write: none(),
        write_files: none(),
        connect: Some(none()),
        resolves: false,
        verifies: false,
        place,
    }
}

/// Fills a sandbox with the needs of the site; returns `None` if the site runs programs, whose needs nobody knows.
pub(crate) fn derive(site: &Site, written: Sandbox) -> Option<Sandbox> {
    let runs_programs = site.acme.as_ref().is_some_and(runs_programs);
    (!runs_programs).then(|| needs(site, written))
}

/// Fills a sandbox with the needs of the site itself, whatever programs it runs.
pub(crate) fn needs(site: &Site, written: Sandbox) -> Sandbox {
    let mut needs = Needs::default();
    for route in site.hosts.iter().flat_map(|host| &host.routes) {
        needs.handler(&route.handler);
    }
    site.upstreams.iter().for_each(|upstream| needs.upstream(upstream));
    for disk in site.stores.iter().flat_map(|store| store.disks.iter()) {
        needs.write.add(&disk.folder);
    }
    needs.acme(site);
    let errors = site.errors.iter().flat_map(|errors| errors.outputs.iter());
    site.outputs.iter().chain(errors).for_each(|output| needs.log(&output.target));
    if let Some(trace) = &site.trace {
        needs.connect.add(&trace.url);
        needs.verifies |= site.exports_by_tls();
    }
    Sandbox {
        read: list(needs.read.list),
        read_files: list(needs.read_files.list),
        write: list(needs.write.list),
        write_files: list(needs.write_files.list),
        connect: (!needs.connects_anywhere).then(|| list(needs.connect.list)),
        resolves: needs.resolves,
        verifies: needs.verifies,
        ..written
    }
}

/// Returns whether programs are run for certificates: those of `dns exec`.
pub(crate) fn runs_programs(acme: &Acme) -> bool {
    acme.dns.iter().any(|provider| matches!(provider.update, DnsUpdate::Exec(_)))
}

/// A list of settings without repetitions, in order.
#[derive(Default)]
struct Unique {
    list: Vec<Setting<Text>>,
    known: HashSet<Setting<Text>>,
}

impl Unique {
    fn add(&mut self, setting: &Setting<Text>) {
        if self.known.insert(setting.clone()) {
            self.list.push(setting.clone());
        }
    }
}

#[derive(Default)]
struct Needs {
    read: Unique,
    read_files: Unique,
    write: Unique,
    write_files: Unique,
    connect: Unique,
    connects_anywhere: bool,
    resolves: bool,
    verifies: bool,
}

impl Needs {
    fn handler(&mut self, handler: &Handler) {
        if let Handler::Files(files) = handler {
            self.files(files);
        }
        if let Some(otherwise) = handler.otherwise() {
            self.handler(otherwise);
        }
    }

    fn files(&mut self, files: &Files) {
        if files.bundled.is_none() {
            self.read.add(&files.folder);
        }
    }

    fn upstream(&mut self, upstream: &Upstream) {
        upstream.servers.iter().for_each(|server| self.address(&server.address));
        upstream.send_files.iter().for_each(|send| self.files(&send.files));
        if let Some(port) = upstream.health_check.as_ref().and_then(|check| check.port) {
            self.port(port);
        }
        self.verifies |= upstream.tls.as_ref().is_some_and(|tls| tls.ca.is_none());
        let Some(discover) = &upstream.discover else { return };
        self.resolves = true;
        match &discover.from {
            DiscoverFrom::File(path) => {
                self.read_files.add(&Setting::Fixed(path.clone()));
                self.connects_anywhere = true;
            }
            DiscoverFrom::Dns(_, port) => self.port(*port),
            DiscoverFrom::Srv(_) => self.connects_anywhere = true,
        }
        discover.resolvers.iter().for_each(|resolver| self.address(&Setting::Fixed(resolver.clone())));
    }

    fn acme(&mut self, site: &Site) {
        let Some(acme) = &site.acme else { return };
        self.write.add(&acme.state);
        self.connect.add(&acme.directory);
        (self.resolves, self.verifies) = (true, self.verifies || acme.ca.is_none());
        for provider in acme.dns.iter() {
            match &provider.update {
                DnsUpdate::Rfc2136 { server, .. } => self.address(server),
                DnsUpdate::Webhook { url, ca, .. } => {
                    self.connect.add(url);
                    self.verifies |= ca.is_none();
                }
                DnsUpdate::Exec(_) => {}
            }
        }
    }

    fn log(&mut self, target: &LogTarget) {
        match target {
            LogTarget::File(file) => self.write_files.add(&file.path),
            LogTarget::Syslog(syslog) => match &syslog.address {
                Setting::Fixed(written) if written.starts_with("unix:") => {}
                address => self.connect.add(address),
            },
            LogTarget::Stdout | LogTarget::Stderr | LogTarget::Journal(_) => {}
        }
    }

    /// Adds a server's address. If it is fixed, only its port is added.
    fn address(&mut self, address: &Setting<Text>) {
        let Setting::Fixed(written) = address else { return self.connect.add(address) };
        match settings::address(written) {
            Ok(Address::Tcp(host, port)) => {
                self.resolves |= host.parse::<IpAddr>().is_err();
                self.port(u64::from(port));
            }
            Ok(Address::Unix(_)) => {}
            // This is a name server without a port; it uses the port of all name servers.
            Err(_) => {}
        }
    }

    fn port(&mut self, port: u64) {
        self.connect.add(&Setting::Fixed(port.to_string().into()));
    }
}
