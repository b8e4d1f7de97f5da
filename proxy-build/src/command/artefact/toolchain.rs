//! The programs that a binary is built with ([`Toolchain`]).

use std::path::Path;
use std::process::Command;

use crate::command::failed;

/// The programs that decide the bytes of a binary.
pub(crate) struct Toolchain {
    /// The first line of `rustc -vV`.
    pub(crate) rustc: String,
    /// The commit that this rustc was built from.
    pub(crate) commit: Option<String>,
    /// The target that it compiles for by default.
    pub(crate) host: String,
    /// The first line of `cc --version`: it links, and compiles C code of packages.
    pub(crate) cc: Option<String>,
    /// The C library that is linked.
    pub(crate) libc: Option<String>,
}

impl Toolchain {
    /// Returns the toolchain of a folder, which a `rust-toolchain.toml` above it may choose.
    ///
    /// # Errors
    /// Fails if there is no rustc.
    pub(super) fn find(folder: &Path) -> Result<Toolchain, String> {
        let named = |variable: &str, default: &str| std::env::var_os(variable).unwrap_or_else(|| default.into());
        let rustc = Command::new(named("RUSTC", "rustc")).arg("-vV").current_dir(folder).output();
        let rustc = rustc.map_err(failed("can't run rustc (is a Rust toolchain installed? https://rustup.rs)"))?;
        let text = String::from_utf8_lossy(&rustc.stdout);
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let first = |mut command: Command| {
            let output = command.output().ok().filter(|output| output.status.success())?;
            Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
        };
        let mut cc = Command::new(named("CC", "cc"));
        cc.arg("--version");
        let mut libc = Command::new("getconf");
        libc.arg("GNU_LIBC_VERSION");
        Ok(Toolchain {
            rustc: text.lines().next().unwrap_or_default().to_owned(),
            commit: line("commit-hash: ").filter(|commit| commit != "unknown"),
            host: line("host: ").ok_or("rustc does not tell its host")?,
            cc: first(cc),
            libc: first(libc),
        })
    }
}
