"""Starts the program once for all tests, and gives each test a topic name and clients of its own."""

import os
import re
import subprocess
import tempfile
import time
import uuid

import boto3
import pika
import pytest
from botocore.config import Config
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

PATIENCE_SECONDS = 30


class Forebay:
    """A running program."""

    def __init__(self, data_dir, environment=None):
        self.data_dir = data_dir
        self.environment = {"FOREBAY_JOURNAL_FILE": "16MiB", **(environment or {})}
        self.at = {name: "127.0.0.1:0" for name in ("sqs", "amqp", "kafka", "http")}
        self.start()

    def start(self):
        """Starts it; the second time on the ports it had before."""
        options = [word for name, at in self.at.items() for word in (f"--{name}", at)]
        self.process = subprocess.Popen(
            [os.environ["FOREBAY_BIN"], "--data-dir", self.data_dir, *options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )
        for line in self.process.stdout:
            found = re.match(r"(sqs|amqp|kafka|http)\s+\S*?(127\.0\.0\.1:\d+)", line)
            if found:
                self.at[found[1]] = found[2]
            if line.strip() == "ready":
                return
        raise AssertionError("the program did not come up")

    def kill_and_restart(self):
        """kill -9, and a new start on the same data and ports."""
        self.process.kill()
        self.process.wait()
        self.start()

    def sqs(self):
        """A boto3 client; it checks every MD5 it gets."""
        return boto3.client(
            "sqs",
            endpoint_url=f"http://{self.at['sqs']}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def amqp(self):
        """A pika connection as guest."""
        host, port = self.at["amqp"].split(":")
        return pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))

    def producer(self, **options):
        """A Kafka producer with acks=all."""
        return Producer({"bootstrap.servers": self.at["kafka"], **_dotted(options)})

    def consumer(self, group=None, **options):
        """A Kafka consumer that starts at the earliest record and commits only when told."""
        return Consumer(
            {
                "bootstrap.servers": self.at["kafka"],
                "group.id": group or f"group-{uuid.uuid4()}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **_dotted(options),
            }
        )

    def admin(self):
        """A Kafka admin client."""
        return AdminClient({"bootstrap.servers": self.at["kafka"]})

    def create_kafka_topic(self, name, partitions=1):
        """CreateTopics, and waits for the answer."""
        admin = self.admin()  # which must live until the answer is there
        admin.create_topics([NewTopic(name, partitions, 1)])[name].result(PATIENCE_SECONDS)


def _dotted(options):
    return {name.replace("_", "."): value for name, value in options.items()}


def until(what, condition):
    """Asks again and again until `condition` gives something true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for: {what}")


def poll_records(consumer, count):
    """So many records from a Kafka consumer."""
    records = []

    def poll():
        while len(records) < count and (record := consumer.poll(0.2)) is not None:
            assert record.error() is None, record.error()
            records.append(record)
        return len(records) >= count

    until(f"{count} records, {len(records)} came", poll)
    return records


@pytest.fixture(scope="session")
def forebay():
    with tempfile.TemporaryDirectory() as data_dir:
        program = Forebay(data_dir)
        yield program
        program.process.terminate()
        assert program.process.wait(30) == 0, "SIGTERM ends it with 0"


@pytest.fixture
def topic():
    return f"topic-{uuid.uuid4()}"


@pytest.fixture
def sqs(forebay):
    return forebay.sqs()


@pytest.fixture
def queue(sqs, topic):
    """A queue over SQS: its URL. It has the name `topic`."""
    return sqs.create_queue(QueueName=topic)["QueueUrl"]


@pytest.fixture
def connection(forebay):
    connection = forebay.amqp()
    yield connection
    if connection.is_open:
        connection.close()


@pytest.fixture
def channel(connection):
    return connection.channel()
