//! `forebay check`: what a stopped broker has stored, what is damaged, and a repair if it is asked
//! for.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use forebay_base::{Clock, SystemClock};
use forebay_broker::{CheckReport, Loss, Repaired, SegmentStore};

use crate::failure::Failure;
use crate::options::Check;
use crate::progress::Meter;
use crate::settings::Settings;

/// Reads everything, tells of it on stdout, and fails if there is damage that is not repaired.
pub(crate) fn run(settings: &Settings, check: &Check) -> Result<(), Failure> {
    crate::trace::start(&settings.log)?;
    let segments = settings.segments.look(&settings.s3)?;
    let dir = &settings.data_dir;
    must_be_there(dir)?;
    let report = look(dir, segments.clone())?;
    let mut text = summary(settings, &report);
    if !report.given_up.is_empty() {
        text.push_str("\nGIVEN UP by an earlier repair\n");
        listed(&report.given_up, &mut text);
    }
    if report.is_whole() {
        text.push_str("\nAll is whole.\n");
        say(&text);
        return Ok(());
    }
    damage(dir, &report, &mut text);
    losses(&report, &mut text);
    say(&text);
    if check.repair && check.yes {
        let repaired = repair(dir, segments.clone())?;
        say(&repaired);
        let after = look(dir, segments)?;
        if after.is_whole() {
            say("The directory is whole again.\n");
            return Ok(());
        }
        let mut text = String::new();
        damage(dir, &after, &mut text);
        losses(&after, &mut text);
        say(&text);
        return Err(Failure::StillDamaged { dir: dir.clone() });
    } else if check.repair {
        say("\nThat is what a repair gives up. To carry it out, say --repair --yes.\n");
    } else {
        say(&format!(
            "\nRestore the damaged files from a copy, or see what a repair would give up:\n    \
             forebay check --repair {}\n",
            dir.display()
        ));
    }
    Err(Failure::Damaged { dir: dir.clone() })
}

pub(crate) fn must_be_there(dir: &Path) -> Result<(), Failure> {
    if dir.join("FOREBAY").exists() {
        return Ok(());
    }
    Err(Failure::NothingThere {
        dir: dir.to_owned(),
    })
}

fn look(dir: &Path, segments: Option<SegmentStore>) -> Result<CheckReport, Failure> {
    let mut meter = Meter::new();
    let report = forebay_broker::check(dir, segments, &mut |progress| meter.tell(progress));
    meter.end();
    report.map_err(|error| Failure::Open(error.to_string()))
}

fn repair(dir: &Path, segments: Option<SegmentStore>) -> Result<String, Failure> {
    let now = UNIX_EPOCH + Duration::from_millis(SystemClock.now().0.unsigned_abs());
    let now = humantime::format_rfc3339_seconds(now).to_string();
    let aside = format!("damaged-{}", now.replace([':', '-'], ""));
    let mut meter = Meter::new();
    let repaired =
        forebay_broker::repair(dir, segments, &aside, &mut |progress| meter.tell(progress));
    meter.end();
    let repaired = repaired.map_err(|error| Failure::Repair(error.to_string()))?;
    Ok(done(dir, &aside, &repaired))
}

/// Prints on stdout. If nobody reads it, the exit code tells the essence.
pub(crate) fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A number with its thousands apart.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// What is there.
fn summary(settings: &Settings, report: &CheckReport) -> String {
    let (log, has) = (&report.log, report.contents);
    let mut text = format!(
        "{}\n  journal    {}, {} of {}, ends at position {}\n",
        settings.data_dir.display(),
        counted(log.end.files, "file", "files"),
        counted(log.commits, "commit", "commits"),
        ByteSize(log.bytes),
        log.end.end
    );
    if log.end.torn > 0 {
        let _ = writeln!(
            text,
            "             {} of a torn commit behind that, never acknowledged: cut at the next start",
            counted(log.end.torn, "byte", "bytes")
        );
    }
    let newest = match report.base {
        Some(position) => format!(", the newest whole one at position {position}"),
        None => String::new(),
    };
    let snapshots = counted(report.snapshots.len() as u64, "snapshot", "snapshots");
    let _ = writeln!(text, "  state      {snapshots}{newest}");
    let _ = writeln!(
        text,
        "  segments   {} of {}, {}, {}",
        number(log.segments),
        ByteSize(log.segment_bytes),
        counted(log.blocks, "block", "blocks"),
        settings.segments
    );
    if !log.unknown_segments.is_empty() {
        let _ = writeln!(
            text,
            "             {} left over, deleted some time after the next start",
            counted(log.unknown_segments.len() as u64, "segment", "segments")
        );
    }
    let _ = writeln!(
        text,
        "  holds      {} with {}: {} waiting, {} kept",
        counted(has.topics, "topic", "topics"),
        counted(has.partitions, "partition", "partitions"),
        counted(has.waiting, "message", "messages"),
        number(has.kept)
    );
    text
}

