//! Removes fields that a client must not send, or whose names a server may read as another's. Pure; on the hot path,
//! one pass over the names without allocation.
//!
//! It runs once, as soon as a request's site is known and before any code reads its fields: matchers, templates, cache keys,
//! functions, logs and servers all see the same. Later fields are added to the rest, so that a client cannot remove, forge
//! or alias fields of the proxy.
//!
//! - Fields that `Connection` names belong to the client's connection (RFC 9110 section 7.6.1).
//! - Fields that only a proxy can know ([`is_claim`]) are accepted only from trusted peers.
//! - CGI, WSGI, PHP and Rack read `_` and `.` in a name as `-`: `Remote_User` would be a second `Remote-User`. Names with `_` are
//!   dropped unless the site allows them, and aliases of names that the proxy or the route sets are always dropped.

use crate::protocol::fields::{Fields, may_trail, of_message};
use crate::protocol::names::{KnownField, KnownFields};
use crate::value::{List, Text};

/// The field in which a trusted peer sends the client's address.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Another field, with an address alone.
    Field(Text),
}

/// The rules of a site or route for clients' fields. Names are in lower case.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldRules {
    /// The fields that the route sets, copies, changes, removes, or reads for `block` and `auth api-key`.
    pub own: List<Text>,
    /// Whether one of these contains `_` or `.`.
    pub odd: bool,
    /// The proxy fields that clients may send, too; for a site, those of all its routes.
    pub pass: List<Text>,
    /// Names with `_` are accepted.
    pub underscores: bool,
}

/// The rules for the fields of a request.
#[derive(Debug)]
pub struct IntakeRules<'a> {
    /// The field in which trusted peers send the client's address.
    pub header: &'a TrustedHeader,
    /// Whether the peer is trusted.
    pub trusted: bool,
    /// The site's rules; `None` if no site is known.
    pub site: Option<&'a FieldRules>,
}

/// Removes the fields that a client may not send. Returns `true` if names are left that may be aliases of a route's
/// fields.
pub fn take_in(fields: &mut Fields, rules: &IntakeRules<'_>) -> bool {
    /// The fields that may have to go.
    const SUSPECT: KnownFields = KnownFields::CLAIMS.and(KnownFields::of(&[KnownField::ODD]));
    drop_listed(fields, |name| is_claim(name) || rules.is_header(name));
    let named = matches!(rules.header, TrustedHeader::Field(header) if fields.contains(&**header));
    if !named && !fields.present().meets(SUSPECT) {
        return false;
    }
    let mut odd_ones = false;
    fields.retain(|name, _| {
        let (underscore, dot) = odd(name);
        if underscore || dot {
            let dropped = underscore && !rules.lets_underscores() || rules.is_reserved_alias(name);
            odd_ones |= !dropped;
            return !dropped;
        }
        !is_claim_or(name, rules) || rules.believes(name)
    });
    odd_ones
}

/// Removes aliases of the fields that a route uses, and fields that only other routes of its site accept. `odd` is the result of
/// [`take_in`].
pub fn for_route(fields: &mut Fields, route: &FieldRules, site: &FieldRules, trusted: bool, odd: bool) {
    if odd || route.odd {
        fields.retain(|name, _| !route.own.iter().any(|own| is_alias(name, own.as_bytes())));
    }
    if !site.pass.is_empty() {
        let believed = |name: &[u8]| trusted && !name.eq_ignore_ascii_case(PROXY);
        fields.retain(|name, _| !is_among(name, &site.pass) || is_among(name, &route.pass) || believed(name));
    }
}

/// Returns the trailers of a request that are forwarded. A server may merge them into its fields (RFC 9110 section 6.5.1), so
/// names (and aliases) that the proxy or the route uses are removed. `also` are names that functions use.
pub fn trailers(mut trailers: Fields, route: &FieldRules, also: &[&str]) -> Fields {
    trailers.retain(|name, _| {
        let (underscore, _) = odd(name);
        let mut read = [0; LONGEST];
        let read = read_as(name, &mut read);
        let own = |own: &[u8]| name.eq_ignore_ascii_case(own) || is_alias(name, own);
        may_trail(name)
            && !(underscore && !route.underscores
                || is_reserved(read)
                || is_claim(read)
                || route.own.iter().any(|name| own(name.as_bytes()))
                || also.iter().any(|name| own(name.as_bytes())))
    });
    trailers
}

