//! `table`: routes from the lines of a CSV file.

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
Use it for very many routes or redirects. `PATH` is relative to the file that contains the directive. The first line names the columns:
`pattern`, and as needed `handler` (`redirect` by default, or `proxy`, `respond`, `echo`, `abort`), `status` and
`target` (the redirect's target, the upstream's name or its URLs, or the body). A line is equivalent to a `route` with its handler, and
has the same checks; policies are those of the site. Targets may have placeholders. `kiln fmt` formats tables, too.

```csv
pattern,handler,status,target
/old/a,redirect,301,/new/a
/shop/{id},redirect,301,/items/{id}
/api/*,proxy,,api
/gone,respond,410,
```",
    // Tables are tested with real files; the example can only show the name.
    example: r#"
// table "old-urls.csv"
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        // The reader splices the table's routes in; nothing is left to return.
        r.arg("a PATH", value::text)?;
        None
    },
};
