//! "Did you mean": [`nearest`].

/// Returns the candidate that `word` is most likely a misspelling of, if one is close enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_ascii_lowercase().replace('_', "-");
    let near = candidates.into_iter().map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate));
    let (distance, candidate) = near.min_by_key(|(distance, _)| *distance)?;
    let tolerated = 1 + word.len().min(candidate.len()) / 4;
    (distance <= tolerated && distance < candidate.len()).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names() {
        let check =
            |word, expected| assert_eq!(nearest(word, ["listen", "limits", "log", "proxy"]), expected, "{word}");
        check("lisen", Some("listen"));
        check("Limit", Some("limits"));
        check("pxory", Some("proxy"));
        check("whatever", None);
        check("x", None);
    }
}
