//! `auth jwt` and `auth forward`: valid and invalid credentials, including known attacks.
//!
//! Keys and tokens are in `tests/tokens`; they were created with PyJWT.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_tests::client::{Answer, ask, get};
use kiln_tests::kiln::workspace;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{PATIENCE, Proxy, address};

fn file(name: &str) -> String {
    workspace().join("tests/tokens").join(name).display().to_string()
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect("a file")
}

/// The tokens by name, which tells what is wrong with them.
fn tokens() -> HashMap<String, String> {
    let line = |line: &str| line.split_once(' ').map(|(name, token)| (name.to_owned(), token.to_owned()));
    text("tokens").lines().filter_map(line).collect()
}

fn with(proxy: &Proxy, path: &str, field: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{field}Connection: close\r\n\r\n");
    ask(proxy.address("listen"), &request)
}

fn bearer(proxy: &Proxy, path: &str, token: &str) -> Answer {
    with(proxy, path, &format!("Authorization: Bearer {token}\r\n"))
}

const SITE: &str = "\
param listen type=addr
param jwks type=secret
param rsa type=secret
param ec type=secret
param ed25519 type=secret
param secret type=secret
listen (param)listen
log access {
    fields path status reason user
}
site * {
    route \"/all\" {
        auth jwt (param)jwks issuer=me audience=api leeway=\"1m\" realm=\"API\" {
            algorithms ES256 ES384 RS256 PS384 EdDSA
            require scope write admin
        }
        respond 200 \"{user} {jwt.sub} {jwt.aud} {jwt.scope} {jwt.level} {jwt.admin} {jwt.more} {jwt.nothing}\"
    }
    route \"/cookie\" {
        auth jwt (param)jwks cookie=session {
            algorithms ES256
        }
        rate-limit \"1/d\" by=\"{jwt.sub}\"
        respond 200 \"{user}\"
    }
    route \"/rsa\" {
        auth jwt (param)rsa {
            algorithms RS256
        }
        respond 200 \"{user}\"
    }
    route \"/ec\" {
        auth jwt (param)ec {
            algorithms ES256
        }
        respond 200 \"{user}\"
    }
    route \"/ed25519\" {
        auth jwt (param)ed25519 {
            algorithms EdDSA
        }
        respond 200 \"{user}\"
    }
    route \"/secret\" {
        auth jwt (param)secret {
            algorithms HS256
        }
        respond 200 \"{user}\"
    }
}
";

