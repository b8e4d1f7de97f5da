//! `include`: reads other files.

use super::{Directive, Place};
use crate::value;

pub(super) static INCLUDE: Directive = Directive {
    name: "include",
    places: &[Place::Root],
    args: "PATH",
    props: &[],
    body: None,
    repeats: true,
    summary: "Reads other files as if their text were here.",
    details: "`PATH` is relative to the including file; `*`, `?` and `[...]` match names, in the order of names. A path that\nmatches nothing is an error, as is a file that includes itself. Messages point into the included file.",
    // A single file includes itself; includes of several are tested with real files.
    example: r#"
// include "sites/*.kdl"
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        // The reader splices the file's items in; nothing is left to return.
        r.arg("a PATH", value::text)?;
        None
    },
};
