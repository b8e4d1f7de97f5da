//! Tables as bytes: numbers ([`Words`]), and a minimal perfect hash over text keys ([`Table`]). Pure, on the hot path.
//!
//! rustc compiles a byte literal of any length in almost no time, while a slice of 100,000 structs takes a minute
//! and gigabytes. Numbers are little-endian and read in place, without alignment and without `unsafe`; positions
//! out of range read as [`NONE`].

use std::borrow::Cow;

use phf_shared::PhfHash;

/// Means "none" in tables.
pub const NONE: u32 = u32::MAX;

/// A list of 32-bit numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words(Cow<'static, [u8]>);

impl Words {
    /// Creates a list from the bytes that the compiler wrote.
    pub const fn new(bytes: &'static [u8]) -> Words {
        Words(Cow::Borrowed(bytes))
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes, to be moved elsewhere.
    #[cfg(feature = "serve")]
    pub(crate) fn bytes_mut(&mut self) -> &mut Cow<'static, [u8]> {
        &mut self.0
    }

    /// Returns the length of the list.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Returns whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number at `index`, or [`NONE`].
    pub fn get(&self, index: usize) -> u32 {
        let [number] = self.row(index);
        number
    }

    /// Returns the `index`th row of `N` numbers.
    pub fn row<const N: usize>(&self, index: usize) -> [u32; N] {
        self.0.get(4 * N * index..).map_or([NONE; N], numbers)
    }

    /// Returns the first index of a range whose row is not `below`; rows are sorted by it.
    pub fn lower_bound<const N: usize>(&self, mut from: u32, mut to: u32, below: impl Fn([u32; N]) -> bool) -> u32 {
        while from < to {
            let middle = from + (to - from) / 2;
            if below(self.row(middle as usize)) { from = middle + 1 } else { to = middle }
        }
        from
    }
}

impl FromIterator<u32> for Words {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Words {
        Words(Cow::Owned(numbers.into_iter().flat_map(u32::to_le_bytes).collect()))
    }
}

/// Returns the first `N` numbers of `bytes`; all [`NONE`] if there are fewer.
fn numbers<const N: usize>(bytes: &[u8]) -> [u32; N] {
    bytes.as_chunks().0.first_chunk().map_or([NONE; N], |numbers| numbers.map(u32::from_le_bytes))
}

/// A minimal perfect hash table from (scope, text) to a row of `N` numbers, as `phf_generator` lays it out (CHD).
///
/// An entry, its key and its row are adjacent, in slots of equal size: a lookup reads a displacement and a slot, which
/// is two cache lines, however large the table is.
#[derive(Debug, Clone)]
pub struct Table<const N: usize> {
    /// The seed of the hash.
    pub seed: u64,
    /// The displacements, in pairs.
    pub disps: Words,
    /// The size of a slot in bytes.
    pub stride: u32,
    /// The slots in the hash's order: scope, length of the key and row as numbers, then the key, or its offset in
    /// `long` if it does not fit.
    pub slots: Cow<'static, [u8]>,
    /// The keys that do not fit into a slot.
    pub long: Cow<'static, str>,
}

/// Bytes aligned to cache lines, so that slots don't cross two of them.
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

/// A key of a [`Table`], as it is hashed by the compiler and the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableKey<'a> {
    /// Listener, site or node.
    pub scope: u32,
    /// Host, path or segment.
    pub text: &'a [u8],
}

impl PhfHash for TableKey<'_> {
    fn phf_hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u32(self.scope);
        state.write(self.text);
    }
}

impl<const N: usize> Table<N> {
    /// A table without entries.
    pub const EMPTY: Table<N> =
        Table { seed: 0, disps: Words::new(&[]), stride: 16, slots: Cow::Borrowed(&[]), long: Cow::Borrowed("") };

    /// The size of the fields before a key in its slot.
    const HEAD: usize = 4 * (2 + N);

