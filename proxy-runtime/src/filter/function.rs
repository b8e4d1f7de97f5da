//! `filter "crate::..."`: the interface of functions of the user's own crate. Pure.
//!
//! They run on the event loop: a function that computes for a millisecond delays all exchanges of its worker, and none
//! may wait for I/O. A function that panics fails only its own exchange.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::answer::Answer;
use super::field_name::FieldName;
use crate::context::facts::Facts;
use crate::context::view::{cookie_values, query_values};
use crate::filter::intake;
use crate::protocol::fields::{Fields, of_connection};

/// A function that is called for each request of a route: after access control, before the cache and the upstream.
pub type OnRequest = fn(&mut Request<'_>) -> Flow;

/// A function that is called for each response of a route, after `response-headers`.
pub type OnResponse = fn(&mut Response<'_>);

/// Whether an exchange continues.
#[derive(Debug)]
pub enum Flow {
    /// The exchange continues.
    Continue,
    /// The exchange ends with this response.
    Respond(Answer<Bytes>),
}

/// A request, as a function sees it.
pub struct Request<'a> {
    facts: &'a Facts<'a>,
    fields: &'a mut Fields,
    seen_to: &'a mut Vec<&'static str>,
}

impl<'a> Request<'a> {
    /// Returns all facts about the request.
    pub fn facts(&self) -> Facts<'_> {
        Facts { fields: self.fields, ..*self.facts }
    }

    /// Returns the method.
    pub fn method(&self) -> &'a Method {
        self.facts.method
    }

    /// Returns the normalized host: in lower case, without a port.
    pub fn host(&self) -> &'a str {
        self.facts.host
    }

    /// Returns the normalized path, as it was routed.
    pub fn path(&self) -> &'a str {
        self.facts.path
    }

    /// Returns the client's address.
    pub fn client(&self) -> IpAddr {
        self.facts.client
    }

    /// Returns the authenticated user, or empty. If an authorization service has set it, it need not be UTF-8.
    pub fn user(&self) -> &'a [u8] {
        self.facts.user
    }

    /// Returns the first value of a field, as received: it need not be UTF-8 (RFC 9110 section 5.5), and a function that only
    /// accepts known values must see others, too. [`Facts::fields`] has all values.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// Returns the first value of a query parameter, as written.
    pub fn query(&self, name: &str) -> Option<&'a str> {
        query_values(self.facts.query.unwrap_or_default(), name).next()
    }

    /// Returns the first value of a cookie, as received.
    pub fn cookie(&self, name: &str) -> Option<&[u8]> {
        cookie_values(self.fields, name).next()
    }

    /// Sets the field to a single value, for everything that follows: other functions, the cache, the upstream, the log. Bytes that
    /// are forbidden in a value are removed (RFC 9110 section 5.5). Client fields whose names servers may read as this one
    /// (`X_Tenant` for `x-tenant`), and trailers, are removed, also by [`Request::add`] and [`Request::remove`].
    pub fn set(&mut self, name: FieldName, value: impl AsRef<[u8]>) {
        self.sees_to(name);
        self.fields.set(name.as_str(), value.as_ref());
    }

    /// Adds a value to the field.
    pub fn add(&mut self, name: FieldName, value: impl AsRef<[u8]>) {
        self.sees_to(name);
        self.fields.add(name.as_str().as_bytes(), value.as_ref());
    }

    /// Removes the field.
    pub fn remove(&mut self, name: FieldName) {
        self.sees_to(name);
        self.fields.remove(name.as_str());
    }

    fn sees_to(&mut self, name: FieldName) {
        intake::displace(self.fields, name.as_str());
        if !self.seen_to.contains(&name.as_str()) {
            self.seen_to.push(name.as_str());
        }
    }
}

/// The head of a response, as a function sees it.
pub struct Response<'a> {
    facts: &'a Facts<'a>,
    status: StatusCode,
    fields: &'a mut Fields,
}

