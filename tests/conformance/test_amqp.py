"""AMQP 0-9-1 as pika speaks it."""

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, UnroutableError

from conftest import until

PERSISTENT = pika.BasicProperties(delivery_mode=2)


@pytest.fixture
def confirming(channel):
    channel.confirm_delivery()
    return channel


@pytest.fixture
def declared(channel, topic):
    channel.queue_declare(topic, durable=True)
    return topic


def drain(channel, queue):
    bodies = []
    while True:
        method, _, body = channel.basic_get(queue)
        if method is None:
            return bodies
        channel.basic_ack(method.delivery_tag)
        bodies.append(body)


def closed(connection, code, call):
    """The call closes its channel with that code; the connection goes on."""
    with pytest.raises(ChannelClosedByBroker) as caught:
        call(connection.channel())
    assert caught.value.reply_code == code, caught.value
    assert connection.is_open
    return caught.value.reply_text


def test_declare_tells_counts_and_is_repeatable(confirming, topic):
    assert confirming.queue_declare(topic, durable=True).method.message_count == 0
    confirming.basic_publish("", topic, b"one", PERSISTENT)
    again = confirming.queue_declare(topic, durable=True)
    assert (again.method.queue, again.method.message_count) == (topic, 1)
    passive = confirming.queue_declare(topic, passive=True)
    assert passive.method.message_count == 1
    assert confirming.queue_purge(topic).method.message_count == 1
    assert confirming.queue_delete(topic).method.message_count == 0


def test_the_server_names_a_queue(channel):
    first = channel.queue_declare("", exclusive=True).method.queue
    second = channel.queue_declare("", exclusive=True).method.queue
    assert first.startswith("amq.gen-") and first != second


def test_an_exclusive_queue_is_one_connections_own(forebay, connection, channel, topic):
    channel.queue_declare(topic, exclusive=True)
    other = forebay.amqp()
    closed(other, 405, lambda ch: ch.queue_declare(topic, passive=True))
    connection.close()
    until("the queue to go with its connection", lambda: not exists(other, topic))
    other.close()


def exists(connection, queue):
    try:
        connection.channel().queue_declare(queue, passive=True)
        return True
    except ChannelClosedByBroker as failure:
        if failure.reply_code == 405:
            return True
        assert failure.reply_code == 404
        return False


@pytest.mark.parametrize(
    "kind, bindings, key, reached",
    [
        ("direct", {"a": "red", "b": "blue", "c": "red"}, "red", "ac"),
        ("fanout", {"a": "", "b": "x"}, "whatever", "ab"),
        ("topic", {"a": "order.*.eu", "b": "order.#", "c": "*.eu"}, "order.new.eu", "ab"),
        ("topic", {"a": "#", "b": "order.#", "c": "order.*"}, "order", "ab"),
    ],
)
def test_exchanges_route(confirming, topic, kind, bindings, key, reached):
    confirming.exchange_declare(topic, kind, durable=True)
    for name, binding in bindings.items():
        confirming.queue_declare(f"{topic}-{name}", durable=True)
        confirming.queue_bind(f"{topic}-{name}", topic, binding)
    confirming.basic_publish(topic, key, b"routed", PERSISTENT, mandatory=True)
    got = [name for name in bindings if drain(confirming, f"{topic}-{name}") == [b"routed"]]
    assert "".join(got) == reached
    confirming.queue_unbind(f"{topic}-a", topic, bindings["a"])
    confirming.exchange_delete(topic)


@pytest.mark.parametrize(
    "how, reached",
    [("all", "c"), ("any", "abc"), ("all-with-x", ""), ("any-with-x", "abcd")],
)
def test_a_headers_exchange_matches(confirming, topic, how, reached):
    confirming.exchange_declare(topic, "headers", durable=True)
    confirming.queue_declare(topic, durable=True)
    wanted = {"x-match": how, "kind": "order", "items": 3, "x-tier": "gold"}
    confirming.queue_bind(topic, topic, "", wanted)
    for name, headers in {
        "a": {"kind": "order"},
        "b": {"items": 3, "kind": "invoice"},
        "c": {"items": 3, "kind": "order"},
        "d": {"x-tier": "gold"},
        "e": {"items": "3"},
    }.items():
        confirming.basic_publish(topic, "", name, pika.BasicProperties(headers=headers))
    assert b"".join(drain(confirming, topic)).decode() == reached
    confirming.exchange_delete(topic)


