//! `send-file`: servers name files by `X-Accel-Redirect` and `X-Sendfile`.

use std::os::unix::fs::symlink;
use std::path::Path;

use kiln_tests::client::{Answer, Client};
use kiln_tests::kiln::scratch;
use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

use super::settle;

const SITE: &str = "\
param listen type=addr
param app type=addr
param uploads type=string
param exports type=string
upstream app {
    server (param)app
    send-file (param)uploads prefix=\"/protected\"
    send-file (param)exports symlinks=#true dotfiles=#true
}
upstream plain {
    server (param)app
}
listen (param)listen
log access {
    fields path status reason detail
}
site a.test {
    route \"/plain/*\" {
        proxy plain
    }
    route \"/packed/*\" {
        compress gzip
        proxy app
    }
    route \"/*\" {
        proxy app
    }
}
";

/// A server whose responses have the status and the fields in the request's `Say` lines.
fn application() -> Origin {
    Origin::new(|mut connection, _| {
        while let Some(request) = connection.request() {
            let said = |name: &'static str| request.lines().filter_map(move |line| line.strip_prefix(name));
            let status = said("Status: ").next().unwrap_or("200 OK").to_owned();
            let fields: Vec<_> = said("Say: ").map(|line| format!("{line}\r\n")).collect();
            let fields = fields.concat();
            connection.send(format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 9\r\n\r\nnot this\n"));
        }
    })
}

#[test]
fn named_by_servers() {
    let outside = scratch("send-file");
    let (uploads, exports) = (outside.join("uploads"), outside.join("exports"));
    let write = |folder: &Path, path: &str, content: &[u8]| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, content).expect("written");
        settle(&path);
    };
    std::fs::write(outside.join("secret.txt"), "secret\n").expect("written");
    write(&uploads, "alphabet.txt", b"abcdefghijklmnopqrstuvwxyz");
    write(&uploads, "a b/ä.pdf", b"a document\n");
    write(&uploads, ".env", b"hidden\n");
    let large: Vec<u8> = (0..500_000_u32).flat_map(u32::to_be_bytes).collect();
    write(&uploads, "large.bin", &large);
    write(&exports, ".all.csv", b"a,b\n");
    symlink(".all.csv", exports.join("link.csv")).expect("linked");
    symlink("../secret.txt", uploads.join("out")).expect("linked");
    symlink("../secret.txt", exports.join("out")).expect("linked");
    symlink("alphabet.txt", uploads.join("inside")).expect("linked");
    let app = application();
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let (uploads, exports) = (text(&uploads), text(&exports));
    let flags = [("app", app.address.as_str()), ("uploads", uploads.as_str()), ("exports", exports.as_str())];
    let proxy = Proxy::of_text("send-file", SITE, &flags);
    let mut client = Client::to(proxy.address("listen"));
    let mut ask = |method: &str, path: &str, lines: &str| -> Answer {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"));
        let answer = client.answer_to(method);
        for field in ["x-accel-redirect", "x-sendfile"] {
            assert_eq!(answer.header(field), None, "{lines}");
        }
        answer
    };
    let accel = |path: &str| format!("Say: X-Accel-Redirect: {path}\r\n");

    // The file replaces the body; the application's other fields stay.
    let alphabet = accel("/protected/alphabet.txt");
    let said = "Say: Content-Disposition: attachment\r\nSay: Content-Type: text/x-own\r\nSay: ETag: \"own\"\r\nSay: Set-Cookie: a=b\r\n\
                Say: Content-Encoding: gzip\r\nSay: Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    let answer = ask("GET", "/", &(alphabet.clone() + said));
    assert_eq!((answer.status, answer.text().as_str()), (200, "abcdefghijklmnopqrstuvwxyz"));
    let fields =
        ["content-type", "content-disposition", "set-cookie", "content-encoding", "accept-ranges", "content-length"];
    let found = fields.map(|name| answer.header(name).unwrap_or("none"));
    assert_eq!(found, ["text/x-own", "attachment", "a=b", "none", "bytes", "26"]);
    let tag = answer.header("etag").expect("a tag").to_owned();
    let modified = answer.header("last-modified").expect("a date").to_owned();
    assert!(tag != "\"own\"" && !tag.starts_with("W/") && !modified.contains("1970"), "{tag} {modified}");
    // The content type follows from the extension where the application sends none.
    assert_eq!(ask("GET", "/", &alphabet).header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(ask("GET", "/", &accel("/protected/a%20b/%C3%A4.pdf")).text(), "a document\n");
    assert_eq!(ask("GET", "/", &accel("/protected/a b/ä.pdf")).text(), "a document\n");
    assert!(ask("GET", "/", &accel("/protected/large.bin")).body == large);
    let answer = ask("HEAD", "/", &alphabet);
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("26")));
    assert_eq!(
        ask("POST", "/", &format!("{alphabet}Content-Length: 0\r\nIf-None-Match: *\r\nRange: bytes=1-2\r\n"))
            .text()
            .len(),
        26
    );
    // Ranges and conditional requests.
    let mut part = |lines: &str, status: u16, text: &str| {
        let answer = ask("GET", "/", &(alphabet.clone() + lines));
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{lines}");
        answer
    };
    assert_eq!(part("Range: bytes=2-4\r\n", 206, "cde").header("content-range"), Some("bytes 2-4/26"));
    part("Range: bytes=-2\r\n", 206, "yz");
    part("Range: bytes=26-\r\n", 416, "");
    part(&format!("Range: bytes=0-0\r\nIf-Range: {tag}\r\n"), 206, "a");
    part("Range: bytes=0-0\r\nIf-Range: \"own\"\r\n", 200, "abcdefghijklmnopqrstuvwxyz");
    part(&format!("If-None-Match: {tag}\r\n"), 304, "");
    part("If-None-Match: \"own\"\r\n", 200, "abcdefghijklmnopqrstuvwxyz");
    part(&format!("If-Modified-Since: {modified}\r\n"), 304, "");
    part("If-Match: \"own\"\r\n", 412, "412 Precondition Failed\n");
    let parts = ask("GET", "/", &format!("{alphabet}Range: bytes=0-0,25-\r\n"));
    assert!(parts.status == 206 && parts.text().contains("25-25/26\r\n\r\nz\r\n"), "{}", parts.text());
    let far = ask("GET", "/", &(accel("/protected/large.bin") + "Range: bytes=1999996-\r\n"));
    assert_eq!((far.status, far.body.as_slice()), (206, 499_999_u32.to_be_bytes().as_slice()));
    let packed = ask("GET", "/packed/", &(alphabet.clone() + "Accept-Encoding: gzip\r\n"));
    assert_eq!((packed.status, packed.header("x-accel-redirect")), (200, None));

    // By a path on this machine.
    let mut sent = |path: &str| ask("GET", "/", &format!("Say: X-Sendfile: {path}\r\n"));
    assert_eq!(sent(&format!("{exports}/.all.csv")).text(), "a,b\n");
    assert_eq!(sent(&format!("{exports}/link.csv")).text(), "a,b\n");

    // Files that can't be sent: the response does not reveal the path, and the connection stays open.
    let secret = text(&outside.join("secret.txt"));
    for line in [
        "X-Accel-Redirect: /protected/../secret.txt",
        "X-Accel-Redirect: /protected/%2e%2e/secret.txt",
        "X-Accel-Redirect: /protected/..%2fsecret.txt",
        "X-Accel-Redirect: /protected//alphabet.txt",
        "X-Accel-Redirect: /protected/.env",
        "X-Accel-Redirect: /protected",
        "X-Accel-Redirect: /protected/",
        "X-Accel-Redirect: /other/alphabet.txt",
        "X-Accel-Redirect: /protected/alphabet.txt?x",
        "X-Accel-Redirect: ",
        "X-Accel-Redirect: @app",
        &format!("X-Accel-Redirect: {uploads}/alphabet.txt"),
        &format!("X-Sendfile: {uploads}/alphabet.txt"),
        &format!("X-Sendfile: {exports}/../secret.txt"),
        &format!("X-Sendfile: {secret}"),
        "X-Sendfile: /etc/passwd",
        "X-Sendfile: /protected/alphabet.txt",
        "X-Accel-Redirect: /protected/alphabet.txt\r\nSay: X-Sendfile: /etc/passwd",
        "X-Accel-Redirect: /protected/alphabet.txt\r\nSay: x-accel-redirect: /protected/alphabet.txt",
        "X-Accel-Redirect: /protected/alphabet.txt\r\nStatus: 404 Not Found",
        "X-Accel-Redirect: /protected/alphabet.txt\r\nStatus: 206 Partial Content",
    ] {
        let answer = ask("GET", "/refused", &format!("Say: {line}\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (502, "502 Bad Gateway\n"), "{line}");
    }
    proxy.log("\"reason\":\"send-file-refused\",\"detail\":\"the path is no plain one in a declared folder\"");
    proxy.log("\"detail\":\"the response names several files\"");
    proxy.log("\"detail\":\"the response's status is not 200\"");
    for line in ["/protected/none.txt", "/protected/out", "/protected/inside", "/protected/a%20b"] {
        assert_eq!(ask("GET", "/missing", &accel(line)).text(), "404 Not Found\n", "{line}");
    }
    assert_eq!(ask("GET", "/missing", &format!("Say: X-Sendfile: {exports}/out\r\n")).status, 404);
    proxy.log("\"reason\":\"no-file\"");

    // An upstream without declared folders can't name files, and its fields are not passed on.
    assert_eq!(ask("GET", "/plain/x", &alphabet).text(), "not this\n");
    assert_eq!(ask("GET", "/plain/x", "Say: X-Sendfile: /etc/passwd\r\n").text(), "not this\n");
    assert_eq!(ask("GET", "/", "").text(), "not this\n");
}
