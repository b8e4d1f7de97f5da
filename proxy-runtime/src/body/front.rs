//! The buffered beginning of a request's body: [`Front`].
//!
//! Data that was inspected before it is sent (`block`) precedes the rest. Data that was consumed of a streaming body is
//! kept as well, up to a limit, so that the request can be sent again from the first byte if a server has not processed it.
//! It counts as the process's memory ([`Charge`]). On the hot path of requests with a body: without a limit nothing is
//! copied.

use crate::net::memory::{Charge, Memory};
use crate::protocol::fields::Fields;

/// The buffered beginning of a request's body.
#[derive(Debug, Default)]
pub(crate) struct Front {
    bytes: Vec<u8>,
    /// How much of them was sent.
    sent: usize,
    /// The most consumed bytes that are kept.
    limit: u64,
    /// The memory that they account for.
    charge: Option<Charge>,
    /// Some consumed bytes were not kept, so the body can't be rewound.
    gone: bool,
    /// The trailers.
    trailers: Option<Fields>,
}

impl Front {
    /// Returns a buffer of these bytes, none of which were sent.
    pub(crate) fn of(bytes: Vec<u8>, charge: Charge) -> Front {
        Front { bytes, charge: Some(charge), ..Front::default() }
    }

    /// From now on, keeps consumed bytes, up to `limit` and as far as there is memory.
    pub(crate) fn keep(&mut self, limit: u64, memory: &'static Memory) {
        self.limit = limit;
        self.charge.get_or_insert_with(|| memory.charge());
    }

    /// Returns whether nothing of the body was inspected or consumed.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.gone && self.bytes.is_empty()
    }

    /// Returns the bytes that precede those still to be received.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Passes them to `to`, which returns how many were sent.
    pub(crate) fn send(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let sent = to(self.unsent());
        self.sent += sent;
        sent
    }

    /// These bytes were consumed after the buffered ones, and sent.
    pub(crate) fn taken(&mut self, data: &[u8]) {
        if data.is_empty() || self.gone {
            return;
        }
        let fits = (self.bytes.len() + data.len()) as u64 <= self.limit;
        if !fits || !self.charge.as_mut().is_some_and(|charge| charge.grow(data.len())) {
            return self.forget();
        }
        self.bytes.extend_from_slice(data);
        self.sent = self.bytes.len();
    }

    /// Rewinds to the first byte. `false`: it is not available any more.
    pub(crate) fn rewind(&mut self) -> bool {
        if !self.gone {
            self.sent = 0;
        }
        !self.gone
    }

    /// The body will not be rewound any more.
    pub(crate) fn settle(&mut self) {
        self.limit = 0;
        if self.unsent().is_empty() && !self.bytes.is_empty() {
            self.forget();
        }
    }

    /// Returns the trailers, which are taken from `at_client` the first time.
    pub(crate) fn trailers(&mut self, at_client: impl FnOnce() -> Option<Fields>) -> Option<Fields> {
        let trailers = self.trailers.take().or_else(at_client);
        if !self.gone {
            self.trailers.clone_from(&trailers);
        }
        trailers
    }

    fn forget(&mut self) {
        *self = Front::default();
        self.gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The total memory.
    const ALL: usize = 1000;

    fn memory() -> &'static Memory {
        Box::leak(Box::new(Memory::of(ALL as u64)))
    }

    #[test]
    fn bodies_can_be_rewound() {
        let check = |looked_at: &str, limit: u64, taken: &[&str], expected: Option<&str>| {
            let mut front = Front::of(looked_at.as_bytes().to_vec(), memory().charge());
            front.keep(limit, memory());
            assert_eq!(front.send(<[u8]>::len), looked_at.len());
            for piece in taken {
                assert_eq!(front.unsent(), b"", "buffered data is sent first");
                front.taken(piece.as_bytes());
            }
            let found = front.rewind().then(|| String::from_utf8_lossy(front.unsent()).into_owned());
            assert_eq!(found.as_deref(), expected, "{looked_at:?} {limit} {taken:?}");
            assert!(front.bytes.capacity() as u64 <= 2 * limit.max(looked_at.len() as u64).max(8));
        };
        check("", 0, &[], Some(""));
        check("", 0, &[""], Some(""));
        check("", 0, &["a"], None);
        check("", 4, &["ab", "cd"], Some("abcd"));
        check("", 4, &["ab", "cde"], None);
        check("", 4, &["ab", "cde", "f"], None);
        check("ab", 0, &[], Some("ab"));
        check("ab", 0, &["c"], None);
        check("ab", 3, &["c"], Some("abc"));
        check("abcdef", 3, &[], Some("abcdef"));
        check("abcdef", 3, &["g"], None);
    }

    #[test]
    fn settled_bodies_can_not_be_rewound() {
        let mut front = Front::of(b"ab".to_vec(), memory().charge());
        front.keep(10, memory());
        front.settle();
        assert_eq!(front.unsent(), b"ab", "unsent data is kept");
        assert!(front.rewind());
        front.send(<[u8]>::len);
        front.settle();
        assert!(!front.rewind());
    }

    #[test]
    fn total_memory_is_bounded() {
        let memory = memory();
        let kept = |bytes: usize| {
            let mut front = Front::default();
            front.keep(u64::MAX, memory);
            front.taken(&vec![0; bytes]);
            front
        };
        let mut first = kept(ALL - 10);
        assert!(first.rewind() && kept(10).rewind() && !kept(11).rewind());
        let (mut second, mut third) = (kept(10), kept(1));
        assert!(second.rewind() && !third.rewind());
        drop(first);
        assert!(kept(ALL - 10).rewind());
        second.send(<[u8]>::len);
        second.settle();
        assert_eq!(memory.used().1, 0);
    }

    #[test]
    fn trailers_are_kept() {
        let mut front = Front::default();
        let fields: Fields = [("a", "b")].into_iter().collect();
        assert_eq!(front.trailers(|| Some(fields.clone())), Some(fields.clone()));
        assert_eq!(front.trailers(|| None), Some(fields));
        front.forget();
        assert_eq!(front.trailers(|| None), None);
    }
}
