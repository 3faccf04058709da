"""Damage of every kind: found, told in topics and offsets, repaired, and nothing else given up."""

import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

from conftest import Forebay, until

MIB = 1 << 20
FILE = 4 * MIB
BODY = 8 << 10
MESSAGES, ORDERS, DONE = 24_000, 60, 20
ENVIRONMENT = {
    "FOREBAY_JOURNAL_FILE": str(FILE),
    "FOREBAY_JOURNAL_RETAIN": str(2 * FILE),
    "FOREBAY_LOG": "warn",
}


def body(number):
    return (b"%010d " % number) * (BODY // 11)


def orders(program):
    return program.sqs().create_queue(QueueName="orders")["QueueUrl"]


def take(program, url):
    """All that the queue still gives, deleted as it comes."""
    client, bodies = program.sqs(), []
    while messages := client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1
    ).get("Messages", []):
        for message in messages:
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            bodies.append(message["Body"])
    return bodies


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A killed broker's directory: a stream that is longer than the journal, and a queue of which
    the first orders are done."""
    data = tmp_path_factory.mktemp("stored") / "data"
    program = Forebay(str(data), ENVIRONMENT)
    program.create_kafka_topic("stream")
    url = orders(program)
    client = program.sqs()
    producer = program.producer(linger_ms=5)
    for number in range(MESSAGES):
        while True:
            try:
                producer.produce("stream", body(number))
                break
            except BufferError:
                producer.poll(0.1)
        if number % (MESSAGES // ORDERS) == 0:
            client.send_message(QueueUrl=url, MessageBody=f"order {number}")
    assert producer.flush(60) == 0
    done = set()
    while len(done) < DONE:
        for message in client.receive_message(QueueUrl=url).get("Messages", []):
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            done.add(message["Body"])
    until("segments", lambda: list((data / "segments").rglob("*.segment")))
    until("two snapshots", lambda: len(list((data / "snapshots").glob("*.snapshot"))) == 2)
    program.process.kill()
    program.process.wait()
    sent = [f"order {number}" for number in range(0, MESSAGES, MESSAGES // ORDERS)]
    return data, sent, done


def journal(data):
    return sorted((data / "journal").glob("*.journal"))


def harm_bytes(path, at, length=1):
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(length)
        file.seek(at)
        file.write(bytes(byte ^ 0x55 for byte in old))


def flip_in_the_middle(data):
    harm_bytes(journal(data)[-4], FILE // 2)


def flip_many(data):
    for file in journal(data)[2:-2]:
        harm_bytes(file, FILE // 3)


def lose_a_file(data):
    journal(data)[-5].unlink()


def wreck_a_header(data):
    harm_bytes(journal(data)[3], 0, 64)


def cut_a_file_short(data):
    os.truncate(journal(data)[-6], FILE // 2)


def damage_a_snapshot(data):
    newest = sorted((data / "snapshots").glob("*.snapshot"))[-1]
    harm_bytes(newest, newest.stat().st_size // 2)


def lose_the_end(data):
    snapshot = int(sorted((data / "snapshots").glob("*.snapshot"))[-1].stem, 16)
    for file in journal(data):
        if int(file.stem, 16) >= snapshot // FILE:
            file.unlink()


def damage_a_segment(data):
    segment = sorted((data / "segments").rglob("*.segment"))[0]
    harm_bytes(segment, segment.stat().st_size // 2, 100_000)


def damage_the_end_of_a_segment(data):
    segment = sorted((data / "segments").rglob("*.segment"))[0]
    os.truncate(segment, segment.stat().st_size - 1_000_000)


def lose_a_segment(data):
    sorted((data / "segments").rglob("*.segment"))[0].unlink()


HARMS = [
    flip_in_the_middle,
    flip_many,
    lose_a_file,
    wreck_a_header,
    cut_a_file_short,
    damage_a_snapshot,
    lose_the_end,
    damage_a_segment,
    damage_the_end_of_a_segment,
    lose_a_segment,
]


def forebay(*words):
    ended = subprocess.run(
        [os.environ["FOREBAY_BIN"], *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "FOREBAY_LOG": "warn"},
    )
    return ended.returncode, ended.stdout + ended.stderr


def files(data):
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in data.rglob("*")}


def told_lost(said):
    """The offsets it says are lost, by topic."""
    lost = {"stream": set(), "orders": set()}
    for topic, first, last in re.findall(r"  (\w+), partition 0: offsets (\d+) to (\d+)", said):
        lost[topic].update(range(int(first), int(last) + 1))
    return lost


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_damage_is_told_and_repaired(stored, harm, tmp_path):
    original, sent, done = stored
    data = tmp_path / "data"
    shutil.copytree(original, data)
    harm(data)

    before = files(data)
    code, said = forebay("check", data)
    assert code == 3 and "DAMAGED" in said, said
    code, dry = forebay("check", "--repair", data)
    assert code == 3 and "say --repair --yes" in dry, dry
    assert files(data) == before, "looking changes nothing"
    lost = told_lost(said)
    assert lost == told_lost(dry)

    code, repaired = forebay("check", "--repair", "--yes", data)
    assert code == 0 and "The directory is whole again." in repaired, repaired
    code, again = forebay("check", data)
    assert code == 0 and "All is whole." in again, again
    kept = [path for path in data.rglob("*") if "damaged-" in str(path) and path.is_file()]
    assert kept or harm in (lose_a_file, lose_the_end, lose_a_segment), "damaged files are kept"

    program = Forebay(str(data), ENVIRONMENT)
    try:
        # Behind the last commit that is left, only the snapshot knows how much there was.
        end = int(re.search(r"([\d,]+) kept", said)[1].replace(",", ""))
        cut = "in damaged commits: what was the last" in said
        whole_end = harm is not lose_the_end and not cut
        assert end == MESSAGES or not whole_end
        number = end - len(lost["stream"])
        consumer = program.consumer()
        consumer.subscribe(["stream"])
        offsets = []
        deadline = time.monotonic() + 60
        while len(offsets) < number:
            assert time.monotonic() < deadline, f"{len(offsets)} of {number} came"
            for record in consumer.consume(500, timeout=0.5):
                assert record.error() is None, record.error()
                assert record.value() == body(record.offset())
                offsets.append(record.offset())
        assert offsets == [n for n in range(end) if n not in lost["stream"]]
        consumer.close()

        came = take(program, orders(program))
        missing = {sent[offset] for offset in lost["orders"]}
        assert set(came) >= set(sent) - done - missing or not whole_end
        if whole_end and "that no snapshot holds" not in said:
            assert set(came) == set(sent) - done - missing
    finally:
        program.process.terminate()
        assert program.process.wait(60) == 0
