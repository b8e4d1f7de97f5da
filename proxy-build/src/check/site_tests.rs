//! Checks the tests of a site file: each has one request, and at least one expectation.

use std::net::{IpAddr, Ipv4Addr};

use proxy_runtime::site::{Expect, ExpectField, RequestVersion, Test, Text};

use super::Check;
use crate::ast::{self, Protocol, What};
use crate::model::{self, list};
use crate::report::Diagnostic;
use crate::source::{Span, Spanned};

/// The default client of a test: TEST-NET-1 (RFC 5737).
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

impl Check<'_> {
    pub(crate) fn tests(&mut self, tests: Vec<(Span, ast::Test)>) -> Vec<model::Test> {
        tests.into_iter().filter_map(|(span, test)| self.test(span, test)).collect()
    }

    fn test(&mut self, span: Span, test: ast::Test) -> Option<model::Test> {
        let (mut request, mut expect) = (None, None);
        if test.items.iter().any(|item| item.broken) {
            return None;
        }
        for item in test.items {
            match item.what {
                What::Request(found) => request = Some(found),
                What::Expect(found) => expect = Some((item.span, found)),
                _ => unreachable!("the reader lets nothing else stand in a test"),
            }
        }
        let Some(request) = request else {
            self.report.add(
                Diagnostic::error("no-request", "this test has no request", span)
                    .help("a test has a line as: request GET \"http://example.com/\""),
            );
            return None;
        };
        let expectations = expect.as_ref().map(|(_, expect)| expectations(expect)).unwrap_or_default();
        if expectations.is_empty() {
            let at = expect.as_ref().map_or(span, |(span, _)| *span);
            self.report.add(
                Diagnostic::error("no-expectation", "this test expects nothing, so it can't fail", at)
                    .help("what is expected is said as in: expect status=200"),
            );
            return None;
        }
        let (mut headers, mut cookies) = (Vec::new(), Vec::new());
        let (mut from, mut body, mut version) = (CLIENT, 0, RequestVersion::Http1);
        for item in &request.items {
            match &item.what {
                What::RequestField(name, value) => {
                    if name.value == "host" {
                        self.error("no-effect", "the host is that of the URL", name.span);
                    }
                    headers.push((name.value.clone().into(), value.value.clone().into()));
                }
                What::RequestCookie(name, value) => cookies.push(format!("{name}={value}")),
                What::RequestBody(size) => body = size.value,
                What::RequestProtocol(protocol) => {
                    version = match protocol.value {
                        Protocol::Http2 => RequestVersion::Http2,
                        Protocol::Http3 => RequestVersion::Http3,
                        _ => RequestVersion::Http1,
                    };
                    headers.extend(said_by(protocol.value));
                }
                What::From(address) => from = address.value,
                What::Unread => {}
                _ => unreachable!("the reader lets nothing else stand in a request"),
            }
        }
        if !cookies.is_empty() {
            // RFC 6265 section 5.4: all cookies are in one field.
            headers.push(("cookie".into(), cookies.join("; ").into()));
        }
        self.request_line(&request)?;
        let (_, expect) = expect?;
        let fields = self.expected_fields(&expect);
        Some(model::Test {
            test: Test {
                name: test.name.value.into(),
                place: self.place(test.name.span),
                method: request.method.value.into(),
                url: request.url.value.into(),
                version,
                listener: 0,
                headers: list(headers),
                body,
                from,
                expect: Expect {
                    status: expect.status.map(|status| status.value),
                    route: expect.route.map(|route| route.value.into()),
                    handler: expect.handler.map(|handler| handler.value.into()),
                    upstream: expect.upstream.map(|upstream| upstream.value.into()),
                    upstream_path: expect.upstream_path.map(|path| path.value.into()),
                    cache: expect.cache.map(|cache| cache.value.into()),
                    cache_key: expect.cache_key.map(|key| key.value.into()),
                    location: expect.location.map(|location| location.value.into()),
                    fields: list(fields),
                },
            },
            span: test.name.span,
            expectations,
        })
    }

    fn expected_fields(&mut self, expect: &ast::Expect) -> Vec<ExpectField> {
        let mut fields: Vec<ExpectField> = Vec::new();
        for item in &expect.items {
            let What::ExpectField(field) = &item.what else { continue };
            let found = expected(field);
            if fields.contains(&found) {
                self.error("no-effect", "this is expected already", field.name.span);
            }
            fields.push(found);
        }
        fields
    }

    fn request_line(&mut self, request: &ast::Request) -> Option<()> {
        if http::Method::from_bytes(request.method.value.as_bytes()).is_err() {
            self.error("bad-method", format!("`{}` is no method", request.method), request.method.span);
            return None;
        }
        let url: Result<http::Uri, _> = request.url.value.parse();
        let absolute = url.is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
        if !absolute {
            self.report.add(
                Diagnostic::error("bad-url", "an absolute URL is needed here", request.url.span)
                    .help("it has a scheme and a host, as in \"http://example.com/path\""),
            );
            return None;
        }
        Some(())
    }
}

/// Returns the header fields by which a request uses a protocol.
fn said_by(protocol: Protocol) -> Vec<(Text, Text)> {
    let fields: &[(&'static str, &'static str)] = match protocol {
        // RFC 6455 section 4.1.
        Protocol::WebSocket => &[("connection", "upgrade"), ("upgrade", "websocket")],
        Protocol::Grpc => &[("content-type", "application/grpc"), ("te", "trailers")],
        _ => &[],
    };
    fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn expectations(expect: &ast::Expect) -> Vec<(String, Span)> {
    fn one<T>(name: &str, value: &Option<Spanned<T>>) -> Option<(String, Span)> {
        value.as_ref().map(|value| (name.to_owned(), value.span))
    }
    let properties = [
        one("status", &expect.status),
        one("route", &expect.route),
        one("handler", &expect.handler),
        one("upstream", &expect.upstream),
        one("upstream-path", &expect.upstream_path),
        one("cache", &expect.cache),
        one("cache-key", &expect.cache_key),
        one("location", &expect.location),
    ];
    let fields = expect.items.iter().filter_map(|item| match &item.what {
        What::ExpectField(field) => Some((expected(field).property(), field.name.span)),
        _ => None,
    });
    properties.into_iter().flatten().chain(fields).collect()
}

fn expected(field: &ast::ExpectField) -> ExpectField {
    ExpectField {
        side: field.side,
        name: field.name.value.clone().into(),
        value: field.value.as_ref().map(|value| value.value.clone().into()),
        there: !field.missing.is_some_and(|missing| missing.value),
    }
}
