//! `key` of a `cache`: the cache key.

use crate::ast::{DeviceGroup, InCache, KeyDevice, KeyQuery, What};
use crate::declaration::{Directive, Place, Prop};
use crate::syntax::Leaf;
use crate::value;

pub(in crate::directive) static KEY: Directive = Directive {
    name: "key",
    places: &[Place::Cache],
    args: "",
    props: &[],
    body: Some(Place::CacheKey),
    repeats: false,
    summary: "Sets the cache key: the parts of a request, besides scheme, host and path, that distinguish responses.",
    details: "\
By default the key has the whole query as it is written. The lint `cache-key` reports parts of a request that a site makes responses depend
on, and that the key lacks. Routes with matchers besides the URL are always distinguished.",
    example: r#"
site example.com {
    cache {
        key {
            query page sort send=keyed
            header Accept-Language
            cookie theme
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Key(r.body()))),
};

pub(in crate::directive) static KEY_QUERY: Directive = Directive {
    name: "query",
    places: &[Place::CacheKey],
    args: "NAME...|off?",
    props: &[
        Prop::new(
            "send",
            "keyed|all",
            "The query that the server receives: only the keyed parameters, in one form, or all of them. Default \
             `all`, which the lint `unkeyed-query` asks you to write.",
        ),
        Prop::new(
            "sort",
            "BOOL",
            "Without names: sorts the parameters by name, so that their order in the request makes no difference. \
             Default `#false`.",
        ),
    ],
    body: Some(Place::KeyQuery),
    repeats: false,
    summary: "Sets the query parameters in the key: those with these names, or all except some.",
    details: "\
With names, the key has these parameters, in this order, whatever their order and spelling in the request; all others make no difference.
With `off`, the key has none. With `send=all`, parameters that some server may read as one of these (`page[]`, `+page`, `x=1;page=2`) are in
the key as they are written.

Without names, the key has all parameters except those that `except` lists. With `sort=#true` their order makes no difference, except for
parameters that some server may read as one (`a=1&a=2`, `a[]=1&A=2`), and in queries with a `;`.

Requests that bypass the cache are sent with the whole query.",
    example: r#"
site example.com {
    cache {
        key {
            query page sort send=keyed
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let send_keyed = r.prop("send", value::word(&[("keyed", true), ("all", false)]));
        let sort = r.prop("sort", value::boolean);
        let off = r.peek().is_some_and(|leaf| value::text(leaf).is_ok_and(|text| text == "off"));
        let names = if off {
            r.opt_arg(value::text);
            Some(Vec::new())
        } else {
            Some(r.rest(value::query_name)).filter(|names| !names.is_empty())
        };
        Some(What::InCache(InCache::KeyQuery(KeyQuery { names, sort, send_keyed, items: r.body() })))
    },
};

pub(in crate::directive) static KEY_EXCEPT: Directive = Directive {
    name: "except",
    places: &[Place::KeyQuery],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Excludes query parameters from the key; a name that ends in `*` excludes all that begin with it.",
    details: "\
Use it for parameters that campaigns and trackers add to links. A parameter with a `;` in it is always in the key, because some servers read
several parameters there.",
    example: r#"
site example.com {
    cache {
        key {
            query send=keyed sort=#true {
                except "utm_*" fbclid gclid
            }
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::KeyExcept(r.some("a NAME", excepted)))),
};

/// Parses the name of a parameter, or a prefix of names.
fn excepted(leaf: &Leaf) -> value::Parsed<String> {
    if value::text(leaf)? == "*" {
        let problem = value::problem("no-effect", "without all parameters, none is left that counts");
        return Err(problem.help("`query off` says that"));
    }
    value::query_name(leaf)
}

pub(in crate::directive) static KEY_HEADER: Directive = Directive {
    name: "header",
    places: &[Place::CacheKey],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Adds request fields to the key.",
    details: "\
It works as if each response listed them in `Vary`: by the client's value and, if `request-headers` or the proxy itself changes the field,
also by the value that the server receives. A field that `request-headers` derives from something else may therefore be listed here instead
of its source. For `Accept-Encoding` and `Accept-Language` case makes no difference; for the former, neither do order and weights; for the
latter, ranges are compared in the order of their weights.",
    example: r#"
site example.com {
    cache {
        key {
            header Accept-Language
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::KeyHeader(r.some("a NAME", value::header_name)))),
};

pub(in crate::directive) static KEY_COOKIE: Directive = Directive {
    name: "cookie",
    places: &[Place::CacheKey],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Adds cookies to the key.",
    details: "",
    example: r#"
site example.com {
    cache {
        key {
            cookie theme
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::KeyCookie(r.some("a NAME", value::cookie_name)))),
};

pub(in crate::directive) static KEY_DEVICE: Directive = Directive {
    name: "device",
    places: &[Place::CacheKey],
    args: "",
    props: &[
        Prop::new(
            "header",
            "NAME",
            "The field that carries the group to the server, as in `X-Device`; requests that bypass the cache \
             have it, too.",
        ),
        Prop::new("default", "NAME", "The group of all other clients. Default `desktop`."),
    ],
    body: Some(Place::Device),
    repeats: false,
    summary: "Adds the client's group of devices to the key, by `User-Agent` and client hints.",
    details: "\
`Vary: User-Agent` would store a response for each version of each browser. With this, one response is stored for each group, and `Vary:
User-Agent` refers to the group: a server must not use more of that field than the groups do. The group can be sent to the server, which
sends `Vary: X-Device` if a response depends on it; for clients, `User-Agent` is added to that `Vary`, as they send no such field.",
    example: r#"
site example.com {
    cache {
        key {
            device header=X-Device default=desktop {
                group tablet "iPad" "Tablet"
                group mobile "iPhone" "Android*Mobile" mobile-hint=#true
            }
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let header = r.prop("header", value::header_name);
        let default = r.prop("default", value::name);
        Some(What::InCache(InCache::KeyDevice(KeyDevice { header, default, items: r.body() })))
    },
};

pub(in crate::directive) static DEVICE_GROUP: Directive = Directive {
    name: "group",
    places: &[Place::Device],
    args: "NAME PATTERN...",
    props: &[Prop::new(
        "mobile-hint",
        "BOOL",
        "Clients whose `Sec-CH-UA-Mobile` is `?1` (`#true`) or `?0` (`#false`) belong to it, too.",
    )],
    body: None,
    repeats: true,
    summary: "Declares a group of devices. A client belongs to the first group that matches.",
    details: "\
A pattern matches anywhere in the `User-Agent`, in upper or lower case; `*` matches any text. Only the first KiB of the field is searched.",
    example: r#"
site example.com {
    cache {
        key {
            device {
                group bot "bot" "crawler"
                group mobile "iPhone" "Android*Mobile"
            }
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let name = r.arg("a NAME", value::name);
        let mobile = r.prop("mobile-hint", value::boolean);
        let patterns = if mobile.is_some() { r.rest(pattern) } else { r.some("a PATTERN, or `mobile-hint=`", pattern) };
        Some(What::InCache(InCache::DeviceGroup(DeviceGroup { name: name?, patterns, mobile })))
    },
};

/// Parses a pattern for `User-Agent`: pieces separated by single `*`, in lower case.
fn pattern(leaf: &Leaf) -> value::Parsed<String> {
    let found = value::header_value(leaf)?;
    let pieces: Vec<&str> = found.split('*').filter(|piece| !piece.is_empty()).collect();
    if pieces.is_empty() {
        let problem = value::problem("no-effect", format!("`{found}` would have all clients in this group"));
        return Err(problem.help("`default=` names the group of all that are in no other"));
    }
    Ok(pieces.join("*").to_ascii_lowercase())
}
