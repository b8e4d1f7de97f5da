//! `files`: serves files of a folder, with another handler for missing ones. Embedded folders are in [`embedded`].

mod embedded;

use proxy_runtime::site::{self, Methods};

use super::{CheckedHandler, HandlerContext, WrittenHandler, proxy};
use crate::ast::{Item, Pattern, Segment, Setting, What};
use crate::check::{Check, is_on};
use crate::declaration::{Directive, HANDLER, Place, Prop};
use crate::model::{Site, list};
use crate::report::{Diagnostic, Help};
use crate::source::{Span, Spanned};
use crate::syntax::{Leaf, Scalar};
use crate::value::{self, Parsed};
use crate::wording;

const BRACES: Place = Place::Within("in `files`");

pub(super) static FILES: Directive = Directive {
    name: "files",
    places: HANDLER,
    args: "DIR",
    props: &[
        Prop::new("embed", "BOOL", "The files are compiled in. Default `#false`: they are read from the disk for each request."),
        Prop::new("index", "NAME", "The file to serve for a folder. Default `index.html`."),
        Prop::new("fallback", "PATH", "The file in DIR to serve, with 200, for missing paths: for single-page applications."),
        Prop::new("listing", "BOOL", "Folders without an index are listed, with up to 10,000 names. Default `#false`: 404."),
        Prop::new("dotfiles", "BOOL", "Files and folders whose names begin with a dot are served. Default `#false`."),
        Prop::new("symlinks", "BOOL", "Symbolic links are followed, if they are relative and stay in DIR. Default `#false`: they are \
             treated as missing."),
        Prop::new("precompressed", "BOOL", "`x.br`, `x.zst` or `x.gz` is sent for `x` to clients that accept it, unless it is older than `x`. \
             Default `#false`; with `embed` the build makes these files, and the default is `#true`."),
        Prop::new("else", "NAME|URL", "The upstream for requests without a file, and for all methods except GET and HEAD."),
        Prop::new("immutable", "BOOL", "Browsers cache files with a hash of the content in their name, as bundlers write them \
             (`app-3f9ac01b.js`), for a year without revalidation. Default `#false`."),
    ],
    body: Some(BRACES),
    repeats: true,
    summary: "Serves the files of a folder (static files).",
    details: "\
`DIR` is a folder of the machine that the proxy runs on; `(param)NAME` is given at start. The part of the path that `*` in the pattern matches
is the path in the folder (as with nginx's `alias`, not `root`): `/static/app.js` is `app.js` in `route \"/static/*\" { files \"public\"; }`.
With a pattern without `*` it is the whole path. For a folder the proxy serves its index, after a redirect to the path with a slash.

The methods are GET and HEAD; others get 405. `ETag` is derived from the file's time and length, `Last-Modified` is its time; `If-Match`,
`If-None-Match` and similar fields are evaluated in the order of RFC 9110 section 13.2.2, `Range` and `If-Range`, also with several parts,
as section 14 says. `Content-Type` follows from the extension; to set `Cache-Control` use `response-headers`.

With `else` another handler responds if the folder has no such file: an upstream (`else=app`), or any handler in an `else` block. Paths that
cannot name a file go there as well (a name that begins with a dot, unless `dotfiles` is set), and every method except GET and HEAD goes
there at once, without a look at the folder. A folder exists if its index does. `rewrite`, `cache`, `retry` and other policies of forwarded
requests act on the requests that are forwarded. A file that exists and can't be read remains an error (500, 503): the upstream is not
asked.

Nothing outside of DIR is ever read, whatever the path says: the kernel enforces this when it opens each file (`openat2`, Linux 5.6), and
the proxy examines the open file. Only regular files are served. DIR itself may be a link, and is looked up with each file, so that a new
version can replace it as a whole. Files are read outside the event loop. In the log: `no-file`, `file-unreadable` (500).

A file that was found is used for further requests for up to one second (each worker keeps 1,024 of them, and 4 MiB of files of up to 64 KiB):
one that is replaced, renamed or deleted is served for that long at most. The fields and bytes of a response always belong to one version. A
file that was written or moved in the last two seconds is not kept, and a missing one is never remembered, so that new files are
served at once.

With `embed` the files are in the binary, as they were when it was built: DIR is relative to the site file, and is not needed
on the machine where the proxy runs. The build compresses files that benefit from it by brotli, zstd and gzip at their highest levels (`kiln run`,
`kiln dev` and debug builds: at fast ones), and caches the results for the next build. `ETag` is a strong hash of the content; there is no
`Last-Modified`, so that the same files make the same binary. A file may have 16 MiB, a folder 50,000 files, a site 256 MiB of them. The build
checks `index` and `fallback`. A crate with `site!` needs a build script for it: `proxy_build::prepare`, with proxy-build's feature `bundle`.",
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
        let shorthand = r.prop("else", proxy::plain).map(|proxy| proxy.value);
        let blocks = r.body().into_iter().flat_map(|item| match item.line() {
            Some(Else(items)) => items.clone(),
            None => vec![item],
        });
        let or_else = shorthand.into_iter().chain(blocks).collect();
        Some(super::written(Files {
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
        }))
    },
};

pub(super) static ELSE: Directive = Directive {
    name: "else",
    places: &[BRACES],
    args: "",
    props: &[],
    body: Some(Place::Else),
    repeats: false,
    summary: "The handler for requests without a file in the folder, and for all methods except GET and HEAD.",
    details: "For an upstream, `else=NAME` in the line of `files` is the short form. Another `files` may stand here, for a second folder.",
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
            r.add(found.help(format!("a handler is one of: {}", super::NAMES.join(" "))));
            return None;
        }
        Some(What::line(Else(items)))
    },
};