#[test]
fn valid_and_invalid_tokens() {
    let folder = kiln_tests::kiln::scratch("tokens");
    let secret = folder.join("secret");
    std::fs::write(&secret, "a secret of thirty-two bytes or more\n").expect("written");
    let (jwks, rsa, ec, ed25519) = (file("jwks.json"), file("rsa.pem"), file("ec.pem"), file("ed25519.pem"));
    let given = [("jwks", jwks.as_str()), ("rsa", &rsa), ("ec", &ec), ("ed25519", &ed25519)];
    let secret = secret.display().to_string();
    let given: Vec<_> = given.into_iter().chain([("secret", secret.as_str())]).collect();
    let proxy = Proxy::of_text("tokens", SITE, &given);
    let tokens = tokens();
    let check = |path: &str, name: &str, status: u16, reason: &str| {
        let answer = bearer(&proxy, path, &tokens[name]);
        assert_eq!(answer.status, status, "{path} {name}: {}", answer.text());
        if !reason.is_empty() {
            proxy.log(&format!("\"path\":\"{path}\",\"status\":{status},\"reason\":\"{reason}\""));
        }
        answer
    };
    for name in ["ES256", "ES384", "RS256", "PS384", "EdDSA", "ES256-nokid"] {
        let text = check("/all", name, 200, "").text();
        assert_eq!(text, "ann ann api,web read write 7 true {\"a\":1} ", "{name}");
    }
    check("/rsa", "RS256", 200, "");
    check("/ec", "ES256", 200, "");
    check("/ed25519", "EdDSA", 200, "");
    check("/secret", "HS256", 200, "");
    // Not the site's algorithm: CVE-2015-2951 (`none`), CVE-2015-9235 and CVE-2016-10555 (a public key as a secret),
    // and others that would be valid elsewhere.
    for (path, name) in
        [("/all", "none"), ("/all", "confusion"), ("/rsa", "confusion"), ("/rsa", "PS384"), ("/ec", "RS256")]
    {
        check(path, name, 401, "invalid-token");
    }
    check("/secret", "confusion", 401, "invalid-token");
    check("/secret", "none", 401, "invalid-token");
    check("/all", "HS256", 401, "invalid-token");
    // Keys within a token (CVE-2018-0114), a signature of zeros (CVE-2022-21449), unknown critical extensions (RFC 7515
    // section 4.1.11; CVE-2025-59420), unknown keys.
    check("/all", "embedded", 401, "invalid-token");
    check("/all", "psychic", 401, "invalid-token");
    check("/all", "ES256-crit", 401, "invalid-token");
    check("/all", "ES256-otherkid", 401, "unknown-key");
    // Claims.
    let expired = check("/all", "expired", 401, "expired-token");
    assert_eq!(expired.header("www-authenticate"), Some("Bearer realm=\"API\", error=\"invalid_token\""));
    check("/all", "early", 401, "expired-token");
    check("/all", "forever", 401, "invalid-token");
    check("/all", "other-issuer", 401, "invalid-token");
    check("/all", "other-audience", 401, "invalid-token");
    let guest = check("/all", "guest", 403, "insufficient-token");
    assert_eq!(guest.header("www-authenticate"), Some("Bearer realm=\"API\", error=\"insufficient_scope\""));
    // Correctly signed claims of types that RFC 7519 section 4.1 does not allow.
    for name in ["issuers", "one-issuer", "number-issuer", "null-issuer", "subjects", "number-audience"] {
        check("/secret", &format!("HS256-{name}"), 401, "invalid-token");
    }
    // Twice, as verified tokens are cached.
    check("/all", "expired", 401, "expired-token");
    check("/all", "ES256", 200, "");
    // Modified; no token; two tokens.
    let token = &tokens["ES256"];
    let (message, signature) = token.rsplit_once('.').expect("three parts");
    let changed = format!("{message}.A{}", &signature[1..]);
    assert_eq!(bearer(&proxy, "/ec", &changed).status, 401);
    let none = with(&proxy, "/all", "");
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer realm=\"API\"")));
    proxy.log("\"path\":\"/all\",\"status\":401,\"reason\":\"unauthenticated\"");
    for field in ["Basic YTpi", "Bearer", "Bearer a.b", "Bearer !.!.!", "Bearer e30.e30.e30"] {
        assert_eq!(with(&proxy, "/ec", &format!("Authorization: {field}\r\n")).status, 401, "{field}");
    }
    let twice = format!("Authorization: Bearer {token}\r\n").repeat(2);
    assert_eq!(with(&proxy, "/ec", &twice).status, 401);
    // In a cookie, and nowhere else; limited by a claim.
    assert_eq!(bearer(&proxy, "/cookie", token).status, 401);
    let cookie = |token: &str| with(&proxy, "/cookie", &format!("Cookie: a=b; session={token}\r\n")).status;
    assert_eq!((cookie(token), cookie(&tokens["ES256-nokid"]), cookie(&changed)), (200, 429, 401));
}

/// Keys of a server are replaced by others.
#[test]
fn keys_change() {
    let rotated = Arc::new(AtomicBool::new(false));
    let (old, new, now) = (text("jwks.json"), text("rotated.json"), Arc::clone(&rotated));
    let keys = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            assert!(request.starts_with("GET /keys?v=1 HTTP/1.1\r\n"), "{request}");
            let body = if now.load(Ordering::SeqCst) { &new } else { &old };
            // Chunked, as most servers send it.
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            ));
        }
    });
    let site = format!(
        "param listen type=addr\nlisten (param)listen\nsite * {{\n auth jwt \"http://{}/keys?v=1\" refresh=\"1s\" {{\n \
         algorithms ES256\n }}\n respond 200 \"{{user}}\"\n}}\n",
        keys.address
    );
    let proxy = Proxy::of_text("keys-change", &site, &[]);
    let tokens = tokens();
    assert_eq!(bearer(&proxy, "/", &tokens["ES256"]).text(), "ann");
    assert_eq!(bearer(&proxy, "/", &tokens["rotated"]).status, 401);
    rotated.store(true, Ordering::SeqCst);
    let until = Instant::now() + PATIENCE;
    while bearer(&proxy, "/", &tokens["rotated"]).status != 200 {
        assert!(Instant::now() < until, "the new keys are not used");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bearer(&proxy, "/", &tokens["ES256"]).status, 401, "the old keys are still accepted");
}

