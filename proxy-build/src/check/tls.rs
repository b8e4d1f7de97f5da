//! Checks `tls`: the settings of each site, and whether existing certificates meet the sites' requirements.

use std::time::{Duration, SystemTime};

use proxy_runtime::net::certificate::{self, CertificateError, Chain, covers};
use proxy_runtime::site::{
    self, Certificate, Certificates, ClientCertificates, FilePath, ParamKind, Setting, TlsVersion,
};

use super::{Check, list};
use crate::ast::{self, FileSource, InTls, Item, What};
use crate::model::Host;
use crate::nearest::nearest;
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// The default number of days before its expiry at which a certificate is reported.
pub(crate) const DAYS: u64 = 14;

/// The longest use of a key for session tickets, as for the library's own keys.
const MAX_ROTATE: Duration = Duration::from_secs(6 * 3600);

/// Names with a special meaning.
const RESERVED: &[&str] = &["internal", "acme"];

/// A declared `tls`.
pub(crate) struct DeclaredTls {
    pub(crate) tls: site::Tls,
    pub(crate) span: Span,
    /// The spans of its certificate files.
    files: Vec<(Span, Span)>,
}

impl DeclaredTls {
    /// Returns whether clients must or may show certificates.
    pub(crate) fn asks_clients(&self) -> bool {
        self.tls.client.is_some()
    }
}

