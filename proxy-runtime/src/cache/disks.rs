//! The folders of a store ([`Disks`]), each on a disk of its own: the disk of a cached response, and the disks that can be used.
//!
//! The key of a response determines its disk, so a disk that fails, is full or hangs affects only the responses on it: each
//! has its own pool of threads, limits, list of files and journal. The choice is by rendezvous hashing, weighted by size: when a disk is
//! added, removed or made larger, no response moves between two of the others. Files that now belong on another disk are
//! removed when the folder is scanned.
//!
//! A folder that can't be opened at the start has no share until the next start. It misses purges in that time, so the others hold a
//! mark for it, which invalidates its content when it is available again.

use std::fs::{self, File};
use std::hash::Hasher as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::disk::{Disk, DiskLimits, Secret, give_secret, read_secret};
use crate::context::settings::Settings;
use crate::net::descriptors::DescriptorBudget;
use crate::observe::notice;
use crate::site;

/// The disks of a store.
pub(super) struct Disks {
    list: Vec<Arc<Disk>>,
    placement: Arc<Placement>,
}

/// The placement of names on disks.
struct Placement(Vec<WeightedDisk>);

#[derive(Clone, Copy)]
struct WeightedDisk {
    /// Derived from the folder's path, so that the order of the folders does not matter.
    seat: u64,
    size: u64,
}

impl Placement {
    /// Returns the index of a name's disk. Costs a logarithm for each disk, if there are several.
    fn of(&self, name: u128) -> usize {
        if self.0.len() <= 1 {
            return 0;
        }
        let distances = self.0.iter().map(|candidate| candidate.distance(name)).enumerate();
        distances.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(number, _)| number)
    }
}

impl WeightedDisk {
    /// Returns the distance of the disk from a name. Of exponentially distributed numbers, each is the smallest as often as its
    /// weight says (Efraimidis and Spirakis 2006).
    fn distance(self, name: u128) -> f64 {
        // Names are keyed hashes; the seat is mixed in as SplitMix64 does.
        let mut mixed = (name as u64) ^ ((name >> 64) as u64).rotate_left(32) ^ self.seat;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // Greater than 0, and at most 1.
        let uniform = ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -uniform.ln() / self.size as f64
    }
}

impl Disks {
    /// Opens the folders that can be opened.
    ///
    /// # Errors
    /// None of the folders can be opened, or the limits given at start suit none.
    pub(super) fn open(
        disks: &[site::DiskStore],
        settings: &Settings,
        descriptors: &'static DescriptorBudget,
    ) -> Result<Disks, String> {
        let folder = |disk: &site::DiskStore| PathBuf::from(disk.folder.get(settings));
        let folders: Vec<_> = disks.iter().map(|disk| (folder(disk), DiskLimits::of(disk, settings))).collect();
        if folders.iter().any(|(_, limits)| limits.bytes < site::DiskStore::LEAST) {
            return Err("the `size` of the cache's `disk` must be 16MiB at least".to_owned());
        }
        let is_twice = |at: usize| folders[..at].iter().any(|(earlier, _)| *earlier == folders[at].0);
        if (0..folders.len()).any(is_twice) {
            return Err("two `disk`s of a cache have the same folder".to_owned());
        }
        Disks::open_folders(&folders, descriptors).map_err(|error| format!("the cache's folder: {error}"))
    }

    fn open_folders(folders: &[(PathBuf, DiskLimits)], descriptors: &'static DescriptorBudget) -> io::Result<Disks> {
        // Names depend on the key, so all folders have the same one, whichever of them are available.
        let mut secret = folders.iter().find_map(|(path, _)| read_secret(path));
        let (mut list, mut absent) = (Vec::new(), Vec::new());
        for (path, limits) in folders {
            match open_one(path, *limits, folders, secret, descriptors) {
                Ok(disk) => {
                    secret = Some(disk.folder.secret);
                    list.push(Arc::new(disk));
                }
                Err(error) => absent.push((path, error)),
            }
        }
        if list.is_empty()
            && let Some((_, error)) = absent.pop()
        {
            return Err(error);
        }
        for (path, error) in absent {
            for disk in &list {
                let folder = disk.path_of_folder();
                File::create(mark(folder, path))?.sync_all()?;
                File::open(folder)?.sync_all()?;
            }
            notice(&format!("cache: {} is not used until the next start: {error}", path.display()));
        }
        let candidate = |disk: &Arc<Disk>| WeightedDisk { seat: seat(disk.path_of_folder()), size: disk.capacity() };
        let placement = Arc::new(Placement(list.iter().map(candidate).collect()));
        Ok(Disks { list, placement })
    }

