//! Bars and spinners on standard error for what takes long: where a person looks at a terminal, and nowhere else.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::print::Format;

/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// What goes on, as a person sees it. It is gone from the screen when this is dropped.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Nothing is shown yet, and never anything to programs.
    pub(super) fn new(format: Format) -> Self {
        let target = if is_shown(format, std::io::stderr().is_terminal()) {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { bar: ProgressBar::with_draw_target(None, target) }
    }

    /// What nobody sees.
    pub(super) fn none() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Something goes on, and nobody knows for how long. Where nothing moves, people still get a line.
    pub(super) fn spin(&self, format: Format, what: &str) {
        if self.bar.is_hidden() {
            if format == Format::Table {
                eprintln!("{what} …");
            }
            return;
        }
        self.turn(what);
    }

    /// The same, for what is a step of something.
    fn turn(&self, what: &str) {
        self.bar.reset();
        self.bar.set_style(style("{spinner} {msg} … {elapsed}"));
        self.bar.set_message(what.to_owned());
        self.bar.enable_steady_tick(TURN);
    }

    /// So many bytes are to be moved.
    pub(super) fn bytes(&self, what: &str, total: u64) {
        self.bar.reset();
        self.bar.disable_steady_tick();
        self.bar.set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}"));
        self.bar.set_message(what.to_owned());
        self.bar.set_length(total);
        self.bar.set_position(0);
    }

    /// So many of them have been moved by now.
    pub(super) fn moved(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    /// All of them have, and what comes next is somebody else's.
    pub(super) fn awaits(&self, what: &str) {
        if !self.bar.is_hidden() {
            self.turn(what);
        }
    }

    /// Nothing goes on any more.
    pub(super) fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// Whether there is somebody to see it.
fn is_shown(format: Format, terminal: bool) -> bool {
    terminal && format == Format::Table
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours, and the test below reads each of them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_for_people_at_a_terminal() {
        let table = [
            (Format::Table, true, true),
            (Format::Table, false, false),
            (Format::Json, true, false),
            (Format::Json, false, false),
        ];
        for (format, terminal, shown) in table {
            assert_eq!(is_shown(format, terminal), shown);
        }
        // Tests have no terminal, or are no people.
        assert!(Progress::new(Format::Json).bar.is_hidden());
    }

    #[test]
    fn every_template_is_one() {
        for template in ["{spinner} {msg} … {elapsed}", "{msg} [{bar:30}] {bytes}/{total_bytes} {binary_bytes_per_sec}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
