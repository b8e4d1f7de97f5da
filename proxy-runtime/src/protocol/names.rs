//! The names of fields that the proxy itself asks for, as numbers: [`KnownField`], and sets of them ([`KnownFields`]). Pure; on the
//! hot path.
//!
//! A name is looked up once, when its field is stored: a perfect hash, made when this is compiled, and one comparison. From then on
//! fields are compared by number, and a message knows in one word which of them it has.

/// Which field a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownField(u8);

/// A set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KnownFields(u64);

impl KnownField {
    /// Any other name.
    pub const OTHER: KnownField = KnownField(0);
    /// Another name with `_` or `.`, which servers may read as `-`.
    pub const ODD: KnownField = KnownField(1);
    /// Another field that only a proxy can set truthfully ([`KnownFields::CLAIMS`]).
    pub const CLAIM: KnownField = KnownField(2);
}

/// Declares the known fields: each is a constant, and an entry of [`NAMES`]. The first one has the number [`FIRST`].
macro_rules! known {
    ($($field:ident $name:literal,)*) => {
        #[allow(missing_docs, reason = "each is named as its field")]
        impl KnownField {
            $(pub const $field: KnownField = KnownField(FIRST + Place::$field as u8);)*
        }

        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "they are only counted")]
        enum Place { $($field,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

/// The number of the first field in [`NAMES`].
const FIRST: u8 = 3;

known! {
    ACCEPT "accept",
    ACCEPT_ENCODING "accept-encoding",
    ACCEPT_LANGUAGE "accept-language",
    AGE "age",
    ALT_SVC "alt-svc",
    AUTHORIZATION "authorization",
    CACHE_CONTROL "cache-control",
    CONNECTION "connection",
    CONTENT_ENCODING "content-encoding",
    CONTENT_LENGTH "content-length",
    CONTENT_RANGE "content-range",
    CONTENT_TYPE "content-type",
    COOKIE "cookie",
    DATE "date",
    ETAG "etag",
    EXPECT "expect",
    EXPIRES "expires",
    FORWARDED "forwarded",
    GRPC_STATUS "grpc-status",
    HOST "host",
    IF_MATCH "if-match",
    IF_MODIFIED_SINCE "if-modified-since",
    IF_NONE_MATCH "if-none-match",
    IF_RANGE "if-range",
    IF_UNMODIFIED_SINCE "if-unmodified-since",
    KEEP_ALIVE "keep-alive",
    LAST_MODIFIED "last-modified",
    LOCATION "location",
    MAX_FORWARDS "max-forwards",
    ORIGIN "origin",
    PRAGMA "pragma",
    PROXY_AUTHENTICATE "proxy-authenticate",
    PROXY_AUTHORIZATION "proxy-authorization",
    PROXY_CONNECTION "proxy-connection",
    RANGE "range",
    REFERER "referer",
    SERVER "server",
    SET_COOKIE "set-cookie",
    TE "te",
    TRAILER "trailer",
    TRANSFER_ENCODING "transfer-encoding",
    UPGRADE "upgrade",
    USER_AGENT "user-agent",
    VARY "vary",
    VIA "via",
    X_ACCEL_REDIRECT "x-accel-redirect",
    X_FORWARDED_FOR "x-forwarded-for",
    X_FORWARDED_HOST "x-forwarded-host",
    X_FORWARDED_PORT "x-forwarded-port",
    X_FORWARDED_PROTO "x-forwarded-proto",
    X_REAL_IP "x-real-ip",
    X_SENDFILE "x-sendfile",
}

/// Other fields with information that only a proxy has: the client's address, its connection, the original request. Each of them is
/// trusted by some server, framework or middleware. So are all names that begin as [`FAMILIES`] do.
const OTHER_CLAIMS: &[&str] = &[
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "forwarded-for",
    "forwarded-for-ip",
    "front-end-https",
    "http-client-ip",
    "proxy",
    "proxy-client-ip",
    "remote-addr",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-clientip",
    "x-cluster-client-ip",
    "x-coming-from",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-forward-for",
    "x-forwarded",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-proxyuser-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

const FAMILIES: [&[u8]; 2] = [b"x-forwarded-", b"x-original-"];

impl KnownFields {
    /// Hop-by-hop fields (RFC 9110 section 7.6.1), and those that frame a message.
    pub const OF_CONNECTION: KnownFields = KnownFields::of(&[
        KnownField::CONNECTION,
        KnownField::CONTENT_LENGTH,
        KnownField::KEEP_ALIVE,
        KnownField::PROXY_AUTHENTICATE,
        KnownField::PROXY_AUTHORIZATION,
        KnownField::PROXY_CONNECTION,
        KnownField::TE,
        KnownField::TRANSFER_ENCODING,
        KnownField::UPGRADE,
    ]);
    /// Fields that belong to a message itself: to its connection, its framing, or its routing.
    pub const OF_MESSAGE: KnownFields =
        KnownFields::OF_CONNECTION.and(KnownFields::of(&[KnownField::EXPECT, KnownField::HOST, KnownField::TRAILER]));
    /// Fields with information that only a proxy has.
    pub const CLAIMS: KnownFields = KnownFields::of(&[
        KnownField::CLAIM,
        KnownField::FORWARDED,
        KnownField::X_FORWARDED_FOR,
        KnownField::X_FORWARDED_HOST,
        KnownField::X_FORWARDED_PORT,
        KnownField::X_FORWARDED_PROTO,
        KnownField::X_REAL_IP,
    ]);

    /// Returns the set of these fields.
    pub const fn of(fields: &[KnownField]) -> KnownFields {
        let (mut set, mut at) = (0, 0);
        while at < fields.len() {
            set |= 1 << fields[at].0;
            at += 1;
        }
        KnownFields(set)
    }

    /// Returns this set with those of another.
    pub const fn and(self, other: KnownFields) -> KnownFields {
        KnownFields(self.0 | other.0)
    }

    /// Returns this set without those of another.
    pub const fn without(self, other: KnownFields) -> KnownFields {
        KnownFields(self.0 & !other.0)
    }

    /// Returns whether a field is in the set.
    pub const fn has(self, field: KnownField) -> bool {
        self.0 >> field.0 & 1 == 1
    }

    /// Returns whether the sets have a field in common.
    pub const fn meets(self, other: KnownFields) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns whether a name is that of a field in the set, where that is decided while something is compiled. It reads all names.
    pub const fn names(self, name: &[u8]) -> bool {
        let mut at = 0;
        while at < NAMES.len() {
            if self.has(KnownField(FIRST + at as u8)) && name.eq_ignore_ascii_case(NAMES[at].as_bytes()) {
                return true;
            }
            at += 1;
        }
        false
    }

    /// Adds a field.
    pub fn add(&mut self, field: KnownField) {
        self.0 |= 1 << field.0;
    }
}

/// A name that fields are looked for by: a [`KnownField`], which costs least, or text.
pub trait FieldKey: Copy {
    /// Returns which field it is.
    fn known(self) -> KnownField;

    /// Returns the name.
    fn text(&self) -> &[u8];
}

impl FieldKey for KnownField {
    fn known(self) -> KnownField {
        self
    }

    fn text(&self) -> &[u8] {
        self.name().as_bytes()
    }
}

impl<T: AsRef<str> + Copy> FieldKey for T {
    fn known(self) -> KnownField {
        KnownField::named(self.as_ref().as_bytes())
    }

    fn text(&self) -> &[u8] {
        self.as_ref().as_bytes()
    }
}

impl KnownField {
    /// Returns which field a name is, whatever its case. `name` is a token.
    #[inline]
    pub fn named(name: &[u8]) -> KnownField {
        match SLOTS[slot(name, SEED)] {
            0 => {}
            entry => {
                let (text, field) = ENTRIES[usize::from(entry) - 1];
                if is_same(name, text.as_bytes()) {
                    return field;
                }
            }
        }
        KnownField::unnamed(name)
    }

    /// Returns what another name is.
    #[inline(never)]
    fn unnamed(name: &[u8]) -> KnownField {
        let begins = |family: &[u8]| name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family));
        if name.iter().any(|byte| matches!(byte, b'_' | b'.')) {
            KnownField::ODD
        } else if FAMILIES.iter().any(|family| begins(family)) {
            KnownField::CLAIM
        } else {
            KnownField::OTHER
        }
    }

    /// Returns whether it stands for one name.
    pub(crate) const fn is_one(self) -> bool {
        self.0 >= FIRST
    }

    /// Returns its name in lower case; empty for others.
    pub fn name(self) -> &'static str {
        self.0.checked_sub(FIRST).map_or("", |place| NAMES[usize::from(place)])
    }
}

