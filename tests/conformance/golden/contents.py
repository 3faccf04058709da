"""What the golden data directory holds: put in once by `make`, found again by every version since.

`make.py` writes it anew for a new version of the format; the old archives stay, each with its test.
"""

import pathlib
import time

import pika
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from conftest import poll_records, until

HERE = pathlib.Path(__file__).parent
ARCHIVE = HERE / "data-2.tar.xz"

EVENTS = [
    (number % 2, b"key-%d" % (number % 5), b"event %d " % number * 20, [("n", b"%d" % number)])
    for number in range(60)
]
COMMITTED = {0: 7, 1: 12}
WORK = [f"work {number}" for number in range(12)]
WORK_DONE = 5
LINE = [("ab"[number % 2], f"in line {number}") for number in range(8)]
LETTERS = [(f"letter.{number}", b"letter %d" % number) for number in range(6)]
# Long and dull, so that the first journal file is full and the archive small.
FILLER, FILLERS = b"-" * 500_000, 10


def put(program):
    """Everything, with a client of each kind."""
    sqs = program.sqs()
    dead = sqs.create_queue(QueueName="work-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    work = sqs.create_queue(
        QueueName="work",
        Attributes={
            "VisibilityTimeout": "45",
            "RedrivePolicy": f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":"7"}}',
        },
        tags={"team": "storage"},
    )["QueueUrl"]
    for body in WORK:
        sqs.send_message(
            QueueUrl=work,
            MessageBody=body,
            MessageAttributes={"kind": {"DataType": "String", "StringValue": "golden"}},
        )
    for body in WORK[:WORK_DONE]:
        (message,) = sqs.receive_message(QueueUrl=work)["Messages"]
        assert message["Body"] == body
        sqs.delete_message(QueueUrl=work, ReceiptHandle=message["ReceiptHandle"])
    line = sqs.create_queue(QueueName="line.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    for group, body in LINE:
        sqs.send_message(
            QueueUrl=line, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=body.replace(" ", "-").replace(" ", "-")
        )

    program.create_kafka_topic("events", partitions=2)
    producer = program.producer()
    for partition, key, value, headers in EVENTS:
        producer.produce("events", value, key=key, headers=headers, partition=partition)
    assert producer.flush(30) == 0
    consumer = program.consumer(group="readers")
    consumer.subscribe(["events"])
    poll_records(consumer, len(EVENTS))
    consumer.commit(
        offsets=[_place(partition, offset) for partition, offset in COMMITTED.items()],
        asynchronous=False,
    )
    consumer.close()

    # An archive gets older than any queue of SQS may keep its messages.
    admin = program.admin()
    for name in ("events", "work", "work-dead", "line.fifo"):
        for_ever = ConfigEntry(
            "retention.ms", "-1", incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource("topic", name, incremental_configs=[for_ever])
        admin.incremental_alter_configs([resource])[resource].result(30)

    connection = program.amqp()
    channel = connection.channel()
    channel.exchange_declare("post", "topic", durable=True)
    channel.queue_declare("letters", durable=True, arguments={"x-queue-type": "classic"})
    channel.queue_bind("letters", "post", "letter.#")
    channel.confirm_delivery()
    for key, body in LETTERS:
        properties = pika.BasicProperties(
            content_type="text/plain", headers={"stamp": 70}, delivery_mode=2, message_id=key
        )
        channel.basic_publish("post", key, body, properties)
    method, _, body = channel.basic_get("letters")
    assert body == LETTERS[0][1]
    channel.basic_ack(method.delivery_tag)
    channel.queue_declare("filler", durable=True)
    for _ in range(FILLERS):
        channel.basic_publish("", "filler", FILLER, pika.BasicProperties(delivery_mode=2))
    channel.queue_purge("filler")
    connection.close()


def fill_up(program):
    """Until the journal needs a file that the disk has no room for. That is dull, and settled."""
    connection = program.amqp()
    channel = connection.channel()
    for _ in range(FILLERS - 2):
        channel.basic_publish("", "filler", FILLER, pika.BasicProperties(delivery_mode=2))
    until("the filler", lambda: channel.queue_declare("filler", passive=True).method.message_count)
    channel.queue_purge("filler")
    connection.close()


def find(program):
    """Everything that was put in and not taken out."""
    sqs = program.sqs()
    work = sqs.get_queue_url(QueueName="work")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=work, AttributeNames=["All"])["Attributes"]
    assert attributes["VisibilityTimeout"] == "45"
    assert '"maxReceiveCount":' in attributes["RedrivePolicy"].replace(" ", "")
    assert sqs.list_queue_tags(QueueUrl=work)["Tags"] == {"team": "storage"}
    messages = _take(sqs, work, len(WORK) - WORK_DONE)
    assert sorted(message["Body"] for message in messages) == sorted(WORK[WORK_DONE:])
    for message in messages:
        assert message["MessageAttributes"]["kind"]["StringValue"] == "golden"
    line = sqs.get_queue_url(QueueName="line.fifo")["QueueUrl"]
    bodies = [message["Body"] for message in _take(sqs, line, len(LINE))]
    for group in "ab":
        expected = [body for of, body in LINE if of == group]
        assert [body for body in bodies if body in expected] == expected

    consumer = program.consumer(group="readers")
    places = consumer.committed([_place(0), _place(1)], timeout=30)
    assert {place.partition: place.offset for place in places} == COMMITTED
    consumer.assign([_place(0, 0), _place(1, 0)])
    records = poll_records(consumer, len(EVENTS))
    for partition in (0, 1):
        found = [
            (partition, record.key(), record.value(), record.headers())
            for record in records
            if record.partition() == partition
        ]
        assert found == [event for event in EVENTS if event[0] == partition]
    consumer.close()

    connection = program.amqp()
    channel = connection.channel()
    for key, body in LETTERS[1:]:
        _, properties, found = until("a letter", lambda: _get(channel))
        assert found == body
        assert (properties.message_id, properties.content_type) == (key, "text/plain")
        assert properties.headers["stamp"] == 70
    channel.basic_publish("post", "letter.new", b"by the old binding")
    _, _, found = until("a letter", lambda: _get(channel))
    assert found == b"by the old binding"
    connection.close()


def _get(channel):
    answer = channel.basic_get("letters", auto_ack=True)
    return answer if answer[0] else None


def _take(sqs, url, count):
    taken, deadline = [], time.monotonic() + 30
    while len(taken) < count:
        assert time.monotonic() < deadline, f"{len(taken)} of {count} came"
        for message in sqs.receive_message(
            QueueUrl=url, MessageAttributeNames=["All"], MaxNumberOfMessages=10
        ).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            taken.append(message)
    return taken


def _place(partition, offset=-1001):
    from confluent_kafka import TopicPartition

    return TopicPartition("events", partition, offset)
