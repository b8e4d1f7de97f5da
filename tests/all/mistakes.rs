//! The mistakes that checkers of other proxies were tested with (and similar ones), as far as this language can
//! express them: each is an error with the expected code, at the expected place. The texts of the messages are in
//! `diagnostics/`.

/// Checks a site with one mistake: guillemets mark the expected place.
fn check(code: &str, marked: &str) {
    let text = marked.replace(['«', '»'], "");
    let start = marked.find('«').expect("a mark");
    let end = marked.find('»').expect("a mark") - '«'.len_utf8();
    let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text);
    let found = compiled.report.sorted().into_iter().find(|diagnostic| diagnostic.code == code);
    let found = found.unwrap_or_else(|| panic!("no {code}:\n{text}\n{}", compiled.diagnostics(false)));
    assert!(compiled.model.is_none() || compiled.report.errors() == 0, "{code} does not stop the build:\n{text}");
    let place = (found.at.start as usize, found.at.end as usize);
    assert_eq!(place, (start, end), "{code} is at the wrong place:\n{}", compiled.diagnostics(false));
    let helped = !found.help.is_empty() || !found.label.is_empty() || !found.also.is_empty();
    assert!(helped || found.message.len() > 20, "{code} has no explanation");
}

fn route(inner: &str) -> String {
    format!("site a.test {{\nroute \"/*\" {{\n{inner}\n}}\n}}\n")
}

#[test]
fn known_mistakes_of_other_proxies() {
    check("unknown-node", "site a.test {\n«prxy» \"http://127.0.0.1:1\"\n}");
    check(
        "unknown-name",
        "upstream app {\nserver \"10.0.0.1:1\"\n}\nsite b.test {\nproxy app\n}\nsite a.test {\nproxy «apps»\n}",
    );
    check("duplicate-route", "site a.test {\nroute \"/a\" {\nrespond 200\n}\nroute «\"/a\"» {\nrespond 404\n}\n}");
    check(
        "unreachable-route",
        "site a.test {\nroute «\"/*\"» {\npath-regex \"^/api/v1/\"\nrespond 200\n}\nroute \"/*\" priority=1 {\npath-regex \"^/api/\"\nrespond 200\n}\n}",
    );
    check("regex-never-matches", &route("path-regex «\"^api/\"»\nrespond 200"));
    check("duplicate-host", "site a.test {\nrespond 200\n}\nsite «a.test» {\nrespond 404\n}");
    check("proxy-loop", "listen \":8080\"\nsite a.test {\n«proxy» \"http://127.0.0.1:8080\"\n}");
    check("redirect-loop", "site a.test {\nroute \"/a\" {\n«redirect» 301 \"/a\"\n}\n}");
    check("unused", "upstream «app» {\nserver \"10.0.0.1:1\"\n}\nsite a.test {\nrespond 200\n}");
    check("no-weight", "upstream «app» {\nserver \"10.0.0.1:1\" weight=0\n}\nsite a.test {\nproxy app\n}");
    check("bad-header-name", &route("response-headers {\nset «\"X Y\"» \"1\"\n}\nrespond 200"));
    check("bad-duration", &route("timeouts connect=«\"5parsecs\"»\nproxy \"http://127.0.0.1:1\""));
    check("bad-duration", &route("timeouts connect=«5»\nproxy \"http://127.0.0.1:1\""));
    check("unknown-placeholder", &route("respond 200 \"«{nothing}»\""));
    check("two-handlers", &route("respond 200\n«proxy» \"http://127.0.0.1:1\""));
}

/// A server name that does not resolve is no error: the build machine's resolver is not that of production.
#[test]
fn names_need_not_resolve() {
    let text = "site a.test {\n    proxy \"http://no-such-host.invalid:80\"\n}\n";
    assert!(proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text).model.is_some());
}

