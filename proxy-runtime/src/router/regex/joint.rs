//! Many expressions in one table: [`Joint`]. Pure, on the hot path.
//!
//! The table is a DFA as bytes, designed for this: expressions on paths have long literal parts and few branches, and a site may
//! have 100,000. Chains of states without branches are text to compare; a state is stored before its successors, so that the
//! states of one expression are in one or two cache lines. Nothing is parsed or checked at start. A state is
//!
//! ```text
//! u8   length of the literal text that follows    the text
//! u8   flags: WIDTH, RUN, ENDS
//! u8   number of places                           RUN: first and last byte, with a place for each byte
//!                                                 else: first and last byte for each place, sorted
//!      places: offset of the next state, relative to this one (u8 or u16), or absolute (u32)
//! u16  ENDS: number of expressions that match if the path ends here     u32 each
//! ```
//!
//! Numbers are little-endian. The first state is at 0.

use std::borrow::Cow;

/// Many expressions in one table: a single walk over a text finds all that match.
///
/// The compiler extends each expression to continue to the end of the text once it has matched; the end of the walk
/// lists all that did.
#[derive(Debug, Clone)]
pub struct Joint(Cow<'static, [u8]>);

/// The end of a walk: refers to the list of matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End(Option<u32>);

/// The bits with the width of places: 1, 2 or 4 bytes.
const WIDTH: u8 = 0b0111;
/// The bit of a state whose places are for consecutive single bytes.
pub const RUN: u8 = 1 << 3;
/// The bit of a state with expressions that match if the text ends there.
pub const ENDS: u8 = 1 << 4;

/// A parsed state.
struct JointState<'a> {
    text: &'a [u8],
    how: u8,
    ranges: &'a [[u8; 2]],
    places: &'a [u8],
    /// The offset of its list of expressions.
    list: usize,
}

impl Joint {
    /// Creates a table from the bytes that the compiler wrote.
    pub const fn new(bytes: Cow<'static, [u8]>) -> Joint {
        Joint(bytes)
    }

    /// Returns the bytes of its table.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Walks over a text. Linear time, no allocation.
    pub fn end(&self, text: &[u8]) -> End {
        let (mut at, mut rest) = (0, text);
        loop {
            let Some(state) = self.state(at) else { return End(None) };
            let Some(after) = rest.strip_prefix(state.text) else { return End(None) };
            let Some((&byte, after)) = after.split_first() else { return state.end() };
            let Some(next) = state.next(at, byte) else { return End(None) };
            if next == at && state.ranges == [[0, u8::MAX]] && state.text.is_empty() {
                // The result does not depend on the rest.
                return state.end();
            }
            (at, rest) = (next, after);
        }
    }

    /// Returns the numbers of the expressions that have matched.
    pub fn matched(&self, End(list): End) -> impl Iterator<Item = u32> {
        let list = list.and_then(|at| {
            let (count, rest) = self.0.get(at as usize..)?.split_first_chunk()?;
            rest.as_chunks().0.get(..usize::from(u16::from_le_bytes(*count)))
        });
        list.unwrap_or_default().iter().map(|number| u32::from_le_bytes(*number))
    }

    fn state(&self, at: usize) -> Option<JointState<'_>> {
        let (&length, rest) = self.0.get(at..)?.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(length))?;
        let (&[how, count], rest) = rest.split_first_chunk()?;
        let count = usize::from(count);
        let (ranges, rest) = rest.split_at_checked(if how & RUN == 0 { 2 * count } else { 2 })?;
        let (places, rest) = rest.split_at_checked(count * usize::from(how & WIDTH))?;
        Some(JointState { text, how, ranges: ranges.as_chunks().0, places, list: self.0.len() - rest.len() })
    }
}

impl JointState<'_> {
    fn end(&self) -> End {
        End(u32::try_from(self.list).ok().filter(|_| self.how & ENDS != 0))
    }

    /// Returns the offset of the next state for a byte.
    fn next(&self, at: usize, byte: u8) -> Option<usize> {
        let range = self.ranges.iter().position(|&[_, to]| byte <= to)?;
        let index = usize::from(byte.checked_sub(self.ranges[range][0])?);
        let index = if self.how & RUN == 0 { range } else { index };
        match self.how & WIDTH {
            1 => Some(at + usize::from(*self.places.get(index)?)),
            2 => Some(at + usize::from(u16::from_le_bytes(*self.places.as_chunks().0.get(index)?))),
            _ => Some(u32::from_le_bytes(*self.places.as_chunks().0.get(index)?) as usize),
        }
    }
}