/// All requests are refused without keys, and excessive key sets are rejected.
#[test]
fn unavailable_keys() {
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", 300 << 10, " ".repeat(300 << 10));
    let many = format!("{{\"keys\":[{}]}}", vec!["{\"kty\":\"OKP\"}"; 101].join(","));
    let (huge, failing) = (Origin::always(huge), Origin::always("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"));
    let many = Origin::always(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{many}", many.len()));
    let none = Origin::always("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}");
    let page = "<html><body>The site is being maintained.</body></html>";
    let page = Origin::always(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len()));
    let route = |name: &str, address: &str| {
        format!(
            " route \"/{name}\" {{\n auth jwt \"http://{address}/{name}\" {{\n algorithms ES256\n }}\n respond 200\n }}\n"
        )
    };
    let routes = [
        route("huge", &huge.address),
        route("failing", &failing.address),
        route("many", &many.address),
        route("none", &none.address),
        route("page", &page.address).replace("ES256", "HS256"),
        route("gone", &address()),
    ];
    let site = format!(
        "param listen type=addr\nlisten (param)listen\nlog access {{\n fields path status reason\n}}\nsite * {{\n{}}}\n",
        routes.concat()
    );
    let proxy = Proxy::of_text("keys-gone", &site, &[]);
    for (name, why) in [
        ("huge", "more than 256 KiB"),
        ("failing", "it answers 500"),
        ("many", "more than 100 keys"),
        ("none", "no key in it can verify a token"),
        ("page", "it is neither a JWK Set nor a public key in PEM"),
        ("gone", "it can't be connected to"),
    ] {
        proxy.notice(&format!("/{name}: {why}"));
    }
    // They wait for keys, so they run concurrently.
    let token = &tokens()["ES256"];
    std::thread::scope(|scope| {
        for path in ["/huge", "/failing", "/many", "/none", "/page", "/gone"] {
            let proxy = &proxy;
            scope.spawn(move || {
                assert_eq!(bearer(proxy, path, token).status, 503, "{path}");
                proxy.log(&format!("\"path\":\"{path}\",\"status\":503,\"reason\":\"keys-unavailable\""));
            });
        }
    });
}

/// Files without keys prevent the start, and the message contains nothing of their content.
#[test]
fn files_without_keys() {
    let site = "param listen type=addr\nparam keys type=secret\nlisten (param)listen\nsite * {\n auth jwt (param)keys {\n \
                algorithms HS256\n }\n respond 200\n}\n";
    let binary = kiln_tests::proxy::build_text("no-keys", site);
    let keys = kiln_tests::kiln::scratch("no-keys").join("keys");
    let check = |content: &str, expected: &str| {
        std::fs::write(&keys, content).expect("written");
        let mut command = std::process::Command::new(&binary);
        let output = command.arg(format!("--keys={}", keys.display())).arg("--listen=127.0.0.1:1").output();
        let said = String::from_utf8_lossy(&output.expect("it runs").stderr).into_owned();
        assert!(said.contains(expected) && !said.contains("hunter2"), "{said}");
    };
    check("hunter2", "a secret has at least 32 bytes");
    check("{\"hunter2\":", "no JSON");
    check("\u{feff}{\"keys\":[\"hunter2 hunter2 hunter2\"]}", "it begins with a byte order mark");
    check("hunter2\n-----BEGIN PUBLIC KEY-----\nhunter2\n", "there is text before `-----BEGIN`");
    check("{\"keys\":[{\"kty\":\"oct\",\"k\":\"hunter2\"}]}", "no key in it can verify a token");
    check(
        "{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\",\"n\":\"AA\",\"e\":\"AQAB\"}]}",
        "no key in it can verify a token",
    );
    check(
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
        "it is not an RSA, EC or Ed25519 public key",
    );
}

