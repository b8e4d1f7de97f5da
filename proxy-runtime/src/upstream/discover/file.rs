//! Reads a file of servers: a line for each, `ADDRESS:PORT`, optionally followed by `weight=N` and `backup`. `#` begins a comment.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use crate::site::Discovered;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// A file that is read again when it has changed.
#[derive(Debug, Default)]
pub(super) struct WatchedFile {
    /// Its modification time, length and inode when it was read.
    seen: Option<(SystemTime, u64, u64)>,
}

/// File times are coarse: a file that was modified this recently may be modified again with the same time.
const SETTLED: Duration = Duration::from_secs(2);

impl WatchedFile {
    /// Reads the servers; `None` if the file is unchanged.
    pub(super) fn read(&mut self, path: &str) -> Result<Option<Vec<Discovered>>, String> {
        let failed = |error: std::io::Error| format!("{path}: {error}");
        let file = fs::File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let seen = (about.modified().map_err(failed)?, about.len(), about.ino());
        if self.seen == Some(seen) {
            return Ok(None);
        }
        if about.len() > LARGEST {
            return Err(format!("{path} is larger than {} MiB", LARGEST >> 20));
        }
        let mut text = String::new();
        file.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
        let servers = parse(&text).map_err(|reason| format!("{path}: {reason}"))?;
        // A time in the future is not reliable either.
        self.seen = seen.0.elapsed().is_ok_and(|ago| ago > SETTLED).then_some(seen);
        Ok(Some(servers))
    }
}

fn parse(text: &str) -> Result<Vec<Discovered>, String> {
    let mut servers = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next() else { continue };
        let wrong = |what: &str| format!("line {number}: `{what}`");
        let address = address.parse().map_err(|_| wrong(address) + " is not an address with a port")?;
        let mut server = Discovered { address, weight: 1, backup: false };
        for word in words {
            let weight =
                word.strip_prefix("weight=").map(|weight| weight.parse().ok().filter(|weight| *weight <= 1000));
            match weight {
                Some(Some(weight)) => server.weight = weight,
                None if word == "backup" => server.backup = true,
                _ => return Err(wrong(word) + " is neither weight=N, up to 1000, nor `backup`"),
            }
        }
        servers.push(server);
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[(&str, u32, bool)], &str>) {
        let found = parse(text).map(|servers| {
            servers.iter().map(|server| (server.address.to_string(), server.weight, server.backup)).collect::<Vec<_>>()
        });
        let expected = expected
            .map(|servers| {
                servers.iter().map(|(address, weight, backup)| ((*address).to_owned(), *weight, *backup)).collect()
            })
            .map_err(str::to_owned);
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn files() {
        check("", Ok(&[]));
        check(
            "10.0.0.1:80\n\n# no\n[::1]:80 weight=3 backup # yes\n",
            Ok(&[("10.0.0.1:80", 1, false), ("[::1]:80", 3, true)]),
        );
        check("10.0.0.1", Err("line 1: `10.0.0.1` is not an address with a port"));
        check("\nhost:80", Err("line 2: `host:80` is not an address with a port"));
        check("10.0.0.1:80 weight=1001", Err("line 1: `weight=1001` is neither weight=N, up to 1000, nor `backup`"));
        check("10.0.0.1:80 spare", Err("line 1: `spare` is neither weight=N, up to 1000, nor `backup`"));
    }
}