/// Returns whether a token is `lower`, which has only lower-case letters, digits and `-`: of the bytes in tokens, only letters are
/// made equal by this bit.
fn is_same(token: &[u8], lower: &[u8]) -> bool {
    const BIT: u64 = 0x2020_2020_2020_2020;
    let long = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes) | BIT;
    let short = |bytes: &[u8; 4]| u32::from_ne_bytes(*bytes) | BIT as u32;
    if token.len() != lower.len() {
        return false;
    }
    // Whole words, and the last one, of which some bytes were compared before.
    if let (Some(last), Some(lower_last)) = (token.last_chunk(), lower.last_chunk()) {
        let words = token.as_chunks().0.iter().zip(lower.as_chunks().0);
        return long(last) == long(lower_last) && words.into_iter().all(|(one, other)| long(one) == long(other));
    }
    if let ((Some(first), Some(last)), (Some(lower_first), Some(lower_last))) =
        ((token.first_chunk(), token.last_chunk()), (lower.first_chunk(), lower.last_chunk()))
    {
        return short(first) == short(lower_first) && short(last) == short(lower_last);
    }
    token.iter().zip(lower).all(|(one, other)| one | 0x20 == *other)
}

const ENTRIES: [(&str, KnownField); NAMES.len() + OTHER_CLAIMS.len()] = {
    let mut entries = [("", KnownField::CLAIM); NAMES.len() + OTHER_CLAIMS.len()];
    let mut at = 0;
    while at < entries.len() {
        entries[at] = if at < NAMES.len() {
            (NAMES[at], KnownField(FIRST + at as u8))
        } else {
            (OTHER_CLAIMS[at - NAMES.len()], KnownField::CLAIM)
        };
        at += 1;
    }
    entries
};

