"""Segments in a bucket: what a bad road to it, or none at all, may not do."""

import hashlib
import pathlib
import subprocess
import os
import tempfile
import time

import pytest

from bucket import ACCESS_KEY, BUCKET, SECRET_KEY, BadRoad, S3Server
from conftest import Forebay, until

MIB = 1 << 20
KILO = 8 << 10
FILE = 4 * MIB


@pytest.fixture
def server(tmp_path):
    server = S3Server(tmp_path / "s3")
    yield server
    server.close()


@pytest.fixture
def road(server):
    return BadRoad(server)


def environment(road, **other):
    return {
        "FOREBAY_SEGMENTS": f"s3://{BUCKET}/tests",
        "FOREBAY_JOURNAL_FILE": str(FILE),
        "FOREBAY_JOURNAL_RETAIN": str(2 * FILE),
        "AWS_ENDPOINT_URL": road.url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        **other,
    }


@pytest.fixture
def program(tmp_path, road):
    program = Forebay(str(tmp_path / "data"), environment(road))
    yield program
    program.process.terminate()
    assert program.process.wait(60) == 0, "SIGTERM ends it with 0"


def body(number):
    """8 KiB that tell their number, and whether a byte of them is wrong."""
    start = b"%010d " % number
    return start + (hashlib.sha256(start).hexdigest().encode() * 200)[: KILO - len(start)]


class Stream:
    """A topic filled by a Kafka producer that counts its acknowledgements."""

    def __init__(self, program, topic):
        self.program, self.topic = program, topic
        program.create_kafka_topic(topic)
        self.sent = 0

    def publish(self, count, patience=30):
        """Fails unless all are acknowledged in time. Gives the longest time one had to wait."""
        producer = self.program.producer(linger_ms=5, message_timeout_ms=patience * 1000)
        failed, waits = [], []
        for _ in range(count):
            begun = time.monotonic()

            def told(error, message, begun=begun):
                waits.append(time.monotonic() - begun)
                if error is not None:
                    failed.append(error)

            while True:
                try:
                    producer.produce(self.topic, body(self.sent), on_delivery=told)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
            self.sent += 1
        assert producer.flush(patience) == 0, "not all were acknowledged"
        assert not failed, failed[0]
        return max(waits)

    def check(self):
        """Reads all of it from the beginning: each message once, whole, in order."""
        consumer = self.program.consumer()
        consumer.subscribe([self.topic])
        number, deadline = 0, time.monotonic() + 120
        while number < self.sent:
            assert time.monotonic() < deadline, f"{number} of {self.sent} came"
            message = consumer.poll(0.5)
            if message is None or message.error() is not None:
                continue
            assert message.value() == body(number), f"message {number}"
            number += 1
        consumer.close()


class Work:
    """A queue of SQS of which a part is worked off."""

    def __init__(self, program, topic):
        self.program = program
        self.url = program.sqs().create_queue(QueueName=topic)["QueueUrl"]
        self.open, self.sent = set(), 0

    def send(self, count):
        client = self.program.sqs()
        for _ in range(count):
            name = f"work {self.sent}"
            client.send_message(QueueUrl=self.url, MessageBody=name)
            self.open.add(name)
            self.sent += 1

    def work(self, count):
        client = self.program.sqs()
        done = 0
        while done < count:
            answer = client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                client.delete_message(
                    QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"]
                )
                self.open.remove(message["Body"])
                done += 1

    def check(self):
        """Takes all that is left: just what was not deleted."""
        self.work(len(self.open))
        answer = self.program.sqs().receive_message(QueueUrl=self.url, WaitTimeSeconds=1)
        assert answer.get("Messages", []) == []


def journal_bytes(program):
    """Bytes of the journal's files; dropped ones that wait to be used again do not count."""
    journal = pathlib.Path(program.data_dir) / "journal"
    return sum(FILE for _ in journal.glob("*.journal"))


def shrinks_to(program, most):
    until(f"a journal of at most {most} bytes", lambda: journal_bytes(program) <= most)


def test_a_bad_road_loses_nothing_and_stops_nobody(server, road, program, topic):
    stream, work = Stream(program, f"{topic}-stream"), Work(program, f"{topic}-work")
    work.send(100)
    work.work(60)
    for fates in (
        ["throttled", "throttled", "carried"],
        ["cut", "carried", "lost", "carried"],
        ["carried", "lost", "carried", "throttled", "cut", "carried"],
    ):
        road.be(*fates, delay=0.02)
        assert stream.publish(8_000) < 20
    until("segments in the bucket", server.segments)
    shrinks_to(program, 150 * MIB)
    assert all(road.counts.values()), road.counts
    program.kill_and_restart()
    stream.check()
    work.check()


def test_a_bucket_that_is_away_for_a_while_is_caught_up_with(server, road, program, topic):
    stream, work = Stream(program, f"{topic}-stream"), Work(program, f"{topic}-work")
    work.send(50)
    stream.publish(12_000)
    until("segments in the bucket", server.segments)

    road.block()
    assert stream.publish(24_000) < 20, "producers do not wait for the bucket"
    before = len(server.segments())
    late = Work(program, f"{topic}-late")
    late.send(20)
    late.work(10)
    assert journal_bytes(program) >= 24_000 * KILO, "what cannot move stays in the journal"
    program.kill_and_restart()
    stream.publish(4_000)
    work.send(10)
    assert len(server.segments()) == before

    road.open()
    # Up to two snapshots' distance of the journal stays, 64 MiB each, and this makes a new one.
    stream.publish(9_000)
    until("more segments", lambda: len(server.segments()) > before)
    shrinks_to(program, 190 * MIB)
    stream.check()
    work.check()
    late.check()


def test_what_the_bucket_refuses_keeps_it_from_starting(road, server, tmp_path):
    def refusal(**other):
        ended = subprocess.run(
            [os.environ["FOREBAY_BIN"], "--data-dir", str(tmp_path / "never")]
            + [word for name in ("sqs", "amqp", "kafka", "http") for word in (f"--{name}", "off")],
            env={**os.environ, **environment(road, **other)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 1, ended
        return ended.stderr.strip()

    where = f"forebay: segments cannot be kept at s3://{BUCKET}/tests: "
    said = refusal(FOREBAY_SEGMENTS="s3://nothing-there")
    assert 'there is no bucket "nothing-there"' in said and "create it" in said
    said = refusal(AWS_SECRET_ACCESS_KEY="wrong")
    assert said.startswith(f"{where}the credentials are refused"), said
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in said
    said = refusal(AWS_REGION="eu-west-1")
    assert said.startswith(f"{where}the bucket {chr(34)}{BUCKET}{chr(34)} is in another region")
    road.block()
    said = refusal()
    assert said.startswith(f"{where}the object store does not answer at {road.url}"), said
    assert not (tmp_path / "never" / "FOREBAY").exists()
