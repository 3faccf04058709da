//! `forebay dump`: what a stopped broker has stored, line by line.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use forebay_broker::{DumpOptions, Dumped, Label, Position, Record, batch_records};
use serde_json::{Value, json};

use crate::check::{must_be_there, number};
use crate::failure::Failure;
use crate::options::Dump;
use crate::settings::Settings;

/// Writes everything to stdout, until it is closed.
pub(crate) fn run(settings: &Settings, dump: &Dump) -> Result<(), Failure> {
    crate::trace::start(&settings.log)?;
    let segments = settings.segments.look(&settings.s3)?;
    must_be_there(&settings.data_dir)?;
    let options = DumpOptions {
        topic: dump.topic.clone(),
        from: dump.from.map(Position),
        batches: dump.records,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let told = forebay_broker::dump(&settings.data_dir, segments, &options, &mut |dumped| {
        let written = if dump.json {
            objects(&dumped, dump.records)
                .iter()
                .try_for_each(|object| writeln!(out, "{object}"))
        } else {
            lines(&mut out, &dumped, dump.records)
        };
        // Whoever read it has seen enough.
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    let _ = out.flush();
    told.map_err(|error| Failure::Open(error.to_string()))
}

fn time(ms: i64) -> String {
    let Ok(ms) = u64::try_from(ms) else {
        return "no time".to_owned();
    };
    match UNIX_EPOCH.checked_add(Duration::from_millis(ms)) {
        // The last second that the format knows.
        Some(time) if ms < 253_402_300_800_000 => {
            humantime::format_rfc3339_millis(time).to_string()
        }
        _ => format!("{ms} ms"),
    }
}

fn lines(out: &mut dyn Write, dumped: &Dumped<'_>, records: bool) -> io::Result<()> {
    match dumped {
        Dumped::Snapshot {
            position,
            bytes,
            contents,
        } => {
            write!(out, "snapshot at {position}, {}: ", ByteSize(*bytes))?;
            match contents {
                Ok(has) => writeln!(
                    out,
                    "{} topics with {} partitions, {} messages waiting, {} kept",
                    number(has.topics),
                    number(has.partitions),
                    number(has.waiting),
                    number(has.kept)
                ),
                Err(wrong) => writeln!(out, "{wrong}"),
            }
        }
        Dumped::Segment(segment) => writeln!(
            out,
            "segment {:016x}, {}, of which {} are needed",
            segment.number,
            ByteSize(segment.bytes),
            ByteSize(segment.live_bytes)
        ),
        Dumped::Run { partition, run } => writeln!(
            out,
            "  run {partition}: offsets {} to {}, {} records in {} blocks from byte {} on, {}, latest {}",
            run.first,
            run.end.saturating_sub(1),
            number(run.records),
            run.blocks,
            run.at,
            ByteSize(run.bytes.saturating_add(run.shared_bytes)),
            time(run.latest)
        ),
        Dumped::Batch { partition, batch } => {
            writeln!(
                out,
                "    batch {partition} at {}: {} offsets, {}, latest {}",
                batch.base_offset,
                batch.records,
                ByteSize(batch.batch.len() as u64),
                time(batch.max_timestamp)
            )?;
            if records {
                record_lines(out, &batch.batch, batch.base_offset)?;
            }
            Ok(())
        }
        Dumped::Lost { partition, offsets } => writeln!(
            out,
            "    DAMAGED {partition}: offsets {} to {}",
            offsets.start,
            offsets.end.saturating_sub(1)
        ),
        Dumped::File { number, path } => {
            writeln!(out, "journal file {number:016x}: {}", path.display())
        }
        Dumped::Commit {
            position,
            bytes,
            void,
        } => {
            let void = if *void {
                ", void: cut out by repair"
            } else {
                ""
            };
            writeln!(out, "  commit at {position}, {bytes} bytes{void}")
        }
        Dumped::Append {
            entries,
            records: count,
            max_timestamp,
            batch,
        } => {
            write!(out, "    append")?;
            for (partition, offset) in entries.iter().take(8) {
                write!(out, " {partition}@{offset}")?;
            }
            if entries.len() > 8 {
                write!(out, " and {} more", entries.len() - 8)?;
            }
            writeln!(
                out,
                ": {count} offsets, {} bytes, latest {}",
                batch.len(),
                time(*max_timestamp)
            )?;
            match entries.first() {
                Some((_, base)) if records => record_lines(out, batch, *base),
                _ => Ok(()),
            }
        }
        Dumped::State {
            kind,
            partition,
            change,
        } => match partition {
            Some(partition) => writeln!(out, "    {kind} {partition}: {change}"),
            None => writeln!(out, "    {kind}: {change}"),
        },
        Dumped::Segments(change) => writeln!(
            out,
            "    segments: {} new, {} partitions, the journal below {} is worked off",
            change.segments.len(),
            change.partitions.len(),
            change.below
        ),
        Dumped::Seal(position) => writeln!(out, "  seal at {position}"),
        Dumped::Damage(damage) => writeln!(
            out,
            "  DAMAGED at {}: {}, {} bytes",
            damage.position, damage.kind, damage.bytes
        ),
        Dumped::End { position, torn: 0 } => writeln!(out, "end at {position}"),
        Dumped::End { position, torn } => {
            writeln!(out, "end at {position}, with {torn} bytes of a torn commit")
        }
    }
}

fn record_lines(out: &mut dyn Write, batch: &bytes::Bytes, base: u64) -> io::Result<()> {
    let records = match batch_records(batch) {
        Ok(records) => records,
        Err(error) => return writeln!(out, "      the batch cannot be read: {error}"),
    };
    for record in records {
        let offset = base.saturating_add(u64::from(record.offset_delta));
        write!(out, "      {offset} {}", time(record.timestamp))?;
        if let Some(key) = &record.key {
            write!(out, " key {}", text(key))?;
        }
        for (name, value) in record.headers.iter() {
            let value = value.map_or_else(|| "null".to_owned(), text);
            write!(out, " {name}={value}")?;
        }
        match &record.value {
            Some(value) => writeln!(out, " {}", text(value))?,
            None => writeln!(out, " null")?,
        }
    }
    Ok(())
}

/// Bytes as a quoted text, escaped where they are none.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("b\"{}\"", bytes.escape_ascii()),
    }
}

/// The same as objects.
fn objects(dumped: &Dumped<'_>, records: bool) -> Vec<Value> {
    let object = match dumped {
        Dumped::Snapshot {
            position,
            bytes,
            contents,
        } => match contents {
            Ok(has) => json!({
                "what": "snapshot", "position": position.0, "bytes": bytes, "topics": has.topics,
                "partitions": has.partitions, "waiting": has.waiting, "kept": has.kept,
            }),
            Err(wrong) => json!({
                "what": "snapshot", "position": position.0, "bytes": bytes, "wrong": wrong,
            }),
        },
        Dumped::Segment(segment) => json!({
            "what": "segment", "number": segment.number, "bytes": segment.bytes,
            "needed_bytes": segment.live_bytes,
        }),
        Dumped::Run { partition, run } => json!({
            "what": "run", "partition": label(partition), "segment": run.segment,
            "first": run.first, "end": run.end, "records": run.records, "blocks": run.blocks,
            "at": run.at, "bytes": run.bytes, "shared_bytes": run.shared_bytes,
            "latest": run.latest,
        }),
        Dumped::Batch { partition, batch } => {
            let whole = json!({
                "what": "batch", "partition": label(partition), "offset": batch.base_offset,
                "offsets": batch.records, "bytes": batch.batch.len(),
                "latest": batch.max_timestamp,
            });
            return with_records(whole, records, &batch.batch, batch.base_offset);
        }
        Dumped::Lost { partition, offsets } => json!({
            "what": "lost", "partition": label(partition), "first": offsets.start,
            "end": offsets.end,
        }),
        Dumped::File { number, path } => json!({
            "what": "file", "number": number, "path": path.to_string_lossy(),
        }),
        Dumped::Commit {
            position,
            bytes,
            void,
        } => json!({
            "what": "commit", "position": position.0, "bytes": bytes, "void": void,
        }),
        Dumped::Append {
            entries,
            records: count,
            max_timestamp,
            batch,
        } => {
            let places: Vec<_> = entries
                .iter()
                .map(|(partition, offset)| json!({"partition": label(partition), "offset": offset}))
                .collect();
            let whole = json!({
                "what": "append", "entries": places, "offsets": count, "bytes": batch.len(),
                "latest": max_timestamp,
            });
            let base = entries.first().map_or(0, |(_, base)| *base);
            return with_records(whole, records, batch, base);
        }
        Dumped::State {
            kind,
            partition,
            change,
        } => json!({
            "what": "state", "kind": kind, "partition": partition.as_ref().map(label),
            "change": change,
        }),
        Dumped::Segments(change) => json!({
            "what": "segments", "below": change.below.0,
            "segments": change.segments.iter().map(|new| new.number).collect::<Vec<_>>(),
            "partitions": change.partitions.len(),
        }),
        Dumped::Seal(position) => json!({"what": "seal", "position": position.0}),
        Dumped::Damage(damage) => json!({
            "what": "damage", "position": damage.position.0, "bytes": damage.bytes,
            "wrong": damage.kind.to_string(), "file": damage.file.to_string_lossy(),
        }),
        Dumped::End { position, torn } => json!({
            "what": "end", "position": position.0, "torn": torn,
        }),
    };
    vec![object]
}

fn label(partition: &Label) -> Value {
    match &partition.of {
        Some((topic, number)) => {
            json!({"id": partition.id.0, "topic": &**topic, "number": number})
        }
        None => json!({"id": partition.id.0}),
    }
}

fn with_records(whole: Value, records: bool, batch: &bytes::Bytes, base: u64) -> Vec<Value> {
    let mut objects = vec![whole];
    if records {
        match batch_records(batch) {
            Ok(records) => objects.extend(records.iter().map(|one| record(one, base))),
            Err(wrong) => objects.push(json!({"what": "unreadable", "wrong": wrong})),
        }
    }
    objects
}

fn record(record: &Record, base: u64) -> Value {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| json!([name, value.map(content)]))
        .collect();
    json!({
        "what": "record", "offset": base.saturating_add(u64::from(record.offset_delta)),
        "timestamp": record.timestamp, "key": record.key.as_deref().map(content),
        "value": record.value.as_deref().map(content), "headers": headers,
    })
}

/// Bytes as a string, or as a list of numbers where they are no text.
fn content(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!(bytes),
    }
}