def test_an_alternate_exchange_takes_what_no_binding_wants(confirming, topic):
    confirming.exchange_declare(f"{topic}-rest", "fanout")
    rest = {"alternate-exchange": f"{topic}-rest"}
    confirming.exchange_declare(topic, "direct", arguments=rest)
    for queue, exchange in (("known", topic), ("unknown", f"{topic}-rest")):
        confirming.queue_declare(f"{topic}-{queue}", durable=True)
        confirming.queue_bind(f"{topic}-{queue}", exchange, "key")
    for key in ("key", "other"):
        confirming.basic_publish(topic, key, key, PERSISTENT, mandatory=True)
    assert drain(confirming, f"{topic}-known") == [b"key"]
    assert drain(confirming, f"{topic}-unknown") == [b"other"]


def test_direct_reply_to(connection, confirming, declared):
    answers = []
    confirming.basic_consume(
        "amq.rabbitmq.reply-to",
        lambda ch, method, props, body: answers.append((props.correlation_id, body)),
        auto_ack=True,
    )
    asking = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="7")
    confirming.basic_publish("", declared, b"question", asking)
    worker = connection.channel()
    _, properties, _ = until("the question", lambda: take(worker, declared))
    answer = pika.BasicProperties(correlation_id=properties.correlation_id)
    worker.basic_publish("", properties.reply_to, b"answer", answer)
    until("the answer", lambda: connection.process_data_events(0.05) or answers)
    assert answers == [("7", b"answer")]


def test_a_sender_names_further_queues(confirming, topic):
    for queue in "abc":
        confirming.queue_declare(f"{topic}-{queue}", durable=True)
    headers = {"CC": [f"{topic}-b"], "BCC": [f"{topic}-c"]}
    properties = pika.BasicProperties(headers=headers, delivery_mode=2)
    confirming.basic_publish("", f"{topic}-a", b"to all", properties)
    for queue in "abc":
        method, properties, body = take(confirming, f"{topic}-{queue}")
        assert (method.routing_key, body) == (f"{topic}-a", b"to all")
        assert properties.headers == {"CC": [f"{topic}-b"]}


def test_a_consumer_of_higher_priority_comes_first(connection, confirming, declared):
    got = []
    confirming.basic_qos(prefetch_count=2)
    for priority in (1, 9):
        confirming.basic_consume(
            declared,
            lambda ch, method, props, body, priority=priority: got.append((priority, body)),
            arguments={"x-priority": priority},
        )
    for body in (b"1", b"2", b"3"):
        confirming.basic_publish("", declared, body, PERSISTENT)
    until("three deliveries", lambda: connection.process_data_events(0.05) or len(got) == 3)
    assert sorted(got) == [(1, b"3"), (9, b"1"), (9, b"2")]


def test_a_mandatory_message_without_a_route_is_returned(confirming, topic):
    confirming.exchange_declare(topic, "direct")
    with pytest.raises(UnroutableError) as caught:
        confirming.basic_publish(topic, "nowhere", b"lost", PERSISTENT, mandatory=True)
    [returned] = caught.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert returned.body == b"lost"
    # Without mandatory it is confirmed and gone.
    confirming.basic_publish(topic, "nowhere", b"lost", PERSISTENT)


def test_nack_puts_back_in_place_and_marks_redelivered(confirming, declared):
    for body in (b"1", b"2"):
        confirming.basic_publish("", declared, body, PERSISTENT)
    method, _, body = confirming.basic_get(declared)
    assert (method.redelivered, method.message_count, body) == (False, 1, b"1")
    confirming.basic_nack(method.delivery_tag, requeue=True)
    method, properties, body = confirming.basic_get(declared)
    assert (method.redelivered, body) == (True, b"1")
    assert properties.headers["x-delivery-count"] == 1
    confirming.basic_reject(method.delivery_tag, requeue=False)
    assert drain(confirming, declared) == [b"2"]