    /// Builds a table from entries in the hash's order: scope, key, row.
    pub fn from_entries<'a>(
        seed: u64,
        disps: Words,
        entries: impl Iterator<Item = (u32, &'a str, [u32; N])> + Clone,
    ) -> Table<N> {
        let count = entries.clone().count();
        let fits = |stride: usize| {
            let fitting = entries.clone().filter(|(_, key, _)| Self::HEAD + key.len() <= stride).count();
            // Space for nearly all of them; a few long keys do not justify large slots.
            10 * fitting >= 9 * count
        };
        let stride = [16, 32, 64].into_iter().find(|&stride| fits(stride)).unwrap_or(64);
        let (mut slots, mut long) = (Vec::with_capacity(stride * count), String::new());
        for (scope, key, row) in entries {
            let start = slots.len();
            slots.extend([scope, key.len() as u32].into_iter().chain(row).flat_map(u32::to_le_bytes));
            if Self::HEAD + key.len() <= stride {
                slots.extend(key.bytes());
            } else {
                slots.extend((long.len() as u32).to_le_bytes());
                long.push_str(key);
            }
            slots.resize(start + stride, 0);
        }
        Table { seed, disps, stride: stride as u32, slots: slots.into(), long: long.into() }
    }

    /// Returns the number of entries.
    pub fn len(&self) -> usize {
        self.slots.len() / self.stride as usize
    }

    /// Returns whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Looks up the row of a key: one hash, one comparison; in a table of few keys, comparisons alone.
    pub fn get(&self, scope: u32, text: &[u8]) -> Option<[u32; N]> {
        match self.len() {
            len @ 0..=FEW => (0..len).find_map(|index| self.row_of(index, scope, text)),
            len => self.row_of(self.index(scope, text, len), scope, text),
        }
    }

    /// Returns where a key is, if it is in the table: `phf_shared::get_index`, for numbers in bytes.
    fn index(&self, scope: u32, text: &[u8], len: usize) -> usize {
        let hashes = phf_shared::hash(&TableKey { scope, text }, &self.seed);
        let bucket = hashes.g % (self.disps.len() / 2) as u32;
        let [d1, d2] = self.disps.row(bucket as usize);
        (phf_shared::displace(hashes.f1, hashes.f2, d1, d2) % len as u32) as usize
    }

    /// Returns a row, if it is that of this key.
    fn row_of(&self, index: usize, scope: u32, text: &[u8]) -> Option<[u32; N]> {
        let stride = self.stride as usize;
        let slot = self.slots.get(index * stride..)?.get(..stride)?;
        let [found, length] = numbers(slot);
        if (found, length as usize) != (scope, text.len()) {
            return None;
        }
        let (row, rest) = (&slot[8..Self::HEAD], &slot[Self::HEAD..]);
        let key = match rest.get(..text.len()) {
            Some(key) => key,
            None => {
                let [start] = numbers(rest);
                self.long.as_bytes().get(start as usize..)?.get(..text.len())?
            }
        };
        (key == text).then(|| numbers(row))
    }
}

/// Up to this many keys, comparisons cost less than a hash.
const FEW: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let words: Words = [1, 2, 3, 4].into_iter().collect();
        assert_eq!((words.len(), words.get(2), words.get(4)), (4, 3, NONE));
        assert_eq!((words.row::<2>(1), words.row::<2>(2)), ([3, 4], [NONE, NONE]));
        assert_eq!(words.lower_bound::<2>(0, 2, |row| row[0] < 3), 1);
        assert_eq!(words.lower_bound::<2>(0, 2, |row| row[0] < 9), 2);
    }

    #[test]
    fn few_keys() {
        let long = "k".repeat(100);
        let entries = [(0, "a", [1]), (1, "a", [2]), (1, "", [3]), (1, &*long, [4])];
        for count in 0..=entries.len() {
            let table = Table::<1>::from_entries(0, Words::default(), entries[..count].iter().copied());
            for (index, (scope, key, row)) in entries.into_iter().enumerate() {
                assert_eq!(table.get(scope, key.as_bytes()), (index < count).then_some(row), "{count} {key}");
            }
            for (scope, key) in [(0, "b"), (2, "a"), (0, "aa"), (0, ""), (1, &*"l".repeat(100)), (1, &*"k".repeat(99))]
            {
                assert_eq!(table.get(scope, key.as_bytes()), None, "{count} {key}");
            }
        }
    }
}
