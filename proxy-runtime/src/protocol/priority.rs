//! The priority of a response among others on its connection (RFC 9218): [`Priority`].

use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// The longest value that is parsed, in bytes.
pub(crate) const LONGEST: usize = 256;

/// The urgency without a signal.
const DEFAULT: u8 = 3;

/// What a client, or a server, says of the priority of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResponsePriority {
    /// From 0, the most urgent, to 7.
    urgency: Option<u8>,
    /// The response is of use before it is complete.
    incremental: Option<bool>,
}

impl ResponsePriority {
    /// Parses the value of `Priority`. What is invalid is ignored (RFC 9218 section 4).
    pub(crate) fn parse(value: &[u8]) -> ResponsePriority {
        if value.len() > LONGEST {
            return ResponsePriority::default();
        }
        let Ok(said) = Parser::new(value).parse::<Dictionary>() else { return ResponsePriority::default() };
        let item = |name: &str| match said.get(name) {
            Some(ListEntry::Item(item)) => Some(&item.bare_item),
            _ => None,
        };
        let urgency =
            item("u").and_then(BareItem::as_integer).and_then(|urgency| u8::try_from(i64::from(urgency)).ok());
        let incremental = item("i").and_then(BareItem::as_boolean);
        ResponsePriority { urgency: urgency.filter(|urgency| *urgency <= 7), incremental }
    }

    /// Returns the priority with what a server says of its response (RFC 9218 section 8).
    pub(crate) fn merged(self, server: ResponsePriority) -> ResponsePriority {
        ResponsePriority {
            urgency: server.urgency.or(self.urgency),
            incremental: server.incremental.or(self.incremental),
        }
    }

    /// Returns the rank of a response on a stream, of which the lowest comes first. Of the same urgency, responses that are of use only as a whole are sent
    /// one after the other. Those of a client that says nothing share the connection, as a small one should not wait for a large one.
    pub(crate) fn rank(self, stream: u64) -> Rank {
        let is_said = self != ResponsePriority::default();
        let incremental = self.incremental.unwrap_or(!is_said);
        Rank { urgency: self.urgency.unwrap_or(DEFAULT), after: if incremental { u64::MAX } else { stream } }
    }
}

/// The place of a response among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    urgency: u8,
    /// Among those of the same urgency.
    after: u64,
}

impl Rank {
    /// Returns the rank as a number, of which the highest comes first, and 0 is that of a stream without a signal.
    #[cfg(feature = "h3")]
    pub(crate) fn as_priority(self) -> i32 {
        const STEP: i32 = 1 << 26;
        let order = i32::try_from(self.after).map_or(STEP - 1, |stream| (stream / 4).min(STEP - 2));
        (i32::from(DEFAULT) - i32::from(self.urgency)) * STEP + (STEP - 1 - order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let check = |value: &str, urgency: Option<u8>, incremental: Option<bool>| {
            assert_eq!(ResponsePriority::parse(value.as_bytes()), ResponsePriority { urgency, incremental }, "{value}");
        };
        check("", None, None);
        check("u=5, i", Some(5), Some(true));
        check("i=?0,u=0", Some(0), Some(false));
        check("u=7;x=1, other=\"a, u=1\"", Some(7), None);
        // Out of range, of another type, and no dictionary at all.
        for value in ["u=8", "u=-1", "u=1.5", "u=\"1\"", "i=1", "u=(1)"] {
            check(value, None, None);
        }
        check("u=2, ???", None, None);
        check(&format!("u=2, x={}", "y".repeat(300)), None, None);
    }

    #[test]
    fn ranks() {
        let rank = |value: &str, stream| ResponsePriority::parse(value.as_bytes()).rank(stream);
        // In this order.
        let ordered = [
            rank("u=0", 8),
            rank("u=0, i", 0),
            rank("u=2", 4),
            rank("u=2", 8),
            rank("u=2, i", 0),
            rank("", 0),
            rank("u=4", 0),
        ];
        assert!(ordered.is_sorted() && ordered.windows(2).all(|pair| pair[0] != pair[1]), "{ordered:?}");
        assert_eq!(rank("u=2, i", 4), rank("u=2, i", 8));
        assert_eq!(rank("", 4), rank("i", 8), "without a word, they share");
        assert!(rank("u=3", 400) < rank("", 0));
        let said = ResponsePriority::parse(b"u=5, i").merged(ResponsePriority::parse(b"u=1"));
        assert_eq!(said, ResponsePriority { urgency: Some(1), incremental: Some(true) });
    }

    #[cfg(feature = "h3")]
    #[test]
    fn numbers() {
        let number = |value: &str, stream| ResponsePriority::parse(value.as_bytes()).rank(stream).as_priority();
        assert!(number("u=0", 0) > number("u=0", 4) && number("u=0", 1 << 40) >= number("u=0, i", 0));
        assert!(number("u=0, i", 0) > number("u=1", 0) && number("u=4", 0) < 0 && number("u=3", 0) > 0);
        assert_eq!(number("", 0), 0);
        assert!(number("u=0", 0) < i32::MAX);
    }
}
