//! `outlier`: ejects failing servers.

use std::time::Duration;

use proxy_runtime::site::{self, ParamKind, Setting, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, What};
use crate::check::Check;
use crate::declaration::{Directive, Place, Prop};
use crate::model::Site;
use crate::source::Spanned;
use crate::value;

static OUTLIER: Directive = Directive {
    name: "outlier",
    places: &[Place::Upstream],
    args: "",
    props: &[
        Prop::new(
            "consecutive-5xx",
            "N",
            "The number of failures in a row that eject a server: 5xx responses, or no response. Default 5.",
        ),
        Prop::new(
            "eject",
            "DURATION",
            "The duration of the first ejection; it doubles each time after that, up to 16 times. Default `\"30s\"`.",
        ),
        Prop::new(
            "max-ejected-percent",
            "N",
            "The maximum share of servers that are ejected at once; one server may always be ejected. Default 50.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Ejects servers whose exchanges fail (passive health checks).",
    details: "\
An ejected server receives no requests for a while, but see `panic-threshold`. The percentage refers to the present servers, discovered
ones included, not to `max`. After a server has worked for as long as its last ejection, the duration starts from the beginning.
Every ejection is a notice on standard error.",
    example: r#"
upstream app {
    server "10.0.0.11:8080"
    server "10.0.0.12:8080"
    outlier consecutive-5xx=5 eject="30s" max-ejected-percent=50
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        Some(What::in_upstream(Outlier {
            consecutive_5xx: r.prop("consecutive-5xx", value::integer(1, 1000)),
            eject: r.prop("eject", value::setting(value::wait("30s"))),
            max_ejected_percent: r.prop("max-ejected-percent", value::integer(1, 100)),
        }))
    },
};

/// `outlier`.
#[derive(Debug)]
pub(super) struct Outlier {
    consecutive_5xx: Option<Spanned<u64>>,
    eject: Option<Spanned<ast::Setting<Duration>>>,
    max_ejected_percent: Option<Spanned<u64>>,
}

impl UpstreamOption for Outlier {
    const DIRECTIVES: &'static [&'static Directive] = &[&OUTLIER];
    const MEMBER: &'static str = "outlier";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        let eject = Setting::Fixed(Duration::from_secs(30));
        upstream.outlier = Some(site::Outlier {
            consecutive_5xx: self.consecutive_5xx.as_ref().map_or(5, |count| count.value),
            eject: check.or(self.eject.as_ref(), ParamKind::Duration, eject),
            max_ejected_percent: self.max_ejected_percent.as_ref().map_or(50, |percent| percent.value),
        });
    }

    fn explain(_: &Site, upstream: &Upstream) -> Vec<String> {
        upstream.outlier.iter().map(|_| "outliers ejected".to_owned()).collect()
    }
}
