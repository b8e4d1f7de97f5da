//! `cache-store` and `cache`: which responses are cached, where, and for how long.

pub(super) mod key;
pub(super) mod lifetime;
pub(super) mod slice;
pub(super) mod warm;

use super::{Directive, POLICY, Place, Prop};
use crate::ast::{Cache, CacheStore, DiskStore, Ignored, InCache, Setting, Top, What};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};
use proxy_runtime::site::Part;

pub(super) static CACHE_STORE: Directive = Directive {
    name: "cache-store",
    places: &[Place::Root],
    args: "NAME",
    props: &[
        Prop::new(
            "memory",
            "SIZE",
            "The memory of the store, including its overhead; at least `\"1MiB\"`. Default `\"64MiB\"`.",
        ),
        Prop::new(
            "max-object",
            "SIZE",
            "The size of the largest response that is cached in memory; up to a quarter of `memory`. Default: a \
             sixteenth of it.",
        ),
    ],
    body: Some(Place::CacheStore),
    repeats: true,
    summary: "Declares a store for cached responses.",
    details: "\
The store is in memory, shared by all workers, and bounded in bytes. Rarely requested responses are evicted first; responses that are
requested once, as by a crawler, do not evict popular ones. A restart empties the store, unless there
is a `disk`. A site that has `cache` and no `cache-store` has
a store of 64 MiB. While they are received, responses may take another quarter of `memory`.",
    example: r#"
cache-store main memory="256MiB" max-object="8MiB"
site example.com {
    cache main {
        ttl default="1m"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::Top(Top::CacheStore(CacheStore {
            name: r.arg("a NAME", value::name)?,
            memory: r.prop("memory", memory),
            max_object: r.prop("max-object", value::size_within(0, value::MAX_MEMORY / 4)),
            items: r.body(),
        })))
    },
};

/// A number without a unit is taken for megabytes, in the help.
fn memory(leaf: &Leaf) -> Parsed<Setting<u64>> {
    match &leaf.value {
        Scalar::Integer(number @ 1..=1_000_000, _) => {
            Err(value::problem("bad-size", "a size has a unit").write_text(&format!("{number}MiB")))
        }
        _ => value::size_within(0, value::MAX_MEMORY)(leaf),
    }
}

