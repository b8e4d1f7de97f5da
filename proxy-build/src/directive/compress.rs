//! `compress`: answers are compressed on their way.

use proxy_runtime::site::Coding;

use super::{Directive, POLICY, Place, Prop};
use crate::ast::{Compress, Policy, What};
use crate::syntax::Scalar;
use crate::value::{self};

pub(super) static COMPRESS: Directive = Directive {
    name: "compress",
    places: POLICY,
    args: "[zstd|br|gzip...|off]",
    props: &[
        Prop::new("min-size", "SIZE", "Answers that are known to be shorter are left as they are. Default `\"1KiB\"`."),
        Prop::new("zstd-level", "N", "1 to 12. Default 3."),
        Prop::new("br-level", "N", "0 to 9. Default 4."),
        Prop::new("gzip-level", "N", "1 to 9. Default 5."),
    ],
    body: Some(Place::Compress),
    repeats: false,
    summary: "Compresses answers for clients that take that.",
    details: "\
Of the codings that are written, or of `zstd br gzip`, the one that the client likes best by `Accept-Encoding` is taken; of equals, the first
that is written. Answers of servers are compressed, and those of files, `respond` and the cache; what is compressed already is not
compressed again, nor are parts (206), answers with `Cache-Control: no-transform` or `Content-Digest`, and other types than
`types`. `Vary: Accept-Encoding` is added to all that could have been compressed, and a strong `ETag` becomes a weak one (RFC 9110
section 8.8.1). What comes in is sent as it comes: an answer of unknown length, as a stream of events has, is flushed
whenever there is nothing more for the moment. Requests pass untouched. A worker compresses up to 256 answers at once; more go as they are.
What a cache keeps in memory is compressed once for each coding, and kept in that form, too, as long as there is room.

Where an answer has both a secret and what an attacker may choose, its length gives the secret away bit by bit (BREACH): leave
such routes out with `compress off`.",
    example: r#"
site example.com {
    compress zstd br gzip min-size="1KiB" {
        types "text/*" "application/json" "*+json"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let off = matches!(r.peek().map(|leaf| &leaf.value), Some(Scalar::Text(word)) if word == "off");
        let codings = match off {
            true => r.arg("a coding", value::word(&[("off", ())])).map(|_| None)?,
            false => Some(r.rest(value::word(CODINGS))),
        };
        Some(What::Policy(Policy::Compress(Compress {
            codings,
            min_size: r.prop("min-size", value::size_within(0, value::MAX_MEMORY)),
            levels: [
                (Coding::Zstd, r.prop("zstd-level", value::integer(1, 12))),
                (Coding::Brotli, r.prop("br-level", value::integer(0, 9))),
                (Coding::Gzip, r.prop("gzip-level", value::integer(1, 9))),
            ],
            items: r.body(),
        })))
    },
};

const CODINGS: &[(&str, Coding)] = &[("zstd", Coding::Zstd), ("br", Coding::Brotli), ("gzip", Coding::Gzip)];

pub(super) static TYPES: Directive = Directive {
    name: "types",
    places: &[Place::Compress, Place::BodyReplace],
    args: "TYPE...",
    props: &[],
    body: None,
    repeats: false,
    summary: "Which answers are compressed, or have texts replaced, by their `Content-Type`.",
    details: "\
`text/html` is that type, `text/*` all that begin so, `*+json` all that end so. Default in `body-replace`: `text/html`; in `compress`: text, JSON, XML, JavaScript, WebAssembly,
YAML, uncompressed fonts, bitmaps and icons.",
    example: r#"
site example.com {
    compress gzip {
        types "text/html" "*+xml"
    }
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Types(r.some("a TYPE", value::media))),
};
