//! URLs of `warm`, in sites and lists. Pure; shared with the compiler.

/// A URL that the proxy requests itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Url<'t> {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host and port, as in clients' requests.
    pub authority: &'t str,
    /// Path and query.
    pub target: &'t str,
}

impl Url<'_> {
    /// Parses an absolute URL; `None`: no client could request it.
    pub fn of(text: &str) -> Option<Url<'_>> {
        let (scheme, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => ("http", rest),
            (_, Some(rest)) => ("https", rest),
            _ => return None,
        };
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let is_path = target.starts_with('/');
        (plain && is_path && !authority.is_empty() && !authority.contains('@')).then_some(Url {
            scheme,
            authority,
            target,
        })
    }

    /// Returns the host without its port.
    pub fn host(&self) -> &str {
        let end = self.authority.rfind(']').map_or(0, |at| at + 1);
        let port = self.authority[end..].find(':').map_or(self.authority.len(), |at| end + at);
        &self.authority[..port]
    }
}

/// Returns the lines of a list, except blank ones and comments.
pub fn lines(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expected: Option<(&'static str, &str, &str, &str)>| {
            let found = Url::of(text).map(|url| (url.scheme, url.authority, url.target, text));
            assert_eq!(
                found,
                expected.map(|(scheme, authority, target, host)| {
                    assert_eq!(Url::of(text).expect("a URL").host(), host, "{text}");
                    (scheme, authority, target, text)
                })
            );
        };
        check("http://a.test", Some(("http", "a.test", "/", "a.test")));
        check("https://a.test:8443/x?y=1", Some(("https", "a.test:8443", "/x?y=1", "a.test")));
        check("http://[::1]:80/", Some(("http", "[::1]:80", "/", "[::1]")));
        check("http://[::1]/", Some(("http", "[::1]", "/", "[::1]")));
        for none in [
            "",
            "/x",
            "a.test/x",
            "ftp://a.test/",
            "http://",
            "http:///x",
            "http://u@a.test/",
            "http://a.test/#x",
            "http://a.test/a b",
            "http://a.test?x",
            "http://a.test/\u{e9}",
            "HTTP://a.test/",
        ] {
            check(none, None);
        }
        assert_eq!(lines("a\r\n# b\n\n  c  \n").collect::<Vec<_>>(), ["a", "c"]);
    }
}
