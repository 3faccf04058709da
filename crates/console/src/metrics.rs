//! The counters in Prometheus' text format, version 0.0.4.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write;

use forebay_broker::{Counters, Pressure};

/// The whole page.
pub(crate) fn page(version: &str, counters: &Counters, pressure: &Pressure) -> String {
    let held_up = u64::from(!matches!(pressure, Pressure::None));
    let gauges = [
        ("topics", "Topics there are.", counters.topics),
        ("sessions", "Sessions that are open.", counters.sessions),
        (
            "publishing_held_up",
            "1 while the disk is too full to publish.",
            held_up,
        ),
    ];
    let totals = [
        ("commits", "Commits made durable.", counters.commits),
        (
            "syncs",
            "Syncs of the journal: one for each commit.",
            counters.commits,
        ),
        (
            "journal_bytes",
            "Bytes of the commits.",
            counters.journal_bytes,
        ),
        ("records_in", "Records appended.", counters.records_in),
        (
            "bytes_in",
            "Bytes of record batches appended.",
            counters.bytes_in,
        ),
        (
            "records_out",
            "Messages handed out as work.",
            counters.records_out,
        ),
        (
            "redelivered",
            "Of these, not for the first time.",
            counters.redelivered,
        ),
        ("settled", "Messages settled.", counters.settled),
        (
            "dead_lettered",
            "Messages that became dead letters.",
            counters.dead_lettered,
        ),
    ];
    let mut text = format!(
        "# HELP forebay_info The program.\n# TYPE forebay_info gauge\n\
         forebay_info{{version=\"{version}\"}} 1\n"
    );
    // Writing to a string cannot fail.
    for (name, help, value) in gauges {
        let _ = writeln!(
            text,
            "# HELP forebay_{name} {help}\n# TYPE forebay_{name} gauge\nforebay_{name} {value}"
        );
    }
    for (name, help, value) in totals {
        let _ = writeln!(
            text,
            "# HELP forebay_{name}_total {help}\n# TYPE forebay_{name}_total counter\n\
             forebay_{name}_total {value}"
        );
    }
    text
}
