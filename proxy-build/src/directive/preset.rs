//! `preset` and `use`: named groups of policies.

use super::{Directive, Place};
use crate::ast::{Preset, Top, What};
use crate::value;

pub(super) static PRESET: Directive = Directive {
    name: "preset",
    places: &[Place::Root],
    args: "NAME",
    props: &[],
    body: Some(Place::Preset),
    repeats: true,
    summary: "Names a group of policies.",
    details: "A preset may `use` others. Messages about a policy of a preset point into the preset.",
    example: r#"
preset secure {
    response-headers {
        set X-Content-Type-Options nosniff
    }
    limits body="1MiB"
}
site example.com {
    use secure
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Top(Top::Preset(Preset { name: r.arg("a NAME", value::name)?, items: r.body() }))),
};

pub(super) static USE: Directive = Directive {
    name: "use",
    places: &[Place::Site, Place::Route, Place::Preset],
    args: "NAME",
    props: &[],
    body: None,
    repeats: true,
    summary: "Applies the policies of a preset.",
    details: "Policies beside it override the preset's; of two presets, the later one overrides the earlier one.\nLists of header lines are merged: the preset's come first.

`security-headers` comes with Kiln. Unless the server sets them itself, it sets `X-Content-Type-Options: nosniff`, `X-Frame-Options: SAMEORIGIN`,
`Referrer-Policy: strict-origin-when-cross-origin`, `Cross-Origin-Opener-Policy: same-origin`, `Permissions-Policy` without camera,
location and microphone, and with `tls` `Strict-Transport-Security` for a year; and it removes `Server` and `X-Powered-By`. A
`response-headers` beside it overrides it. A preset of that name in the file replaces it.",
    example: r#"
preset patient {
    timeouts response="5m"
}
site example.com {
    route "/reports/*" {
        use patient
        proxy "http://127.0.0.1:3000"
    }
}
"#,
    read: |r| Some(What::Use(r.arg("a NAME", value::name)?)),
};