/// Removes all fields whose names are aliases of `name`.
pub fn displace(fields: &mut Fields, name: &str) {
    fields.retain(|found, _| !is_alias(found, name.as_bytes()));
}

/// Returns whether a name is an alias of `own`: it is read as that, but differs.
pub fn is_alias(name: &[u8], own: &[u8]) -> bool {
    name.len() == own.len()
        && !name.eq_ignore_ascii_case(own)
        && name.iter().zip(own).all(|(name, own)| fold(*name) == fold(*own))
}

/// Returns whether a name may be an alias: it contains `_` or `.`.
pub fn is_odd(name: &[u8]) -> bool {
    let (underscore, dot) = odd(name);
    underscore || dot
}

/// Removes the fields that `Connection` lists (RFC 9110 section 7.6.1), over all of its lines; except those that frame or address the
/// message, are for all recipients, or that `keep` names. Elements that are not tokens are ignored. Allocates only for fields that are
/// present.
pub fn drop_listed(fields: &mut Fields, keep: impl Fn(&[u8]) -> bool) {
    /// `Cache-Control` is that section's example of a field that must not be listed.
    const KEPT: [&[u8]; 5] = [b"trailer", b"host", b"content-length", b"cache-control", b"connection"];
    // Nearly always there is no line, or one with a single usual option.
    if fields.all(KnownField::CONNECTION).all(is_usual_option) {
        return;
    }
    let options =
        fields.all(KnownField::CONNECTION).flat_map(|line| line.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let named = options.filter(|option| {
        !is_usual_option(option)
            && !KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(option))
            && fields.raw().any(|(name, _)| name.eq_ignore_ascii_case(option))
            && !keep(option)
    });
    let mut listed: Vec<Vec<u8>> = Vec::new();
    for name in named {
        if !listed.iter().any(|listed| listed.eq_ignore_ascii_case(name)) {
            listed.push(name.to_vec());
        }
    }
    if !listed.is_empty() {
        fields.retain(|name, _| !listed.iter().any(|listed| name.eq_ignore_ascii_case(listed)));
    }
}

/// Returns whether an element is a connection option, or a field that is removed in any case.
fn is_usual_option(option: &[u8]) -> bool {
    match option.len() {
        0 => true,
        2 => option.eq_ignore_ascii_case(b"te"),
        5 => option.eq_ignore_ascii_case(b"close"),
        7 => option.eq_ignore_ascii_case(b"upgrade"),
        10 => option.eq_ignore_ascii_case(b"keep-alive"),
        17 => option.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}

impl IntakeRules<'_> {
    fn lets_underscores(&self) -> bool {
        self.site.is_some_and(|site| site.underscores)
    }

    fn is_header(&self, name: &[u8]) -> bool {
        matches!(self.header, TrustedHeader::Field(header) if name.eq_ignore_ascii_case(header.as_bytes()))
    }

    /// Returns whether a name with `_` or `.` is an alias of one that the proxy uses.
    fn is_reserved_alias(&self, name: &[u8]) -> bool {
        let mut read = [0; LONGEST];
        let read = read_as(name, &mut read);
        let header = matches!(self.header, TrustedHeader::Field(header) if is_alias(name, header.as_bytes()));
        is_reserved(read) || is_claim(read) || header
    }

    /// Returns whether a proxy field is trusted, or accepted.
    fn believes(&self, name: &[u8]) -> bool {
        let is = |claim: &[u8]| name.eq_ignore_ascii_case(claim);
        if self.site.is_some_and(|site| is_among(name, &site.pass)) {
            return true;
        }
        if !self.trusted || is(PROXY) {
            return false;
        }
        match self.header {
            TrustedHeader::XForwardedFor => !is(b"forwarded"),
            TrustedHeader::Forwarded => !is(b"x-forwarded-for") && !is(b"x-forwarded-proto"),
            TrustedHeader::Field(header) => (!is(b"forwarded") && !is(b"x-forwarded-for")) || is(header.as_bytes()),
        }
    }
}

/// CGI converts it to a variable that HTTP clients use (CVE-2016-5385, "httpoxy"): it is never forwarded.
const PROXY: &[u8] = b"proxy";

fn is_claim_or(name: &[u8], rules: &IntakeRules<'_>) -> bool {
    is_claim(name) || rules.is_header(name)
}

