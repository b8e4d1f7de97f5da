//! `files`: answers with files of a folder.

use super::{Directive, HANDLER, Place, Prop, proxy};
use crate::ast::{Files, Handler, Item, What};
use crate::report::Diagnostic;
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};

pub(super) static FILES: Directive = Directive {
    name: "files",
    places: HANDLER,
    args: "DIR",
    props: &[
        Prop::new("embed", "BOOL", "The files are compiled in. Default `#false`: they are read from the disk when they are asked for."),
        Prop::new("index", "NAME", "The file that stands for its folder. Default `index.html`."),
        Prop::new("fallback", "PATH", "The file in DIR that answers, with 200, for what is not there: for pages that find their way by themselves."),
        Prop::new("listing", "BOOL", "Folders without an index are listed. Default `#false`: 404."),
        Prop::new("dotfiles", "BOOL", "Files and folders whose names begin with a dot are there. Default `#false`."),
        Prop::new("symlinks", "BOOL", "Symbolic links are followed, if they are relative and stay in DIR. Default `#false`: they are not there."),
        Prop::new("precompressed", "BOOL", "`x.br`, `x.zst` or `x.gz` is sent for `x` to clients that take it, unless it is older than `x`. Default `#false`; with `embed` it is made by the build, and the default is `#true`."),
        Prop::new("else", "NAME|URL", "The upstream that is asked where there is no file, and for all methods but GET and HEAD."),
        Prop::new("immutable", "BOOL", "Names with a hash of their content in them, as bundlers write them (`app-3f9ac01b.js`), are kept by browsers for a year, unasked. Default `#false`."),
    ],
    body: Some(Place::Files),
    repeats: true,
    summary: "Answers with the files of a folder.",
    details: "\
`DIR` is a folder of the machine that the proxy runs on; `(param)NAME` is given at start. What `*` in the pattern stands for is the
path in it: `/static/app.js` is `app.js` in `route \"/static/*\" { files \"public\"; }`. A pattern without `*` stands for its whole
path. For a folder its index answers, behind a redirect to the path with a slash.

GET and HEAD; others get 405. `ETag` is of the file's time and length, `Last-Modified` its time; `If-Match`, `If-None-Match` and
their like are heeded in the order of RFC 9110 section 13.2.2, `Range` and `If-Range`, with several parts if need be, as section 14 says.
`Content-Type` goes by the extension; to set `Cache-Control` use `response-headers`.

With `else` another handler answers what the folder does not have: an upstream (`else=app`), or any handler in an `else` block. What
no file can be named gets there as well (a name with a dot in front, unless `dotfiles` is set), and every method but GET and HEAD
goes there at once, without a look at the folder. A folder is there if its index is. `rewrite`, `cache`, `retry` and other policies of
forwarded requests act on what is forwarded. What is there and can't be read remains an error (500, 503): the upstream is not asked.

Nothing outside of DIR is ever read, whatever the path says: each file is opened by the kernel's own rule for that (`openat2`,
Linux 5.6), and looked at once it is open. What is no regular file is not there. DIR itself may be a link, and is looked up for each request: a new version can be
put in its place as a whole. Reading is done beside the event loop. In the log: `no-file`, `file-unreadable` (500).

With `embed` the files are in the binary, as they were when it was built: DIR is relative to the site file, and nothing of it is needed
where the proxy runs. The build compresses what is worth it by brotli, zstd and gzip at their highest levels (`kiln run`, `kiln dev` and debug builds: at
quick ones), and keeps that for the next build. `ETag` is a hash of the content, strong; there is no `Last-Modified`, so that the same
files make the same binary. A file may have 16 MiB, a folder 50,000 files, a site 256 MiB of them. `index` and `fallback` are
checked by the build. A crate with `site!` needs a build script for it: `proxy_build::prepare`, with proxy-build's feature `bundle`.",
    example: r#"
site example.com {
    route "/assets/*" {
        files "/srv/site/assets" immutable=#true precompressed=#true
    }
    route "/errors/*" {
        files "pages" embed=#true
    }
    route "/*" {
        files "/srv/site" fallback="/index.html"
    }
}
upstream rails {
    server "127.0.0.1:3000"
}
site app.example.com {
    files "/srv/app/public" precompressed=#true else=rails
}
"#,
    read: |r| {
        let folder = r.arg("a DIR", value::setting(value::text))?;
        let shorthand = r.prop("else", proxy::to);
        let shorthand = shorthand.map(|to| Item { span: to.span, what: What::Handler(proxy::plain(to.value)), broken: false });
        let blocks = r.body().into_iter().flat_map(|item| match item.what {
            What::Else(items) => items,
            _ => vec![item],
        });
        let or_else = shorthand.into_iter().chain(blocks).collect();
        Some(What::Handler(Handler::Files(Files {
            or_else,
            folder,
            embed: r.prop("embed", value::boolean),
            index: r.prop("index", name),
            fallback: r.prop("fallback", fallback),
            listing: r.prop("listing", value::boolean),
            dotfiles: r.prop("dotfiles", value::boolean),
            symlinks: r.prop("symlinks", value::boolean),
            precompressed: r.prop("precompressed", value::boolean),
            immutable: r.prop("immutable", value::boolean),
        })))
    },
};

pub(super) static ELSE: Directive = Directive {
    name: "else",
    places: &[Place::Files],
    args: "",
    props: &[],
    body: Some(Place::Else),
    repeats: false,
    summary: "The handler that answers where a folder has no file, and all methods but GET and HEAD.",
    details: "For an upstream alone, `else=NAME` in the line of `files` says the same. Another `files` may stand here: the next folder.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
}
site example.com {
    files "/srv/site/overrides" {
        else {
            files "/srv/site/public" {
                else {
                    proxy app host=upstream
                }
            }
        }
    }
}
"#,
    read: |r| {
        let items = r.body();
        if items.is_empty() {
            let found = Diagnostic::error("no-handler", "there is no handler in here: nobody would answer", r.span());
            r.add(found.help("a handler is one of: proxy split files respond redirect echo abort"));
            return None;
        }
        Some(What::Else(items))
    },
};

fn name(leaf: &Leaf) -> Parsed<String> {
    let found = value::text(leaf)?;
    if found.is_empty() || found.contains(['/', '\0']) || found == "." || found == ".." {
        return Err(value::Problem {
            code: "bad-file-name",
            message: format!("`{found}` is no name of a file"),
            help: vec!["it is looked for in each folder, as index.html is".into()],
            part: None,
        });
    }
    Ok(found)
}

fn fallback(leaf: &Leaf) -> Parsed<String> {
    if matches!(leaf.value, Scalar::Bool(_)) {
        return Err(value::problem("value-type", "a file is named here").write_text("/index.html"));
    }
    let found = value::text(leaf)?;
    let names = found.trim_start_matches('/');
    if names.split('/').any(|name| matches!(name, "" | "." | "..") || name.contains('\0')) {
        return Err(value::Problem {
            code: "bad-file-name",
            message: format!("`{found}` is no file in the folder"),
            help: vec!["it is a path from there, as in \"/index.html\"".into()],
            part: None,
        });
    }
    Ok(found)
}