/// An authorization service decides.
#[test]
fn forward_auth() {
    let asked = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let head = request.to_ascii_lowercase();
            let has = |line: &str| head.contains(&format!("\r\n{line}\r\n"));
            assert!(head.starts_with("get /verify?app=1 http/1.1\r\n") && has("x-forwarded-method: post"), "{head}");
            let host = has("x-forwarded-host: a.test") || has("x-forwarded-host: routes.test");
            assert!(host && has("x-forwarded-proto: http"), "{head}");
            assert!(!head.contains("remote-user") && !head.contains("x-other"), "{head}");
            // The proxy's value, not the client's.
            assert!(head.matches("x-forwarded-for").count() == 1 && !head.contains("9.9.9.9"), "{head}");
            let uri = head.lines().find_map(|line| line.strip_prefix("x-forwarded-uri: ")).expect("a URI");
            connection.send(match uri {
                "/in?a=1" if has("authorization: ann") && has("x-tenant: t") => {
                    "HTTP/1.1 200 OK\r\nRemote-User: ann\r\nRemote-Groups: a\r\nRemote-Groups: b\r\nContent-Length: 2\r\n\r\nok"
                }
                "/in?anonymous" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/login" => {
                    "HTTP/1.1 302 Found\r\nLocation: https://id.test/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
                }
                "/fails" => "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
                "/silent" => "HTTP/1.1 200 O",
                _ => "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 3\r\n\r\nno\n",
            });
        }
    });
    let origin = Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let lines = request.lines().filter(|line| line.to_ascii_lowercase().starts_with("remote-"));
            let body: String = lines.map(|line| format!("{line}\n")).collect();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let site = format!(
        "param listen type=addr\nparam origin type=addr\nlisten (param)listen\nlog access {{\n fields path status reason \
         user\n}}\nsite * {{\n auth forward \"http://{}/verify?app=1\" timeout=\"300ms\" user=Remote-User {{\n send-headers Authorization \
         X-Tenant X-Forwarded-For\n copy-headers Remote-User Remote-Groups\n }}\n route \"/gone\" {{\n auth forward \"http://{}/verify\"\n respond \
         200\n }}\n route \"/*\" {{\n proxy (param)origin\n }}\n}}\nsite routes.test {{\n auth \
         forward \"http://{}/verify?app=1\"\n route \"/here\" {{\n respond 200\n }}\n}}\n",
        asked.address,
        address(),
        asked.address
    );
    let proxy = Proxy::of_text("auth-forward", &site, &[("origin", &origin.address)]);
    let post = |path: &str, fields: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: a.test\r\nRemote-User: root\r\nRemote-Groups: wheel\r\nX-Other: x\r\nX-Forwarded-For: 9.9.9.9\r\n{fields}\
             Content-Length: 4\r\nConnection: close\r\n\r\nbody"
        );
        ask(proxy.address("listen"), &request)
    };
    let inside = post("/in?a=1", "Authorization: ann\r\nX-Tenant: t\r\n");
    assert_eq!(
        (inside.status, inside.text().to_ascii_lowercase().as_str()),
        (200, "remote-user: ann\nremote-groups: a\nremote-groups: b\n")
    );
    proxy.log("\"path\":\"/in\",\"status\":200,\"user\":\"ann\"");
    // The client's own fields are removed, even if nothing replaces them.
    assert_eq!(post("/in?anonymous", "").text(), "");
    let login = post("/login", "");
    assert_eq!(
        (login.status, login.header("location"), login.header("set-cookie")),
        (302, Some("https://id.test/"), Some("a=b"))
    );
    let refused = post("/in?a=1", "Authorization: eve\r\n");
    assert_eq!(
        (refused.status, refused.text().as_str(), refused.header("www-authenticate")),
        (401, "no\n", Some("Basic"))
    );
    proxy.log("\"path\":\"/in\",\"status\":401,\"reason\":\"auth-refused\"");
    for path in ["/fails", "/silent", "/gone"] {
        assert_eq!(post(path, "").status, 503, "{path}");
        proxy.log(&format!("\"path\":\"{path}\",\"status\":503,\"reason\":\"auth-unreachable\""));
    }
    // Who has no access does not learn which paths there are.
    let elsewhere = |fields: &str| {
        let request = format!(
            "POST /login HTTP/1.1\r\nHost: routes.test\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        ask(proxy.address("listen"), &request).status
    };
    assert_eq!(elsewhere(""), 302);
    // Connections are reused, except after errors.
    assert!(asked.connections() <= 4, "{}", asked.connections());
    assert_eq!(get(proxy.address("listen"), "other.test", "/gone").status, 503);
}

/// A declared upstream as authorization service, with its settings: here, the next server is used if one is
/// unreachable.
#[test]
fn forward_auth_to_an_upstream() {
    let keys = text("jwks.json");
    let asked = Origin::new(move |mut connection, _| {
        while let Some(request) = connection.request() {
            let body = match request.split(' ').nth(1) {
                Some("/keys?v=1") => keys.as_str(),
                Some("/verify") if request.to_ascii_lowercase().contains("cookie: in") => "",
                other => panic!("{other:?} is asked for"),
            };
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let site = "\
param listen type=addr
param one type=addr
param two type=addr
listen (param)listen
upstream id {
    server (param)one
    server (param)two
}
lint allow keys-on-plain
site * {
    auth jwt \"/keys?v=1\" upstream=id {
        algorithms ES256
    }
    route \"/forward\" {
        auth forward \"/verify\" upstream=id
        respond 200 \"in\"
    }
    route \"/*\" {
        respond 200 \"{user}\"
    }
}
";
    let proxy = Proxy::of_text("auth-upstream", site, &[("one", &address()), ("two", &asked.address)]);
    assert_eq!(bearer(&proxy, "/", &tokens()["ES256"]).text(), "ann");
    for _ in 0..3 {
        assert_eq!(with(&proxy, "/forward", "Cookie: in\r\n").text(), "in");
    }
}