/// The number of slots; a power of two.
const SLOT_COUNT: usize = 1024;

/// The smallest seed with which no two names share a slot.
const SEED: u32 = {
    let mut seed = 0x9E37_79B1_u32;
    while slots(seed).is_none() {
        seed = seed.wrapping_add(2);
    }
    seed
};

/// The place of a name's entry in [`ENTRIES`], from one; 0 where there is none.
const SLOTS: [u8; SLOT_COUNT] = match slots(SEED) {
    Some(slots) => slots,
    None => panic!("the seed was chosen for these names"),
};

const fn slots(seed: u32) -> Option<[u8; SLOT_COUNT]> {
    let (mut slots, mut at) = ([0; SLOT_COUNT], 0);
    while at < ENTRIES.len() {
        let slot = slot(ENTRIES[at].0.as_bytes(), seed);
        if slots[slot] != 0 {
            return None;
        }
        slots[slot] = at as u8 + 1;
        at += 1;
    }
    Some(slots)
}

/// Returns the slot of a name, which depends on its length and three of its characters, in either case.
#[inline]
const fn slot(name: &[u8], seed: u32) -> usize {
    if name.is_empty() {
        return 0;
    }
    let (middle, late) = (name[name.len() / 2], name[name.len().saturating_sub(2)]);
    let characters = u32::from_le_bytes([name[0], middle, late, name.len() as u8]) | 0x0020_2020;
    (characters.wrapping_mul(seed) >> (u32::BITS - SLOT_COUNT.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: KnownField) {
        assert_eq!(KnownField::named(name.as_bytes()), expected, "{name:?}");
    }

    #[test]
    fn names_are_known_in_any_case() {
        assert!(ENTRIES.len() < 255 && NAMES.len() + usize::from(FIRST) <= 64);
        for (name, field) in ENTRIES {
            check(name, field);
            check(&name.to_ascii_uppercase(), field);
            assert_eq!(field.name(), if field.is_one() { name } else { "" });
            // One character more, less, or another one.
            for at in 0..name.len() {
                let other = format!("{}!{}", &name[..at], &name[at + 1..]);
                check(&other, KnownField::unnamed(other.as_bytes()));
            }
            let longer = format!("{name}~");
            check(&longer, KnownField::unnamed(longer.as_bytes()));
        }
        check("HOST", KnownField::HOST);
        check("X-Forwarded-Proto", KnownField::X_FORWARDED_PROTO);
    }

    #[test]
    fn others() {
        for other in ["x", "hos", "hosts", "x-request-id", "accept-charset", "x-original", "via2", ""] {
            check(other, KnownField::OTHER);
        }
        for claim in ["x-forwarded-", "X-Forwarded-Server", "x-original-url", "True-Client-IP", "Proxy"] {
            check(claim, KnownField::CLAIM);
        }
        for odd in ["remote_user", "x_forwarded_for", "x-forwarded_for", "a.b", "_", "x-original-a.b"] {
            check(odd, KnownField::ODD);
        }
    }

    #[test]
    fn sets() {
        let mut set = KnownFields::of(&[KnownField::HOST, KnownField::OTHER]);
        assert!(set.has(KnownField::HOST) && set.has(KnownField::OTHER) && !set.has(KnownField::VIA));
        assert!(!set.meets(KnownFields::OF_CONNECTION));
        set.add(KnownField::TE);
        assert!(set.meets(KnownFields::OF_CONNECTION) && set.and(KnownFields::CLAIMS).has(KnownField::CLAIM));
    }
}
