"""The SQS API as boto3 uses it. boto3 checks every MD5 and parses every error itself."""

import hashlib
import json
import threading
import time

import pytest
from botocore.exceptions import ClientError

from conftest import until


def refused(call, code, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code
    return caught.value


def receive(sqs, queue, **arguments):
    return sqs.receive_message(QueueUrl=queue, **{"WaitTimeSeconds": 10, **arguments}).get("Messages", [])


def test_queues_are_made_found_listed_and_deleted(sqs, topic):
    url = sqs.create_queue(QueueName=topic)["QueueUrl"]
    assert sqs.create_queue(QueueName=topic)["QueueUrl"] == url
    assert sqs.get_queue_url(QueueName=topic)["QueueUrl"] == url
    assert sqs.list_queues(QueueNamePrefix=topic)["QueueUrls"] == [url]
    sqs.delete_queue(QueueUrl=url)
    refused(sqs.get_queue_url, "AWS.SimpleQueueService.NonExistentQueue", QueueName=topic)
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=topic)


def test_a_long_list_comes_in_pages(sqs, topic):
    names = [f"{topic}-{n}" for n in range(7)]
    urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in names]
    pages = sqs.get_paginator("list_queues").paginate(
        QueueNamePrefix=topic, PaginationConfig={"PageSize": 3}
    )
    pages = [page["QueueUrls"] for page in pages]
    assert sorted(url for page in pages for url in page) == sorted(urls)
    assert all(len(page) <= 3 for page in pages)


def test_attributes_are_kept_and_echoed(sqs, topic):
    attributes = {"VisibilityTimeout": "45", "DelaySeconds": "0", "MessageRetentionPeriod": "3600"}
    url = sqs.create_queue(QueueName=topic, Attributes=attributes)["QueueUrl"]
    got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert attributes.items() <= got.items()
    assert got["QueueArn"].endswith(f":{topic}")
    assert got["ApproximateNumberOfMessages"] == "0"
    assert abs(int(got["CreatedTimestamp"]) - time.time()) < 600
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "7"})
    got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
    assert got == {"VisibilityTimeout": "7"}
    refused(
        sqs.create_queue, "QueueAlreadyExists", QueueName=topic, Attributes={"VisibilityTimeout": "9"}
    )
    refused(
        sqs.set_queue_attributes,
        "InvalidAttributeValue",
        QueueUrl=url,
        Attributes={"VisibilityTimeout": "43201"},
    )
    refused(
        sqs.get_queue_attributes, "InvalidAttributeName", QueueUrl=url, AttributeNames=["Nonsense"]
    )


def test_counts_follow_a_message_through_its_life(sqs, queue):
    def counts():
        names = ["", "NotVisible", "Delayed"]
        names = [f"ApproximateNumberOfMessages{name}" for name in names]
        got = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return [int(got[name]) for name in names]

    sqs.send_message(QueueUrl=queue, MessageBody="now")
    sqs.send_message(QueueUrl=queue, MessageBody="later", DelaySeconds=900)
    assert counts() == [1, 0, 1]
    [message] = receive(sqs, queue, MaxNumberOfMessages=10)
    assert counts() == [0, 1, 1]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert counts() == [0, 0, 1]


def test_a_delayed_message_comes_when_its_time_has_come(sqs, queue):
    sent = time.monotonic()
    sqs.send_message(QueueUrl=queue, MessageBody="patience", DelaySeconds=1)
    assert receive(sqs, queue, WaitTimeSeconds=0) == []
    assert [message["Body"] for message in receive(sqs, queue)] == ["patience"]
    assert time.monotonic() - sent >= 0.9, "not before its time"


def test_a_long_poll_wakes_when_a_message_comes(forebay, sqs, queue):
    got = []
    poll = threading.Thread(target=lambda: got.extend(receive(forebay.sqs(), queue, WaitTimeSeconds=20)))
    begun = time.monotonic()
    poll.start()
    sqs.send_message(QueueUrl=queue, MessageBody="wake up")
    poll.join(30)
    assert [message["Body"] for message in got] == ["wake up"]
    assert time.monotonic() - begun < 15


