//! Finds candidates for patterns: [`Prefilter`], a bit for each hash of three bytes at the beginning of a pattern. Its lookups don't depend
//! on each other, as the steps of an automaton do, and its table fits into the first-level cache.
//!
//! If all patterns are long enough, only every second to fourth position is tested: wherever such a pattern is, one of
//! these is within its beginning (Wu and Manber, 1994, with constant shifts).

use std::ops::ControlFlow;

/// The number of bytes that are hashed.
pub(super) const GRAM: usize = 3;

/// The largest stride, in bytes.
const FARTHEST: usize = 4;

/// The length from which on patterns allow the largest stride.
pub(super) const LONG: usize = GRAM + FARTHEST - 1;

/// How many positions are tested at once: usually none of them passes, which costs one branch.
const STEP: usize = 8;

/// The bytes of that many positions.
const BLOCK: usize = FARTHEST * STEP;

/// The bits of a hash: the table has 16 KiB.
const BITS: u32 = 17;

/// The bits of a hash that select a group.
const GROUP_BITS: u32 = 12;

/// The most bytes that are compared for each byte that is read, before the search is aborted.
const EFFORT: usize = 4;

/// A bit for each hash; the size is constant, so that lookups need no bounds check.
type Bits = [u32; 1 << (BITS - 5)];

/// A prefilter for a set of patterns.
pub(super) struct Prefilter {
    /// The distance between tested positions, in bytes.
    stride: usize,
    bits: Box<Bits>,
    /// The trigrams, in the order of their hashes.
    trigrams: Vec<Trigram>,
    /// The index of each group's first trigram.
    groups: Box<[u32]>,
}

/// Three bytes at the beginning of a pattern.
struct Trigram {
    gram: [u8; GRAM],
    /// Their offset in the pattern.
    offset: u8,
    text: u32,
}

/// Why a search ended early.
enum EarlyExit {
    /// The caller has found enough.
    Enough,
    /// Too many false candidates were compared.
    GivenUp,
}

fn hash([a, b, c]: [u8; GRAM]) -> u32 {
    hash_of(u32::from_le_bytes([a, b, c, 0]))
}

/// Returns the hash of the lower three bytes.
fn hash_of(bytes: u32) -> u32 {
    // Fibonacci hashing (Knuth, TAOCP 6.4).
    (bytes << 8).wrapping_mul(0x9E37_79B1) >> (32 - BITS)
}

fn group(hash: u32) -> usize {
    (hash >> (BITS - GROUP_BITS)) as usize
}

impl Prefilter {
    /// Creates a prefilter for the patterns with these numbers, each of [`GRAM`] bytes or more; `None` for no patterns.
    pub(super) fn new(texts: &[Box<[u8]>], which: &[usize]) -> Option<Prefilter> {
        let shortest = which.iter().map(|&text| texts[text].len()).min()?;
        let stride = (shortest + 1).saturating_sub(GRAM).clamp(1, FARTHEST);
        let mut trigrams = Vec::with_capacity(stride * which.len());
        for &text in which {
            for (offset, gram) in texts[text].windows(GRAM).take(stride).enumerate() {
                let gram = gram.try_into().unwrap_or_default();
                trigrams.push(Trigram { gram, offset: offset as u8, text: text as u32 });
            }
        }
        trigrams.sort_unstable_by_key(|trigram| (hash(trigram.gram), trigram.text));
        let mut bits: Box<Bits> = Box::new([0; 1 << (BITS - 5)]);
        let mut groups = vec![0_u32; (1 << GROUP_BITS) + 1].into_boxed_slice();
        for Trigram { gram, .. } in &trigrams {
            let hash = hash(*gram);
            bits[hash as usize / 32] |= 1 << (hash % 32);
            groups[group(hash) + 1] += 1;
        }
        for index in 1..groups.len() {
            groups[index] += groups[index - 1];
        }
        Some(Prefilter { stride, bits, trigrams, groups })
    }

    /// Returns its memory in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Bits>() + 4 * self.groups.len() + self.trigrams.len() * size_of::<Trigram>()
    }

    /// Calls `found` with each pattern in the first `length` bytes of a [`padded`] text, until it has enough. `false`: the search was
    /// aborted because of too many false candidates.
    pub(super) fn search(
        &self,
        texts: &[Box<[u8]>],
        (padded, length): (&[u8], usize),
        found: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> bool {
        match self.stride {
            1 => self.sift::<1>(texts, (padded, length), found),
            2 => self.sift::<2>(texts, (padded, length), found),
            3 => self.sift::<3>(texts, (padded, length), found),
            _ => self.sift::<FARTHEST>(texts, (padded, length), found),
        }
    }

    fn sift<const STRIDE: usize>(
        &self,
        texts: &[Box<[u8]>],
        (padded, length): (&[u8], usize),
        found: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> bool {
        let within = &padded[..length];
        let mut left = EFFORT * length;
        let end = length.saturating_sub(GRAM - 1);
        let mut at = 0;
        while at < end {
            let Some(block) = padded[at..].first_chunk() else { return false };
            let mut passing = self.passing::<STRIDE>(block);
            if end - at < STRIDE * STEP {
                // Bytes after the end are not part of the text.
                passing &= (1 << (end - at).div_ceil(STRIDE)) - 1;
            }
            while passing != 0 {
                let place = at + STRIDE * passing.trailing_zeros() as usize;
                passing &= passing - 1;
                match self.compare(texts, within, place, &mut left, found) {
                    Ok(()) => {}
                    Err(EarlyExit::Enough) => return true,
                    Err(EarlyExit::GivenUp) => return false,
                }
            }
            at += STRIDE * STEP;
        }
        true
    }

    /// Returns the positions of a block that pass, as a bit set.
    fn passing<const STRIDE: usize>(&self, block: &[u8; BLOCK]) -> u32 {
        // The lower three of these are used.
        let bytes = |at: usize| block[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let bit = |place: usize| {
            let hash = hash_of(bytes(STRIDE * place));
            (self.bits[hash as usize / 32] >> (hash % 32) & 1) << place
        };
        // Combined as a tree, so that the lookups do not depend on each other.
        ((bit(0) | bit(1)) | (bit(2) | bit(3))) | ((bit(4) | bit(5)) | (bit(6) | bit(7)))
    }

    /// Compares the patterns of a hash with the text here.
    fn compare(
        &self,
        texts: &[Box<[u8]>],
        within: &[u8],
        place: usize,
        left: &mut usize,
        found: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), EarlyExit> {
        let Some(gram) = within[place..].first_chunk::<GRAM>() else { return Ok(()) };
        let group = group(hash(*gram));
        let group = self.groups[group] as usize..self.groups[group + 1] as usize;
        for trigram in self.trigrams[group].iter().filter(|trigram| trigram.gram == *gram) {
            let Some(start) = place.checked_sub(usize::from(trigram.offset)) else { continue };
            let text = &*texts[trigram.text as usize];
            let common = text.iter().zip(&within[start..]).take_while(|(a, b)| a == b).count();
            if common == text.len() && found(trigram.text as usize).is_break() {
                return Err(EarlyExit::Enough);
            }
            *left = left.checked_sub(common).ok_or(EarlyExit::GivenUp)?;
        }
        Ok(())
    }
}

/// Appends padding that a search may read beyond the end.
pub(super) fn padded(text: &mut Vec<u8>) {
    text.extend_from_slice(&[0; BLOCK]);
}
