//! The page that lists a folder. Pure.

use crate::protocol::canonical::{decode, encoded_name};

/// Renders the page for a folder; `path` is shown decoded. `cut`: there are more names.
pub(crate) fn page<'n>(path: &str, names: impl Iterator<Item = &'n str>, top: bool, cut: bool) -> String {
    let title = html(&shown(path));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
        <style>body{{font:1rem/1.5 system-ui;margin:2rem}}li{{list-style:none}}</style>\n<h1>{title}</h1>\n<ul>\n"
    );
    if !top {
        out.push_str("<li><a href=\"../\">../</a>\n");
    }
    let mut count = 0;
    for name in names {
        count += 1;
        // After `./`, so that a name with a colon is not taken for a scheme (RFC 3986 section 4.2).
        out.push_str(&format!("<li><a href=\"./{}\">{}</a>\n", encoded_name(name), html(name)));
    }
    out.push_str("</ul>\n");
    if cut {
        out.push_str(&format!("<p>The list is incomplete: this folder has more than these {count} names.\n"));
    }
    out
}

/// Returns the decoded path, for display. Invalid UTF-8 is replaced; invalid escapes stay as they are.
fn shown(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    decode(path, &mut decoded);
    String::from_utf8_lossy(&decoded).into_owned()
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text() {
        let page = page("/<b>/", ["a&b/", "\"x\" y.txt", "javascript:x"].into_iter(), false, false);
        assert!(page.contains("<title>/&lt;b&gt;/</title>"), "{page}");
        for (path, shown) in [
            ("/a%20b/%C3%BC/", "/a b/ü/"),
            ("/%3Cscript%3E&amp;/%22", "/&lt;script&gt;&amp;amp;/&quot;"),
            ("/%2541/", "/%41/"),
            ("/%ff/", "/\u{fffd}/"),
            ("/100%/", "/100%/"),
        ] {
            let page = super::page(path, [].into_iter(), true, false);
            assert!(page.contains(&format!("<title>{shown}</title>")), "{path}: {page}");
            assert!(page.contains(&format!("<h1>{shown}</h1>")), "{path}: {page}");
        }
        assert!(page.contains("<a href=\"./a%26b/\">a&amp;b/</a>"), "{page}");
        assert!(page.contains("<a href=\"./%22x%22%20y.txt\">&quot;x&quot; y.txt</a>"), "{page}");
        assert!(page.contains("<a href=\"./javascript%3Ax\">"), "{page}");
        let ending =
            |cut: bool| super::page("/", ["a", "b"].into_iter(), true, cut).contains("more than these 2 names");
        assert_eq!([false, true].map(ending), [false, true]);
    }
}
