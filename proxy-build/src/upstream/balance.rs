//! `balance`: the load-balancing policy of an upstream.

use proxy_runtime::context::template::Template;
use proxy_runtime::site::{BalancePolicy, Upstream};

use super::{OptionSpans, UpstreamOption};
use crate::ast::{self, What};
use crate::check::Check;
use crate::check::scope::Scope;
use crate::declaration::{Directive, Place, Prop};
use crate::model::Site;
use crate::policy::PolicyDescription;
use crate::report::{Diagnostic, Help};
use crate::source::Spanned;
use crate::value;

/// The names of policies.
const POLICIES: &[(&str, BalancePolicy)] = &[
    ("round-robin", BalancePolicy::RoundRobin),
    ("least-conn", BalancePolicy::LeastConn),
    ("p2c", BalancePolicy::P2c),
    ("random", BalancePolicy::Random),
    ("hash", BalancePolicy::Hash),
    ("maglev", BalancePolicy::Maglev),
    ("ewma", BalancePolicy::Ewma),
    ("first", BalancePolicy::First),
];

static BALANCE: Directive = Directive {
    name: "balance",
    places: &[Place::Upstream],
    args: "POLICY",
    props: &[Prop::new("key", "TEXT", "The key of `hash` and `maglev`, with placeholders, as in `\"{client.ip}\"`. No default.")],
    body: None,
    repeats: false,
    summary: "Selects the load-balancing policy of an upstream.",
    details: "\
- `round-robin` (default): each server in turn, in proportion to the weights, evenly interleaved.
- `least-conn`: the server with the fewest exchanges for its weight; among more than 24 servers, the best of 24 random ones.
- `p2c`: of two random servers, the one with fewer exchanges for its weight.
- `ewma`: of two random servers, the one with less latency times exchanges, for its weight. Latency is a moving average
  that rises at once and decays over ten seconds.
- `random`: a random server, in proportion to the weights.
- `hash`: requests with the same `key` go to the same server (consistent hashing on a ring, 160 points per weight). Adding or
  removing a server moves only its own keys; shares are even within a few percent.
- `maglev`: as `hash`, from a table; shares are even within a percent, and adding or removing a server moves a few more keys.
- `first`: the first available server, in the order of the file; with `max-connections`, servers fill up one after another.

Workers share the counts of a server. An unavailable server (unhealthy, full, tried already) is left out, and its
share goes to all others; under `hash` and `maglev` each of its keys has one other server.",
    example: r#"
upstream app {
    server "10.0.0.11:8080" weight=2
    server "10.0.0.12:8080"
    balance maglev key="{cookie.session}"
}
site example.com {
    proxy app
}
"#,
    read: |r| {
        let policy = r.arg("a policy", value::word(POLICIES))?;
        Some(What::in_upstream(Balance { policy, key: r.prop("key", value::template) }))
    },
};

/// `balance`.
#[derive(Debug)]
pub(super) struct Balance {
    policy: Spanned<BalancePolicy>,
    key: Option<Spanned<ast::Template>>,
}

impl UpstreamOption for Balance {
    const DIRECTIVES: &'static [&'static Directive] = &[&BALANCE];
    const MEMBER: &'static str = "balance";

    fn check(&self, check: &mut Check<'_>, _: OptionSpans, upstream: &mut Upstream) {
        upstream.balance = self.policy.value;
        upstream.key = self.checked_key(check);
    }

    fn explain(_: &Site, upstream: &Upstream) -> Vec<String> {
        vec![format!("{} in {}", name(upstream.balance), upstream.name)]
    }

    fn diff(_: &Site, upstream: &Upstream) -> Vec<PolicyDescription> {
        let policy = name(upstream.balance).to_owned();
        vec![PolicyDescription::lines(Self::MEMBER, "balance", vec![policy]), PolicyDescription::values("key", "key")]
    }
}

fn name(policy: BalancePolicy) -> &'static str {
    POLICIES.iter().find(|(_, known)| *known == policy).map_or("", |(name, _)| name)
}

impl Balance {
    fn checked_key(&self, check: &mut Check<'_>) -> Option<Template> {
        let by_key = matches!(self.policy.value, BalancePolicy::Hash | BalancePolicy::Maglev);
        match &self.key {
            None if by_key => {
                check.report.add(
                    Diagnostic::error("no-key", "this policy needs a key, and there is none", self.policy.span)
                        .help(Help::beside(self.policy.span, "key=\"{client.ip}\"")),
                );
                None
            }
            Some(key) if !by_key => {
                check.report.add(
                    Diagnostic::error("no-effect", "`key` has no effect: this policy does not use one", key.span)
                        .also(self.policy.span, "the policy")
                        .help("`hash` and `maglev` use a key"),
                );
                None
            }
            None => None,
            Some(key) => check.varying(key, &Scope { upstream: true, ..Scope::no_route() }),
        }
    }
}
