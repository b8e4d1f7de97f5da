//! Entries without examples: the compiler's errors other than proofs, the reasons in logs, and the words of the cache. They
//! are lines of `reasons.txt`, from which `kiln explain` and docs/reasons.md are generated.

/// An entry of the table.
pub struct Reason {
    /// The place where the word occurs.
    pub kind: ReasonKind,
    /// The word.
    pub name: &'static str,
    /// The status of the proxy's response; `*` if the site determines it.
    pub status: Option<&'static str>,
    /// Its meaning.
    pub what: &'static str,
    /// The remedy.
    pub advice: &'static str,
}

/// The kind of a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonKind {
    /// In brackets before a message of the compiler.
    Error,
    /// As `reason` in an access log.
    Log,
    /// As `cache` and `cache-reason` in an access log, and in `Cache-Status`.
    Cache,
}

/// Returns all entries, each kind in alphabetical order.
pub fn all() -> impl Iterator<Item = Reason> {
    let mut kind = ReasonKind::Error;
    let lines = include_str!("reasons.txt").lines();
    lines.filter_map(move |line| {
        match line {
            "[error]" => kind = ReasonKind::Error,
            "[log]" => kind = ReasonKind::Log,
            "[cache]" => kind = ReasonKind::Cache,
            _ if !line.starts_with('#') => return parse(kind, line),
            _ => {}
        }
        None
    })
}

fn parse(kind: ReasonKind, line: &'static str) -> Option<Reason> {
    let (name, rest) = line.split_once(" | ")?;
    let (status, rest) = match kind {
        ReasonKind::Log => rest.split_once(" | ").map(|(status, rest)| (Some(status), rest))?,
        ReasonKind::Error | ReasonKind::Cache => (None, rest),
    };
    let (what, advice) = rest.split_once(" | ")?;
    Some(Reason { kind, name, status, what, advice })
}

impl Reason {
    /// Returns the page that `kiln explain` prints.
    pub(super) fn page(&self) -> String {
        let kind = match (self.kind, self.status) {
            (ReasonKind::Error, _) => "An error: the site does not compile.".to_owned(),
            (ReasonKind::Log, Some("*")) => "A reason in the log; the site sets its status.".to_owned(),
            (ReasonKind::Log, status) => format!("A reason in the log, with status {}.", status.unwrap_or_default()),
            (ReasonKind::Cache, _) => "In the log's `cache` or `cache-reason`, and in `Cache-Status`.".to_owned(),
        };
        format!("{}\n\n{}\n\n{}\n\n{kind}\n", self.name, self.what, self.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No line is skipped because of its format, and there are no duplicates.
    #[test]
    fn every_line_is_one() {
        let lines = include_str!("reasons.txt").lines();
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
        let reasons: Vec<_> = all().collect();
        assert_eq!(reasons.len(), lines.count());
        for reason in &reasons {
            assert!(reason.what.ends_with('.') && reason.advice.ends_with('.'), "{}", reason.name);
            let twins = reasons.iter().filter(|other| other.name == reason.name && other.kind == reason.kind).count();
            assert_eq!(twins, 1, "{}", reason.name);
            assert!(!reason.what.contains('|') && !reason.advice.contains('|'), "{}", reason.name);
        }
    }
}
