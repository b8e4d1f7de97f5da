//! User instructions per request, counted by callgrind: the same at any hour, whatever else the machine does.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::kiln::workspace;

/// Counts requests from the one number to the other, so that the start of the program is not counted.
const FEW: usize = 2_000;
const MANY: usize = 10_000;

/// Returns the first of these programs that is not installed.
pub fn missing() -> Option<&'static str> {
    ["valgrind", "h2load"].into_iter().find(|program| {
        let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        !run.is_ok_and(|status| status.success())
    })
}

/// Returns the start of a command line that counts the instructions of what follows it, and writes them to a file.
fn counting(file: &Path) -> Vec<String> {
    let out = format!("--callgrind-out-file={}", file.display());
    ["valgrind", "--quiet", "--tool=callgrind", &out].map(str::to_owned).into()
}

/// Returns how many instructions a request takes; `None` if the program could not be counted, or those of its start differ by more than requests take. `run` starts the program with the given command line before its own, lets `load` send
/// requests to it, and ends it.
pub fn per_request(dir: &Path, load: &CountedLoad, mut run: impl FnMut(&[String], &dyn Fn())) -> Option<u64> {
    let counts = [FEW, MANY].map(|requests| of_run(dir, |counting| run(counting, &|| load.send(requests))));
    let [Some(few), Some(many)] = counts else { return None };
    Some(many.checked_sub(few)? / (MANY - FEW) as u64)
}

/// Returns how many instructions a program takes from its start to its end; `None` if it could not be counted. `run` starts it with the given command line
/// before its own, and ends it.
pub fn of_run(dir: &Path, run: impl FnOnce(&[String])) -> Option<u64> {
    let file = dir.join("callgrind");
    let _ = std::fs::remove_file(&file);
    run(&counting(&file));
    total(&std::fs::read_to_string(&file).ok()?)
}

/// Returns the sum in a file of callgrind's.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().rev().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))?;
    line.trim().parse().ok()
}

/// Requests that h2load sends.
#[derive(Debug)]
pub struct CountedLoad {
    /// Where they go.
    pub url: String,
    /// The address to connect to, if it is not that of the URL.
    pub to: Option<String>,
    /// HTTP/2, with 16 streams on each of 4 connections; otherwise HTTP/1.1 on 16 connections.
    pub http2: bool,
    /// A header field of each request.
    pub field: Option<String>,
}

/// Returns an `Authorization` field with a token of ES256 that `tests/tokens/jwks.json` verifies, from `me` for `api`.
pub fn bearer() -> String {
    let tokens = std::fs::read_to_string(workspace().join("tests/tokens/tokens")).expect("tokens");
    let token = tokens.lines().find_map(|line| line.strip_prefix("ES256 ")).expect("a token");
    format!("authorization: Bearer {token}")
}

impl CountedLoad {
    /// Sends this many requests.
    fn send(&self, requests: usize) {
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", &requests.to_string(), "--connection-inactivity-timeout=60"]);
        h2load.args(self.to.as_ref().map(|address| format!("--connect-to={address}")));
        h2load.args(self.field.as_ref().map(|field| format!("--header={field}")));
        h2load.args(if self.http2 { ["-c4", "-m16"].as_slice() } else { ["-c16", "--h1"].as_slice() });
        let output = h2load.arg(&self.url).output().expect("h2load runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!(" {requests} succeeded, 0 failed")), "{}: {text}", self.url);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn totals() {
        assert_eq!(super::total("events: Ir\n\nfn=main\n1 2\ntotals: 1234\n"), Some(1234));
        assert_eq!(super::total("summary: 12\n\n"), Some(12));
        assert_eq!(super::total(""), None);
    }
}
