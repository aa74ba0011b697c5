//! Printing: a table for people or JSON for programs, from the same values.

use clap::ValueEnum;
use serde_json::Value;

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

/// Characters of a cell; a longer one would break the table, and `--output json` has it whole.
const CELL: usize = 60;

/// Prints a line. Whoever reads no further has what they wanted: that ends the program, and is no mistake.
macro_rules! line {
    ($($text:tt)*) => {
        if std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*))).is_err() {
            std::process::exit(0);
        }
    };
}

/// Prints rows with these columns: each a heading and the JSON pointer of its value.
pub(super) fn list(format: Format, page: &Value, rows: &[Value], columns: &[(&str, &str)]) {
    match format {
        Format::Json => json(page),
        Format::Table => table(rows, columns),
    }
}

/// Prints one object: as JSON, or a line for each of its fields.
pub(super) fn one(format: Format, value: &Value) {
    match (format, value) {
        (Format::Table, Value::Object(_)) => facts(value),
        _ => json(value),
    }
}

/// Prints an object for people: a line for each value in it, by the names that lead there.
pub(super) fn facts(value: &Value) {
    let mut found = Vec::new();
    flat("", value, &mut found);
    let width = found.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, text) in found {
        line!("{}", format!("{name:width$}  {text}").trim_end());
    }
}

fn flat(at: &str, value: &Value, found: &mut Vec<(String, String)>) {
    let below = |name: &dyn std::fmt::Display| if at.is_empty() { name.to_string() } else { format!("{at}.{name}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| flat(&below(name), value, found));
        }
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<_> = items.iter().map(cell).collect();
            found.push((at.to_owned(), if items.is_empty() { "-".to_owned() } else { items.join(", ") }));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| flat(&below(&(n + 1)), item, found)),
        Value::Object(_) => found.push((at.to_owned(), "-".to_owned())),
        plain => found.push((at.to_owned(), cell(plain))),
    }
}

/// Prints sentences below a heading, each on a line of its own.
pub(super) fn sentences(heading: &str, lines: &Value) {
    line!("\n{heading}");
    lines.as_array().into_iter().flatten().for_each(|line| line!("  {}", cell(line)));
}

/// Prints JSON, indented.
pub(super) fn json(value: &Value) {
    line!("{value:#}");
}

fn table(rows: &[Value], columns: &[(&str, &str)]) {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|(_, at)| shorten(&cell(row.pointer(at).unwrap_or(&Value::Null)))).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(n, (head, _))| cells.iter().map(|row| row[n].chars().count()).max().unwrap_or(0).max(head.len()))
        .collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line!("{}", padded.join("  ").trim_end());
    };
    line(&columns.iter().map(|(head, _)| head.to_uppercase()).collect::<Vec<_>>());
    cells.iter().for_each(|row| line(row));
}

/// A value on one line, without anything that a terminal acts on.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if moves_text(c) { '\u{fffd}' } else { c }).collect()
}

/// Control characters, separators of lines, and what turns the direction of text around.
fn moves_text(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= CELL {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(CELL - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_never_carries_a_control_character_to_the_terminal() {
        assert_eq!(cell(&Value::from("a\u{1b}[31mb\n")), "a\u{fffd}[31mb\u{fffd}");
        assert_eq!(cell(&Value::from("a\u{202e}b\u{2028}é")), "a\u{fffd}b\u{fffd}é");
    }

    #[test]
    fn an_object_is_a_line_for_each_value_in_it() {
        let mut found = Vec::new();
        let value = serde_json::json!({"a": 1, "b": {"c": ["x", "y"], "d": {}}, "e": [{"f": null}, {"f": 2}], "g": []});
        flat("", &value, &mut found);
        let lines: Vec<_> = found.iter().map(|(name, text)| format!("{name}={text}")).collect();
        assert_eq!(lines, ["a=1", "b.c=x, y", "b.d=-", "e.1.f=-", "e.2.f=2", "g=-"]);
    }

    #[test]
    fn a_long_cell_is_cut_to_its_width() {
        assert_eq!(shorten(&"é".repeat(100)).chars().count(), CELL);
        assert_eq!(shorten("short"), "short");
    }
}
