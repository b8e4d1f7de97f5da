//! How clients learn of HTTP/3, and how a site says that it has it.

use std::process::Command;

use kiln_tests::certificates::Authority;
use kiln_tests::kiln::{scratch, stdout};
use kiln_tests::proxy::{Proxy, build_text};

use super::client::{H3, config};
use super::{ECHO, Site, run};

#[test]
fn clients_learn_of_it() {
    let site = Site::new("h3-alternative", "", ECHO, &[]);
    let address = site.address();
    let (ip, port) = address.split_once(':').expect("a port");
    let expected = format!("alt-svc: h3=\":{port}\"; ma=86400");
    for version in ["--http1.1", "--http2"] {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--include", version, "--cacert", &site.ca])
            .args(["--resolve", &format!("a.test:{port}:{ip}"), &format!("https://a.test:{port}/one")])
            .output()
            .expect("curl runs");
        assert!(stdout(&output).contains(&expected), "{}", stdout(&output));
    }
    run(async {
        let answer = site.client().await.get("a.test", "/one").await;
        assert_eq!(answer.header("alt-svc"), Some(expected.trim_start_matches("alt-svc: ")));
    });
}

/// `http` of the top level is for listeners with TLS that say nothing else.
#[test]
fn said_once_at_the_top() {
    let name = "h3-everywhere";
    let dir = scratch(name);
    let ca = Authority::new(&dir);
    ca.sign("a", "a", &["a.test", "127.0.0.1"]);
    let site = format!(
        "param one type=addr\nparam two type=addr\nparam plain type=addr\n\
         http h1 h2 h3 public-port=443 early-data=#true\n\
         listen (param)one {{\n tls\n}}\nlisten (param)two {{\n tls\n http h1 h2\n}}\nlisten (param)plain {{\n redirect-https\n}}\n\
         site a.test {{\n tls {{\n certificate \"{}\" key=\"{}\"\n }}\n respond 200 \"{{protocol}}\"\n}}\n",
        ca.path("a.pem"),
        ca.path("a.key")
    );
    let proxy = Proxy::start(&build_text(name, &site), &site, &[]);
    let said_by = |listener: &str| {
        let (ip, port) = proxy.address(listener).split_once(':').expect("a port");
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--include", "--cacert", &ca.ca()])
            .args(["--resolve", &format!("a.test:{port}:{ip}"), &format!("https://a.test:{port}/")])
            .output()
            .expect("curl runs");
        stdout(&output)
    };
    let (one, two) = (said_by("one"), said_by("two"));
    assert!(one.contains("alt-svc: h3=\":443\"; ma=86400"), "{one}");
    assert!(two.contains("HTTP/2.0") && !two.contains("alt-svc"), "{two}");
    run(async {
        let client = H3::to(proxy.address("one"), "a.test", config(&ca.ca(), None)).await.expect("connected");
        assert_eq!(client.get("a.test", "/").await.text(), "HTTP/3.0");
    });
}