    /// Returns all disks.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Arc<Disk>> {
        self.list.iter()
    }

    /// Returns the disk of a name.
    pub(super) fn of(&self, name: u128) -> Option<&Arc<Disk>> {
        self.list.get(self.placement.of(name))
    }

    /// Returns the key of names.
    pub(super) fn secret(&self) -> Option<Secret> {
        self.list.first().map(|disk| disk.folder.secret)
    }

    /// Returns the largest body that each of them stores.
    pub(super) fn max_object(&self) -> Option<u64> {
        self.list.iter().map(|disk| disk.max_object).min()
    }

    /// Returns a function that scans a disk. It blocks.
    pub(super) fn scan(&self, disk: &Arc<Disk>) -> impl FnOnce() + Send + 'static {
        let number = self.list.iter().position(|one| Arc::ptr_eq(one, disk));
        let (disk, placement) = (Arc::clone(disk), Arc::clone(&self.placement));
        move || disk.scan(|name| Some(placement.of(name)) == number)
    }
}

/// Opens a folder. If it was absent while others of the store were available, its content is invalid.
fn open_one(
    path: &Path,
    limits: DiskLimits,
    folders: &[(PathBuf, DiskLimits)],
    secret: Option<Secret>,
    descriptors: &'static DescriptorBudget,
) -> io::Result<Disk> {
    let marks: Vec<PathBuf> = folders.iter().map(|(other, _)| mark(other, path)).filter(|mark| mark.exists()).collect();
    if !marks.is_empty() {
        // Without its journal, no file is valid.
        match fs::remove_file(path.join("journal")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if let Some(secret) = secret {
        give_secret(path, secret)?;
    }
    let disk = Disk::open(path, limits, descriptors)?;
    for mark in marks {
        // A mark that stays empties the folder again at the next start.
        let _ = fs::remove_file(mark);
    }
    Ok(disk)
}

/// Records in one folder that another one was absent.
fn mark(folder: &Path, absent: &Path) -> PathBuf {
    folder.join(format!("absent-{:016x}", seat(absent)))
}

fn seat(folder: &Path) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(folder.as_os_str().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::store::tests::head;
    use super::*;

    const AMPLE: DiskLimits = DiskLimits { bytes: 1 << 30, files: 1 << 30, min_free: 0 };

    fn name(number: u64) -> u128 {
        let mut hasher = SipHasher13::new();
        hasher.write_u64(number);
        u128::from(hasher.finish()) << 64 | u128::from(number)
    }

    /// Placement follows sizes, and a change of the list moves no more responses than necessary.
    #[test]
    fn placement_is_stable() {
        const NAMES: u64 = 20_000;
        let placement = |sizes: &[(u64, u64)]| {
            Placement(
                sizes
                    .iter()
                    .map(|&(seat, size)| WeightedDisk { seat: seat.wrapping_mul(0x9E37_79B9_7F4A_7C15), size })
                    .collect(),
            )
        };
        let seats = |sizes: &[(u64, u64)]| {
            let placement = placement(sizes);
            (0..NAMES).map(|number| sizes[placement.of(name(number))].0).collect::<Vec<_>>()
        };
        let share = |seats: &[u64], seat: u64| seats.iter().filter(|one| **one == seat).count() as f64 / NAMES as f64;
        let check = |sizes: &[(u64, u64)]| {
            let (seats, all) = (seats(sizes), sizes.iter().map(|(_, size)| *size).sum::<u64>());
            for (seat, size) in sizes {
                let expected = *size as f64 / all as f64;
                assert!(
                    (share(&seats, *seat) - expected).abs() < 0.02,
                    "{sizes:?}: {} of {seat}",
                    share(&seats, *seat)
                );
            }
            seats
        };
        let two = check(&[(1, 1 << 40), (2, 1 << 40)]);
        let three = check(&[(3, 2 << 40), (2, 1 << 40), (1, 1 << 40)]);
        assert!(two.iter().zip(&three).all(|(before, now)| before == now || *now == 3), "added");
        let larger = check(&[(1, 1 << 40), (2, 1 << 40), (3, 6 << 40)]);
        assert!(three.iter().zip(&larger).all(|(before, now)| before == now || *now == 3), "made larger");
        check(&[(1, 16 << 20)]);
        assert_eq!(placement(&[]).of(7), 0);
    }

    fn opened(folders: &[PathBuf]) -> Disks {
        let folders: Vec<_> = folders.iter().map(|path| (path.clone(), AMPLE)).collect();
        let disks = Disks::open_folders(&folders, DescriptorBudget::ample()).expect("a folder");
        disks.iter().for_each(|disk| disks.scan(disk)());
        disks
    }

    fn keep(disks: &Disks, number: u64) {
        let disk = disks.of(name(number)).expect("a disk");
        disk.keep(name(number), &head("http://a/", &[], ""), &[Bytes::from_static(b"it")], || false).expect("written");
    }

    fn kept(disks: &Disks) -> Vec<u64> {
        (0..40)
            .filter(|number| disks.of(name(*number)).is_some_and(|disk| disk.read(name(*number)).is_some()))
            .collect()
    }

    /// Each response is found in its place, whatever the order of the folders, and whichever others there are. A folder that was absent
    /// while others were available comes back empty.
    #[test]
    fn absent_folders_come_back_empty() {
        let root = std::env::temp_dir().join(format!("kiln-disks-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let [a, b, c] = ["a", "b", "c"].map(|name| root.join(name));
        let disks = opened(&[a.clone(), b.clone()]);
        (0..40).for_each(|number| keep(&disks, number));
        let sizes: Vec<u64> = disks.iter().map(|disk| disk.size().0).collect();
        assert!(sizes.iter().all(|size| *size > 5) && sizes.iter().sum::<u64>() == 40, "{sizes:?}");
        drop(disks);
        let disks = opened(&[b.clone(), a.clone()]);
        assert_eq!(kept(&disks).len(), 40);
        drop(disks);
        // Another folder takes its share; the responses that it gets are nowhere else any more.
        let disks = opened(&[a.clone(), b.clone(), c.clone()]);
        let stayed = kept(&disks).len();
        assert!((10..40).contains(&stayed), "{stayed}");
        assert_eq!(disks.iter().map(|disk| disk.size().0).sum::<u64>(), stayed as u64);
        (0..40).for_each(|number| keep(&disks, number));
        let of_c = disks.list[2].size().0;
        drop(disks);
        // A folder that can't be opened: the others continue, and it is empty when it is available again.
        fs::rename(&c, root.join("away")).expect("renamed");
        fs::write(&c, "no folder").expect("written");
        let disks = opened(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!((disks.list.len(), kept(&disks).len() as u64), (2, 40 - of_c));
        drop(disks);
        fs::remove_file(&c).expect("removed");
        fs::rename(root.join("away"), &c).expect("renamed");
        let disks = opened(&[a.clone(), b.clone(), c.clone()]);
        assert_eq!(kept(&disks).len() as u64, 40 - of_c);
        (0..40).for_each(|number| keep(&disks, number));
        drop(disks);
        assert_eq!(
            kept(&opened(&[c.clone(), a.clone(), b.clone()])).len(),
            40,
            "the folder that was absent has come back empty"
        );
        // If none can be opened, there is an error.
        let none = root.join("none");
        fs::write(&none, "").expect("written");
        assert!(Disks::open_folders(&[(none, AMPLE)], DescriptorBudget::ample()).is_err());
        let _ = fs::remove_dir_all(root);
    }
}
