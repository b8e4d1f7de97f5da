//! The values that a pattern and a `path-regex` bind in a path ([`Captures`]). Pure; no allocation.

/// The most captures of a pattern and a `path-regex` together.
pub const MAX_CAPTURES: usize = 16;

/// The values that a pattern bound: ranges of the path. At most [`MAX_CAPTURES`]; lives on the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Captures {
    slots: [(u32, u32); MAX_CAPTURES],
}

impl Captures {
    /// No captures.
    pub const NONE: Captures = Captures { slots: [(0, 0); MAX_CAPTURES] };

    /// Sets a capture. A path is never 4 GiB long (heads are limited), a slot is never above [`MAX_CAPTURES`] (the compiler
    /// rejects such patterns); out-of-range values are ignored.
    pub fn bind(&mut self, slot: usize, start: usize, end: usize) {
        if let (Some(slot), Ok(start), Ok(end)) = (self.slots.get_mut(slot), u32::try_from(start), u32::try_from(end)) {
            *slot = (start, end);
        }
    }

    /// Returns the value of a capture; empty if it is not set. Expressions match bytes, so a group may begin or end within a
    /// character.
    pub fn get<'a>(&self, slot: usize, path: &'a str) -> &'a [u8] {
        let (start, end) = self.slots.get(slot).copied().unwrap_or_default();
        path.as_bytes().get(start as usize..end as usize).unwrap_or_default()
    }
}
