//! `kiln report`: the page is self-contained, no text of a site becomes markup, and a real browser shows it.

use std::process::Command;

use kiln_tests::kiln::scratch;

const SITE: &str = r#"
upstream api {
    server "10.0.0.1:80"
}
site example.com {
    route "/api/*" {
        header X-Odd "<script>alert(1)</script>"
        timeouts total="3s" connect="1s"
        deny "10.1.0.0/16"
        rate-limit "5/s"
        auth api-key (file)"keys"
        block probes {
            path "/.env"
        }
        filter "crate::filters::tenant"
        proxy api
    }
    route "/old" {
        redirect 301 "/new?a=1&b=2"
    }
    route "/*" {
        path-regex "^/b"
        respond 200
    }
}
"#;

fn page(text: &str) -> String {
    let compiled = proxy_build::compile_text("site.kdl".as_ref(), "site.kdl", text);
    proxy_build::page::page(&compiled).unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)))
}

/// The steps that a request to the API passes.
const GUARDS: &str = "allow/deny, rate-limit, auth api-key, block probes, filter crate::filters::tenant";

#[test]
fn the_page_is_self_contained() {
    let page = page(SITE);
    for reference in ["src=", "href=", "url(", "@import", "<link", "<iframe"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(!page.contains("<script>alert"), "a site's text became markup");
    for shown in ["&lt;script&gt;alert(1)&lt;/script&gt;", "/new?a=1&amp;b=2", "proxy api", "1s", "site.kdl:6", GUARDS]
    {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn what_the_sandbox_allows() {
    let check = |site: &str, expected: &[&str]| {
        let page = page(site);
        let shown =
            page.split_once("id=\"sandbox\"").map(|(_, after)| after.split("</section>").next().unwrap_or_default());
        for row in expected {
            assert!(shown.is_some_and(|shown| shown.contains(row)), "{row}: {shown:?}");
        }
    };
    check(
        SITE,
        &[
            "<th>reads</th><td>the folder of keys</td>",
            "<th>writes</th><td>none</td>",
            "<th>connects to TCP ports</th><td>80</td>",
        ],
    );
    check(
        "param store type=string\ncache-store main memory=\"1MiB\" {\n disk (param)store size=\"1GiB\"\n}\nsite example.com {\n cache main\n \
         proxy \"https://a.test:8443\"\n}\n",
        &[
            "<td>files of the system's resolver</td>",
            "<th>writes</th><td>(param)store</td>",
            "<th>connects to TCP ports</th><td>8443</td>",
        ],
    );
    check(
        "site example.com {\n respond 200\n}\n",
        &["<th>reads</th><td>none</td>", "<th>connects to TCP ports</th><td>none</td>"],
    );
    let off = "process {\n sandbox off\n}\nsite example.com {\n respond 200\n}\n";
    assert!(!page(off).contains("id=\"sandbox\""));
}

#[test]
fn a_browser_shows_it() {
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()));
    let Some(browser) = browser else {
        eprintln!("SKIPPED: no browser is installed (Debian: chromium), so the page of `kiln report` is not looked at");
        return;
    };
    let dir = scratch("page");
    // Filters for the API.
    let types = "<script>const filter = document.getElementById('filter'); filter.value = 'API';\
                 filter.dispatchEvent(new Event('input'));</script></body>";
    let file = dir.join("page.html");
    std::fs::write(&file, page(SITE).replace("</body>", types)).expect("written");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("the browser runs");
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(dom.matches("<rect ").count(), 1 + 1 + 3 + 3, "listeners, hosts, routes and answers: {dom}");
    let hidden = dom.lines().filter(|line| line.starts_with("<tr hidden=\"\">")).count();
    assert_eq!(hidden, 2, "the filter must only show the API: {dom}");
}
