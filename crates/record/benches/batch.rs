//! Building, checking and reading batches.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forebay_record::{Batch, BatchBuilder, Compression};

const T: i64 = 1_700_000_000_000;
const ENOUGH: usize = 1 << 26;
const RECORDS: usize = 100;
const VALUE: [u8; 256] = [b'x'; 256];
const HEADERS: [(&str, Option<&[u8]>); 2] = [
    ("message-id", Some(b"0123456789abcdef")),
    ("content-type", Some(b"application/json")),
];

fn build(records: usize, compression: Compression) -> Batch {
    let mut builder = BatchBuilder::with_capacity(T, records * 400 + 61).compression(compression);
    for at in 0..records {
        builder
            .push(
                T + at as i64,
                Some(b"customer-4711"),
                Some(&VALUE),
                HEADERS.into_iter(),
            )
            .expect("a small record fits");
    }
    builder.finish()
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(1));
    group.bench_function("build one record", |bencher| {
        bencher.iter(|| build(black_box(1), Compression::None));
    });

    group.throughput(Throughput::Elements(RECORDS as u64));
    for codec in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        group.bench_function(format!("build {RECORDS} records, {codec}"), |bencher| {
            bencher.iter(|| build(black_box(RECORDS), codec));
        });
        let batch = build(RECORDS, codec);
        group.bench_function(format!("read {RECORDS} records, {codec}"), |bencher| {
            bencher.iter(|| {
                let records = batch.records(ENOUGH).expect("the batch decompresses");
                for record in records {
                    black_box(record.expect("the record parses"));
                }
            });
        });
    }

    let batch = build(RECORDS, Compression::None);
    group.bench_function(format!("take {RECORDS} records"), |bencher| {
        bencher.iter_batched(
            || batch.bytes().clone(),
            |mut input: Bytes| Batch::take(&mut input, ENOUGH),
            BatchSize::SmallInput,
        );
    });
    group.bench_function(format!("validate {RECORDS} records"), |bencher| {
        bencher.iter(|| black_box(&batch).validate_records(ENOUGH));
    });
    group.bench_function(format!("move {RECORDS} records"), |bencher| {
        bencher.iter(|| batch.with_base_offset(black_box(42)));
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
