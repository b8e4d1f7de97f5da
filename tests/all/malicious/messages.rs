//! Malformed responses: interim ones, bodies whose length differs from the declared one, trailers (RFC 9113 sections 8.1 and
//! 8.1.1).

use super::*;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, bytes: Vec<u8>| cases.push(case(name, bytes));
    let status = (":status", "200");
    for code in ["100", "102", "103", "199"] {
        add(format!("a {code} that ends the stream"), only_head(&[(":status", code)]));
        add(format!("a body behind a {code}"), [head(&[(":status", code)]), last_data(b"ok")].concat());
    }
    add("a 101".to_owned(), and_ok(head(&[(":status", "101")])));
    add("a 101 that ends the stream".to_owned(), only_head(&[(":status", "101")]));
    add("seventeen interim responses".to_owned(), and_ok(head(&[(":status", "103")]).repeat(17)));
    for (name, field) in
        [("a path", (":path", "/")), ("a blank before a value", ("x", " y")), ("a connection", ("connection", "x"))]
    {
        add(format!("an interim response with {name}"), and_ok(head(&[(":status", "103"), field])));
    }
    add("a body without a head".to_owned(), last_data(b"ok"));
    add("the end without a head".to_owned(), last_data(b""));
    add("trailers without a head".to_owned(), only_head(&[("x", "y")]));
    // Section 8.1.1: lengths.
    let of_length = |length| head(&[status, ("content-length", length)]);
    add("less than its length".to_owned(), [of_length("3"), last_data(b"ok")].concat());
    add("more than its length".to_owned(), [of_length("1"), last_data(b"ok")].concat());
    add("something, and a length of 0".to_owned(), [of_length("0"), last_data(b"ok")].concat());
    add("nothing, and a length of 2".to_owned(), only_head(&[status, ("content-length", "2")]));
    add(
        "less than its length, and trailers".to_owned(),
        [of_length("3"), data(b"ok"), only_head(&[("x", "y")])].concat(),
    );
    add("nothing, an end, and a length of 2".to_owned(), [of_length("2"), last_data(b"")].concat());
    // Section 8.1: trailers end the stream and have no pseudo-header fields; the rules for fields apply to them as well.
    for (what, body) in [("behind a body", data(b"ok")), ("behind the head", Vec::new())] {
        let mut trailers = |name: &str, fields: &[(&str, &str)]| {
            cases.push(case(
                format!("trailers {what} with {name}"),
                [head(&[status]), body.clone(), only_head(fields)].concat(),
            ));
        };
        trailers("a status", &[status]);
        trailers("an interim status", &[(":status", "103")]);
        trailers("a method", &[(":method", "GET")]);
        trailers("a scheme", &[(":scheme", "http")]);
        trailers("an authority", &[(":authority", "site.test")]);
        trailers("a path", &[(":path", "/")]);
        trailers("a path behind a field", &[("x", "y"), (":path", "/")]);
        trailers("an unknown pseudo-header field", &[(":x", "y")]);
        trailers("a connection", &[("connection", "x")]);
        trailers("a transfer coding", &[("transfer-encoding", "chunked")]);
        trailers("a name in upper case", &[("X", "y")]);
        trailers("a blank before a value", &[("x", " y")]);
        trailers("a line end in a value", &[("x", "a\r\nb: c")]);
        trailers("no name", &[("", "y")]);
        cases.push(case(
            format!("trailers {what} that do not end the stream"),
            [head(&[status]), body.clone(), head(&[("x", "y")]), last_data(b"")].concat(),
        ));
        cases.push(case(
            format!("a second head {what}"),
            [head(&[status]), body.clone(), head(&[status]), last_data(b"ok")].concat(),
        ));
        cases.push(case(
            format!("an interim response {what}"),
            [head(&[status]), body.clone(), head(&[(":status", "103")]), last_data(b"ok")].concat(),
        ));
    }
    cases
}
