//! Packs the source of the runtime, which sites are compiled with, into `kiln`, so that it needs no checkout of Kiln: see
//! `command::source`. The library alone has no use for it.

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "kiln")]
    source::pack()?;
    Ok(())
}

#[cfg(feature = "kiln")]
mod source {
    use std::io::Write as _;
    use std::path::{Path, PathBuf};
    use std::{env, fs, io};

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    /// Writes `OUT_DIR/source`: names and contents of files in turn, each with its length before it, compressed.
    pub(crate) fn pack() -> io::Result<()> {
        let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other("cargo sets it"));
        let (own, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
        let beside = own.parent().unwrap_or(&own);
        // In a checkout the runtime is beside this crate, and the workspace above has the lock. Among the sources of a registry it
        // has its version in its name, and a lock of its own.
        let checkout = beside.join("proxy-runtime");
        let (runtime, above) = if checkout.join("Cargo.toml").is_file() {
            (checkout, beside.to_owned())
        } else {
            let published = beside.join(format!("proxy-runtime-{}", env!("CARGO_PKG_VERSION")));
            (published.clone(), published)
        };
        let mut archive = DeflateEncoder::new(fs::File::create(out.join("source"))?, Compression::best());
        let mut add = |name: &str, path: &Path| -> io::Result<()> {
            println!("cargo::rerun-if-changed={}", path.display());
            let content = fs::read(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            for part in [name.as_bytes(), &content] {
                let length = u32::try_from(part.len()).map_err(io::Error::other)?;
                archive.write_all(&length.to_le_bytes())?;
                archive.write_all(part)?;
            }
            Ok(())
        };
        add("Cargo.lock", &above.join("Cargo.lock"))?;
        // The sections that the runtime's manifest inherits; a stand-alone manifest inherits nothing.
        add("Cargo.toml", &above.join("Cargo.toml"))?;
        add("proxy-runtime/Cargo.toml", &runtime.join("Cargo.toml"))?;
        add("proxy-runtime/LICENSE", &runtime.join("LICENSE"))?;
        // The folder itself is tracked, so that cargo notices new files.
        println!("cargo::rerun-if-changed={}", runtime.join("src").display());
        for file in files(&runtime.join("src"))? {
            let name = file.strip_prefix(&runtime).ok().and_then(Path::to_str);
            add(&format!("proxy-runtime/{}", name.unwrap_or_default()), &file)?;
        }
        archive.finish()?;
        Ok(())
    }

    /// Returns all files below a folder, in the order of their names: the same source is packed into the same bytes.
    fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                found.extend(files(&path)?);
            } else {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}
