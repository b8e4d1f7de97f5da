//! The programs that a binary is built with ([`Toolchain`]), and the target that it is built for.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

use proxy_build::nearest::nearest;
use proxy_build::source::sha256;

use crate::command::failed;

/// The programs that decide the bytes of a binary.
pub(crate) struct Toolchain {
    /// All that `rustc -vV` tells.
    pub(crate) told: String,
    /// The first line of `rustc -vV`.
    pub(crate) rustc: String,
    /// The commit that this rustc was built from.
    pub(crate) commit: Option<String>,
    /// The target of the machine that builds.
    pub(crate) host: String,
    /// The target that the binary is for.
    pub(crate) target: String,
    /// The C compiler.
    pub(crate) compiler: Option<OsString>,
    /// The first line of `cc --version`: it links, and compiles C code of packages. `None` if it can't be told which one is used.
    pub(crate) cc: Option<String>,
    /// The C library of this machine with its version, if it is glibc and the target is this machine's.
    pub(crate) libc: Option<String>,
}

impl Toolchain {
    /// Returns the toolchain of a folder, which a `rust-toolchain.toml` above it may choose, for a target; `None` is this machine's.
    ///
    /// # Errors
    /// Fails if there is no rustc, or it does not have the target.
    pub(super) fn find(folder: &Path, target: Option<&str>) -> Result<Toolchain, String> {
        let told = |arguments: &[&str]| {
            let rustc = Command::new(named("RUSTC").unwrap_or_else(|| "rustc".into()))
                .args(arguments)
                .current_dir(folder)
                .output()
                .map_err(failed("can't run rustc (is a Rust toolchain installed? https://rustup.rs)"))?;
            Ok::<_, String>(String::from_utf8_lossy(&rustc.stdout).into_owned())
        };
        let text = told(&["-vV"])?;
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let host = line("host: ").ok_or("rustc does not tell its host")?;
        let other = target.filter(|target| *target != host);
        if let Some(target) = other {
            check_name(target, &told(&["--print", "target-list"])?)?;
            let libraries = told(&["--print", "target-libdir", "--target", target])?;
            if !Path::new(libraries.trim()).is_dir() {
                return Err(format!(
                    "the target `{target}` is not installed for {}\nhelp: rustup target add {target}",
                    text.lines().next().unwrap_or("rustc")
                ));
            }
        }
        let compiler = compiler(other);
        let libc = || first_line("getconf".as_ref(), "GNU_LIBC_VERSION");
        Ok(Toolchain {
            rustc: text.lines().next().unwrap_or_default().to_owned(),
            commit: line("commit-hash: ").filter(|commit| commit != "unknown"),
            cc: compiler.as_deref().and_then(|cc| first_line(cc, "--version")),
            libc: if other.is_none() && host.contains("-gnu") { libc() } else { None },
            compiler,
            target: other.map_or_else(|| host.clone(), str::to_owned),
            host,
            told: text,
        })
    }

    /// Returns a hash of all that decides what these programs make. Cargo notices another rustc, but neither another C compiler nor another C library.
    pub(super) fn digest(&self, is_static: bool) -> String {
        let mut told = vec![self.told.clone(), self.target.clone(), self.cc.clone().unwrap_or_default()];
        if let Some(cc) = self.compiler.as_deref() {
            let linker = first_line(cc, "-print-prog-name=ld");
            told.extend(linker.and_then(|linker| first_line(linker.as_ref(), "--version")));
            let libraries = if is_static { ["libc.a", "crt1.o"] } else { ["libc.so.6", "Scrt1.o"] };
            told.extend(libraries.into_iter().filter_map(|library| {
                let path = first_line(cc, &format!("-print-file-name={library}"))?;
                Some(format!("{library} {}", sha256(&std::fs::read(path).ok()?)))
            }));
        }
        sha256(told.join("\0").as_bytes())
    }
}

/// Returns the first line that a program prints, if it succeeds.
fn first_line(program: &OsStr, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned())
}

fn named(variable: &str) -> Option<OsString> {
    std::env::var_os(variable).filter(|program| !program.is_empty())
}

/// Returns the C compiler for another target than this machine's, as its variables name it, or for this machine.
fn compiler(other: Option<&str>) -> Option<OsString> {
    let Some(target) = other else { return Some(named("CC").unwrap_or_else(|| "cc".into())) };
    named(&format!("CC_{target}"))
        .or_else(|| named(&format!("CC_{}", target.replace('-', "_"))))
        .or_else(|| named("TARGET_CC"))
}

/// Checks the name of a target. `known` are those that rustc has, one in a line.
fn check_name(target: &str, known: &str) -> Result<(), String> {
    if !known.lines().any(|name| name == target) {
        let near = nearest(target, known.lines().filter(|name| is_linux(name)));
        let help = near.map(|near| format!("\nhelp: did you mean `{near}`?"));
        let help = help.unwrap_or_else(|| "\nhelp: `rustc --print target-list` lists all targets".to_owned());
        return Err(format!("there is no target `{target}`{help}"));
    }
    if !is_linux(target) {
        return Err(format!("`{target}` is not a target of Linux, which the runtime needs"));
    }
    Ok(())
}

fn is_linux(target: &str) -> bool {
    target.contains("-linux-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_targets() {
        let known =
            "aarch64-apple-darwin\naarch64-unknown-linux-musl\nx86_64-unknown-linux-gnu\nx86_64-unknown-linux-musl";
        let check = |target: &str, expected: Result<(), &str>| {
            assert_eq!(
                check_name(target, known).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|text| *text),
                "{target}"
            );
        };
        check("aarch64-unknown-linux-musl", Ok(()));
        let near = "there is no target `x86_64-unknown-linux-gnuu`\nhelp: did you mean `x86_64-unknown-linux-gnu`?";
        check("x86_64-unknown-linux-gnuu", Err(near));
        check("arm64", Err("there is no target `arm64`\nhelp: `rustc --print target-list` lists all targets"));
        check("aarch64-apple-darwin", Err("`aarch64-apple-darwin` is not a target of Linux, which the runtime needs"));
        check(
            "aarch64-apple-darwim",
            Err("there is no target `aarch64-apple-darwim`\nhelp: `rustc --print target-list` lists all targets"),
        );
    }
}
