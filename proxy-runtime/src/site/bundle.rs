//! Embedded files: [`Bundle`], one constant with the files of all embedded folders of a site, each with its
//! compressed variants and the head of each variant. Pure.
//!
//! A perfect hash maps folder and path to a file, which is a slice of the constant. Nothing is
//! allocated or copied, and pages of the binary that are not requested are never read. The compiler writes it ([`write()`]).

use std::sync::OnceLock;

use crate::router::table::{Table, Words};

/// A way in which a file may be compressed beside itself: what it is called in `Content-Encoding` and behind its name. In the
/// order in which they are preferred.
pub const ENCODINGS: [(&str, &str); 3] = [("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz")];

/// A file as it is, and in each of [`ENCODINGS`].
pub const FORMS: usize = 1 + ENCODINGS.len();

/// The files that are compiled into a site.
#[derive(Debug, Clone)]
pub struct Bundle {
    bytes: &'static [u8],
    read: OnceLock<Option<Index>>,
}

/// From folder and path to `[kind, place, length]`.
pub type Paths = Table<3>;

/// The kinds of rows in [`Paths`]: a file, whose place is that of its row among the forms.
pub const FILE: u32 = 0;

/// A folder, whose place and length are those of the list of its names.
pub const FOLDER: u32 = 1;

/// A row of the forms: where head, body and what follows begin, for each form.
pub type Forms = [u32; 3 * FORMS];

#[derive(Debug, Clone)]
struct Index {
    paths: Paths,
    forms: Words,
    content: &'static [u8],
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A file, as it is and in each of [`ENCODINGS`] in which it is smaller.
    File([Option<Form>; FORMS]),
    /// A folder: its names, each with a NUL behind it, those of folders with a slash before that. Empty where it isn't listed.
    Folder(&'static str),
}

/// A file in one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Its header fields, as [`crate::protocol::fields::Fields::packed`] makes them.
    pub head: &'static [u8],
    /// Its content.
    pub body: &'static [u8],
}

/// The numbers at the beginning: the hash's seed in two, the size of its slots, and the lengths of the parts that follow.
const HEADER: usize = 7;

impl Bundle {
    /// What [`write()`] has written; nothing, for a site that compiles nothing in.
    pub const fn new(bytes: &'static [u8]) -> Bundle {
        Bundle { bytes, read: OnceLock::new() }
    }

    /// What is there. Two lines of memory, and one for the row of a file.
    pub fn get(&self, folder: u16, path: &[u8]) -> Option<Entry> {
        let Index { paths, forms, content } = self.read.get_or_init(|| Index::read(self.bytes)).as_ref()?;
        let part = |from: u32, to: u32| content.get(from as usize..to as usize);
        match paths.get(folder.into(), path)? {
            [FILE, place, _] => {
                let row: Forms = forms.row(place as usize);
                let form = |[head, body, end]: [u32; 3]| Some(Form { head: part(head, body)?, body: part(body, end)? });
                let (rows, _) = row.as_chunks();
                Some(Entry::File(std::array::from_fn(|index| form(rows[index]))))
            }
            [_, place, length] => {
                Some(Entry::Folder(std::str::from_utf8(part(place, place.saturating_add(length))?).ok()?))
            }
        }
    }
}

impl Index {
    fn read(bytes: &'static [u8]) -> Option<Index> {
        let (header, rest) = bytes.split_at_checked(4 * HEADER)?;
        let header: [u32; HEADER] = Words::new(header).row(0);
        let [low, high, stride, slots, disps, long, forms] = header;
        let (slots, rest) = rest.split_at_checked(slots as usize)?;
        let (disps, rest) = rest.split_at_checked(disps as usize)?;
        let (long, rest) = rest.split_at_checked(long as usize)?;
        let (forms, content) = rest.split_at_checked(forms as usize)?;
        if stride == 0 || disps.is_empty() {
            return None;
        }
        let paths = Table {
            seed: u64::from(high) << 32 | u64::from(low),
            disps: Words::new(disps),
            stride,
            slots: slots.into(),
            long: std::str::from_utf8(long).ok()?.into(),
        };
        Some(Index { paths, forms: Words::new(forms), content })
    }
}

/// The bytes of a bundle; `None` where it is too large to be one.
pub fn write(paths: &Paths, forms: &Words, content: &[u8]) -> Option<Vec<u8>> {
    let length = |part: &[u8]| u32::try_from(part.len()).ok();
    let header = [
        paths.seed as u32,
        (paths.seed >> 32) as u32,
        paths.stride,
        length(&paths.slots)?,
        length(paths.disps.bytes())?,
        length(paths.long.as_bytes())?,
        length(forms.bytes())?,
    ];
    length(content)?;
    let header: Words = header.into_iter().collect();
    Some([header.bytes(), &paths.slots, paths.disps.bytes(), paths.long.as_bytes(), forms.bytes(), content].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_ones_have_nothing() {
        assert_eq!(Bundle::new(&[]).get(0, b"a"), None);
        assert_eq!(Bundle::new(&[0; 20]).get(0, b"a"), None);
        assert_eq!(Bundle::new(&[0xff; 200]).get(0, b"a"), None);
    }
}
