//! `table`: routes from the lines of a companion file.

use super::{Directive, Place};
use crate::value;

pub(super) static TABLE: Directive = Directive {
    name: "table",
    places: &[Place::Site],
    args: "PATH",
    props: &[],
    body: None,
    repeats: true,
    summary: "Reads routes from a CSV file when the site is built.",
    details: "\
For very many routes or redirects. `PATH` is relative to the file it stands in. The first line names the columns:
`pattern`, and as needed `handler` (`redirect` where it is left out, `proxy`, `respond`, `echo`, `abort`), `status` and
`target` (where to, the upstream's name or its URLs, or the body). A line is the same as a `route` with its handler, and
checked the same; policies are those of the site. Placeholders may stand in targets. `kiln fmt` formats tables, too.

```csv
pattern,handler,status,target
/old/a,redirect,301,/new/a
/shop/{id},redirect,301,/items/{id}
/api/*,proxy,,api
/gone,respond,410,
```",
    // What a table says is tested with real files; the example can only show how it is named.
    example: r#"
// table "old-urls.csv"
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        // The reader splices the table's routes in; there is nothing to keep.
        r.arg("a PATH", value::text)?;
        None
    },
};
