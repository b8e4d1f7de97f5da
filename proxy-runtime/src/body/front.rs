//! The buffered beginning of a request's body: [`Front`].
//!
//! Data that was inspected before it is sent (`block`) goes before the rest. Data that is taken of a streaming body is kept
//! as well, up to a limit, so that its request can be sent again from the first byte if a server has not processed it. It
//! counts as the process's memory ([`Charge`]). On the hot path of requests with a body: without a limit
//! nothing is copied.

use crate::net::memory::{Charge, Memory};
use crate::protocol::fields::Fields;

/// See above.
#[derive(Debug, Default)]
pub(crate) struct Front {
    bytes: Vec<u8>,
    /// How much of them is sent.
    sent: usize,
    /// So many bytes are kept as they are taken.
    limit: u64,
    /// The memory that they take.
    charge: Option<Charge>,
    /// Some of what was taken is not here: the body can't begin again.
    gone: bool,
    /// What followed the body.
    trailers: Option<Fields>,
}

impl Front {
    /// These, of which nobody has been sent anything.
    pub(crate) fn of(bytes: Vec<u8>, charge: Charge) -> Front {
        Front { bytes, charge: Some(charge), ..Front::default() }
    }

    /// From here on, what is taken is kept, up to `limit` bytes and as far as there is memory for it.
    pub(crate) fn keep(&mut self, limit: u64, memory: &'static Memory) {
        self.limit = limit;
        self.charge.get_or_insert_with(|| memory.charge());
    }

    /// Nothing of the body was looked at or taken.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.gone && self.bytes.is_empty()
    }

    /// What goes before what still comes.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Gives that to `to`, which says how much of it is sent.
    pub(crate) fn send(&mut self, to: impl FnOnce(&[u8]) -> usize) -> usize {
        let sent = to(self.unsent());
        self.sent += sent;
        sent
    }

    /// This was taken behind all that is here, and sent.
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

    /// Begins again with the first byte. `false`: it is not here.
    pub(crate) fn rewind(&mut self) -> bool {
        if !self.gone {
            self.sent = 0;
        }
        !self.gone
    }

    /// The body won't begin again.
    pub(crate) fn settle(&mut self) {
        self.limit = 0;
        if self.unsent().is_empty() && !self.bytes.is_empty() {
            self.forget();
        }
    }

    /// What followed the body: from `at_client` the first time.
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

    /// All that there is.
    const ALL: usize = 1000;

    fn memory() -> &'static Memory {
        Box::leak(Box::new(Memory::of(ALL as u64)))
    }

    #[test]
    fn bodies_begin_again() {
        let check = |looked_at: &str, limit: u64, taken: &[&str], expected: Option<&str>| {
            let mut front = Front::of(looked_at.as_bytes().to_vec(), memory().charge());
            front.keep(limit, memory());
            assert_eq!(front.send(<[u8]>::len), looked_at.len());
            for piece in taken {
                assert_eq!(front.unsent(), b"", "what is here goes first");
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
    fn settled_ones_do_not() {
        let mut front = Front::of(b"ab".to_vec(), memory().charge());
        front.keep(10, memory());
        front.settle();
        assert_eq!(front.unsent(), b"ab", "what is not sent stays");
        assert!(front.rewind());
        front.send(<[u8]>::len);
        front.settle();
        assert!(!front.rewind());
    }

    #[test]
    fn all_together_are_bounded() {
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
    fn trailers_come_as_often() {
        let mut front = Front::default();
        let fields: Fields = [("a", "b")].into_iter().collect();
        assert_eq!(front.trailers(|| Some(fields.clone())), Some(fields.clone()));
        assert_eq!(front.trailers(|| None), Some(fields));
        front.forget();
        assert_eq!(front.trailers(|| None), None);
    }
}