def test_an_empty_long_poll_waits_and_comes_back_empty(sqs, queue):
    begun = time.monotonic()
    answer = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=1)
    assert "Messages" not in answer
    assert time.monotonic() - begun >= 0.9


def test_visibility_hides_returns_and_extends(sqs, queue):
    sqs.send_message(QueueUrl=queue, MessageBody="work")
    [first] = receive(sqs, queue, VisibilityTimeout=1)
    assert receive(sqs, queue, WaitTimeSeconds=0) == []
    [second] = receive(sqs, queue, AttributeNames=["All"])
    assert second["MessageId"] == first["MessageId"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    sqs.change_message_visibility(
        QueueUrl=queue, ReceiptHandle=second["ReceiptHandle"], VisibilityTimeout=0
    )
    [third] = receive(sqs, queue)
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=third["ReceiptHandle"])
    assert receive(sqs, queue, WaitTimeSeconds=0) == []


def test_batches(sqs, queue):
    entries = [{"Id": str(n), "MessageBody": f"message {n}"} for n in range(10)]
    sent = sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    assert [entry["Id"] for entry in sent["Successful"]] == [str(n) for n in range(10)]
    got = []
    while len(got) < 10:
        got += receive(sqs, queue, MaxNumberOfMessages=10)
    assert [message["Body"] for message in got] == [f"message {n}" for n in range(10)]
    entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(got)]
    changed = sqs.change_message_visibility_batch(
        QueueUrl=queue, Entries=[{**entry, "VisibilityTimeout": 60} for entry in entries]
    )
    assert len(changed["Successful"]) == 10
    deleted = sqs.delete_message_batch(QueueUrl=queue, Entries=entries)
    assert len(deleted["Successful"]) == 10
    assert receive(sqs, queue, WaitTimeSeconds=0) == []


def test_redrive_moves_a_message_that_was_received_too_often(sqs, topic, queue):
    graveyard = sqs.create_queue(QueueName=f"{topic}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=graveyard, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": policy})
    echoed = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])["Attributes"]
    assert json.loads(echoed["RedrivePolicy"])["deadLetterTargetArn"] == arn
    sent = sqs.send_message(QueueUrl=queue, MessageBody="poison")
    for _ in range(2):
        [message] = receive(sqs, queue, VisibilityTimeout=0)
    assert receive(sqs, queue, WaitTimeSeconds=0) == []
    [message] = receive(sqs, graveyard, AttributeNames=["All"])
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "poison")
    assert message["Attributes"]["DeadLetterQueueSourceArn"].endswith(f":{topic}")
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


def test_message_attributes_are_filtered(sqs, queue):
    attributes = {
        "app.name": {"DataType": "String", "StringValue": "shop"},
        "app.version": {"DataType": "Number", "StringValue": "7"},
        "blob": {"DataType": "Binary", "BinaryValue": b"\xff\x00"},
    }
    sqs.send_message(QueueUrl=queue, MessageBody="b", MessageAttributes=attributes)
    for wanted, names in [
        (["All"], {"app.name", "app.version", "blob"}),
        (["app.*"], {"app.name", "app.version"}),
        (["blob"], {"blob"}),
        ([], set()),
    ]:
        [message] = receive(sqs, queue, VisibilityTimeout=0, MessageAttributeNames=wanted)
        got = message.get("MessageAttributes", {})
        assert got == {name: attributes[name] for name in names}