impl<'a> Response<'a> {
    /// Returns all facts about the request and its exchange; their fields are the request's.
    pub fn facts(&self) -> &'a Facts<'a> {
        self.facts
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the first value of a field, as received: it need not be UTF-8 (RFC 9110 section 5.5).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// Sets the field to a single value. Bytes that are forbidden in a value are removed (RFC 9110 section 5.5).
    pub fn set(&mut self, name: FieldName, value: impl AsRef<[u8]>) {
        self.fields.set(name.as_str(), value.as_ref());
    }

    /// Adds a value to the field.
    pub fn add(&mut self, name: FieldName, value: impl AsRef<[u8]>) {
        self.fields.add(name.as_str().as_bytes(), value.as_ref());
    }

    /// Removes the field.
    pub fn remove(&mut self, name: FieldName) {
        self.fields.remove(name.as_str());
    }
}

/// A function, with its name in the site.
#[derive(Debug, Clone, Copy)]
pub struct Function<F> {
    /// Its path, as written in the site.
    pub name: &'static str,
    /// The function.
    pub call: F,
}

/// The functions of a route, each list in the order of calls.
#[derive(Debug, Clone, Copy)]
pub struct Functions {
    /// The functions for requests.
    pub request: &'static [Function<OnRequest>],
    /// The functions for responses.
    pub response: &'static [Function<OnResponse>],
}

/// A function has panicked.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked {
    /// Its name.
    pub name: &'static str,
}

impl Functions {
    /// Calls the functions for a request; returns the response of the first one that responds, with its name. The fields in `facts`
    /// are ignored. The names of changed fields are added to `seen_to`.
    ///
    /// # Errors
    /// A function has panicked, and the request's state is undefined.
    pub fn ask(
        &self,
        facts: &Facts<'_>,
        fields: &mut Fields,
        seen_to: &mut Vec<&'static str>,
    ) -> Result<Option<(&'static str, Answer<Bytes>)>, Panicked> {
        for Function { name, call } in self.request {
            // A panic may leave the fields incomplete, but a failed exchange does not use them.
            let flow = catch_unwind(AssertUnwindSafe(|| call(&mut Request { facts, fields, seen_to })));
            match flow.map_err(|_| Panicked { name })? {
                Flow::Continue => {}
                Flow::Respond(answer) => return Ok(Some((name, sound(answer)))),
            }
        }
        Ok(None)
    }

    /// Calls the functions for a response.
    ///
    /// # Errors
    /// A function has panicked, and the response must not be sent.
    pub fn show(&self, facts: &Facts<'_>, status: StatusCode, fields: &mut Fields) -> Result<(), Panicked> {
        for Function { name, call } in self.response {
            catch_unwind(AssertUnwindSafe(|| call(&mut Response { facts, status, fields })))
                .map_err(|_| Panicked { name })?;
        }
        Ok(())
    }
}

