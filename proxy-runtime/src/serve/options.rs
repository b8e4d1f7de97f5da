//! `OPTIONS` requests that the proxy itself responds to: about the server ([`about_server`]), and with an expired `Max-Forwards`
//! ([`goes_no_further`]). Not on the hot path.
//!
//! `TRACE` gets a 405 with any `Max-Forwards`: it is never forwarded.

use http::{Method, StatusCode};

use crate::client::record::Record;
use crate::content::respond::Answer;
use crate::context::view::RequestVersion;
use crate::protocol::fields::{Fields, number};
use crate::protocol::target::Target;
use crate::rehearse;
use crate::router::route::{MethodSet, Node, RouteLookup};
use crate::serve::body::Body;
use crate::site::{Methods, Site};

/// `Max-Forwards`: how many more proxies may forward an `OPTIONS` or `TRACE` (RFC 9110 section 7.6.2).
pub(super) const MAX_FORWARDS: &str = "max-forwards";

/// Returns the response to `OPTIONS *`, which is about the server and not a site (RFC 9110 section 9.3.7); `None` for
/// other requests.
pub(super) fn about_server(method: &Method, target: &Target) -> Option<Answer<Body>> {
    (*method == Method::OPTIONS && target.is_server()).then(|| allowed(&methods(|_| true)))
}

/// Returns the response to an `OPTIONS` that may not be forwarded: the methods of the path's routes.
pub(super) fn goes_no_further(site: &Site, root: Node, record: &Record) -> Option<Answer<Body>> {
    if max_forwards(&record.fields) != Some(0) {
        return None;
    }
    let target = record.target.as_ref()?;
    let about = (record.client, RequestVersion::of(record.version));
    let takes = |method: &Method| {
        matches!(rehearse::find(site, root, target, method, &record.fields, about), RouteLookup::Route(..))
    };
    Some(allowed(&methods(takes)))
}

/// Returns the `Max-Forwards` value to send to the server, if the request has one.
pub(super) fn forwards_left(method: &Method, fields: &Fields) -> Option<u64> {
    let left = if *method == Method::OPTIONS { max_forwards(fields) } else { None };
    left.map(|left| left.saturating_sub(1))
}

/// Parses `Max-Forwards`, however large the number; a malformed value is ignored.
fn max_forwards(fields: &Fields) -> Option<u64> {
    fields.get(MAX_FORWARDS).and_then(number)
}

/// Returns the methods that can be forwarded and are `wanted`.
fn methods(wanted: impl Fn(&Method) -> bool) -> Methods {
    const NEVER: [Method; 2] = [Method::CONNECT, Method::TRACE];
    let known = Methods::NAMES.iter().filter_map(|name| Method::from_bytes(name.as_bytes()).ok());
    let mask =
        known.filter(|method| !NEVER.contains(method) && wanted(method)).map(|method| Methods::bit(&method)).sum();
    Methods { mask, ..Methods::NONE }
}

fn allowed(methods: &Methods) -> Answer<Body> {
    let mut answer = Answer::new(StatusCode::NO_CONTENT, Body::None(None));
    answer.fields.add(b"allow", MethodSet::of(methods).allow().as_bytes());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |text: &str, expected: Option<u64>| {
            let fields: Fields = [("Max-Forwards", text)].into_iter().collect();
            assert_eq!(forwards_left(&Method::OPTIONS, &fields), expected, "{text:?}");
            assert_eq!(forwards_left(&Method::GET, &fields), None, "{text:?}");
        };
        check("1", Some(0));
        check("007", Some(6));
        check("99999999999999999999", Some(u64::MAX - 1));
        for none in ["", "-1", "+1", "1.0", "1, 2", "x"] {
            check(none, None);
        }
    }

    #[test]
    fn about_the_server() {
        let check = |method: Method, target: &str, expected: bool| {
            let fields: Fields = [("host", "a.test")].into_iter().collect();
            let target = Target::parse(target.to_owned(), &fields, http::Version::HTTP_11).expect("a target");
            let answer = about_server(&method, &target);
            assert_eq!(answer.is_some(), expected, "{method} {target:?}");
            if let Some(answer) = answer {
                assert_eq!(
                    answer.fields.get("allow"),
                    Some(b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH".as_slice())
                );
            }
        };
        check(Method::OPTIONS, "*", true);
        check(Method::OPTIONS, "http://a.test", true);
        check(Method::OPTIONS, "http://a.test/", false);
        check(Method::OPTIONS, "http://a.test?x", false);
        check(Method::OPTIONS, "*?x", false);
        check(Method::OPTIONS, "/", false);
        check(Method::GET, "*", false);
    }
}