def test_errors_have_their_codes(sqs, queue):
    gone = queue + "-gone"
    refused(sqs.send_message, "AWS.SimpleQueueService.NonExistentQueue", QueueUrl=gone, MessageBody="b")
    refused(sqs.delete_message, "ReceiptHandleIsInvalid", QueueUrl=queue, ReceiptHandle="nonsense")
    refused(sqs.send_message, "InvalidParameterValue", QueueUrl=queue, MessageBody="x" * 1_048_577)
    refused(sqs.send_message, "InvalidMessageContents", QueueUrl=queue, MessageBody="\x02")
    refused(sqs.receive_message, "InvalidParameterValue", QueueUrl=queue, MaxNumberOfMessages=11)
    refused(
        sqs.send_message_batch,
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        QueueUrl=queue,
        Entries=[{"Id": str(n), "MessageBody": "b"} for n in range(11)],
    )
    failure = refused(
        sqs.send_message_batch,
        "AWS.SimpleQueueService.EmptyBatchRequest",
        QueueUrl=queue,
        Entries=[],
    )
    assert failure.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_the_largest_message(sqs, queue):
    body = "x" * 1_048_576
    sqs.send_message(QueueUrl=queue, MessageBody=body)
    [message] = receive(sqs, queue)
    assert message["Body"] == body


def make_fifo(sqs, topic, **attributes):
    name = f"{topic}.fifo"
    return sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true", **attributes})["QueueUrl"]


def send_fifo(sqs, url, body, group="g", **arguments):
    return sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, **arguments)


