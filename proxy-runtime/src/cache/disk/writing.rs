//! The steps of writing a file: begin, continue, and name it once it is complete.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use super::Disk;
use super::limits::{UNIT, occupied};
use super::writer::{FileWriter, MAGIC, create};
use crate::cache::body_file::{BLOCK, BodyFile, HEADER, SUM};

impl Disk {
    /// Begins a file, whose body follows. Blocks.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub(in crate::cache) fn begin(&self, name: u128, head: &[u8]) -> io::Result<FileWriter> {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path.join("new").join(format!("{:016x}-{number}", self.process));
        let handle = self.with_room(0, || self.folder.handle(|| create(&path)))?;
        // From here on, the file is removed on any error.
        let mut writer = FileWriter {
            handle,
            path,
            name,
            head: head.to_owned(),
            block: vec![0; SUM],
            length: 0,
            blocks: 0,
            position: 0,
            charged: 0,
            folder: Arc::clone(&self.folder),
        };
        self.append(&mut writer, &[&[0; HEADER], head].concat())?;
        Ok(writer)
    }

    /// Writes a part of the body. Blocks.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub(in crate::cache) fn write(&self, writer: &mut FileWriter, mut data: &[u8]) -> io::Result<()> {
        writer.length += data.len() as u64;
        while !data.is_empty() {
            let taken = data.len().min(SUM + BLOCK - writer.block.len());
            writer.block.extend_from_slice(&data[..taken]);
            data = &data[taken..];
            if writer.block.len() == SUM + BLOCK {
                self.flush(writer)?;
            }
        }
        Ok(())
    }

    fn flush(&self, writer: &mut FileWriter) -> io::Result<()> {
        let mut block = std::mem::take(&mut writer.block);
        if block.len() > SUM {
            let sum = self.sum(writer.name, writer.blocks, &[&block[SUM..]]);
            block[..SUM].copy_from_slice(&sum.to_le_bytes());
            self.append(writer, &block)?;
            writer.blocks += 1;
        }
        block.truncate(SUM);
        writer.block = block;
        Ok(())
    }

    fn append(&self, writer: &mut FileWriter, bytes: &[u8]) -> io::Result<()> {
        let end = writer.position + bytes.len() as u64;
        let more = end.next_multiple_of(UNIT).saturating_sub(writer.charged);
        writer.charged += more;
        self.folder.writing.fetch_add(more, Ordering::Relaxed);
        self.make_room(more)?;
        let file = writer.handle.get()?;
        self.with_room(more, || file.write_all_at(bytes, writer.position))?;
        writer.position = end;
        Ok(())
    }

    /// Names a file, unless `given_up`, and calls `named` with its [`BodyFile`] before another file can get that name. Returns the result
    /// of `named`. Blocks.
    ///
    /// # Errors
    /// Fails if the file can't be written.
    pub(in crate::cache) fn finish<T>(
        &self,
        mut writer: FileWriter,
        given_up: impl FnOnce() -> bool,
        named: impl FnOnce(BodyFile) -> T,
    ) -> io::Result<Option<T>> {
        self.flush(&mut writer)?;
        let file = writer.handle.get()?;
        let mut header = [0; HEADER];
        header[..6].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&u32::try_from(writer.head.len()).unwrap_or(u32::MAX).to_le_bytes());
        header[12..20].copy_from_slice(&writer.length.to_le_bytes());
        // In this order, and before `given_up` is called: `given_up` knows all purges that were followed, and later ones apply to this
        // file.
        let (journal, followed) = (self.journal.identity(), self.journal.followed());
        header[20..28].copy_from_slice(&journal.to_le_bytes());
        header[28..36].copy_from_slice(&followed.to_le_bytes());
        let sum = self.sum(writer.name, u64::MAX, &[&header[..HEADER - SUM], &writer.head]);
        header[HEADER - SUM..].copy_from_slice(&sum.to_le_bytes());
        file.write_all_at(&header, 0)?;
        let size = occupied(&file.metadata()?);
        let offset = (HEADER + writer.head.len()) as u64;
        let body_file = self.body_file(writer.name, header, (offset, writer.length));
        let named = {
            let _naming = self.naming.lock().unwrap_or_else(PoisonError::into_inner);
            if given_up() {
                return Ok(None);
            }
            fs::rename(&writer.path, self.path(writer.name))?;
            writer.path.clear();
            self.locked().add(writer.name, size, SystemTime::now());
            writer.discharge();
            named(body_file)
        };
        self.evict();
        Ok(Some(named))
    }
}
