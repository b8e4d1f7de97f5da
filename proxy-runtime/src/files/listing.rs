//! The page that lists a folder. Pure.

use crate::canonical::encoded_name;

/// The page for a folder, of which `path` is shown.
pub(crate) fn page<'n>(path: &str, names: impl Iterator<Item = &'n str>, top: bool) -> String {
    let title = html(path);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
        <style>body{{font:1rem/1.5 system-ui;margin:2rem}}li{{list-style:none}}</style>\n<h1>{title}</h1>\n<ul>\n"
    );
    if !top {
        out.push_str("<li><a href=\"../\">../</a>\n");
    }
    for name in names {
        // Behind `./`, lest a name with a colon is taken for a scheme (RFC 3986 section 4.2).
        out.push_str(&format!("<li><a href=\"./{}\">{}</a>\n", encoded_name(name), html(name)));
    }
    out.push_str("</ul>\n");
    out
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text() {
        let page = page("/<b>/", ["a&b/", "\"x\" y.txt", "javascript:x"].into_iter(), false);
        assert!(page.contains("<title>/&lt;b&gt;/</title>"), "{page}");
        assert!(page.contains("<a href=\"./a%26b/\">a&amp;b/</a>"), "{page}");
        assert!(page.contains("<a href=\"./%22x%22%20y.txt\">&quot;x&quot; y.txt</a>"), "{page}");
        assert!(page.contains("<a href=\"./javascript%3Ax\">"), "{page}");
    }
}
