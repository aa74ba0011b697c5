//! What a guest writes for people.
//!
//! Guarantees: never more lines or bytes than the limits, plus one line that says it was cut; nothing in a line can
//! move a terminal's cursor, colour it, or reorder text; no secret is cut in two.

use std::borrow::Cow;
use std::sync::Arc;

use crate::egress::Outlet;
use crate::model::{Limits, LogLevel, LogLine};

/// The bounded log of one invocation.
pub(super) struct LogBook {
    lines: Vec<LogLine>,
    lines_left: u32,
    bytes_left: usize,
    cut: bool,
    /// Knows the secrets.
    outlet: Arc<dyn Outlet>,
}

impl LogBook {
    pub(super) fn new(limits: &Limits, outlet: Arc<dyn Outlet>) -> Self {
        let (lines_left, bytes_left) = (limits.log_lines, limits.log_bytes as usize);
        Self { lines: Vec::new(), lines_left, bytes_left, cut: false, outlet }
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
        let (text, whole) = match escape(text, self.bytes_left) {
            (escaped, true) => (escaped, true),
            (_, false) => (escape(&self.outlet.shown(text, self.bytes_left), self.bytes_left).0, false),
        };
        self.cut = !whole;
        self.lines_left -= 1;
        self.bytes_left -= text.len();
        if whole || !text.is_empty() {
            self.lines.push(LogLine { level, text });
        }
    }

    /// How many more bytes it takes.
    pub(super) fn room(&self) -> usize {
        if self.cut { 0 } else { self.bytes_left }
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

/// The text, cut at a character's end so that it has so many bytes at most, and so that no secret is cut in two.
pub(super) fn cut<'a>(text: impl Into<Cow<'a, str>>, most: usize, outlet: &dyn Outlet) -> String {
    let text = text.into();
    match text.len() > most {
        true => format!("{}…", outlet.shown(&text, most)),
        false => text.into_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::egress::{Answers, Grant, HandleKey, Reach};

    /// Nothing behind it, and the secret `s3cr€t-1234`.
    pub(in crate::sandbox) fn outlet() -> Arc<dyn Outlet> {
        let manifest = serde_json::json!({"name": "f", "version": "1", "events": ["track"],
            "settings": {"key": {"type": "string", "secret": true, "reveal": true}}});
        let manifest = serde_json::from_value(manifest).unwrap();
        let mut settings = serde_json::Map::from_iter([("key".to_owned(), "s3cr€t-1234".into())]);
        let (grant, secrets) = Grant::with_secrets(&manifest, &mut settings, "test", &HandleKey::fixed()).unwrap();
        Arc::new(Answers::new(Vec::new(), grant, Reach::default(), secrets).unwrap())
    }

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
        let mut log = LogBook::new(&limits, outlet());
        (0..9).for_each(|_| log.write(LogLevel::Info, "line"));
        let lines = log.finish(&limits);
        assert_eq!(lines.len(), 3);
        assert!(lines[2].text.contains("2 lines (`limits.log_lines`)"), "{}", lines[2].text);

        let limits = Limits { log_lines: 9, log_bytes: 10, ..Limits::default() };
        let mut log = LogBook::new(&limits, outlet());
        log.write(LogLevel::Info, "\u{1b}\u{1b}\u{1b}");
        log.write(LogLevel::Info, "more");
        let lines = log.finish(&limits);
        assert_eq!(lines[0].text, "\\u{1b}");
        assert_eq!(lines.len(), 2);

        let mut log = LogBook::new(&limits, outlet());
        log.write(LogLevel::Info, "");
        assert_eq!(log.finish(&limits).len(), 1);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("äää".to_owned(), 3, &*outlet()), "ä…");
        assert_eq!(cut("äää".to_owned(), 6, &*outlet()), "äää");
    }

    #[test]
    fn what_is_cut_ends_in_no_part_of_a_secret() {
        let limits = |log_bytes| Limits { log_lines: 9, log_bytes, ..Limits::default() };
        for (text, most, shown) in [
            ("at s3cr€t-1234", 9, "at {secre"),
            ("at s3cr€t-1234 and on", 20, "at {secret.key} and"),
            ("\u{1b} s3cr€t-1234", 12, "\\u{1b} {secr"),
            ("\u{1b} nothing", 12, "\\u{1b} nothi"),
        ] {
            let mut log = LogBook::new(&limits(most), outlet());
            log.write(LogLevel::Info, text);
            assert_eq!(log.finish(&limits(most))[0].text, shown);
        }
        assert_eq!(cut("at s3cr€t-1234".to_owned(), 9, &*outlet()), "at {secre…");
    }
}
