//! `files` with `else`: a file if it exists, and otherwise a response of the application or of another folder.

use std::os::unix::fs::symlink;
use std::path::Path;

use kiln_tests::client::{Client, ask};
use kiln_tests::kiln::scratch;
use kiln_tests::proxy::Proxy;

use super::settle;

const SITE: &str = "\
param listen type=addr
param behind type=addr
param root type=string
param next type=string
upstream app {
    server (param)behind
}
cache-store pages memory=\"1MiB\"
site app.test {
    listen (param)listen
    limits encoded-slash=#true
    request-headers {
        set X-By proxy
    }
    files (param)root precompressed=#true else=app
    route \"/sub/*\" {
        rewrite strip-prefix=\"/sub\" add-prefix=\"/app\"
        files (param)root else=app
    }
    route \"/both/*\" {
        files (param)root {
            else {
                files (param)next {
                    else {
                        proxy app host=\"inner.test\"
                    }
                }
            }
        }
    }
    route \"/moved/*\" {
        files (param)root {
            else {
                redirect 302 \"https://old.test/{*}\"
            }
        }
    }
    route \"/built/*\" {
        files \"ROOT\" embed=#true {
            else {
                respond 404 \"built: {path}\"
            }
        }
    }
    route \"/kept/*\" {
        cache pages {
            ttl default=\"1h\"
        }
        files (param)root else=app
    }
    route \"/lost/*\" {
        files \"/nowhere/at/all\" else=app
    }
}
site * {
    listen (param)behind
    limits encoded-slash=#true
    echo
}
test \"methods but GET and HEAD go to the application\" {
    request POST \"http://app.test/sub/about.html?a=b\"
    expect handler=proxy upstream=app upstream-path=\"/app/about.html?a=b\" {
        upstream-header X-By proxy
    }
}
test \"and where there is no file\" {
    request GET \"http://app.test/posts\"
    expect handler=files upstream=app upstream-path=\"/posts\"
}
test \"whoever it is\" {
    request PUT \"http://app.test/moved/a?b\"
    expect handler=redirect location=\"https://old.test/a?b\"
}
";

fn folders(name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let outside = scratch(name);
    let (root, next) = (outside.join("root"), outside.join("next"));
    let write = |folder: &Path, path: &str, text: &str| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        settle(&path);
    };
    std::fs::write(outside.join("secret.txt"), "secret\n").expect("written");
    write(&root, "about.html", "<p>about\n");
    write(&root, "docs/index.html", "<p>docs\n");
    write(&root, "plain/x.txt", "x\n");
    write(&root, "odd/index.html/y.txt", "y\n");
    write(&root, ".env", "hidden\n");
    write(&root, "alphabet.txt", "abcdefghijklmnopqrstuvwxyz");
    write(&root, "app.js", "let a = 1;\n");
    write(&root, "app.js.br", "brotli, so to say");
    write(&next, "about.html", "<p>next\n");
    write(&next, "more.txt", "more\n");
    symlink("../secret.txt", root.join("out")).expect("linked");
    (root, next)
}

