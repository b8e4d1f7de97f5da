//! `preset` and `use`: policies written once.

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
    details: "A preset may `use` others. Messages about what a preset says point into the preset.",
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
    summary: "Puts the policies of a preset here.",
    details: "What stands here beside it goes before the preset's; of two presets, the one used later goes before the earlier one.\nLists of header lines merge: the preset's come first.

`security-headers` comes with Kiln. Where the server sets them not itself it sets `X-Content-Type-Options: nosniff`, `X-Frame-Options: SAMEORIGIN`,
`Referrer-Policy: strict-origin-when-cross-origin`, `Cross-Origin-Opener-Policy: same-origin`, `Permissions-Policy` without camera,
place and microphone, and with `tls` `Strict-Transport-Security` for a year; and it removes `Server` and `X-Powered-By`. What a
`response-headers` beside it sets holds. A preset of that name in the file takes its place.",
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
