"""The tour of README.md: sent with boto3, worked off with pika, replayed with a Kafka client.

Start Forebay, then: pip install boto3 pika confluent-kafka, and run this file.
The environment variables SQS, AMQP and KAFKA name other addresses than the usual ones.
"""

import json
import os
import sys
import uuid

import boto3
import pika
from confluent_kafka import Consumer

SQS = os.environ.get("SQS", "http://127.0.0.1:9324")
AMQP = os.environ.get("AMQP", "amqp://guest:guest@127.0.0.1:5672/")
KAFKA = os.environ.get("KAFKA", "127.0.0.1:9092")
ORDERS = (1, 2, 3)


def send_with_boto3(queue):
    sqs = boto3.client(
        "sqs",
        endpoint_url=SQS,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    ids = []
    for number in ORDERS:
        sent = sqs.send_message(
            QueueUrl=url,
            MessageBody=json.dumps({"order": number}),
            MessageAttributes={"shop": {"DataType": "String", "StringValue": "riverside"}},
        )
        ids.append(sent["MessageId"])
        print("boto3 sent   ", number, sent["MessageId"])
    return ids


def work_off_with_pika(queue):
    connection = pika.BlockingConnection(pika.URLParameters(AMQP))
    channel = connection.channel()
    ids = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=2):
        if method is None:
            break
        print("pika worked  ", body.decode(), properties.headers["shop"], properties.message_id)
        channel.basic_ack(method.delivery_tag)
        ids.append(properties.message_id)
    waiting = channel.queue_declare(queue, passive=True).method.message_count
    print("pika sees    ", waiting, "messages left")
    connection.close()
    return ids


def replay_with_kafka(topic):
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": f"audit-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    ids = []
    while len(ids) < len(ORDERS) and (message := consumer.poll(15)) is not None:
        if message.error():
            sys.exit(f"Kafka: {message.error()}")
        headers = dict(message.headers())
        print("Kafka replays", message.offset(), message.value().decode(), headers["shop"].decode())
        ids.append(headers["forebay.id"].decode())
    consumer.close()
    return ids


def main():
    queue = f"orders-{uuid.uuid4().hex[:8]}"
    print("topic        ", queue)
    sent = send_with_boto3(queue)
    worked = work_off_with_pika(queue)
    replayed = replay_with_kafka(queue)
    if not sent == worked == replayed:
        sys.exit(f"the same {len(sent)} messages were expected three times")
    print("one topic, three protocols, the same", len(sent), "messages each time")


if __name__ == "__main__":
    main()
