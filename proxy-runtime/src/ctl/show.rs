//! Shows responses of `admin` to people: JSON as tables. Pure.

use serde_json::Value;

/// Returns the output of `ctl status`.
pub(super) fn status(all: &Value) -> String {
    let mut out = format!("{}\n", text(&all["says"]));
    for (part, show) in [("servers", servers as fn(&Value) -> String), ("stores", stores)] {
        if all[part].as_array().is_some_and(|part| !part.is_empty()) {
            out = format!("{out}\n{}", show(&all[part]));
        }
    }
    out
}

/// Returns the output of `ctl servers`.
pub(super) fn servers(list: &Value) -> String {
    const COLUMNS: [(&str, &str); 6] = [
        ("UPSTREAM", "upstream"),
        ("SERVER", "server"),
        ("STATE", "state"),
        ("HEALTH", "health"),
        ("WEIGHT", "weight"),
        ("ACTIVE", "active"),
    ];
    let note = |server: &Value| {
        let notes = ["backup", "discovered"].into_iter().filter(|note| server[*note] == true);
        notes.collect::<Vec<_>>().join(", ")
    };
    table(list, &COLUMNS, note)
}

fn stores(list: &Value) -> String {
    const COLUMNS: [(&str, &str); 5] = [
        ("STORE", "name"),
        ("RESPONSES", "entries"),
        ("BYTES", "bytes"),
        ("CAPACITY", "capacity"),
        ("FETCHING", "fetching"),
    ];
    table(list, &COLUMNS, |_| String::new())
}

/// Returns the output of `ctl purge`.
pub(super) fn purged(response: &Value) -> String {
    format!("purged: {}\n", text(&response["purged"]))
}

/// Returns members of objects as columns, as wide as they need to be.
fn table(list: &Value, columns: &[(&str, &str)], note: impl Fn(&Value) -> String) -> String {
    let heads = columns.iter().map(|(head, _)| (*head).to_owned()).chain([String::new()]).collect();
    let row = |object: &Value| columns.iter().map(|(_, name)| text(&object[*name])).chain([note(object)]).collect();
    let mut rows: Vec<Vec<String>> = vec![heads];
    rows.extend(list.as_array().into_iter().flatten().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let list = serde_json::json!([
            {"upstream": "app", "server": "10.0.0.1:80", "state": "enabled", "health": "healthy", "weight": 1, "active": 12,
                "backup": false, "discovered": false},
            {"upstream": "app", "server": "10.0.0.12:80", "state": "draining", "health": "unhealthy", "weight": 10, "active": 0,
                "backup": true, "discovered": true},
        ]);
        let expected = "\
UPSTREAM  SERVER        STATE     HEALTH     WEIGHT  ACTIVE
app       10.0.0.1:80   enabled   healthy    1       12
app       10.0.0.12:80  draining  unhealthy  10      0       backup, discovered
";
        assert_eq!(servers(&list), expected);
        assert_eq!(status(&serde_json::json!({"says": "ready", "servers": list})), format!("ready\n\n{expected}"));
        assert_eq!(purged(&serde_json::json!({"purged": 3})), "purged: 3\n");
        // Other JSON is shown as an empty table.
        assert_eq!(servers(&serde_json::json!({"a": 1})).lines().count(), 1);
    }
}
