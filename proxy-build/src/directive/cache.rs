//! `cache-store` and `cache`: which answers are kept, where, and how long.

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
        Prop::new("memory", "SIZE", "How much memory it takes, all that it needs beside the answers included; from `\"1MiB\"`. Default `\"64MiB\"`."),
        Prop::new("max-object", "SIZE", "Larger answers are not kept in memory; up to a quarter of `memory`. Default: a sixteenth of it."),
    ],
    body: Some(Place::CacheStore),
    repeats: true,
    summary: "A place where answers are kept.",
    details: "\
In memory, shared by all workers, bounded in bytes. What is seldom asked for goes first; answers that are asked for once, as a
crawler does, push out nothing that is asked for often. A restart empties it, unless there
is a `disk`. A site that has `cache` and no `cache-store` has
one of 64 MiB. While they are received, answers may take another quarter of `memory`.",
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

/// Without a unit, megabytes are meant.
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
        Prop::new("size", "SIZE", "How much it takes of the disk; from `\"16MiB\"`."),
        Prop::new("max-files", "N", "How many files it takes. Default: as many as `size` has room for."),
        Prop::new("min-free", "SIZE", "How much it leaves free on its file system, whoever takes the rest. Default `\"0B\"`."),
    ],
    body: None,
    repeats: true,
    summary: "Keeps answers in a folder, too, where they survive a restart; in several, on as many disks.",
    details: "\
All that is kept is written there, behind the answers; what memory has let go comes back when it is asked for. Answers that are
too large for memory, up to an eighth of the smallest `size`, are on disk alone, and stream from there. What was not asked for for the longest
time goes first, by samples. Purges survive a restart, too.

`size` is what `du` says: a file counts as the blocks that it occupies, 4 KiB at least, and what is being written and the directories count,
too. Where less than `min-free` would be free, or the disk is full, cached responses are removed before another one is written; where
there are none to remove, responses are kept in memory alone. The list of files takes 80 bytes of memory for each; `max-files` bounds it.

No request waits for a disk that hangs: after two seconds it goes to the origin, and while the disk does not respond, others go there
at once.

A purge is a line in the folder's journal. An old and a new binary that have the folder both follow it: a purge is answered with 200 once
its line is on the disk and it holds in all processes, and otherwise with 503 (`purge-not-durable` in the log). It holds in this process even
so, and may be forgotten with a restart.

Every block has a checksum, which is looked at before it is passed on: what a crash has left torn is never served. A
start reads no file. The folder is made where it is missing; no two stores may share one, but an old and a new binary may while
one takes over. Where it can't be written, answers are kept in memory, and a notice says so.

A store may have several, each on a disk of its own: a response is on the one that its name chooses, in proportion to `size`. A disk that fails, is full or hangs costs the
responses that are on it, and no other. One that can't be opened at a start is left out until the next, and is empty then, as it has missed purges; where none can be opened, the proxy does not
start. Each has a journal of its own with all purges, so that they hold whatever disks the next start has: a purge
is answered with 503 while one of them hangs or can't be written, and holds in this process. Where a disk is added, taken away or given another `size`, the others keep what is theirs still. One that was taken away should be emptied before it is used again.",
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
            "How long requests wait for the answer to another one for the same until one more is sent. Default `\"5s\"`.",
        ),
        Prop::new(
            "store-set-cookie",
            "strip",
            "Responses that set cookies are cached too, without their `Set-Cookie`; no client gets it, not even the one whose request was forwarded. Without this, they are not cached.",
        ),
        Prop::new(
            "strip-cookies",
            "BOOL",
            "The server is sent no cookies where its response may be cached, but those that `key` has. Requests that pass the cache keep theirs. Default `#false`.",
        ),
    ],
    body: Some(Place::Cache),
    repeats: false,
    summary: "Keeps answers of servers, and answers with them again.",
    details: "\
A shared cache after RFC 9111. Answers are kept as long as they say (`CDN-Cache-Control`, RFC 9213, before `Cache-Control`
before `Expires`), or as long as `ttl` and `negative` say where they don't say themselves; asked about once they are stale, with
their `ETag` and `Last-Modified`; told apart by the fields that `Vary` lists, as the server was sent them; and removed when a request succeeds that
may have changed what is at their URL (POST, PUT and the like). Conditions and ranges of requests are answered from what is kept. What requests say in `Cache-Control` is obeyed.

Never kept are answers that are `private`, `no-store` or set a cookie; answers to requests with `Authorization` that don't say
that others may have them (`public`, `s-maxage`, `must-revalidate`; RFC 9111 section 3.5), nor are answers without one of these
used for requests with `Authorization`; and answers of which nothing says how long they are good.