fn is_among(name: &[u8], names: &[Text]) -> bool {
    names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// Fields that the proxy always writes itself: no site can accept a client's.
pub const ANNOUNCED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// Returns whether a field contains information that only a proxy can know: the client's address, its connection, the original
/// request. Each of them is trusted by some server, framework or middleware.
pub fn is_claim(name: &[u8]) -> bool {
    KnownFields::CLAIMS.has(KnownField::named(name))
}

/// Returns whether the proxy always reads or writes a field, so that an alias could contradict it.
fn is_reserved(name: &[u8]) -> bool {
    of_message(name) || name.eq_ignore_ascii_case(b"via") || name.eq_ignore_ascii_case(b"content-type")
}

/// Longer than any name in these lists; this much distinguishes the families of names, in bytes.
const LONGEST: usize = 32;

/// Returns a name as CGI reads it, with `-` for all characters that are read as such; truncated to the compared length.
fn read_as<'b>(name: &[u8], buffer: &'b mut [u8; LONGEST]) -> &'b [u8] {
    let length = name.len().min(LONGEST);
    for (to, from) in buffer.iter_mut().zip(name) {
        *to = fold(*from);
    }
    &buffer[..length]
}

fn fold(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        byte => byte.to_ascii_lowercase(),
    }
}

/// Returns whether a name contains `_`, and whether it contains `.`.
fn odd(name: &[u8]) -> (bool, bool) {
    name.iter().fold((false, false), |(underscore, dot), &byte| (underscore | (byte == b'_'), dot | (byte == b'.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    fn texts(names: &[&str]) -> Vec<Text> {
        names.iter().map(|name| Text::from((*name).to_owned())).collect()
    }

    fn rules(own: &[&str], pass: &[&str], underscores: bool) -> FieldRules {
        let odd = own.iter().any(|name| is_odd(name.as_bytes()));
        FieldRules { own: texts(own).into(), odd, pass: texts(pass).into(), underscores }
    }

    /// Checks which of these names are left.
    #[track_caller]
    fn check(names: &[&str], rules: &IntakeRules<'_>, expected: &[&str]) {
        let mut found: Fields = names.iter().map(|name| (*name, "1")).collect();
        take_in(&mut found, rules);
        let left: Vec<&str> = found.iter().map(|(name, _)| name).collect();
        assert_eq!(left, expected, "{names:?}");
    }

    const XFF: IntakeRules<'static> = IntakeRules { header: &TrustedHeader::XForwardedFor, trusted: false, site: None };

    #[test]
    fn untrusted_peers_send_no_proxy_fields() {
        let claims = [
            "X-Forwarded-For",
            "x-forwarded-anything",
            "X-FORWARDED-Client-Cert",
            "X-Real-IP",
            "X-Client-IP",
            "True-Client-IP",
            "CF-Connecting-IP",
            "X-Cluster-Client-IP",
            "Fastly-Client-IP",
            "X-Original-URL",
            "X-Original-Host",
            "X-Rewrite-URL",
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "X-Host",
            "X-Forwarded",
            "Forwarded-For",
            "Forwarded",
            "Proxy",
            "X-ProxyUser-Ip",
        ];
        check(&claims, &XFF, &[]);
        check(
            &["X-Forwardedfor", "Accept", "Via", "Cookie", "X-Host-Name"],
            &XFF,
            &["X-Forwardedfor", "Accept", "Via", "Cookie", "X-Host-Name"],
        );
        let site = rules(&[], &["x-http-method-override", "proxy"], false);
        let passing = IntakeRules { site: Some(&site), ..XFF };
        check(&["X-HTTP-Method-Override", "Proxy", "X-Real-IP"], &passing, &["X-HTTP-Method-Override", "Proxy"]);
    }

    #[test]
    fn trusted_peers_send_the_configured_field() {
        let names =
            ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "Proxy", "X-Me"];
        let trusted = |header| IntakeRules { header, trusted: true, site: None };
        check(
            &names,
            &trusted(&TrustedHeader::XForwardedFor),
            &["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "X-Me"],
        );
        check(&names, &trusted(&TrustedHeader::Forwarded), &["X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Me"]);
        let own = TrustedHeader::Field("x-me".into());
        check(&names, &trusted(&own), &["X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "X-Me"]);
        check(&names, &IntakeRules { header: &own, trusted: false, site: None }, &[]);
    }

    #[test]
    fn aliases() {
        check(&["Remote_User", "a_b", "a.b"], &XFF, &["a.b"]);
        let lets = rules(&[], &[], true);
        let lets = IntakeRules { site: Some(&lets), ..XFF };
        check(
            &[
                "X_Forwarded_For",
                "x.forwarded-FOR",
                "X_Real.IP",
                "Content_Length",
                "Transfer.Encoding",
                "Content_Type",
                "a_b",
            ],
            &lets,
            &["a_b"],
        );
        check(&[&"x_forwarded_".repeat(9)], &lets, &[]);
        let own = TrustedHeader::Field("x-me".into());
        check(&["X_Me", "X.Me"], &IntakeRules { header: &own, trusted: true, site: lets.site }, &[]);
    }

    #[test]
    fn aliases_of_a_route() {
        let check = |own: &[&str], names: &[&str], expected: &[&str]| {
            let (route, site) = (rules(own, &[], true), rules(&[], &[], true));
            let mut found: Fields = names.iter().map(|name| (*name, "1")).collect();
            let odd = take_in(&mut found, &IntakeRules { site: Some(&site), ..XFF });
            for_route(&mut found, &route, &site, false, odd);
            assert_eq!(found.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected, "{own:?} {names:?}");
        };
        check(
            &["remote-user"],
            &["Remote_User", "remote.USER", "Remote-User", "Remote-Users", "a_b"],
            &["Remote-User", "Remote-Users", "a_b"],
        );
        check(&["x_user"], &["X-User", "x.user", "x_user"], &["x_user"]);
        check(&[], &["a_b", "a.b"], &["a_b", "a.b"]);
    }

    #[test]
    fn accepted_fields_differ_by_route() {
        let (site, other) = (rules(&[], &["x-host"], false), rules(&[], &[], false));
        let mut found = fields(&[("X-Host", "a"), ("X-Real-IP", "b"), ("X-Other", "c")]);
        take_in(&mut found, &IntakeRules { site: Some(&site), ..XFF });
        assert_eq!(found, fields(&[("X-Host", "a"), ("X-Other", "c")]));
        for_route(&mut found, &other, &site, false, false);
        assert_eq!(found, fields(&[("X-Other", "c")]));
    }

    #[test]
    fn fields_listed_in_connection() {
        let check = |connection: &[&str], expected: &[&str]| {
            let mut found: Fields = connection.iter().map(|line| ("Connection", *line)).collect();
            for name in ["X-Hop", "Remote-User", "Host", "Content-Length", "Cache-Control", "x-forwarded-for"] {
                found.add(name.as_bytes(), b"1");
            }
            drop_listed(&mut found, is_claim);
            found.remove("connection");
            assert_eq!(found.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected, "{connection:?}");
        };
        let kept = ["Host", "Content-Length", "Cache-Control", "x-forwarded-for"];
        check(&["close, x-HOP", "\tRemote-User ,,"], &kept);
        check(&["close"], &["X-Hop", "Remote-User", "Host", "Content-Length", "Cache-Control", "x-forwarded-for"]);
        check(&["x-hop, remote-user, Host, content-length, cache-control, X-Forwarded-For, connection"], &kept);
        check(
            &["\"X-Hop\", remote-user;q=1, x-hop remote-user, remote_user"],
            &["X-Hop", "Remote-User", "Host", "Content-Length", "Cache-Control", "x-forwarded-for"],
        );
    }

    #[test]
    fn trailers_of_requests() {
        let check = |route: &FieldRules, names: &[&str], expected: &[&str]| {
            let found = trailers(names.iter().map(|name| (*name, "1")).collect(), route, &["x-tenant"]);
            assert_eq!(found.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected, "{names:?}");
        };
        let names = [
            "X-Sum",
            "X-Forwarded-For",
            "X_Real_IP",
            "Remote-User",
            "remote.user",
            "X-Tenant",
            "x.tenant",
            "Via",
            "Content.Length",
            "a_b",
        ];
        check(&rules(&["remote-user"], &["x-real-ip"], false), &names, &["X-Sum"]);
        check(&rules(&["remote-user"], &[], true), &names, &["X-Sum", "a_b"]);
    }

    #[test]
    fn functions_displace() {
        let mut found = fields(&[("x_tenant", "1"), ("X-Tenant", "2"), ("x.tenant", "3"), ("x-other", "4")]);
        displace(&mut found, "x-tenant");
        assert_eq!(found, fields(&[("X-Tenant", "2"), ("x-other", "4")]));
    }
}