def test_a_fifo_queue_keeps_groups_in_order(sqs, topic):
    url = make_fifo(sqs, topic, ContentBasedDeduplication="true")
    sent = [send_fifo(sqs, url, f"{group}{n}", group) for n in range(3) for group in "ab"]
    numbers = [one["SequenceNumber"] for one in sent]
    assert numbers == sorted(numbers) and len(set(numbers)) == 6
    first = receive(sqs, url, MaxNumberOfMessages=2, AttributeNames=["All"])
    assert [message["Body"] for message in first] == ["a0", "a1"]
    assert [message["Attributes"]["MessageGroupId"] for message in first] == ["a", "a"]
    assert first[0]["Attributes"]["SequenceNumber"] == numbers[0]
    assert first[0]["Attributes"]["MessageDeduplicationId"] == hashlib.sha256(b"a0").hexdigest()
    second = receive(sqs, url, MaxNumberOfMessages=10)
    assert [message["Body"] for message in second] == ["b0", "b1", "b2"]
    assert receive(sqs, url, WaitTimeSeconds=0) == []
    entries = [
        {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(first)
    ]
    assert len(sqs.delete_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 2
    assert [message["Body"] for message in receive(sqs, url)] == ["a2"]


def test_a_duplicate_is_answered_like_the_original(forebay, sqs, topic):
    url = make_fifo(sqs, topic)
    first = send_fifo(sqs, url, "one", MessageDeduplicationId="d")
    again = send_fifo(sqs, url, "one", "other", MessageDeduplicationId="d")
    for name in ("MessageId", "SequenceNumber"):
        assert again[name] == first[name]
    entries = [
        {"Id": id, "MessageBody": id, "MessageGroupId": "g", "MessageDeduplicationId": dedup}
        for id, dedup in [("x", "1"), ("y", "1"), ("z", "d")]
    ]
    batch = sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]
    assert batch[0]["MessageId"] == batch[1]["MessageId"]
    assert batch[2]["MessageId"] == first["MessageId"]
    got = receive(sqs, url, MaxNumberOfMessages=10)
    assert [message["Body"] for message in got] == ["one", "x"]


def test_a_receive_attempt_may_be_made_again(sqs, topic):
    url = make_fifo(sqs, topic, ContentBasedDeduplication="true")
    send_fifo(sqs, url, "one")
    first = receive(sqs, url, ReceiveRequestAttemptId="attempt-1")
    assert receive(sqs, url, ReceiveRequestAttemptId="attempt-1") == first
    assert receive(sqs, url, WaitTimeSeconds=0, ReceiveRequestAttemptId="attempt-2") == []


def test_what_a_fifo_queue_refuses(sqs, topic, queue):
    url = make_fifo(sqs, topic)
    value = "InvalidParameterValue"
    refused(sqs.send_message, "MissingParameter", QueueUrl=url, MessageBody="b")
    refused(sqs.send_message, value, QueueUrl=url, MessageBody="b", MessageGroupId="g")
    whole = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
    refused(sqs.send_message, value, QueueUrl=url, MessageBody="b", DelaySeconds=1, **whole)
    refused(
        sqs.send_message_batch,
        value,
        QueueUrl=url,
        Entries=[{"Id": "1", "MessageBody": "b", "MessageDeduplicationId": "d"}],
    )
    refused(sqs.send_message, value, QueueUrl=queue, MessageBody="b", MessageDeduplicationId="d")
    refused(sqs.receive_message, value, QueueUrl=queue, ReceiveRequestAttemptId="a")
    refused(sqs.create_queue, value, QueueName=f"{topic}-x.fifo")
    refused(sqs.create_queue, value, QueueName=f"{topic}-x", Attributes={"FifoQueue": "true"})
    refused(
        sqs.set_queue_attributes,
        "InvalidAttributeValue",
        QueueUrl=url,
        Attributes={"FifoQueue": "false"},
    )
    sqs.send_message(QueueUrl=url, MessageBody="b", **whole)
    [message] = receive(sqs, url, VisibilityTimeout=0)
    error = refused(
        sqs.delete_message, value, QueueUrl=url, ReceiptHandle=message["ReceiptHandle"]
    )
    assert str(error).endswith("Reason: The receipt handle has expired.")


def test_a_dead_letter_queue_says_who_may_use_it(sqs, topic, queue):
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})}
    source = sqs.create_queue(QueueName=f"{topic}-source")["QueueUrl"]
    allow = {"redrivePermission": "denyAll"}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedriveAllowPolicy": json.dumps(allow)})
    refused(
        sqs.set_queue_attributes, "InvalidParameterValue", QueueUrl=source, Attributes=policy
    )
    allow = {"redrivePermission": "byQueue", "sourceQueueArns": [f"{arn.rsplit(':', 1)[0]}:{topic}-source"]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedriveAllowPolicy": json.dumps(allow)})
    sqs.set_queue_attributes(QueueUrl=source, Attributes=policy)


def test_dead_letters_are_moved_back(sqs, topic, queue):
    def arn(url):
        names = {"QueueUrl": url, "AttributeNames": ["QueueArn"]}
        return sqs.get_queue_attributes(**names)["Attributes"]["QueueArn"]

    policy = json.dumps({"deadLetterTargetArn": arn(queue), "maxReceiveCount": 1})
    attributes = {"RedrivePolicy": policy, "VisibilityTimeout": "0"}
    source = sqs.create_queue(QueueName=f"{topic}-source", Attributes=attributes)["QueueUrl"]
    [sqs.send_message(QueueUrl=source, MessageBody=body) for body in "abc"]
    until("all are dead letters", lambda: receive(sqs, source, WaitTimeSeconds=0) == [])
    started = sqs.start_message_move_task(SourceArn=arn(queue))["TaskHandle"]

    def latest():
        return sqs.list_message_move_tasks(SourceArn=arn(queue))["Results"][0]

    until("the task is over", lambda: latest()["Status"] == "COMPLETED")
    assert latest()["ApproximateNumberOfMessagesMoved"] == 3
    moved = receive(sqs, source, MaxNumberOfMessages=10, VisibilityTimeout=30)
    assert [message["Body"] for message in moved] == ["a", "b", "c"]
    refused(sqs.cancel_message_move_task, "AWS.SimpleQueueService.UnsupportedOperation", TaskHandle=started)
    refused(sqs.cancel_message_move_task, "InvalidParameterValue", TaskHandle="foobared")
    refused(sqs.start_message_move_task, "InvalidParameterValue", SourceArn=arn(source))
    refused(
        sqs.start_message_move_task, "ResourceNotFoundException", SourceArn=f"{arn(source)}-gone"
    )
