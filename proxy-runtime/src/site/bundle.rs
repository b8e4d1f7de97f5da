//! Embedded files: [`Bundle`], one constant with the files of all embedded folders of a site, each with its encoded
//! variants and the head of each variant. Pure.
//!
//! A perfect hash maps folder and path to a file, which is a slice of the constant. Nothing is
//! allocated or copied, and pages of the binary that are not requested are never read. The compiler writes it ([`write()`]).

use std::sync::OnceLock;

use crate::router::table::{Table, Words};

/// The encodings of compressed variants: the name in `Content-Encoding`, and the suffix of the file's name. In the order of
/// preference.
pub const ENCODINGS: [(&str, &str); 3] = [("br", ".br"), ("zstd", ".zst"), ("gzip", ".gz")];

/// The number of variants of a file: unencoded, and in each of [`ENCODINGS`].
pub const FORMS: usize = 1 + ENCODINGS.len();

/// The files that are compiled into a site.
#[derive(Debug, Clone)]
pub struct Bundle {
    bytes: &'static [u8],
    read: OnceLock<Option<Index>>,
}

/// Maps folder and path to `[kind, place, length]`.
pub type Paths = Table<3>;

/// A row of [`Paths`] for a file, whose place is the index of its [`Forms`].
pub const FILE: u32 = 0;

/// A row for a folder, whose place and length are those of its list of names.
pub const FOLDER: u32 = 1;

/// The offsets of the head, the body and the end of each variant.
pub type Forms = [u32; 3 * FORMS];

#[derive(Debug, Clone)]
struct Index {
    paths: Paths,
    forms: Words,
    content: &'static [u8],
}

/// The entry of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A file, unencoded and in each of [`ENCODINGS`] that makes it smaller.
    File([Option<Form>; FORMS]),
    /// A folder: its names, each terminated by NUL, with a slash after those of folders. Empty if it is not listed.
    Folder(&'static str),
}

/// A variant of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Its header fields, as [`crate::protocol::fields::Fields::packed`] makes them.
    pub head: &'static [u8],
    /// Its content.
    pub body: &'static [u8],
}

/// The numbers at the beginning: the hash's seed (two numbers), the size of its slots, and the lengths of the parts that
/// follow.
const HEADER: usize = 7;

impl Bundle {
    /// Returns the bundle that [`write()`] has written; empty for a site without embedded files.
    pub const fn new(bytes: &'static [u8]) -> Bundle {
        Bundle { bytes, read: OnceLock::new() }
    }

    /// Returns the entry of a path. Costs two cache lines, and one for the row of a file.
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

/// Serializes a bundle; `None` if it is too large.
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
    fn damaged_bundles_are_empty() {
        assert_eq!(Bundle::new(&[]).get(0, b"a"), None);
        assert_eq!(Bundle::new(&[0; 20]).get(0, b"a"), None);
        assert_eq!(Bundle::new(&[0xff; 200]).get(0, b"a"), None);
    }
}
