//! What a guest writes for people.
//!
//! Guarantees: never more lines or bytes than the limits, plus one line that says it was cut; nothing in a line can
//! move a terminal's cursor, colour it, or reorder text.

use crate::model::{Limits, LogLevel, LogLine};

/// The bounded log of one invocation.
pub(super) struct LogBook {
    lines: Vec<LogLine>,
    lines_left: u32,
    bytes_left: usize,
    cut: bool,
}

impl LogBook {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { lines: Vec::new(), lines_left: limits.log_lines, bytes_left: limits.log_bytes as usize, cut: false }
    }

    /// Takes a line, or as much of it as fits. Bytes are counted as they are kept, after escaping.
    pub(super) fn write(&mut self, level: LogLevel, text: &str) {
        if self.cut {
            return;
        }
        if self.lines_left == 0 {
            self.cut = true;
            return;
        }
        let (text, whole) = escape(text, self.bytes_left);
        self.cut = !whole;
        self.lines_left -= 1;
        self.bytes_left -= text.len();
        if whole || !text.is_empty() {
            self.lines.push(LogLine { level, text });
        }
    }

    /// How many lines and bytes there are; none in a log that was cut, which says so itself.
    pub(super) fn used(&self, limits: &Limits) -> (u64, u64) {
        if self.cut {
            return (0, 0);
        }
        let bytes = (limits.log_bytes as usize).saturating_sub(self.bytes_left);
        ((limits.log_lines - self.lines_left).into(), bytes as u64)
    }

    /// The lines, with a last one where some are missing.
    pub(super) fn finish(mut self, limits: &Limits) -> Vec<LogLine> {
        if self.cut {
            let text = format!(
                "[log cut: it may have {} lines (`limits.log_lines`) and {} bytes (`limits.log_bytes`)]",
                limits.log_lines, limits.log_bytes
            );
            self.lines.push(LogLine { level: LogLevel::Warn, text });
        }
        self.lines
    }
}

/// The text with everything escaped that a terminal would act on, cut before it exceeds so many bytes; and whether
/// it is whole.
pub(super) fn escape(text: &str, most: usize) -> (String, bool) {
    let plain = text.len() <= most && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if plain {
        return (text.to_owned(), true);
    }
    let mut escaped = String::with_capacity(text.len().min(most));
    for char in text.chars() {
        let before = escaped.len();
        if acts(char) {
            escaped.extend(char.escape_default());
        } else {
            escaped.push(char);
        }
        if escaped.len() > most {
            escaped.truncate(before);
            return (escaped, false);
        }
    }
    (escaped, true)
}

/// Control characters, line and paragraph separators, and the marks that reorder text.
fn acts(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text, cut at a character's end so that it has so many bytes at most.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        for (raw, shown) in [
            ("plain, with spaces", "plain, with spaces"),
            ("größer 大", "größer 大"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("two\nlines\r\t", "two\\nlines\\r\\t"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(escape(raw, 1000), (shown.to_owned(), true));
        }
    }

    #[test]
    fn a_log_keeps_its_bounds_and_says_that_it_was_cut() {
        let limits = Limits { log_lines: 2, log_bytes: 100, ..Limits::default() };
        let mut log = LogBook::new(&limits);
        (0..9).for_each(|_| log.write(LogLevel::Info, "line"));
        let lines = log.finish(&limits);
        assert_eq!(lines.len(), 3);
        assert!(lines[2].text.contains("2 lines (`limits.log_lines`)"), "{}", lines[2].text);

        let limits = Limits { log_lines: 9, log_bytes: 10, ..Limits::default() };
        let mut log = LogBook::new(&limits);
        log.write(LogLevel::Info, "\u{1b}\u{1b}\u{1b}");
        log.write(LogLevel::Info, "more");
        let lines = log.finish(&limits);
        assert_eq!(lines[0].text, "\\u{1b}");
        assert_eq!(lines.len(), 2);

        let mut log = LogBook::new(&limits);
        log.write(LogLevel::Info, "");
        assert_eq!(log.finish(&limits).len(), 1);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("äää".to_owned(), 3), "ä…");
        assert_eq!(cut("äää".to_owned(), 6), "äää");
    }
}