One request fetches for all that come meanwhile: they get the answer as it arrives. Where it takes longer than `lock`, one more is sent,
and they get what comes first; a request waits for as long as for a server (`timeouts response`). Where it turns out that the answer is not for
them, they go on at once, side by side; and for ten seconds nobody waits for an answer to that URL (hit-for-miss). The first that may
be kept is kept all the same. Where the server fails (it answers with 5xx, resets, can't be reached), one of those who wait asks again, up to
four times a second; who has waited three times is answered with 503 (`upstream-failing`). A range that begins
beyond a MiB of something that is not cached, or is counted from its end, is fetched as it is and stored as a part (RFC 9111 section 3.3), as is what has come of a response that
the server has cut short. What lies within the parts that are stored is served from them. Where they have a strong validator and are half of what is wanted, the rest
alone is fetched, with `If-Range`; all of them are the whole. Where the server has another version by then, the response ends (`upstream-changed` in the log), and the next one is new.

`Cache-Status` (RFC 9211) says in each answer what was done; `response-headers { remove Cache-Status }` hides it. The log's
`cache` and `cache-reason` say the same:

- `hit`; `stale` (`while-revalidate`, `if-error`, `max-stale`); `revalidated`; `joined`: fetched by another request; `miss`; `pass`; `purge`.
- Why it passed: `method`, `body`, `bypass`, `condition`, `upgrade`, `range`, `authorization`, `request-no-store`.
- Why it was not kept: `no-store`, `private`, `request-no-store`, `authorization`, `set-cookie`, `vary`, `status`, `no-lifetime`,
  `too-large`, `no-room`, `truncated`, `purged`, `superseded`, `no-longer-kept`, `head`.
- Why it was fetched beside another: `lock-timeout`. And `only-if-cached`, which is answered with 504.",
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
    summary: "The request fields that answers may depend on.",
    details: "\
An answer whose `Vary` lists another is not kept. Without this any may, up to 16 for a URL; but for `*`, which never is.",
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
    props: &[Prop::new("from", "FIELD", "The field of answers that has them, parted by spaces or commas.")],
    body: None,
    repeats: false,
    summary: "Names by which answers can be purged.",
    details: "\
The field is passed on; `response-headers` can remove it.

Groups need no `tags`: a response is in those that its `Cache-Groups` lists (RFC 9875), and whatever a server answers to POST, PUT and the like, with
`Cache-Group-Invalidation`, removes what is in these groups of the same scheme, host and port.",
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
    summary: "Which requests are answered from what is kept.",
    details: "Answers to GET are what is kept; HEAD is answered with their heads, unless only `GET` is listed.",
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
    summary: "Requests that pass: they are not answered from what is kept, nor are their answers kept.",
    details: "One of the lines is enough.",
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
    summary: "Requests that are forwarded though a response is cached: the new one replaces it.",
    details: "\
One of the lines is enough. So a deploy, or an editor's browser, can renew a single page; `bypass` leaves the cached response as it is.",
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
    summary: "The languages that there are responses in: the server is sent the client's preferred one alone.",
    details: "\
Browsers send thousands of different `Accept-Language` fields, and `Vary: Accept-Language` stores a response for each. With this the server is sent `de` where a client says
`de-CH, de;q=0.9, fr;q=0.8` (RFC 4647 section 3.4), and the first of the list where a client wants none of them. `key { header Accept-Language }` means the same one then. Where the cache is passed, the
field goes to the server as it is.",
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

/// A language tag (RFC 5646 section 2.1): parts of up to eight letters and digits.
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
    summary: "What requests or responses say that has no effect.",
    details: "\
`request-cache-control`: `Cache-Control` and `Pragma` of requests. Without this, any client can have a response fetched again (`no-cache`, which browsers send on reload, and
`max-age=0`), keep it from being cached (`no-store`), or ask for a stale one (`max-stale`), as RFC 9111 section 5.2.1 says.

`no-vary-search`: `No-Vary-Search` of responses. Without this, a server can say which parameters of the query a response does not depend on
(`params=(\"utm_source\")`, `except=(\"id\")`, `key-order`), and the response is used for all requests that differ in these alone. What `key` says
of the query goes before; and where the site itself puts parts of the query into the path, fields, or the choice of the upstream, the field has no effect. A
purge of a URL purges all that was cached for its path in this way.",
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
    "A request has this field, with this value if there is one.",
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
    "A request has this parameter, with this value if there is one.",
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
    "A request has this cookie, with this value if there is one.",
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
    summary: "Who may purge, with requests of the method PURGE.",
    details: "\
A PURGE of a URL removes all answers that are kept under it, whatever they are told apart by, with `http` and with `https`, with the port it
names, with those of the site's listeners and without one; one of
`/x/*` those of `/x` and all below it, on that host; one with `Purge-Tags: a b` those with one of these tags; one with
`Purge-Groups: \"a\", \"b\"` those in one of these groups (RFC 9875) of that host; one with
`Purge-Mode: all` the whole store. With `Purge-Mode: soft` they become stale instead: they are asked about before they are used again, or used
as `stale` allows. The answer tells how many there were. What is on its way from a server when it is purged is not kept.

`Purge-Pattern: /img/*.jpg` means the paths of this pattern on that host, `*` standing for any characters, slashes included; `*/img/*.jpg` means all hosts of the store,
`*.example.com/*` those below one. A pattern without `?` means a path with any query, and one with it the query as it is kept. There may be 16 such fields, of up to 1024 bytes;
what is no pattern is answered with 400 (`purge-malformed`). On disk, files are held against the patterns when they are read: against 64 at most, and beyond
that the older half stands for all of their hosts.

PURGE from anybody else is answered with 403. Where there is no `purge`, it is a method like others, and is forwarded.",
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