pub(super) static DISK: Directive = Directive {
    name: "disk",
    places: &[Place::CacheStore],
    args: "DIR",
    props: &[
        Prop::new("size", "SIZE", "The disk space of the store; at least `\"16MiB\"`."),
        Prop::new("max-files", "N", "The maximum number of files. Default: as many as `size` has room for."),
        Prop::new(
            "min-free",
            "SIZE",
            "The space to leave free on the file system, whichever programs use the rest. Default `\"0B\"`.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Also stores responses in a folder, where they survive a restart; several folders use several disks.",
    details: "\
All cached responses are also written there, in the background; a response that memory has evicted is read from disk when it is requested.
Responses that are too large for memory, up to an eighth of the smallest `size`, are only on disk, and stream from there. The least recently
requested responses are evicted first, by sampling. Purges survive a restart, too.

`size` is the size that `du` reports: a file counts as the blocks that it occupies, at least 4 KiB, and files that are being written and
directories count, too. If less than `min-free` would be free, or the disk is full, cached responses are removed before another one is
written; if there are none to remove, responses are cached in memory only. The list of files takes 80 bytes of memory for each; `max-files`
limits it.

No request waits for a disk that hangs: after two seconds it goes to the origin, and while the disk does not respond, other requests go there
at once.

A purge is a line in the folder's journal. An old and a new binary that share the folder both follow it: the response to a purge is 200 once
its line is on the disk and it is in effect in all processes, and otherwise 503 (`purge-not-durable` in the log). In that case it is still
in effect in this process, but a restart may forget it.

Every block has a checksum, which is verified before it is sent: a file that a crash has left incomplete is never served. No file is read
at start. The folder is created if it is missing; no two stores may share one, but an old and a new binary may while
one takes over. If the folder can't be written, responses are cached in memory, and there is a notice.

A store may have several folders, each on a disk of its own: the key of a response determines its disk, in proportion to `size`. A disk that
fails, is full or hangs affects only the responses on it. A disk that can't be opened at a start is left out until the next start, and is
empty then, as it has missed purges; if none can be opened, the proxy does not start. Each disk has its own journal with all purges, so that
purges hold with any of the disks at the next start: the response to a purge is 503 while one of them hangs or can't be written, and the
purge is in effect in this process. If a disk is added, removed or given another `size`, responses whose disk stays the same are not lost.
Empty a removed disk before you use it again.",
    example: r#"
cache-store main memory="256MiB" {
    disk "/ssd1/cache" size="10GiB" max-files=1000000 min-free="1GiB"
    disk "/ssd2/cache" size="20GiB"
}
site example.com {
    cache main
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        Some(What::DiskStore(DiskStore {
            folder: r.arg("a DIR", value::setting(value::text))?,
            size: r.required("size", value::setting(value::size))?,
            max_files: r.prop("max-files", value::number(1, u64::MAX)),
            min_free: r.prop("min-free", value::setting(value::size)),
        }))
    },
};

pub(super) static CACHE: Directive = Directive {
    name: "cache",
    places: POLICY,
    args: "STORE?",
    props: &[
        Prop::new(
            "lock",
            "DURATION",
            "How long requests wait for the fetch of the same response by another request, before one more is \
             sent. Default `\"5s\"`.",
        ),
        Prop::new(
            "store-set-cookie",
            "strip",
            "Responses that set cookies are cached too, without their `Set-Cookie`; no client gets it, not even \
             the client whose request was forwarded. Without this, they are not cached.",
        ),
        Prop::new(
            "strip-cookies",
            "BOOL",
            "If a response may be cached, the server receives only the cookies that `key` has. Requests that \
             bypass the cache keep theirs. Default `#false`.",
        ),
    ],
    body: Some(Place::Cache),
    repeats: false,
    summary: "Caches upstream responses.",
    details: "\
A shared cache that follows RFC 9111. Responses are cached for the lifetime that they state (`CDN-Cache-Control`, RFC 9213, before
`Cache-Control` before `Expires`), or for that of `ttl` and `negative` if they state none. Stale responses are revalidated with their `ETag`
and `Last-Modified`. Variants are distinguished by the fields that `Vary` lists, as the server received them. A successful request that may
have changed the resource (POST, PUT and the like) removes the responses of its URL. Conditional and range requests are served from cached
responses. `Cache-Control` of requests is obeyed.

Never cached are responses that are `private`, `no-store` or set a cookie; responses to requests with `Authorization` that do not permit
sharing (`public`, `s-maxage`, `must-revalidate`; RFC 9111 section 3.5), nor are responses without one of these
used for requests with `Authorization`; and responses without any lifetime.

Concurrent requests for a response share one fetch: they get the response as it arrives. If it takes longer than `lock`, one more request is
sent, and they get the response that comes first; a request waits at most as long as for a server (`timeouts response`). If the response
must not be shared, the waiting requests are forwarded at once, in parallel; and for ten seconds no request waits for a response to that URL
(hit-for-miss). The first response that may be stored in that time is stored. If the server fails (it responds with 5xx, resets, can't be
reached), one of the waiting requests asks again, up to four times a second; a request that has waited three times gets a 503
(`upstream-failing`). A range of an uncached response that begins beyond a MiB, or is counted from the end, is fetched as requested and
stored as a part (RFC 9111 section 3.3), and so is the received part of a response that the server has cut short. Ranges within the stored
parts are served from them. If the parts have a strong validator and cover half of the requested range, only the rest is fetched, with
`If-Range`; all parts together are the whole response. If the server has another version by then, the response ends (`upstream-changed` in
the log), and the next one is new.

`Cache-Status` (RFC 9211) in each response says what the cache did; `response-headers { remove Cache-Status }` hides it. The log's
`cache` and `cache-reason` say the same:

- `hit`; `stale` (`while-revalidate`, `if-error`, `max-stale`); `revalidated`; `joined`: fetched by another request; `miss`; `pass`; `purge`.
- Why the request bypassed the cache: `method`, `body`, `bypass`, `condition`, `upgrade`, `range`, `raw`, `authorization`,
  `request-no-store`.
- Why the response was not stored: `no-store`, `private`, `request-no-store`, `authorization`, `set-cookie`, `vary`, `status`, `no-lifetime`,
  `too-large`, `no-room`, `truncated`, `purged`, `superseded`, `no-longer-kept`, `head`.
- Why it was fetched in parallel to another fetch: `lock-timeout`. Also `only-if-cached`, with a 504.",
    example: r#"
cache-store main memory="256MiB"
site example.com {
    cache main lock="3s" {
        ttl default="1m" max="1d"
        stale while-revalidate="30s" if-error="1h"
        key {
            query page sort send=keyed
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let store = r.opt_arg(value::name);
        let lock = r.prop("lock", value::setting(value::duration));
        let strips_set_cookie = r.prop("store-set-cookie", value::word(&[("strip", true)])).is_some();
        let strips_cookies = r.prop("strip-cookies", value::boolean);
        let items = r.body();
        Some(What::policy(Cache { store, lock, strips_set_cookie, strips_cookies, items }))
    },
};

pub(super) static VARY: Directive = Directive {
    name: "vary",
    places: &[Place::Cache],
    args: "NAME...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Limits the request fields that `Vary` may list.",
    details: "\
A response whose `Vary` lists another field is not cached. By default all fields are allowed, up to 16 for a URL, except `*`, which is never
cached.",
    example: r#"
site example.com {
    cache {
        vary Accept-Encoding Accept-Language
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Vary(r.some("a NAME", value::header_name)))),
};

pub(super) static TAGS: Directive = Directive {
    name: "tags",
    places: &[Place::Cache],
    args: "",
    props: &[Prop::new("from", "FIELD", "The response field with the tags, separated by spaces or commas.")],
    body: None,
    repeats: false,
    summary: "Gives responses tags, by which they can be purged.",
    details: "\
The field is passed on; `response-headers` can remove it.

Groups need no `tags`: a response belongs to the groups that its `Cache-Groups` lists (RFC 9875). If a server responds to POST, PUT and the
like with `Cache-Group-Invalidation`, in any status, the responses in these groups of the same scheme, host and port are removed.",
    example: r#"
site example.com {
    cache {
        tags from=Surrogate-Key
        purge "10.0.0.0/8"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Tags(r.required("from", value::header_name)?))),
};

pub(super) static CACHE_METHODS: Directive = Directive {
    name: "methods",
    places: &[Place::Cache],
    args: "GET HEAD?",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the methods that are served from the cache.",
    details: "Responses to GET are cached; HEAD is served with their heads, unless only `GET` is listed.",
    example: r#"
site example.com {
    cache {
        methods GET
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Methods(r.some("a METHOD", value::method)))),
};

pub(super) static BYPASS: Directive = Directive {
    name: "bypass",
    places: &[Place::Cache],
    args: "",
    props: &[],
    body: Some(Place::Bypass),
    repeats: false,
    summary: "Lets requests bypass the cache: they are not served from it, and their responses are not stored.",
    details: "One matching line is enough.",
    example: r#"
site example.com {
    cache {
        bypass {
            cookie session
            query preview
            header X-Debug "1"
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Bypass(r.body()))),
};

pub(super) static REFRESH: Directive = Directive {
    name: "refresh",
    places: &[Place::Cache],
    args: "",
    props: &[],
    body: Some(Place::Bypass),
    repeats: false,
    summary: "Forwards requests although a response is cached; the new response replaces it.",
    details: "\
One matching line is enough. A deployment, or an editor's browser, can refresh a single page in this way; `bypass` leaves the cached
response unchanged.",
    example: r#"
site example.com {
    cache {
        refresh {
            header X-Refresh "now"
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Refresh(r.body()))),
};

pub(super) static LANGUAGES: Directive = Directive {
    name: "languages",
    places: &[Place::Cache],
    args: "LANGUAGE...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Lists the languages of the site's responses: the server receives only the client's preferred one.",
    details: "\
Browsers send thousands of different `Accept-Language` fields, and `Vary: Accept-Language` stores a response for each. With this directive,
the server receives `de` if a client sends `de-CH, de;q=0.9, fr;q=0.8` (RFC 4647 section 3.4), and the first of the list if a client wants
none of them. `key { header Accept-Language }` then refers to this value. Requests that bypass the cache are sent with the client's field.",
    example: r#"
site example.com {
    cache {
        languages en de pt-BR
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Languages(r.some("a LANGUAGE", language)))),
};

/// Parses a language tag (RFC 5646 section 2.1): parts of up to eight letters and digits.
fn language(leaf: &Leaf) -> value::Parsed<String> {
    let found = value::text(leaf)?;
    let mut parts = found.split('-');
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let begins =
        parts.next().is_some_and(|first| is_part(first) && first.bytes().all(|byte| byte.is_ascii_alphabetic()));
    if begins && parts.all(is_part) {
        return Ok(found);
    }
    let problem = value::problem("bad-language", format!("`{found}` is not a language tag"));
    let dashed = found.replace('_', "-");
    Err(match dashed != found && dashed.split('-').all(is_part) {
        true => problem.write_text(&dashed),
        false => problem.help("as in: en, de-CH or zh-Hant"),
    })
}

pub(super) static IGNORE: Directive = Directive {
    name: "ignore",
    places: &[Place::Cache],
    args: "request-cache-control|no-vary-search...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Ignores instructions of requests or responses to the cache.",
    details: "\
`request-cache-control` ignores `Cache-Control` and `Pragma` of requests. By default, any client can have a response fetched again
(`no-cache`, which browsers send on reload, and `max-age=0`), prevent its storage (`no-store`), or ask for a stale one (`max-stale`), as RFC
9111 section 5.2.1 says.

`no-vary-search` ignores `No-Vary-Search` of responses. By default, a server can say which parameters of the query a response does not
depend on (`params=(\"utm_source\")`, `except=(\"id\")`, `key-order`), and the response is used for all requests that differ only in these.
`key { query }` overrides the field; and if the site itself puts parts of the query into the path, fields, or the choice of the upstream,
the field has no effect. A purge of a URL purges all responses that were cached for its path in this way.",
    example: r#"
site example.com {
    cache {
        ignore request-cache-control no-vary-search
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        const WORDS: &[(&str, Ignored)] =
            &[("request-cache-control", Ignored::RequestCacheControl), ("no-vary-search", Ignored::NoVarySearch)];
        Some(What::InCache(InCache::Ignore(r.some("`request-cache-control` or `no-vary-search`", value::word(WORDS)))))
    },
};

macro_rules! mark {
    ($static:ident, $name:literal, $part:ident, $parse:path, $summary:literal, $example:literal) => {
        pub(super) static $static: Directive = Directive {
            name: $name,
            places: &[Place::Bypass],
            args: "NAME VALUE?",
            props: &[],
            body: None,
            repeats: true,
            summary: $summary,
            details: "",
            example: $example,
            read: |r| {
                Some(What::InCache(InCache::Mark {
                    part: Part::$part,
                    name: r.arg("a NAME", $parse)?,
                    value: r.opt_arg(value::text),
                }))
            },
        };
    };
}

mark!(
    BYPASS_HEADER,
    "header",
    Header,
    value::header_name,
    "Matches requests with this field, with this value if one is given.",
    r#"
site example.com {
    cache {
        bypass {
            header X-Debug
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#
);
mark!(
    BYPASS_QUERY,
    "query",
    Query,
    value::query_name,
    "Matches requests with this parameter, with this value if one is given.",
    r#"
site example.com {
    cache {
        bypass {
            query preview "1"
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#
);
mark!(
    BYPASS_COOKIE,
    "cookie",
    Cookie,
    value::cookie_name,
    "Matches requests with this cookie, with this value if one is given.",
    r#"
site example.com {
    cache {
        bypass {
            cookie session
        }
    }
    proxy "http://127.0.0.1:3000"
}
"#
);

pub(super) static PURGE: Directive = Directive {
    name: "purge",
    places: &[Place::Cache],
    args: "CIDR...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Allows clients in these networks to purge, with requests of the method PURGE.",
    details: "\
A PURGE of a URL removes all responses that are cached under it, all variants included, with `http` and with `https`, with the port of the
request, with those of the site's listeners and without one. A PURGE of
`/x/*` removes those of `/x` and everything below it, on that host; with `Purge-Tags: a b` those with one of these tags; with
`Purge-Groups: \"a\", \"b\"` those in one of these groups (RFC 9875) of that host; with
`Purge-Mode: all` the whole store. With `Purge-Mode: soft` they become stale instead: they are revalidated before they are used again, or used
as `stale` allows. The response says how many there were. A response that is being fetched when it is purged is not stored.

`Purge-Pattern: /img/*.jpg` matches paths on that host, and `*` any characters, slashes included; `*/img/*.jpg` matches all hosts of the
store, `*.example.com/*` those below a domain. A pattern without `?` matches a path with any query, and a pattern with `?` the query as in
the key. There may be 16 such fields, of up to 1024 bytes; a malformed pattern gets a 400 (`purge-malformed`). On disk, files are compared
with the patterns when they are read: with 64 at most, and beyond that the older half purges all of their hosts.

PURGE from other clients gets a 403. Without `purge`, it is a method like others, and is forwarded.",
    example: r#"
site example.com {
    cache {
        purge "127.0.0.1" "10.0.0.0/8"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::InCache(InCache::Purge(r.some("a CIDR", value::network)))),
};