/// Makes a function's response valid: framing fields are removed, names must be tokens, the status must not be interim, and
/// statuses without a body have none (RFC 9110 sections 15.2, 15.3.5, 15.3.6 and 15.4.5).
fn sound(mut answer: Answer<Bytes>) -> Answer<Bytes> {
    answer.fields.retain(|name, _| !of_connection(name) && http::HeaderName::from_bytes(name).is_ok());
    if answer.status.is_informational() {
        answer.status = StatusCode::INTERNAL_SERVER_ERROR;
    }
    if matches!(answer.status.as_u16(), 204 | 205 | 304) {
        answer.body = Bytes::new();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::settings::Settings;

    const LET_IN: FieldName = FieldName::new("x-let-in");

    fn marks(request: &mut Request<'_>) -> Flow {
        request.set(LET_IN, format!("{} {}\r\nx-evil: 1", request.path(), request.query("a").unwrap_or("-")));
        Flow::Continue
    }

    fn refuses(request: &mut Request<'_>) -> Flow {
        assert_ne!(request.header("x-panic"), Some(b"yes".as_slice()), "as asked");
        match (request.header(LET_IN.as_str()), request.cookie("seen")) {
            (Some(_), Some(b"1")) => Flow::Continue,
            _ => {
                let mut answer = Answer::text(StatusCode::FORBIDDEN, "no\n");
                answer.fields.add(b"Content-Length", b"999");
                Flow::Respond(answer)
            }
        }
    }

    fn says_so(response: &mut Response<'_>) {
        assert!(!response.status().is_server_error(), "as asked");
        response.add(FieldName::new("x-seen"), response.facts().path);
        response.remove(FieldName::new("server"));
    }

    const FUNCTIONS: Functions = Functions {
        request: &[Function { name: "marks", call: marks }, Function { name: "refuses", call: refuses }],
        response: &[Function { name: "says_so", call: says_so }],
    };

    fn check(lines: &[(&str, &[u8])], expected: Result<Option<u16>, Panicked>) -> Fields {
        let (settings, nothing) = (Settings::default(), Fields::new());
        let facts = Facts { path: "/p", query: Some("b&a=2"), ..Facts::nothing(&Method::GET, &nothing, &settings) };
        let mut fields = Fields::new();
        lines.iter().for_each(|(name, value)| fields.add(name.as_bytes(), value));
        let mut seen_to = Vec::new();
        let asked = FUNCTIONS.ask(&facts, &mut fields, &mut seen_to);
        assert_eq!(seen_to, ["x-let-in"], "once each");
        let framed = asked.as_ref().is_ok_and(|answer| {
            answer.as_ref().is_some_and(|(name, answer)| *name != "refuses" || answer.fields.contains("content-length"))
        });
        assert!(!framed, "functions can't set framing fields");
        assert_eq!(asked.map(|answer| answer.map(|(_, answer)| answer.status.as_u16())), expected, "{fields:?}");
        fields
    }

    #[test]
    fn requests() {
        let fields = check(&[("cookie", b"x=2; seen=1")], Ok(None));
        assert_eq!(fields.get("x-let-in"), Some(b"/p 2x-evil: 1".as_slice()), "a value can't add a line");
        check(&[("cookie", b"x=\xe9; seen=1")], Ok(None));
        check(&[("cookie", b"seen=2")], Ok(Some(403)));
        check(&[("cookie", b"seen=\xe9")], Ok(Some(403)));
        check(&[], Ok(Some(403)));
        check(&[("x-panic", b"yes")], Err(Panicked { name: "refuses" }));
    }

    #[test]
    fn answers() {
        let (settings, nothing) = (Settings::default(), Fields::new());
        let facts = Facts { path: "/p", ..Facts::nothing(&Method::GET, &nothing, &settings) };
        let mut fields = Fields::new();
        fields.add(b"server", b"it");
        assert_eq!(FUNCTIONS.show(&facts, StatusCode::OK, &mut fields), Ok(()));
        assert_eq!((fields.get("x-seen"), fields.contains("server")), (Some(b"/p".as_slice()), false));
        let failed = FUNCTIONS.show(&facts, StatusCode::BAD_GATEWAY, &mut fields);
        assert_eq!(failed, Err(Panicked { name: "says_so" }));
    }

    #[test]
    fn responses_are_made_valid() {
        let check = |status: u16, expected: (u16, usize)| {
            let mut answer = Answer::text(StatusCode::from_u16(status).expect("one"), "text");
            answer.fields.add(b"transfer-encoding", b"chunked");
            answer.fields.add(b"x\r\ny", b"1");
            answer.fields.add(b"x-y", b"1");
            let answer = sound(answer);
            assert_eq!((answer.status.as_u16(), answer.body.len()), expected, "{status}");
            assert_eq!(answer.fields.len(), 2, "{:?}", answer.fields);
        };
        check(200, (200, 4));
        check(204, (204, 0));
        check(304, (304, 0));
        check(101, (500, 4));
    }

    #[test]
    fn names() {
        for wrong in ["", "X-Upper", "with blank", "content-length", "transfer-encoding", "connection", "host", "te"] {
            assert!(catch_unwind(|| FieldName::new(wrong)).is_err(), "{wrong}");
        }
        assert_eq!(FieldName::new("x_1.2").as_str(), "x_1.2");
    }
}