/// What is damaged, place by place.
fn damage(dir: &Path, report: &CheckReport, text: &mut String) {
    text.push_str("\nDAMAGED\n");
    let short = |path: &Path| path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let log = &report.log;
    if log.headless {
        text.push_str("  the journal's first file and all snapshots are gone\n");
    }
    for damage in &log.damage {
        let _ = writeln!(
            text,
            "  {}: {}; {} from byte {} on (position {})",
            short(&damage.file),
            damage.kind,
            counted(damage.bytes, "byte", "bytes"),
            damage.byte,
            damage.position
        );
        let held = damage.held;
        if held.commits > 0 {
            let _ = writeln!(
                text,
                "      it seems to have held {} with {} and {}{}",
                counted(u64::from(held.commits), "commit", "commits"),
                counted(u64::from(held.appends), "append", "appends"),
                counted(u64::from(held.states), "other change", "other changes"),
                if held.whole { "" } else { ", and more" }
            );
        }
    }
    for (position, why) in &report.frames {
        let _ = writeln!(
            text,
            "  a commit at position {position} that cannot be understood: {why}"
        );
    }
    for snapshot in &report.snapshots {
        if let Some(wrong) = &snapshot.wrong {
            let _ = writeln!(text, "  {}: {wrong}", short(&snapshot.file));
        }
    }
    for segment in &log.damaged_segments {
        let unharmed = if segment.lost.is_empty() {
            " (nothing that is needed)"
        } else {
            ""
        };
        let _ = writeln!(text, "  {}{unharmed}", segment.error);
    }
}

/// What that means.
fn losses(report: &CheckReport, text: &mut String) {
    text.push_str("\nLOST\n");
    let before = text.len();
    listed(&report.losses, text);
    let changes = report.changes;
    let many = |count: u64, one: &str, many: &str| match (count, changes.more) {
        (0, true) => format!("an unknown number of {many}"),
        (count, true) => format!("{} or more", counted(count, one, many)),
        (count, false) => counted(count, one, many),
    };
    if changes.states > 0 || changes.more {
        let _ = writeln!(
            text,
            "  {} that no snapshot holds: what was settled, committed, created or deleted.\n  \
             So settled messages may come again, and a group may go on further back",
            many(changes.states, "change", "changes")
        );
    }
    if changes.appends > 0 || changes.more {
        let _ = writeln!(
            text,
            "  {} in damaged commits: what was the last of its partition is not in this list, and\n  \
             its offsets are given again",
            many(changes.appends, "append", "appends")
        );
    }
    if text.len() == before {
        text.push_str("  nothing that anybody still wanted\n");
    }
}

fn listed(losses: &[Loss], text: &mut String) {
    for (loss, offsets) in joined(losses) {
        let _ = writeln!(
            text,
            "  {}, partition {}: offsets {} to {} ({} at most)",
            loss.topic,
            loss.partition,
            offsets.start,
            offsets.end - 1,
            counted(offsets.end - offsets.start, "message", "messages")
        );
    }
}

/// Losses that are neighbours as one.
fn joined(losses: &[Loss]) -> Vec<(&Loss, std::ops::Range<u64>)> {
    let mut joined: Vec<(&Loss, std::ops::Range<u64>)> = Vec::new();
    for loss in losses {
        match joined.last_mut() {
            Some((last, range)) if last.id == loss.id && range.end >= loss.offsets.start => {
                range.end = range.end.max(loss.offsets.end);
            }
            _ => joined.push((loss, loss.offsets.clone())),
        }
    }
    joined
}

/// What a repair has done.
fn done(dir: &Path, aside: &str, repaired: &Repaired) -> String {
    let mut text = "\nREPAIRED\n".to_owned();
    for file in &repaired.journal {
        let file = file.strip_prefix(dir).unwrap_or(file);
        let _ = writeln!(text, "  {}: what is damaged was cut out", file.display());
    }
    for file in &repaired.snapshots {
        let file = file.strip_prefix(dir).unwrap_or(file);
        let _ = writeln!(text, "  {}: set aside", file.display());
    }
    for segment in &repaired.segments {
        let _ = writeln!(
            text,
            "  segment {segment:016x}: what is whole of it was written anew"
        );
    }
    if repaired.settled > 0 {
        let _ = writeln!(
            text,
            "  {} given up as work: no consumer will be asked to handle them",
            counted(repaired.settled, "message was", "messages were")
        );
    }
    let kept = dir.join(aside);
    if kept.exists() {
        let _ = writeln!(
            text,
            "  everything damaged is kept as it was in {}",
            kept.display()
        );
    }
    if !repaired.segments.is_empty() {
        let _ = writeln!(
            text,
            "  damaged segments are kept as they were in the folder {aside} beside the others"
        );
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(number);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