def test_a_rejected_message_goes_through_the_dead_letter_exchange(confirming, topic):
    confirming.exchange_declare(f"{topic}-dlx", "direct", durable=True)
    confirming.queue_declare(f"{topic}-dead", durable=True)
    confirming.queue_bind(f"{topic}-dead", f"{topic}-dlx", "buried")
    arguments = {"x-dead-letter-exchange": f"{topic}-dlx", "x-dead-letter-routing-key": "buried"}
    confirming.queue_declare(topic, durable=True, arguments=arguments)
    confirming.basic_publish("", topic, b"poison", PERSISTENT)
    method, _, _ = confirming.basic_get(topic)
    confirming.basic_reject(method.delivery_tag, requeue=False)
    got = until("the dead letter", lambda: take(confirming, f"{topic}-dead"))
    method, properties, body = got
    assert body == b"poison"
    [death] = properties.headers["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == (topic, "rejected", 1)
    assert properties.headers["x-first-death-queue"] == topic


def take(channel, queue):
    got = channel.basic_get(queue, auto_ack=True)
    return got if got[0] else None


def test_prefetch_limits_what_is_out(connection, confirming, declared):
    for n in range(5):
        confirming.basic_publish("", declared, str(n).encode(), PERSISTENT)
    confirming.basic_qos(prefetch_count=2)
    got = []
    confirming.basic_consume(declared, lambda ch, method, props, body: got.append((method, body)))
    until("two deliveries", lambda: connection.process_data_events(0.05) or len(got) == 2)
    other = connection.channel()
    method, _, body = other.basic_get(declared)
    assert (body, method.message_count) == (b"2", 2)
    other.basic_ack(method.delivery_tag)
    assert [body for _, body in got] == [b"0", b"1"]
    confirming.basic_ack(got[1][0].delivery_tag, multiple=True)
    until("two more", lambda: connection.process_data_events(0.05) or len(got) == 4)
    assert [body for _, body in got[2:]] == [b"3", b"4"]


def test_a_cancelled_consumer_gets_nothing_more(connection, confirming, declared):
    got = []
    tag = confirming.basic_consume(declared, lambda *delivery: got.append(delivery[3]), auto_ack=True)
    confirming.basic_publish("", declared, b"1", PERSISTENT)
    until("a delivery", lambda: connection.process_data_events(0.05) or got)
    confirming.basic_cancel(tag)
    confirming.basic_publish("", declared, b"2", PERSISTENT)
    connection.process_data_events(0.2)
    assert got == [b"1"]
    assert drain(confirming, declared) == [b"2"]


def test_a_closed_connection_gives_back_what_was_out(forebay, confirming, declared):
    confirming.basic_publish("", declared, b"work", PERSISTENT)
    other = forebay.amqp()
    assert other.channel().basic_get(declared)[2] == b"work"
    assert confirming.basic_get(declared)[0] is None
    other.close()
    method, _, body = until("the message to come back", lambda: get(confirming, declared))
    assert (body, method.redelivered) == (b"work", True)


def get(channel, queue):
    got = channel.basic_get(queue)
    return got if got[0] else None


def test_properties_and_headers_come_out_as_they_went_in(confirming, declared):
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="identity",
        headers={"text": "Grüße", "n": 42, "flag": True, "list": [1, "two"], "table": {"a": 1}, "raw": b"\xff"},
        delivery_mode=2,
        priority=4,
        correlation_id="c-1",
        reply_to="answers",
        expiration="60000",
        message_id="m-1",
        timestamp=1_700_000_001,
        type="order.created",
        user_id="guest",
        app_id="shop",
    )
    confirming.basic_publish("", declared, b"{}", properties)
    _, got, body = confirming.basic_get(declared, auto_ack=True)
    assert body == b"{}"
    assert vars(got) == vars(properties)


def test_mistakes_have_their_codes(connection, topic, declared):
    none = {"passive": True}
    assert closed(connection, 404, lambda ch: ch.queue_declare("nowhere", **none)) == (
        "NOT_FOUND - no queue 'nowhere' in vhost '/'"
    )
    closed(connection, 404, lambda ch: ch.exchange_declare("nowhere", **none))
    closed(connection, 404, lambda ch: ch.queue_bind(topic, "nowhere", "k"))
    closed(connection, 404, lambda ch: ch.basic_get("nowhere"))
    text = closed(connection, 406, lambda ch: ch.queue_declare(declared, durable=False))
    assert "inequivalent arg 'durable'" in text
    closed(connection, 406, lambda ch: ch.exchange_declare("x", "no-such-type"))
    closed(connection, 403, lambda ch: ch.exchange_declare("amq.mine", "direct"))
    closed(connection, 403, lambda ch: ch.queue_declare("amq.mine"))

    def ack_unknown(channel):
        channel.basic_ack(99)
        channel.queue_declare(declared, **none)

    assert closed(connection, 406, ack_unknown) == "PRECONDITION_FAILED - unknown delivery tag 99"


def test_what_is_not_implemented_closes_the_connection(forebay):
    connection = forebay.amqp()
    with pytest.raises(ConnectionClosedByBroker) as caught:
        connection.channel().basic_qos(prefetch_size=1)
    assert caught.value.reply_code == 540


def test_login_and_vhost_are_checked(forebay):
    host, port = forebay.at["amqp"].split(":")
    for wrong in ({"credentials": pika.PlainCredentials("guest", "wrong")}, {"virtual_host": "other"}):
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            pika.BlockingConnection(pika.ConnectionParameters(host, int(port), **wrong))


def test_confirmed_messages_survive_a_kill(forebay, topic):
    connection = forebay.amqp()
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(topic, durable=True)
    for n in range(50):
        channel.basic_publish("", topic, str(n).encode(), PERSISTENT)
    forebay.kill_and_restart()
    connection = forebay.amqp()
    assert drain(connection.channel(), topic) == [str(n).encode() for n in range(50)]
    connection.close()
