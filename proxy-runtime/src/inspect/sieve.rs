//! Where a text may begin: [`Sieve`], a bit for each hash of three bytes that some text begins with. Its look-ups don't wait for
//! each other, as the steps of an automaton do, and its bits are few enough to stay in the nearest memory.

use std::ops::ControlFlow;

/// So many bytes are looked at.
pub(super) const GRAM: usize = 3;

/// At so many places at once: nearly always nothing passes at any of them, and one branch says so.
const STEP: usize = 8;

/// The bits of a hash: 16 KiB of bits.
const BITS: u32 = 17;

/// The bits of a hash that tell groups apart.
const GROUP_BITS: u32 = 12;

/// How much is compared before it is given up, in bytes for each byte that is read.
const EFFORT: usize = 4;

/// A bit for each hash; of a size that is known, so that no look-up is checked.
type Bits = [u32; 1 << (BITS - 5)];

/// See above.
pub(super) struct Sieve {
    bits: Box<Bits>,
    /// The first three bytes of texts, and which text; in the order of their hashes.
    begins: Vec<([u8; GRAM], u32)>,
    /// Where among them those begin whose hashes begin so.
    groups: Box<[u32]>,
}

/// Why a search ended before its end.
enum Ended {
    /// Enough was found.
    Enough,
    /// So much looked like texts that it was given up.
    GivenUp,
}

fn hash([a, b, c]: [u8; GRAM]) -> u32 {
    hash_of(u32::from_le_bytes([a, b, c, 0]))
}

/// The hash of the lower three bytes.
fn hash_of(bytes: u32) -> u32 {
    // Fibonacci hashing (Knuth, TAOCP 6.4).
    (bytes << 8).wrapping_mul(0x9E37_79B1) >> (32 - BITS)
}

fn group(hash: u32) -> usize {
    (hash >> (BITS - GROUP_BITS)) as usize
}

impl Sieve {
    /// For these texts, each of [`GRAM`] bytes or more; shorter ones are not found.
    pub(super) fn new(texts: &[Box<[u8]>]) -> Sieve {
        let mut bits: Box<Bits> = Box::new([0; 1 << (BITS - 5)]);
        let begins = texts.iter().enumerate().filter_map(|(index, text)| Some((*text.first_chunk()?, index as u32)));
        let mut begins: Vec<([u8; GRAM], u32)> = begins.collect();
        begins.sort_unstable_by_key(|(gram, index)| (hash(*gram), *index));
        let mut groups = vec![0_u32; (1 << GROUP_BITS) + 1].into_boxed_slice();
        for (gram, _) in &begins {
            let hash = hash(*gram);
            bits[hash as usize / 32] |= 1 << (hash % 32);
            groups[group(hash) + 1] += 1;
        }
        for index in 1..groups.len() {
            groups[index] += groups[index - 1];
        }
        Sieve { bits, begins, groups }
    }

    /// How much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Bits>() + 4 * self.groups.len() + self.begins.len() * size_of::<([u8; GRAM], u32)>()
    }

    /// Calls `found` with each text that is in `within`, until it has enough. `false`: so much looked like texts that it was given up.
    pub(super) fn search(
        &self,
        texts: &[Box<[u8]>],
        within: &[u8],
        found: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> bool {
        let mut left = EFFORT * within.len();
        let places = within.len().saturating_sub(GRAM - 1);
        let mut at = 0;
        while at < places {
            let mut passing = match within[at..].first_chunk() {
                Some(block) => self.passing(block),
                // The last few: looked at one by one.
                None => (1 << (places - at).min(STEP)) - 1,
            };
            while passing != 0 {
                let place = at + passing.trailing_zeros() as usize;
                passing &= passing - 1;
                match self.compare(texts, &within[place..], &mut left, found) {
                    Ok(()) => {}
                    Err(Ended::Enough) => return true,
                    Err(Ended::GivenUp) => return false,
                }
            }
            at += STEP;
        }
        true
    }

    /// At which places of a block some text may begin, a bit for each.
    fn passing(&self, block: &[u8; GRAM + STEP - 1]) -> u32 {
        // Two loads instead of one for each byte.
        let [a, b, c, d, e, f, g, h, i, j] = *block;
        let (front, back) =
            (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([c, d, e, f, g, h, i, j]));
        let bit = |place: u32| {
            let hash = hash_of(if place < 6 { front >> (8 * place) } else { back >> (8 * (place - 2)) } as u32);
            (self.bits[hash as usize / 32] >> (hash % 32) & 1) << place
        };
        bit(0) | bit(1) | bit(2) | bit(3) | bit(4) | bit(5) | bit(6) | bit(7)
    }

    /// Compares texts with what begins here.
    fn compare(
        &self,
        texts: &[Box<[u8]>],
        here: &[u8],
        left: &mut usize,
        found: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<(), Ended> {
        let Some(gram) = here.first_chunk::<GRAM>() else { return Ok(()) };
        let group = group(hash(*gram));
        let group = self.groups[group] as usize..self.groups[group + 1] as usize;
        for (_, index) in self.begins[group].iter().filter(|(begin, _)| begin == gram) {
            let text = &*texts[*index as usize];
            let common = text.iter().zip(here).take_while(|(a, b)| a == b).count();
            if common == text.len() && found(*index as usize).is_break() {
                return Err(Ended::Enough);
            }
            *left = left.checked_sub(common).ok_or(Ended::GivenUp)?;
        }
        Ok(())
    }
}
