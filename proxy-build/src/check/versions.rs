//! Checks `http`: the versions of HTTP that a listener speaks.

use proxy_runtime::site::{ParamKind, Speaks};

use super::{Check, is_on};
use crate::ast::{HttpLine, HttpVersion};
use crate::report::{Diagnostic, Edit, Help};
use crate::source::Span;

impl Check<'_> {
    /// Sets the versions of a listener, whose other protocols are known.
    pub(super) fn speak(&mut self, speaks: &mut Speaks, http: &HttpLine) {
        let speaks_version = |wanted| http.versions.iter().any(|version| version.value == wanted);
        speaks.http1 = speaks_version(HttpVersion::H1);
        speaks.http2 = speaks_version(HttpVersion::H2);
        let http3 = http.versions.iter().find(|version| version.value == HttpVersion::H3);
        let Some(http3) = http3 else { return self.without_http3(http) };
        speaks.http3 = self.speaks_http3(speaks, http3.span);
        speaks.http3_port = http.public_port.as_ref().and_then(|port| self.setting(port, ParamKind::Number));
        speaks.early_data = is_on(&http.early_data);
    }

    /// Sets the versions of a listener with TLS that doesn't say others.
    pub(super) fn speak_default(&mut self, speaks: &mut Speaks) {
        if let Some(http) = self.default_http.clone() {
            self.default_http_used = true;
            self.speak(speaks, &http);
        }
    }

    /// Checks that there is a listener for the default.
    pub(super) fn default_http_fits(&mut self) {
        let Some(http) = self.default_http.as_ref().filter(|_| !self.default_http_used) else { return };
        let span = http.span;
        let message = "`http` has no effect: no listener has `tls` and no `http` of its own";
        self.report.add(
            Diagnostic::error("no-effect", message, span)
                .help("without TLS, the versions are those of the listener: listen \":8080\" { http h1 h2; }"),
        );
    }

    fn without_http3(&mut self, http: &HttpLine) {
        let given = [
            ("public-port", http.public_port.as_ref().map(|port| port.span)),
            ("early-data", http.early_data.as_ref().map(|early| early.span)),
        ];
        for (name, span) in given.into_iter().filter_map(|(name, span)| Some((name, span?))) {
            self.error("no-effect", format!("`{name}` has no effect without `h3`: it is for HTTP/3"), span);
        }
    }

    /// Checks whether a listener can speak HTTP/3, which the word at `span` asks for.
    fn speaks_http3(&mut self, speaks: &Speaks, span: Span) -> bool {
        let without = || Help::told("leave `h3` out", vec![Edit { at: span, text: String::new() }]);
        let (message, help) = if !speaks.http1 && !speaks.http2 {
            // RFC 9114 section 3.1.1: a response over TCP says that there is HTTP/3.
            let message = "`h3` needs `h1` or `h2` beside it, by which clients learn of it";
            (message, Help::write(span, "h1 h2 h3"))
        } else if !speaks.tls {
            ("`h3` needs `tls` on the listener: HTTP/3 is always encrypted", without())
        } else if speaks.proxy_protocol.is_some() {
            ("`h3` can't be behind a PROXY header, which is for TCP", without())
        } else {
            return true;
        };
        self.report.add(Diagnostic::error("no-http3", message, span).help(help));
        false
    }
}
