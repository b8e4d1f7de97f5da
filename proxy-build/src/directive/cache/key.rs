//! `key` of a `cache`: what tells cached responses apart.

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
    summary: "What tells answers apart, beside scheme, host and path.",
    details: "\
The whole query, as it is written, where nothing is said of it. A lint (`cache-key`) finds what a site itself lets answers depend
on, and the key lacks. Routes that are chosen by more than the URL are told apart in any case.",
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
            "What the server is sent of the query: what counts, in one form, or all of it. Default `all`, which the lint `unkeyed-query` asks to be written.",
        ),
        Prop::new("sort", "BOOL", "Without names: the parameters count in the order of their names, whatever it is in the request. Default `#false`."),
    ],
    body: Some(Place::KeyQuery),
    repeats: false,
    summary: "What counts of the query: the parameters with these names, or all but some.",
    details: "\
With names, these parameters count, in this order, whatever theirs in the request is, and however it spells them; all others make no difference. `off`: none does. With
`send=all`, parameters that some server may take for one of these (`page[]`, `+page`, `x=1;page=2`) count as they stand.

Without names, all count but those that `except` lists, and with `sort=#true` their order does not, but for that of parameters that some server may read
as one (`a=1&a=2`, `a[]=1&A=2`), and in queries with a `;`.

Requests that pass the cache are sent whole.",
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
    summary: "Parameters of the query that do not count; a name that ends in `*` is for all that begin so.",
    details: "\
What campaigns and trackers add to links. One with a `;` in it counts whatever its name is, because some servers read several parameters there.",
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

/// The name of a parameter, or how names begin.
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
    summary: "Request fields that count.",
    details: "\
As if each answer had them in its `Vary`: as the client sends them and, where `request-headers` or the proxy itself changes them, also as
the server is sent them. So a field that `request-headers` makes of something else may stand here in place of that. Of `Accept-Encoding` and `Accept-Language` case does not matter, nor, of the former,
order and weights; of the latter, ranges count by their weights.",
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
    summary: "Cookies that count.",
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
        Prop::new("header", "NAME", "The field that tells the server the group, as in `X-Device`; requests that pass the cache have it, too."),
        Prop::new("default", "NAME", "The group of all clients that are in no other. Default `desktop`."),
    ],
    body: Some(Place::Device),
    repeats: false,
    summary: "Groups of devices that count, by `User-Agent` and client hints.",
    details: "\
`Vary: User-Agent` would store a response for each version of each browser. With this, one is stored for each group, and `Vary: User-Agent` is about the group: a
server must not look at more of that field than the groups do. The group can be sent to the server, which says `Vary: X-Device` where a response depends on it; to clients,
`User-Agent` is added to that `Vary`, as they send no such field.",
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
        "Clients whose `Sec-CH-UA-Mobile` is `?1` (`#true`) or `?0` (`#false`) are in it, too.",
    )],
    body: None,
    repeats: true,
    summary: "A group of devices. A client is in the first group that has it.",
    details: "\
A pattern is what stands somewhere in the `User-Agent`, in any case; `*` stands for anything between. The first KiB of the field is looked at.",
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

/// What stands in a `User-Agent`: pieces with one `*` between them, in lower case.
fn pattern(leaf: &Leaf) -> value::Parsed<String> {
    let found = value::header_value(leaf)?;
    let pieces: Vec<&str> = found.split('*').filter(|piece| !piece.is_empty()).collect();
    if pieces.is_empty() {
        let problem = value::problem("no-effect", format!("`{found}` would have all clients in this group"));
        return Err(problem.help("`default=` names the group of all that are in no other"));
    }
    Ok(pieces.join("*").to_ascii_lowercase())
}
