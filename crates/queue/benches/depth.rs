//! What a backlog costs whoever takes from an ordered view: ten messages are appended, taken,
//! leased and settled, in front of nothing and of ten million others, with few groups, with many,
//! and with all but one of them held up.
#![allow(missing_docs, reason = "the macros make items without docs")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use forebay_base::{SessionId, Timestamp};
use forebay_queue::{Limits, QueueEvent, QueueView};

const LEASED: Timestamp = Timestamp(1_000);

fn append(view: &mut QueueView, next: &mut u64, count: u64, groups: u64) {
    let first = *next;
    view.append(first, (first..first + count).map(|offset| offset % groups));
    *next += count;
    view.advance(*next);
}

fn turn(view: &mut QueueView, next: &mut u64, groups: u64) {
    append(view, next, 10, groups);
    let taken = view.take(10, &Limits::default());
    let taken = taken.expect("there are messages");
    let ranges: Vec<_> = taken.iter().map(|part| part.range).collect();
    view.apply(&QueueEvent::Delivered {
        ranges: ranges.clone(),
        lessee: SessionId(0),
        deadline: Some(LEASED),
    });
    view.apply(&QueueEvent::Settled { ranges });
}

fn depth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ten messages through an ordered view");
    for depth in [0, 1_000_000, 10_000_000] {
        for groups in [100, 50_000] {
            let (mut view, mut next) = (QueueView::ordered(0), 0);
            append(&mut view, &mut next, depth, groups);
            let name = BenchmarkId::new(format!("{groups} groups"), depth);
            group.bench_function(name, |bench| {
                bench.iter(|| turn(&mut view, &mut next, groups));
            });
        }
    }
    // One message of each group is out, so that every group but a new one is held up.
    let (mut view, mut next) = (QueueView::ordered(0), 0);
    append(&mut view, &mut next, 1_000_000, 50_000);
    while let Some(taken) = view.take(1, &Limits::default()) {
        view.apply(&QueueEvent::Delivered {
            ranges: taken.iter().map(|part| part.range).collect(),
            lessee: SessionId(0),
            deadline: Some(LEASED),
        });
    }
    group.bench_function("50000 groups held up, 1000000 waiting", |bench| {
        bench.iter(|| {
            let first = next;
            view.append(first, [u64::MAX; 10]);
            next += 10;
            view.advance(next);
            let taken = view.take(10, &Limits::default());
            let taken = taken.expect("there are messages");
            let ranges = taken.iter().map(|part| part.range).collect();
            view.apply(&QueueEvent::Settled { ranges });
        });
    });
    group.finish();
}

criterion_group!(benches, depth);
criterion_main!(benches);
