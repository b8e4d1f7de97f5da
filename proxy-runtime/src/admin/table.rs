//! Tables of text, for people ([`write`]). Pure.

/// Returns rows as lines under these heads, with columns as wide as they need to be.
pub(super) fn write(heads: &[&str], mut rows: Vec<Vec<String>>) -> String {
    rows.insert(0, heads.iter().map(ToString::to_string).collect());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns() {
        let check = |rows: &[[&str; 3]], expected: &str| {
            let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec());
            assert_eq!(write(&["SERVER", "WEIGHT", ""], rows.collect()), expected);
        };
        check(&[], "SERVER  WEIGHT\n");
        check(
            &[["10.0.0.1:80", "1", ""], ["ü", "1000", "backup"]],
            "SERVER       WEIGHT\n10.0.0.1:80  1\nü            1000    backup\n",
        );
    }
}