impl Check<'_> {
    pub(crate) fn declare_tls(&mut self, declared: Vec<(Span, ast::Tls)>) {
        for (span, tls) in declared {
            let Some(name) = &tls.name else {
                self.report.add(
                    Diagnostic::error("missing-argument", "a `tls` of the top level needs a name", span)
                        .help("sites refer to it by that: tls NAME"),
                );
                continue;
            };
            if RESERVED.contains(&name.value.as_str()) {
                self.error("reserved-name", format!("`{name}` means something else where a site uses it"), name.span);
            }
            let value = self.made_tls(&tls, name.value.clone());
            self.tls.declare("tls", name, value, self.report);
        }
    }

    /// Returns the `tls` of each site, in the order of the file.
    pub(crate) fn sites_tls(&mut self, sites: &[(Span, ast::Site)]) -> Vec<Option<usize>> {
        sites.iter().map(|(_, site)| self.site_tls(site)).collect()
    }

    fn site_tls(&mut self, site: &ast::Site) -> Option<usize> {
        let mut found = site.items.iter().filter_map(|item| match &item.what {
            What::Tls(tls) => Some(tls),
            _ => None,
        });
        let (first, second) = (found.next()?, found.next());
        if let Some(second) = second {
            self.report.add(
                Diagnostic::error("duplicate-node", "a site has one `tls`", second.span).also(first.span, "the first"),
            );
        }
        let host = site.hosts.first().map(|host| host.value.to_string()).unwrap_or_default();
        match (&first.name, first.items.is_empty()) {
            (Some(name), false) => {
                self.report.add(
                    Diagnostic::error("two-sources", "a `tls` in a site has a name or braces, not both", name.span)
                        .help("with braces it is this site's own; with a name it is one of the top level"),
                );
                None
            }
            (Some(name), true) if name.value == "internal" => {
                let same = |entry: &super::Named<DeclaredTls>| entry.value.tls.certificates == Certificates::Internal;
                let existing = self.tls.entries.iter().position(same);
                Some(existing.unwrap_or_else(|| {
                    let tls = site::Tls {
                        certificates: Certificates::Internal,
                        ..self.plain_tls("internal".to_owned(), first.span)
                    };
                    self.tls.anonymous(first.span, DeclaredTls { tls, span: first.span, files: Vec::new() })
                }))
            }
            (Some(name), true) if name.value == "acme" => {
                self.acme_hosts.extend(site.hosts.iter().map(|host| (host.clone(), name.span)));
                // The same host on another listener: certificates are stored by host, and shared.
                let same = |entry: &super::Named<DeclaredTls>| {
                    entry.value.tls.certificates == Certificates::Acme && *entry.value.tls.name == *host
                };
                if let Some(existing) = self.tls.entries.iter().position(same) {
                    return Some(existing);
                }
                let tls = site::Tls { certificates: Certificates::Acme, ..self.plain_tls(host, first.span) };
                Some(self.tls.anonymous(first.span, DeclaredTls { tls, span: first.span, files: Vec::new() }))
            }
            (Some(name), true) => {
                let known = self.tls.index.contains_key(&name.value);
                match nearest(&name.value, RESERVED.iter().copied()).filter(|_| !known) {
                    Some(near) => {
                        let wrong = Diagnostic::error("unknown-name", format!("there is no tls `{name}`"), name.span);
                        self.report.add(wrong.meant(near));
                        None
                    }
                    None => self.tls.look_up("tls", name, self.report),
                }
            }
            (None, _) => {
                let value = self.made_tls(first, host);
                Some(self.tls.anonymous(first.span, value))
            }
        }
    }

    fn plain_tls(&self, name: String, span: Span) -> site::Tls {
        site::Tls {
            name: name.into(),
            certificates: Certificates::Files(list(Vec::new())),
            hosts: list(Vec::new()),
            min_version: TlsVersion::V12,
            groups: list(Vec::new()),
            client: None,
            tickets: Some(Setting::Fixed(MAX_ROTATE)),
            place: self.place(span),
        }
    }

    fn made_tls(&mut self, tls: &ast::Tls, name: String) -> DeclaredTls {
        let mut made = self.plain_tls(name, tls.span);
        let (mut certificates, mut files, mut unread) = (Vec::new(), Vec::new(), false);
        for Item { span, what, broken } in &tls.items {
            let What::InTls(item) = what else {
                unread = true;
                continue;
            };
            unread |= broken;
            match item {
                InTls::Certificate { chain, key, ocsp } => {
                    let paths = (self.file_of(chain, false), self.file_of(key, true));
                    let ocsp = ocsp.as_ref().and_then(|ocsp| self.file_of(ocsp, false));
                    if let (Some(found), Some(found_key)) = paths {
                        certificates.push(Certificate { chain: found, key: found_key, ocsp, place: self.place(*span) });
                        files.push((chain.span, key.span));
                    }
                }
                InTls::MinVersion(version) => made.min_version = *version,
                InTls::Groups(groups) => made.groups = list(groups.iter().map(|group| group.value).collect()),
                InTls::ClientCa { file, required } => {
                    made.client = self.file_of(file, false).map(|ca| ClientCertificates {
                        ca,
                        required: required.as_ref().is_none_or(|required| required.value),
                    });
                }
                InTls::SessionTickets { off, rotate } => {
                    made.tickets = self.tickets(off.as_ref(), rotate.as_ref(), *span)
                }
            }
        }
        if certificates.is_empty() && !unread {
            self.report.add(
                Diagnostic::error("no-certificate", "there is no certificate for clients", tls.span)
                    .help(self.inside(tls.span, "certificate (file)\"cert.pem\" key=(file)\"key.pem\""))
                    .help("for development there is: tls internal"),
            );
        }
        made.certificates = Certificates::Files(list(certificates));
        DeclaredTls { tls: made, span: tls.span, files }
    }

    fn tickets(
        &mut self,
        off: Option<&Spanned<()>>,
        rotate: Option<&Spanned<ast::Setting<Duration>>>,
        span: Span,
    ) -> Option<Setting<Duration>> {
        match (off, rotate) {
            (Some(_), Some(rotate)) => {
                self.error("no-effect", "`rotate` has no effect: there are no tickets", rotate.span);
                None
            }
            (Some(_), None) => None,
            (None, None) => {
                self.error("no-effect", "this says nothing: write `off`, or `rotate=`", span);
                None
            }
            (None, Some(rotate)) => {
                if let ast::Setting::Fixed(written) = rotate.value
                    && !(Duration::from_secs(1)..=MAX_ROTATE).contains(&written)
                {
                    self.error("out-of-range", "a key is used for 1s to 6h", rotate.span);
                }
                self.setting(rotate, ParamKind::Duration)
            }
        }
    }

    /// Returns the index of a file that is read at start.
    pub(crate) fn file_of(&mut self, file: &Spanned<FileSource>, secret: bool) -> Option<u16> {
        match &file.value {
            FileSource::Embedded(path) | FileSource::AtStart(path) => {
                Some(self.file_at_start(FilePath::Fixed(path.clone().into()), secret, file.span))
            }
            FileSource::Param(name) => self.file_param(name),
        }
    }

    /// Returns the current content of a file; a path is relative to the compiler's folder, as it will be to the
    /// proxy's.
    fn file_now(&self, index: u16) -> Option<Vec<u8>> {
        match &self.files[usize::from(index)].path {
            FilePath::Fixed(path) => std::fs::read(&**path).ok(),
            FilePath::Param(_) => None,
        }
    }

    /// Sets the hosts of each `tls` to those of its sites, and checks its certificates.
    pub(crate) fn finish_tls(&mut self, hosts: &[Host]) -> Vec<site::Tls> {
        for (index, entry) in self.tls.entries.iter_mut().enumerate() {
            let of_it = hosts.iter().filter(|host| host.tls == Some(index as u16));
            let mut names: Vec<site::Text> = Vec::new();
            for host in of_it.flat_map(|host| &host.hosts) {
                let name: site::Text = host.to_string().into();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            entry.value.tls.hosts = list(names);
        }
        let declared = std::mem::take(&mut self.tls.entries);
        for entry in &declared {
            self.certificates_fit(&entry.value);
        }
        let tls = declared.iter().map(|entry| entry.value.tls.clone()).collect();
        self.tls.entries = declared;
        tls
    }

    fn certificates_fit(&mut self, declared: &DeclaredTls) {
        let Certificates::Files(files) = &declared.tls.certificates else { return };
        let mut names = Some(Vec::new());
        for (file, (span, key_span)) in files.iter().zip(&declared.files) {
            let Some(pem) = self.file_now(file.chain) else {
                names = None;
                continue;
            };
            let key = self.file_now(file.key).map(|pem| certificate::key(&pem));
            if let Some(Err(flaw)) = &key {
                self.error("bad-certificate", flaw.to_string(), *key_span);
            }
            let chain = match Chain::read(&pem) {
                Ok(chain) => chain,
                Err(flaw) => {
                    self.error("bad-certificate", flaw.to_string(), *span);
                    names = None;
                    continue;
                }
            };
            let key = key.and_then(Result::ok);
            for flaw in chain.flaws(key.as_ref(), SystemTime::now(), Duration::from_secs(self.expiring * 86_400)) {
                let message = flaw.to_string();
                self.report.add(match flaw {
                    CertificateError::Soon(_) => Diagnostic::lint("cert-expiry", message, *span)
                        .help("replace it with a new one; the proxy reads it without a restart"),
                    CertificateError::KeyMismatch => {
                        Diagnostic::error("key-mismatch", message, *key_span).also(*span, "the certificate")
                    }
                    CertificateError::Order(_) => Diagnostic::error("certificate-order", message, *span)
                        .help("the site's own comes first, and each one is followed by its issuer"),
                    CertificateError::Purpose(_) => Diagnostic::error("certificate-purpose", message, *span).help(
                        "request one for servers: `extendedKeyUsage = serverAuth`, `keyUsage = digitalSignature`",
                    ),
                    _ => Diagnostic::error("certificate-expired", message, *span),
                });
            }
            if let Some(names) = &mut names {
                names.extend(chain.hosts());
            }
        }
        let Some(names) = names else { return };
        for host in declared.tls.hosts.iter().filter(|host| **host != "*") {
            if !files.is_empty() && !names.iter().any(|name| covers(name, host)) {
                self.report.add(
                    Diagnostic::error(
                        "certificate-host",
                        CertificateError::NotFor(host.to_string()).to_string(),
                        declared.span,
                    )
                    .help(format!(
                        "they are for: {}",
                        if names.is_empty() { "no host at all".to_owned() } else { names.join(" ") }
                    )),
                );
            }
        }
    }
}
