//! How far a long task is: one line that changes on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use forebay_broker::{Part, Progress};

/// Between two lines where they stay.
const LINES: Duration = Duration::from_secs(10);
/// Between two changes of the line on a terminal.
const CHANGES: Duration = Duration::from_millis(200);

/// Tells of progress on stderr.
pub(crate) struct Meter {
    terminal: bool,
    part: Option<Part>,
    begun: Instant,
    last: Option<Instant>,
    /// Something stands in the terminal's line.
    dirty: bool,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            part: None,
            begun: Instant::now(),
            last: None,
            dirty: false,
        }
    }

    pub(crate) fn tell(&mut self, progress: Progress) {
        let now = Instant::now();
        if self.part != Some(progress.part) {
            (self.part, self.begun) = (Some(progress.part), now);
            self.last = (!self.terminal).then_some(now);
        }
        let pause = if self.terminal { CHANGES } else { LINES };
        if self.last.is_some_and(|last| now - last < pause) {
            return;
        }
        self.last = Some(now);
        let line = line(progress, now - self.begun);
        // If stderr is closed there is nobody to tell.
        let _ = if self.terminal {
            self.dirty = true;
            write!(io::stderr(), "\r\x1b[K{line}")
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }

    /// Leaves the terminal's line as it was.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(progress: Progress, took: Duration) -> String {
    let Progress { part, done, of } = progress;
    let what = match part {
        Part::Journal => "journal",
        Part::Segments => "segments",
    };
    let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
    let mut line = format!(
        "reading the {what}: {} of {}, {percent} %",
        ByteSize(done),
        ByteSize(of)
    );
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let rate = done.saturating_mul(1000).checked_div(millis).unwrap_or(0);
    if let Some(left) = of.saturating_sub(done).checked_div(rate) {
        line.push_str(&format!(", {}/s, {} left", ByteSize(rate), duration(left)));
    }
    line
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6_000 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_much_how_fast_and_how_long() {
        let progress = Progress {
            part: Part::Journal,
            done: 64 << 20,
            of: 256 << 20,
        };
        assert_eq!(
            line(progress, Duration::from_secs(2)),
            "reading the journal: 64.0 MiB of 256.0 MiB, 25 %, 32.0 MiB/s, 6 s left"
        );
    }
}