#[test]
fn further_mistakes() {
    check(
        "ambiguous-routes",
        "site a.test {\nroute \"/a\" {\nheader X-A\nrespond 200\n}\nroute «\"/a\"» {\nquery b\nrespond 200\n}\n}",
    );
    check("duplicate-matcher", &route("method GET «GET»\nrespond 200"));
    check("contradiction", &route("header X-A\n«not» {\nheader X-A\n}\nrespond 200"));
    check("contradiction", "site a.test {\nroute «\"/b\"» {\npath-regex \"^/a\"\nrespond 200\n}\n}");
    check("unknown-placeholder", "site a.test {\nroute \"/u/{id}\" {\nredirect 301 \"/x/«{name}»\"\n}\n}");
    check("contradicting-timeouts", &route("timeouts connect=«\"10s\"» total=\"5s\"\nproxy \"http://127.0.0.1:1\""));
    for field in ["Content-Length", "Connection", "Transfer-Encoding", "Host"] {
        check("untouchable-header", &route(&format!("response-headers {{\nset «{field}» \"1\"\n}}\nrespond 200")));
    }
    check("duplicate-listener", "listen \":8080\"\nlisten «\":8080\"»\nsite a.test {\nrespond 200\n}");
    check("bad-address", "listen «\":0\"»\nsite a.test {\nrespond 200\n}");
    check("bad-address", "listen «\":70000\"»\nsite a.test {\nrespond 200\n}");
    check("bad-address", "upstream app {\nserver «\"::1:80\"»\n}\nsite a.test {\nproxy app\n}");
    check("bad-network", &route("client-ip «\"10.0.0.1/8\"»\nrespond 200"));
    check("no-effect", &route("client-ip \"10.0.0.0/8\" «\"10.1.0.0/16\"»\nrespond 200"));
    for host in ["\"http://a.test\"", "\"a.test:80\"", "\"a.test/x\""] {
        check("bad-host", &format!("site «{host}» {{\nrespond 200\n}}"));
    }
    check("duplicate-property", &route("timeouts connect=\"1s\" «connect»=\"2s\"\nproxy \"http://127.0.0.1:1\""));
    check("preset-loop", "preset a {\nuse «a»\n}\nsite a.test {\nuse a\nrespond 200\n}");
    check("unreadable-file", "include «\"missing.kdl\"»\nsite a.test {\nrespond 200\n}");
    check("unreadable-file", &route("error-page 404 «\"missing.html\"»\nrespond 200"));
    check(
        "secret-in-file",
        &route("request-headers {\nset Authorization «\"Bearer x\"»\n}\nproxy \"http://127.0.0.1:1\""),
    );
    check("trusts-everybody", "trusted-proxies «\"0.0.0.0/0\"»\nsite a.test {\nproxy \"http://127.0.0.1:1\"\n}");
    check("unbounded-body", &route("limits body=«unlimited»\nproxy \"http://127.0.0.1:1\""));
    check("hsts-on-plain", &route("response-headers {\nset «Strict-Transport-Security» \"max-age=1\"\n}\nrespond 200"));
    check("open-redirect", &route("redirect 301 \"https://«{header.X}»/\""));
    check(
        "test-failed",
        "site a.test {\nrespond 200\n}\ntest \"t\" {\nrequest GET \"http://a.test/\"\nexpect status=«404»\n}",
    );
}

/// A loop that does not contain the route itself is followed on every branch, and the search ends.
#[test]
fn the_search_for_loops_ends() {
    let listens: String = (1..6).map(|n| format!("listen \"127.0.0.1:810{n}\"\n")).collect();
    let servers: String = (1..6).map(|n| format!("server \"127.0.0.1:810{n}\"\n")).collect();
    let text = format!(
        "{listens}upstream all {{\n{servers}}}\nsite a.test {{\n\
         route \"/start\" {{\nrewrite path=\"/grow/x\"\nproxy all\n}}\n\
         route \"/grow/*\" {{\nrewrite add-prefix=\"/grow\"\nproxy all\n}}\n}}\n"
    );
    let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text);
    let codes: Vec<_> = compiled.report.sorted().into_iter().map(|diagnostic| diagnostic.code).collect();
    assert_eq!(codes, ["proxy-loop"], "{}", compiled.diagnostics(false));
}

/// The built-in preset depends on whether the site uses TLS, and a preset of the same name replaces it.
#[test]
fn security_headers() {
    let check = |head: &str, scheme: &str, expected: &str| {
        let text = format!(
            "{head}\nsite a.test {{\n{}use security-headers\nrespond 200\n}}\ntest \"t\" {{\nrequest GET \"{scheme}://a.test/\"\n\
            expect status=200 {{\n{expected}\n}}\n}}\n",
            if scheme == "https" { "tls internal\n" } else { "" }
        );
        let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text);
        assert!(compiled.model.is_some(), "{}", compiled.diagnostics(false));
    };
    check("", "https", "response-header Strict-Transport-Security \"max-age=31536000\"");
    check("", "http", "response-header Strict-Transport-Security missing=#true");
    check("", "http", "response-header X-Frame-Options SAMEORIGIN");
    let own = "preset security-headers {\nresponse-headers {\nset X-Own \"1\"\n}\n}";
    check(own, "http", "response-header X-Own \"1\"\nresponse-header X-Frame-Options missing=#true");
}

/// A loop is reported once for each route in it.
#[test]
fn redirect_loops_of_two_sites() {
    let check = |first: &str, second: &str, loops: bool| {
        let text = format!(
            "site a.test {{\ntls internal\nredirect 301 \"{first}\"\n}}\nsite www.a.test {{\ntls internal\nredirect 301 \"{second}\"\n}}\n"
        );
        let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", &text);
        let codes: Vec<_> = compiled.report.sorted().into_iter().map(|diagnostic| diagnostic.code).collect();
        let expected: &[&str] = if loops { &["redirect-loop", "redirect-loop"] } else { &[] };
        assert_eq!(codes, expected, "{}", compiled.diagnostics(false));
    };
    check("https://www.a.test{path}", "https://a.test{path}", true);
    check("https://www.a.test/", "https://a.test/x", true);
    check("//www.a.test{path}", "//a.test{path}", true);
    check("http://www.a.test{path}", "http://a.test{path}", true);
    check("https://www.a.test:443{path}", "https://a.test{path}", true);
    check("https://www.a.test{path}", "https://b.test{path}", false);
    check("https://www.a.test:8443{path}", "https://a.test{path}", false);
}
