//! User instructions per request, and of a start, stay within a budget. What is counted does not depend on the machine's load, so that a change that
//! makes requests dearer is noticed when it is made.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use kiln_tests::certificates::Authority;
use kiln_tests::instructions::{CountedLoad, bearer, missing, of_run, per_request};
use kiln_tests::kiln::{self, scratch};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::{Proxy, address};

/// A kind of request, where it goes, whether over HTTP/2, and what it takes; and by how much a figure may differ from that, in per cent: the order
/// in which connections become ready differs from run to run.
const BUDGETS: [(&str, &str, bool, u64); 8] = [
    ("plain", "http://localhost/plain", false, 18_640),
    ("access log", "http://localhost/log", false, 24_140),
    ("rate limit", "http://localhost/limit", false, 19_160),
    ("token (JWT)", "http://localhost/token", false, 32_340),
    ("cache hit", "http://localhost/cache", false, 11_140),
    ("embedded file", "http://localhost/file.txt", false, 10_630),
    ("TLS", "https://localhost/plain", false, 25_210),
    ("HTTP/2", "https://localhost/plain", true, 46_370),
];
const TOLERANCE: u64 = 3;

/// The most for a start and a stop with TLS, in millions. It takes 2.2, and 420 where the library measures the jitter of a clock.
const START: u64 = 3;

fn site(dir: &Path, origin: &str, certificate: (&str, &str)) -> String {
    std::fs::create_dir_all(dir.join("files")).expect("made");
    std::fs::write(dir.join("files/file.txt"), "x".repeat(10 << 10)).expect("written");
    format!(
        "param listen type=addr\nparam secure type=addr\nprocess {{\n workers 1\n}}\nupstream app {{\n server \"{origin}\"\n}}\n\
         listen (param)listen\nlisten (param)secure {{\n tls\n}}\n\
         site localhost {{\n tls {{\n  certificate \"{}\" key=\"{}\"\n }}\n\
         route \"/plain\" {{\n  proxy app\n }}\n\
         route \"/log\" {{\n  log access\n  proxy app\n }}\n\
         route \"/limit\" {{\n  rate-limit \"1000000/s\"\n  proxy app\n }}\n\
         route \"/token\" {{\n  auth jwt (file)\"{}/tests/tokens/jwks.json\" issuer=me audience=api {{\n   algorithms ES256\n  }}\n  proxy app\n }}\n\
         route \"/cache\" {{\n  cache\n  proxy app\n }}\n\
         route \"/file.txt\" {{\n  files \"{}/files\" embed=#true\n }}\n\
         }}\n",
        certificate.0,
        certificate.1,
        kiln::workspace().display(),
        dir.display()
    )
}

/// The time as servers write it: a response that is older than it may be would not come from the cache.
fn now() -> String {
    let output = Command::new("date").env("LC_ALL", "C").args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).output();
    String::from_utf8(output.expect("date runs").stdout).expect("a date").trim().to_owned()
}

#[test]
fn requests_stay_within_their_budgets() {
    if let Some(program) = missing() {
        eprintln!("SKIPPED: instructions are not counted, as `{program}` is not installed");
        return;
    }
    let dir = scratch("instructions");
    let authority = Authority::new(&dir);
    authority.sign("localhost", "localhost", &["localhost"]);
    let origin = Origin::always(format!(
        "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: {}\r\ncontent-type: text/plain\r\n\
         cache-control: max-age=36000\r\ncontent-length: 5\r\n\r\nhello",
        now()
    ));
    let text = site(&dir, &origin.address, (&authority.path("localhost.pem"), &authority.path("localhost.key")));
    let (file, binary) = (dir.join("site.kdl"), dir.join("proxy"));
    std::fs::write(&file, &text).expect("written");
    // As users have it: optimised, and with nothing but what the site uses.
    let arguments = ["build", file.to_str().expect("text"), "-o", binary.to_str().expect("text")];
    let output = kiln::command(&arguments).env_remove("KILN_FEATURES").output().expect("kiln runs");
    assert!(output.status.success(), "{}", kiln::stderr(&output));

    let addresses = [address(), address()];
    let run = |counting: &[String], send: &dyn Fn()| {
        let mut command = Command::new(&counting[0]);
        command.args(&counting[1..]).arg(&binary);
        command.args([format!("--listen={}", addresses[0]), format!("--secure={}", addresses[1])]);
        let mut proxy = Proxy::spawn(command, HashMap::new());
        send();
        proxy.signal("TERM");
        proxy.wait();
    };
    let start = of_run(&dir, |counting| run(counting, &|| ())).expect("callgrind has counted");
    println!("a start: {start} instructions");
    assert!(start <= START * 1_000_000, "a start takes {start} instructions");
    let measured = BUDGETS.map(|(kind, url, http2, budget)| {
        let to = Some(addresses[usize::from(url.starts_with("https:"))].clone());
        let field = url.ends_with("/token").then(bearer);
        let load = CountedLoad { url: url.to_owned(), to, http2, field };
        (kind, budget, per_request(&dir, &load, run).expect("callgrind has counted"))
    });
    for (kind, budget, found) in measured {
        println!("{kind}: {found} instructions, of {budget}");
    }
    for (kind, budget, found) in measured {
        assert!(
            found.abs_diff(budget) * 100 <= budget * TOLERANCE,
            "{kind}: a request takes {found} instructions, and its budget is {budget}: find out why, or note the new figure here"
        );
    }
}
