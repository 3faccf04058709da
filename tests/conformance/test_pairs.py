"""The nine pairs: what one client put in, another takes out with the same body, key and headers."""

import base64
from dataclasses import dataclass, field

import pika
import pytest

from conftest import poll_records, until

PROTOCOLS = ["sqs", "amqp", "kafka"]
KEY = "x-forebay-key"


@dataclass
class Letter:
    body: bytes
    key: str | None = None
    headers: dict = field(default_factory=dict)


TEXTS = [
    Letter(b"hello"),
    Letter("Grüße aus 東京 🚂\n\ttab".encode()),
    Letter(b'{"order":17}', headers={"tenant": b"acme", "trace": b"0af7651916cd43dd"}),
    Letter(b"keyed", key="customer-17", headers={"n": b"42"}),
    Letter(b"binary header", headers={"raw": b"\xff\x00\xfe"}),
    Letter(b"large " * 40_000),
]
BINARIES = [
    Letter(bytes(range(256)), headers={"tenant": b"acme"}),
    Letter(b"a control character: \x01"),
]


def text_or_none(value):
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def send_sqs(forebay, topic, letters):
    client = forebay.sqs()
    url = client.get_queue_url(QueueName=topic)["QueueUrl"]
    for letter in letters:
        attributes = {}
        for name, value in letter.headers.items():
            text = text_or_none(value)
            attributes[name] = (
                {"DataType": "Binary", "BinaryValue": value}
                if text is None
                else {"DataType": "String", "StringValue": text}
            )
        group = {"MessageGroupId": letter.key} if letter.key else {}
        client.send_message(
            QueueUrl=url, MessageBody=letter.body.decode(), MessageAttributes=attributes, **group
        )


def send_amqp(forebay, topic, letters):
    connection = forebay.amqp()
    channel = connection.channel()
    channel.confirm_delivery()
    for letter in letters:
        # bytes become a byte array ('x'), text a long string
        headers = {name: text_or_none(value) or value for name, value in letter.headers.items()}
        if letter.key:
            headers[KEY] = letter.key
        properties = pika.BasicProperties(delivery_mode=2, headers=headers or None)
        channel.basic_publish("", topic, letter.body, properties, mandatory=True)
    connection.close()


def send_kafka(forebay, topic, letters):
    producer = forebay.producer()
    failures = []
    for letter in letters:
        producer.produce(
            topic,
            letter.body,
            key=letter.key,
            headers=list(letter.headers.items()),
            on_delivery=lambda failure, _: failures.append(failure) if failure else None,
        )
    assert producer.flush(30) == 0
    assert not failures


def collect_sqs(forebay, topic, count):
    client = forebay.sqs()
    url = client.get_queue_url(QueueName=topic)["QueueUrl"]
    letters = []

    def receive():
        answer = client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        for message in answer.get("Messages", []):
            headers = {
                name: value.get("BinaryValue", value.get("StringValue", "").encode())
                for name, value in message.get("MessageAttributes", {}).items()
            }
            body = message["Body"].encode()
            if headers.pop("forebay.body-encoding", None) == b"base64":
                body = base64.b64decode(body)
            letters.append(Letter(body, message["Attributes"].get("MessageGroupId"), headers))
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return len(letters) >= count

    until(f"{count} messages over SQS", receive)
    return letters


def collect_amqp(forebay, topic, count):
    connection = forebay.amqp()
    channel = connection.channel()
    letters = []
    for method, properties, body in channel.consume(topic, inactivity_timeout=30):
        assert method is not None, f"{count} messages over AMQP, {len(letters)} came"
        headers = {
            name: value.encode() if isinstance(value, str) else value
            for name, value in (properties.headers or {}).items()
        }
        key = headers.pop(KEY, None)
        letters.append(Letter(body, key.decode() if key else None, headers))
        channel.basic_ack(method.delivery_tag)
        if len(letters) == count:
            break
    connection.close()
    return letters


def collect_kafka(forebay, topic, count):
    consumer = forebay.consumer()
    consumer.subscribe([topic])
    letters = []
    for record in poll_records(consumer, count):
        headers = {
            name: value
            for name, value in record.headers() or []
            if not name.startswith(("forebay.", "amqp.", "sqs."))
        }
        key = record.key()
        letters.append(Letter(record.value(), key.decode() if key else None, headers))
    consumer.close()
    return letters


def make(forebay, protocol, topic):
    if protocol == "sqs":
        forebay.sqs().create_queue(QueueName=topic)
    elif protocol == "amqp":
        connection = forebay.amqp()
        connection.channel().queue_declare(topic, durable=True)
        connection.close()
    else:
        forebay.create_kafka_topic(topic)


SEND = {"sqs": send_sqs, "amqp": send_amqp, "kafka": send_kafka}
COLLECT = {"sqs": collect_sqs, "amqp": collect_amqp, "kafka": collect_kafka}


@pytest.mark.parametrize("consumer", PROTOCOLS)
@pytest.mark.parametrize("producer", PROTOCOLS)
def test_pair(forebay, topic, producer, consumer):
    letters = TEXTS + (BINARIES if producer != "sqs" else [])
    for maker in sorted({producer, consumer}):
        name = f"{topic}-{maker}"
        make(forebay, maker, name)
        SEND[producer](forebay, name, letters)
        assert COLLECT[consumer](forebay, name, len(letters)) == letters


def test_one_topic_filled_by_amqp_worked_by_sqs_replayed_by_kafka(forebay, topic):
    letters = [Letter(f"order {n}".encode(), key="k") for n in range(100)]
    make(forebay, "kafka", topic)
    send_amqp(forebay, topic, letters)
    assert collect_sqs(forebay, topic, 100) == letters
    assert collect_kafka(forebay, topic, 100) == letters
    assert collect_kafka(forebay, topic, 100) == letters