#[test]
fn files_and_the_application() {
    let (root, next) = folders("files-else");
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    let site = SITE.replace("ROOT", &text(&root));
    let proxy = Proxy::of_text("files-else", &site, &[("root", &text(&root)), ("next", &text(&next))]);
    let address = proxy.address("listen");
    let send = |method: &str, path: &str, fields: &str, body: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n{fields}\r\n{body}");
        Client::to(address).send(head).answer_to(method)
    };
    let file = |path: &str, fields: &str, status: u16, text: &str| {
        let answer = send("GET", path, fields, "");
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{path}: {:?}", answer.headers);
        answer
    };
    let forwarded = |method: &str, path: &str, seen: &str| {
        let answer = send(method, path, "Content-Length: 4\r\n", "body");
        let text = answer.text();
        assert_eq!(answer.status, 200, "{method} {path}: {text}");
        for part in [&format!("\"method\":\"{method}\""), &format!("\"path\":\"{seen}\""), "\"body-size\":4"] {
            assert!(text.contains(part), "{method} {path}: no {part} in {text}");
        }
        answer
    };

    // Files, as without `else`.
    let about = file("/about.html", "", 200, "<p>about\n");
    let tag = about.header("etag").expect("a tag");
    file("/about.html", &format!("If-None-Match: {tag}\r\n"), 304, "");
    file("/about.html?v=1", "If-Match: \"x\"\r\n", 412, "412 Precondition Failed\n");
    file("/alphabet.txt", "Range: bytes=2-4\r\n", 206, "cde");
    file("/app.js", "Accept-Encoding: br\r\n", 200, "brotli, so to say");
    assert_eq!(send("HEAD", "/about.html", "", "").header("content-length"), Some("9"));
    // A folder exists if its index does.
    file("/docs/", "", 200, "<p>docs\n");
    assert_eq!(file("/docs?a=b", "", 308, "").header("location"), Some("/docs/?a=b"));
    for path in ["/plain", "/plain/", "/odd", "/odd/", "/"] {
        forwarded("GET", path, path);
    }
    // The application gets requests for anything that is no file, or that must not be served.
    for path in ["/posts/1", "/.env", "/out", "/about.html/", "/about.html/x", "/a%2Fb"] {
        let answer = send("GET", path, "", "");
        assert!(answer.text().contains(&format!("\"path\":\"{path}\"")), "{path}: {}", answer.text());
    }
    let answer = send("GET", "/posts?page=2", "", "");
    assert!(answer.text().contains("\"query\":\"page=2\"") && answer.text().contains("\"x-by\":\"proxy\""));
    assert!(send("HEAD", "/posts", "", "").header("content-length").is_some_and(|length| length != "0"));
    // Requests with other methods are forwarded directly, with their bodies.
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        forwarded(method, "/about.html", "/about.html");
    }
    assert!(!root.join("about.html").metadata().expect("still there").permissions().readonly());

    // The usual changes to forwarded requests apply here, too.
    forwarded("GET", "/sub/x", "/app/x");
    file("/sub/about.html", "", 200, "<p>about\n");
    // One folder after the other.
    file("/both/about.html", "", 200, "<p>about\n");
    file("/both/more.txt", "", 200, "more\n");
    let answer = forwarded("GET", "/both/none", "/both/none");
    assert!(answer.text().contains("\"host\":\"inner.test\""), "{}", answer.text());
    forwarded("POST", "/both/more.txt", "/both/more.txt");
    // Handlers without an upstream.
    assert_eq!(file("/moved/a/b?c", "", 302, "").header("location"), Some("https://old.test/a/b?c"));
    file("/moved/about.html", "", 200, "<p>about\n");
    // Files that are compiled in.
    file("/built/about.html", "", 200, "<p>about\n");
    assert_eq!(file("/built/docs", "", 308, "").header("location"), Some("/built/docs/"));
    for path in ["/built/plain", "/built/plain/", "/built/none", "/built/.env"] {
        file(path, "", 404, &format!("built: {path}"));
    }
    assert_eq!(send("POST", "/built/about.html", "Content-Length: 0\r\n", "").text(), "built: /built/about.html");
    // Responses of the application are cached, files are not.
    let cached = |path: &str, said: &str| {
        let answer = send("GET", path, "", "");
        let status = answer.header("cache-status").unwrap_or("none");
        assert!(status.contains(said), "{path}: {status}");
    };
    cached("/kept/x", "miss");
    cached("/kept/x", "hit");
    cached("/kept/about.html", "none");
    // A folder that can't be read is an error: the application gets no request.
    file("/lost/x", "", 500, "500 Internal Server Error\n");
    forwarded("POST", "/lost/x", "/lost/x");

    // New files are served, and deleted ones no longer.
    std::fs::write(root.join("new.txt"), "new\n").expect("written");
    file("/new.txt", "", 200, "new\n");
    std::fs::remove_file(root.join("new.txt")).expect("removed");
    forwarded("GET", "/new.txt", "/new.txt");
}

/// A client that upgrades its connection reaches the application; otherwise its connection is reused for files and for
/// the application.
#[test]
fn tunnels_and_kept_connections() {
    let (root, _) = folders("files-else-tunnel");
    let origin = kiln_tests::origin::Origin::new(|mut connection, _| {
        connection.request();
        connection.send_last("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhello");
    });
    let site = "\
param listen type=addr
param app type=addr
param root type=string
site * {
    listen (param)listen
    files (param)root else=(param)app
}
";
    let flags = [("root", root.to_str().expect("text")), ("app", origin.address.as_str())];
    let proxy = Proxy::of_text("files-else-tunnel", site, &flags);
    let mut client = Client::to(proxy.address("listen"));
    client.send("GET /about.html HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.answer().text(), "<p>about\n");
    client.send("GET /cable HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.rest(), b"hello");
    let malformed = "GET /../x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(proxy.address("listen"), malformed).status, 400);
}