/// `files`.
#[derive(Debug)]
struct Files {
    folder: Spanned<Setting<String>>,
    embed: Option<Spanned<bool>>,
    index: Option<Spanned<String>>,
    fallback: Option<Spanned<String>>,
    listing: Option<Spanned<bool>>,
    dotfiles: Option<Spanned<bool>>,
    symlinks: Option<Spanned<bool>>,
    precompressed: Option<Spanned<bool>>,
    immutable: Option<Spanned<bool>>,
    /// The handlers of `else=` and `else`, at most one.
    or_else: Vec<Item>,
}

/// `else`.
#[derive(Debug)]
struct Else(Vec<Item>);

impl WrittenHandler for Files {
    fn others(&self) -> &[Item] {
        &self.or_else
    }

    fn check(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler> {
        self.names_are_served(check);
        let embed = is_on(&self.embed);
        let folder = match (&self.folder.value, embed) {
            (Setting::Fixed(path), true) => site::Setting::Fixed(path.clone().into()),
            (Setting::Param(_) | Setting::Bounded(..), true) => {
                let message = "embedded files are fixed at build time";
                let found = Diagnostic::error("contradiction", message, self.folder.span);
                check.report.add(found.help("it is a path relative to this file"));
                return None;
            }
            (_, false) => check.absolute_path(&self.folder)?,
        };
        let index = self.index.as_ref().map_or("index.html", |index| &index.value);
        let mut made = site::Files {
            folder,
            bundled: None,
            rest: around.scope.captures.iter().position(|name| name == "*").map(|slot| slot as u8),
            index: index.to_owned().into(),
            fallback: self.fallback.as_ref().map(|fallback| fallback.value.clone().into()),
            listing: is_on(&self.listing),
            dotfiles: is_on(&self.dotfiles),
            symlinks: is_on(&self.symlinks),
            precompressed: self.precompressed.as_ref().map_or(embed, |value| value.value),
            immutable: is_on(&self.immutable),
            or_else: list(Vec::new()),
        };
        if let (true, Setting::Fixed(path)) = (embed, &self.folder.value) {
            made.bundled = Some(embedded::embed(check, self, path, &made)?);
        }
        if !self.or_else.is_empty() {
            made.or_else = list(vec![self.check_else(check, around)?]);
        }
        Some(site::Handler::Files(made))
    }

    /// Checks that a route's methods and paths can reach the folder and, if it is embedded, its `else` handler.
    fn check_requests(&self, check: &mut Check<'_>, at: Span, pattern: &Pattern, methods: &Methods) {
        if methods.mask & Methods::GET_AND_HEAD.mask == 0 {
            let message = "no file is ever sent: this route takes neither GET nor HEAD";
            check.report.add(Diagnostic::error("no-effect", message, at).help("files are for GET and HEAD"));
        }
        let others = methods.mask & !Methods::GET_AND_HEAD.mask != 0 || !methods.others.is_empty();
        let (Setting::Fixed(path), Some(next)) = (&self.folder.value, self.or_else.first()) else { return };
        if !pattern.segments.iter().all(|segment| matches!(segment, Segment::Literal(_))) {
            return;
        }
        let name = pattern.text.trim_start_matches('/');
        if !others && is_on(&self.embed) && embedded::has(check, path, name) {
            let message =
                format!("`else` is never used: `{name}` is in the folder, and this route matches nothing else");
            check.report.add(Diagnostic::error("no-effect", message, next.span).also(at, "what answers"));
        }
    }
}

impl Files {
    /// Checks that names with a leading dot are served only if `dotfiles` is on.
    fn names_are_served(&self, check: &mut Check<'_>) {
        let hidden = |name: &str| name.split('/').any(|name| name.starts_with('.'));
        for named in [&self.index, &self.fallback].into_iter().flatten() {
            if hidden(&named.value) && !is_on(&self.dotfiles) {
                check.report.add(
                    Diagnostic::error("contradiction", "names that begin with a dot are not served", named.span)
                        .help(Help::beside(named.span, "dotfiles=#true")),
                );
            }
        }
    }

    /// Checks the handler for missing files.
    fn check_else(&self, check: &mut Check<'_>, around: &HandlerContext<'_>) -> Option<site::Handler> {
        let (item, handler) = super::only(check, &self.or_else)?;
        let others = [
            ("fallback", self.fallback.as_ref().map(|given| given.span)),
            ("listing", self.listing.as_ref().filter(|given| given.value).map(|given| given.span)),
        ];
        for (name, span) in others.into_iter().filter_map(|(name, span)| Some((name, span?))) {
            let message = format!("`{name}` and `else` both handle missing files");
            let found = Diagnostic::error("contradiction", message, span).also(item.span, "the other one");
            check.report.add(found.maybe_help(check.without(span, name)));
        }
        handler.check(check, &HandlerContext { at: item.span, ..*around })
    }
}

impl CheckedHandler for site::Files {
    fn short(&self, site: &Site) -> String {
        match self.or_else.first() {
            Some(next) => format!("files, else {}", super::checked(next).short(site)),
            None => "files".to_owned(),
        }
    }

    fn explain(&self, site: &Site) -> Option<String> {
        let folder = wording::setting(site, &self.folder, ToString::to_string);
        let next = match self.or_else.first() {
            Some(site::Handler::Files(next)) => next.explain(site),
            other => other.map(|next| super::checked(next).short(site)),
        };
        Some(next.map_or(folder.clone(), |next| format!("{folder}, else {next}")))
    }
}

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
