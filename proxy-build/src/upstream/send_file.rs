//! `send-file`: sends files that servers name.

use proxy_runtime::site::{self, Files, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, What};
use crate::check::{Check, is_on};
use crate::declaration::{Directive, Place, Prop};
use crate::model::list;
use crate::report::Diagnostic;
use crate::source::Spanned;
use crate::value;

static SEND_FILE: Directive = Directive {
    name: "send-file",
    places: &[Place::Upstream],
    args: "DIR",
    props: &[
        Prop::new(
            "prefix",
            "PREFIX",
            "The prefix of paths in `X-Accel-Redirect`: `/protected/a.pdf` is `a.pdf` in DIR. Without it, \
             `X-Sendfile` names files, by their paths on this machine.",
        ),
        Prop::new("dotfiles", "BOOL", "Files and folders whose names begin with a dot are served. Default `#false`."),
        Prop::new(
            "symlinks",
            "BOOL",
            "Symbolic links are followed, if they are relative and stay in DIR. Default `#false`: they are \
             treated as missing.",
        ),
    ],
    body: None,
    repeats: true,
    summary: "Lets the upstream's servers send files of a folder, with `X-Accel-Redirect` or `X-Sendfile`.",
    details: "\
If a response with status 200 has one of these fields, the proxy sends the file as its body: the application decides whether the client
may have it. `X-Accel-Redirect` has a path below `prefix`, percent-encoded as in a URL; `X-Sendfile` has the path of the file itself.
Ranges and conditional requests work as in [`files`](#files), with the file's own `ETag` and `Last-Modified`; the response's `Content-Type`,
`Content-Disposition`, `Cache-Control`, cookies and all other fields stay, and without a type it gets one by the file's extension.

Only files in declared folders are sent, and only by plain paths. The client gets a 502 (`send-file-refused` in the log, with the detail)
for a path with `.`, `..` or empty segments, an encoded slash, a query or a name that begins with a dot; for a path outside the folder; and for
a response with several of these fields or with another status. A missing file is a 404 (`no-file`). Files are opened as by `files`: never
outside of DIR, whatever links there are.

Neither field is ever passed to clients, from any upstream. With `cache`, which would store the response without its
file, this is an error.",
    example: r#"
upstream app {
    server "127.0.0.1:3000"
    send-file "/srv/app/uploads" prefix="/protected"
    send-file "/srv/app/exports"
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::in_upstream(SendFile {
            folder: r.arg("a DIR", value::setting(value::text))?,
            prefix: r.prop("prefix", value::prefix),
            dotfiles: r.prop("dotfiles", value::boolean),
            symlinks: r.prop("symlinks", value::boolean),
        }))
    },
};

/// `send-file`.
#[derive(Debug)]
pub(super) struct SendFile {
    folder: Spanned<ast::Setting<String>>,
    prefix: Option<Spanned<String>>,
    dotfiles: Option<Spanned<bool>>,
    symlinks: Option<Spanned<bool>>,
}

impl UpstreamOption for SendFile {
    const DIRECTIVES: &'static [&'static Directive] = &[&SEND_FILE];
    const MEMBER: &'static str = "send_files";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        let Some(folder) = check.absolute_path(&self.folder) else { return };
        let files = Files {
            folder,
            bundled: None,
            rest: None,
            index: "".into(),
            fallback: None,
            listing: false,
            dotfiles: is_on(&self.dotfiles),
            symlinks: is_on(&self.symlinks),
            precompressed: false,
            immutable: false,
            or_else: list(Vec::new()),
        };
        let prefix = self.prefix.as_ref().map(|prefix| prefix.value.clone().into());
        let same =
            |other: &site::SendFile| other.prefix == prefix && (prefix.is_some() || other.files.folder == files.folder);
        if upstream.send_files.iter().any(same) {
            let (what, span) = match &self.prefix {
                Some(prefix) => ("prefix", prefix.span),
                None => ("folder", self.folder.span),
            };
            let message = format!("this {what} has a `send-file` already, and only one of them would have an effect");
            check.report.add(Diagnostic::error("no-effect", message, span));
        }
        upstream.send_files.to_mut().push(site::SendFile { prefix, files });
    }
}
