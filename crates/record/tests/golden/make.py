"""Writes the golden batches with kafka-python 3.0.12, an implementation that is not ours.

They pin the format: make them anew only to add one. Needs kafka-python, python-snappy, lz4 and
zstandard from PyPI. The records are written down a second time in ../batch/golden.rs.
"""

import pathlib
import struct

from kafka.codec import snappy_encode
from kafka.record.default_records import DefaultRecordBatchBuilder, calc_crc32c

HERE = pathlib.Path(__file__).parent
T = 1_700_000_000_000
HEADER = 61

MIXED = [
    (T, b"key", b"value", []),
    (T + 1, None, b"no key", [("trace", b"\x00\x01\xfe\xff")]),
    (T - 5, b"tombstone", None, [("null", None), ("empty", b"")]),
    (T + 86_400_000, b"", b"", [("naïve ☃", "grün".encode()), ("trace", b"1"), ("trace", b"2")]),
    (T, b"k" * 130, b"v" * 9000, []),
]
LINES = [
    (T + i, f"key-{i}".encode(), f"line {i} of a golden batch\n".encode() * 70, [("n", str(i).encode())])
    for i in range(40)
]


def build(records, codec=0, transactional=False, producer=(-1, -1, -1)):
    builder = DefaultRecordBatchBuilder(2, codec, transactional, *producer, 1 << 20)
    for offset, (timestamp, key, value, headers) in enumerate(records):
        assert builder.append(offset, timestamp, key, value, headers) is not None
    return bytes(builder.build())


def raw_snappy(records):
    """One block without xerial's framing, as librdkafka writes it."""
    plain = build(records)
    batch = bytearray(plain[:HEADER] + snappy_encode(plain[HEADER:], xerial_compatible=False))
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">h", batch, 21, 2)
    struct.pack_into(">I", batch, 17, calc_crc32c(memoryview(batch)[21:]))
    return bytes(batch)


GOLDEN = {
    "plain": build(MIXED),
    "idempotent": build(MIXED, producer=(4711, 3, 12)),
    "transactional": build(MIXED, transactional=True, producer=(2**40, 32767, 2**31 - 1)),
    "gzip": build(LINES, codec=1),
    "snappy": build(LINES, codec=2),
    "snappy_raw": raw_snappy(LINES),
    "lz4": build(LINES, codec=3),
    "zstd": build(LINES, codec=4),
}

for name, batch in GOLDEN.items():
    (HERE / f"{name}.batch").write_bytes(batch)
