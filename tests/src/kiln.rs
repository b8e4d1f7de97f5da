//! The command `kiln`, built by cargo, as users have it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Once, OnceLock};

/// Returns the folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace")
}

/// Returns the folder of builds, shared by all tests, so that the runtime is compiled once.
pub fn cache() -> PathBuf {
    target().join("kiln")
}

/// Returns the folder that cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Returns the binary. Cargo builds binaries of other packages only on request, which is made once.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            // Only this package, as in the README: with the whole workspace, the features of the tests' dependencies
            // would be enabled, which
            // results in another binary than users have. Dependencies whose features differ are compiled once more.
            .args(["build", "--quiet", "--package", "proxy-build", "--bin", "kiln"])
            .current_dir(workspace())
            .status()
            .expect("cargo runs");
        assert!(status.success(), "kiln does not build");
        target().join("debug/kiln")
    })
}

/// Runs a `kiln` command to its end.
pub fn kiln(arguments: &[&str]) -> Output {
    command(arguments).output().expect("kiln runs")
}

/// Returns a `kiln` command.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env("KILN_CACHE", cache()).env("KILN_SOURCE", workspace()).env("NO_COLOR", "1");
    // Two builds of the runtime instead of one for each combination: the smallest and the largest.
    command.env("KILN_FEATURES", "all");
    command
}

/// Returns the standard error of a command as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the standard output of a command as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Creates an empty folder for one test, below the target folder. Those of earlier test runs are removed.
pub fn scratch(name: &str) -> PathBuf {
    static TIDIED: Once = Once::new();
    TIDIED.call_once(|| {
        for entry in std::fs::read_dir(target().join("scratch")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| Some(name.rsplit_once('-')?.1));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another run may be removing it, too.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    });
    let folder = target().join("scratch").join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}
