//! A load balancer in front that ends TLS: what it says about clients, and what it can't.

use kiln_tests::certificates::Authority;

use super::*;

const ENCRYPTED: &str = r#"
param listen type=addr
param other type=addr
param origin type=addr
trusted-proxies "127.1.0.0/16" header=CF-Connecting-IP
listen plain (param)other {
    redirect-https
}
listen secure (param)listen {
    tls
}
site a.test {
    tls internal
    route "/says" {
        proxy (param)origin forwarded=#true
    }
    route "/*" {
        respond 200 "{client.ip} {scheme} {header.CF-Connecting-IP}"
    }
}
"#;

/// A balancer that terminates TLS in front of a site with TLS of its own, and sends the client's address in its own header
/// field.
#[test]
fn behind_a_balancer_that_ends_tls() {
    let origin = Origin::new(echo);
    let authority = Authority::new(&scratch("intake-authority"));
    authority.sign("server", "server", &["must.test", "may.test"]);
    let with_certificates = |host: &str, required: bool| {
        let [chain, key, ca] = [authority.path("server.pem"), authority.path("server.key"), authority.ca()];
        format!(
            "site {host} {{\n tls {{\n certificate \"{chain}\" key=\"{key}\"\n client-ca \"{ca}\" required=#{required}\n }}\n respond 200\n}}\n"
        )
    };
    let site = [ENCRYPTED, &with_certificates("must.test", true), &with_certificates("may.test", false)].concat();
    let proxy = Proxy::of_text("intake-tls", &site, &[("origin", &origin.address)]);
    let ask = |source: &str, path: &str, fields: &str| {
        let mut client = Client::from(source, proxy.address("other"));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).answer()
    };
    let check = |source: &str, fields: &str, status: u16, text: &str| {
        let answer = ask(source, "/", fields);
        assert_eq!((answer.status, answer.text()), (status, text.to_owned()), "{source} {fields}");
    };
    let https = "X-Forwarded-Proto: https\r\n";
    check(TRUSTED, &format!("{https}CF-Connecting-IP: 9.9.9.9\r\n"), 200, "9.9.9.9 https 9.9.9.9");
    check(
        TRUSTED,
        &format!("{https}CF-Connecting-IP: 2001:db8::1\r\nX-Forwarded-For: 6.6.6.6\r\n"),
        200,
        "2001:db8::1 https 2001:db8::1",
    );
    check(
        TRUSTED,
        &format!("{https}CF-Connecting-IP: 9.9.9.9\r\nCF-Connecting-IP: 8.8.8.8\r\n"),
        200,
        "127.1.0.1 https 9.9.9.9",
    );
    check(
        TRUSTED,
        &format!("{https}CF_Connecting_IP: 9.9.9.9\r\nX-Forwarded-For: 6.6.6.6\r\n"),
        200,
        "127.1.0.1 https ",
    );
    for (source, fields) in [
        (TRUSTED, ""),
        (TRUSTED, "X-Forwarded-Proto: http\r\n"),
        (TRUSTED, "X-Forwarded-Proto: wss\r\n"),
        (STRANGER, https),
    ] {
        assert_eq!(ask(source, "/", fields).status, 308, "{source} {fields}");
    }
    let said = ask(
        TRUSTED,
        "/says",
        &format!("{https}CF-Connecting-IP: 9.9.9.9\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"),
    )
    .text();
    let lines = [
        "x-forwarded-for: 9.9.9.9, 127.1.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "forwarded: for=9.9.9.9;proto=https, for=127.1.0.1;host=\"a.test\";proto=http\r\n",
    ];
    assert!(lines.iter().all(|line| said.contains(line)) && !said.contains("6.6.6.6"), "{said}");
    // Sites that ask clients for certificates: nobody has shown one here.
    for (host, fields, status) in [
        ("must.test", https, 421),
        ("must.test", "", 308),
        ("must.test", "X-Forwarded-Proto: http\r\n", 308),
        ("may.test", https, 200),
        ("may.test", "", 308),
    ] {
        let mut client = Client::from(TRUSTED, proxy.address("other"));
        let answer = client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).answer();
        assert_eq!(answer.status, status, "{host} {fields}");
    }
}
