"""RabbitMQ's management API and its users, virtual hosts, permissions and policies, with the client
libraries rabbitmq-admin and pyrabbit2, and with plain HTTP where these have no call."""

import base64
import json
import pathlib
import tempfile
import urllib.error
import urllib.request
import uuid

import pika
import pytest
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from pyrabbit2.api import Client
from rabbitmq_admin import AdminAPI

from conftest import Forebay, until

EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
DEFINITIONS = pathlib.Path(__file__).parent / "definitions" / "rabbitmq-3.13.json"


class Api:
    """The API by plain HTTP."""

    def __init__(self, forebay, user="guest", password="guest"):
        self.root = f"http://{forebay.at['http']}/api"
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.headers = {"authorization": f"Basic {login}", "content-type": "application/json"}

    def ask(self, method, path, body=None):
        """The status and what came with it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.root + path, method=method, data=data, headers=self.headers
        )
        try:
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None

    def get(self, path):
        status, body = self.ask("GET", path)
        assert status == 200, body
        return body


@pytest.fixture
def api(forebay):
    return Api(forebay)


@pytest.fixture
def vhost(api):
    """A virtual host of its own, in which guest may do everything."""
    name = f"vhost-{uuid.uuid4()}"
    assert api.ask("PUT", f"/vhosts/{name}", {"description": "a test"})[0] == 201
    assert api.ask("PUT", f"/permissions/{name}/guest", EVERYTHING)[0] == 201
    yield name
    api.ask("DELETE", f"/vhosts/{name}")


def connect(forebay, vhost, user="guest", password="guest"):
    host, port = forebay.at["amqp"].split(":")
    login = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(pika.ConnectionParameters(host, int(port), vhost, login))


def refused(connection, call):
    with pytest.raises(ChannelClosedByBroker) as caught:
        call(connection.channel())
    return caught.value.reply_code, caught.value.reply_text


def new_user(api, vhost, tags="", **permissions):
    name = f"user-{uuid.uuid4()}"
    assert api.ask("PUT", f"/users/{name}", {"password": "pw", "tags": tags})[0] == 201
    if permissions:
        body = {"configure": "", "write": "", "read": "", **permissions}
        assert api.ask("PUT", f"/permissions/{vhost}/{name}", body)[0] == 201
    return name


def test_virtual_hosts_keep_queues_of_one_name_apart(forebay, vhost, topic):
    root, other = connect(forebay, "/"), connect(forebay, vhost)
    for connection, body in ((root, b"root"), (other, b"other")):
        channel = connection.channel()
        channel.queue_declare(topic, durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", topic, body)
        channel.queue_bind(topic, "amq.topic", "a.*")
        channel.basic_publish("amq.topic", "a.b", body)
    for connection, body in ((root, b"root"), (other, b"other")):
        channel = connection.channel()
        for exchange, key in (("", topic), ("amq.topic", "a.b")):
            method, _, got = channel.basic_get(topic, auto_ack=True)
            assert (method.exchange, method.routing_key, got) == (exchange, key, body)
        assert channel.basic_get(topic)[0] is None
    code, text = refused(other, lambda ch: ch.queue_declare("missing", passive=True))
    assert (code, text) == (404, f"NOT_FOUND - no queue 'missing' in vhost '{vhost}'")
    root.channel().queue_delete(topic)
    root.close()
    other.close()


def test_dead_letters_stay_in_their_virtual_host(forebay, vhost, topic):
    connection = connect(forebay, vhost)
    channel = connection.channel()
    dead = f"{topic}-dead"
    channel.queue_declare(dead, durable=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    channel.queue_declare(topic, durable=True, arguments=arguments)
    channel.basic_publish("", topic, b"bad")
    tag = until("the message", lambda: channel.basic_get(topic)[0]).delivery_tag
    channel.basic_reject(tag, requeue=False)
    method, properties, _ = until(
        "the dead letter", lambda: (got := channel.basic_get(dead))[0] and got
    )
    death = properties.headers["x-death"][0]
    assert (death["queue"], death["exchange"], death["reason"]) == (topic, "", "rejected")
    assert method.exchange == "" and method.routing_key == dead
    connection.close()


def test_a_virtual_host_that_is_deleted_takes_its_connections_along(forebay, api, topic):
    name = f"vhost-{uuid.uuid4()}"
    api.ask("PUT", f"/vhosts/{name}")
    api.ask("PUT", f"/permissions/{name}/guest", EVERYTHING)
    connection = connect(forebay, name)
    connection.channel().queue_declare(topic, durable=True)
    assert api.ask("DELETE", f"/vhosts/{name}")[0] == 204
    with pytest.raises(ConnectionClosedByBroker) as caught:
        connection.process_data_events(30)
    assert caught.value.reply_code == 320
    assert not any(queue["name"] == topic for queue in api.get("/queues"))
    with pytest.raises(ProbableAccessDeniedError) as caught:
        connect(forebay, name)
    assert f"vhost {name} not found" in str(caught.value)


def test_permissions_say_what_a_user_may_do(forebay, api, vhost):
    user = new_user(api, vhost, configure="^own", read="^(own|amq.fanout)", write="^(own|amq.default)")
    connection = connect(forebay, vhost, user, "pw")
    channel = connection.channel()
    channel.queue_declare("own", durable=True)
    channel.queue_bind("own", "amq.fanout", "")
    channel.confirm_delivery()
    channel.basic_publish("", "own", b"x")
    tail = f"in vhost '{vhost}' refused for user '{user}'"
    for what, call in (
        ("configure access to queue 'other'", lambda ch: ch.queue_declare("other")),
        ("configure access to queue 'other'", lambda ch: ch.queue_delete("other")),
        ("read access to queue 'other'", lambda ch: ch.basic_get("other")),
        ("read access to exchange 'amq.topic'", lambda ch: ch.queue_bind("own", "amq.topic", "k")),
        ("write access to queue 'other'", lambda ch: ch.queue_bind("other", "amq.fanout", "k")),
        ("configure access to exchange 'e'", lambda ch: ch.exchange_declare("e")),
    ):
        assert refused(connection, call) == (403, f"ACCESS_REFUSED - {what} {tail}")

    def publish(channel):
        channel.confirm_delivery()
        channel.basic_publish("amq.fanout", "k", b"x")

    text = f"ACCESS_REFUSED - write access to exchange 'amq.fanout' {tail}"
    assert refused(connection, publish) == (403, text)
    connection.close()
    with pytest.raises(ProbableAccessDeniedError) as caught:
        connect(forebay, "/", user, "pw")
    assert f"access to vhost '/' refused for user '{user}'" in str(caught.value)
    with pytest.raises(ProbableAuthenticationError):
        connect(forebay, vhost, user, "wrong")


def test_topic_permissions_narrow_routing_keys(forebay, api, vhost):
    user = new_user(api, vhost, **EVERYTHING)
    body = {"exchange": "amq.topic", "write": "^a\\.", "read": "^b\\."}
    assert api.ask("PUT", f"/topic-permissions/{vhost}/{user}", body)[0] == 201
    connection = connect(forebay, vhost, user, "pw")
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.queue_bind("q", "amq.topic", "b.x")
    channel.confirm_delivery()
    channel.basic_publish("amq.topic", "a.x", b"x")

    def publish(channel):
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "b.x", b"x")

    code, text = refused(connection, publish)
    assert code == 403
    assert text.startswith("ACCESS_REFUSED - write access to topic 'b.x' in exchange 'amq.topic'")
    code, _ = refused(connection, lambda ch: ch.queue_bind("q", "amq.topic", "a.x"))
    assert code == 403
    connection.close()


def test_limits_of_a_virtual_host_hold(forebay, api, vhost):
    assert api.ask("PUT", f"/vhost-limits/{vhost}/max-queues", {"value": 1})[0] == 204
    assert api.ask("PUT", f"/vhost-limits/{vhost}/max-connections", {"value": 1})[0] == 204
    connection = connect(forebay, vhost)
    channel = connection.channel()
    channel.queue_declare("first", durable=True)
    channel.queue_declare("first", durable=True)
    code, text = refused(connection, lambda ch: ch.queue_declare("second"))
    assert code == 406 and f"queue limit in vhost '{vhost}' (1) is reached" in text
    with pytest.raises(ProbableAccessDeniedError) as caught:
        connect(forebay, vhost)
    assert "connection limit (1) is reached" in str(caught.value)
    assert api.ask("DELETE", f"/vhost-limits/{vhost}/max-connections")[0] == 204
    connect(forebay, vhost).close()
    connection.close()


def test_tags_say_what_a_user_may_see(forebay, api, vhost, topic):
    hidden = Api(forebay, new_user(api, vhost, **EVERYTHING), "pw")
    assert hidden.ask("GET", "/whoami")[0] == 401
    manager = Api(forebay, new_user(api, vhost, "management", **EVERYTHING), "pw")
    assert manager.get("/whoami")["tags"] == ["management"]
    assert {one["name"] for one in manager.get("/vhosts")} == {vhost}
    assert manager.ask("PUT", f"/queues/{vhost}/{topic}", {})[0] == 201
    assert manager.ask("GET", "/users")[0] == 401
    assert manager.ask("GET", "/nodes")[0] == 401
    assert manager.ask("GET", "/queues/%2F")[0] == 401
    policy = {"pattern": ".*", "definition": {"delivery-limit": 1}}
    assert manager.ask("PUT", f"/policies/{vhost}/p", policy)[0] == 401
    assert Api(forebay, "guest", "wrong").ask("GET", "/overview")[0] == 401


def test_a_queue_is_declared_filled_read_and_emptied(api, vhost):
    path = f"/queues/{vhost}/q"
    arguments = {"x-queue-type": "quorum"}
    assert api.ask("PUT", path, {"durable": True, "arguments": arguments})[0] == 201
    assert api.ask("PUT", path, {"durable": True, "arguments": arguments})[0] == 204
    status, body = api.ask("PUT", path, {"durable": True, "arguments": {"x-delivery-limit": 7}})
    assert status == 400 and "inequivalent arg" in body["reason"]
    message = {
        "properties": {"delivery_mode": 2, "headers": {"h": 1}, "content_type": "text/plain"},
        "routing_key": "q",
        "payload": base64.b64encode(b"\xff\x00").decode(),
        "payload_encoding": "base64",
    }
    publish = f"/exchanges/{vhost}/amq.default/publish"
    assert api.ask("POST", publish, message) == (200, {"routed": True})
    nowhere = {**message, "routing_key": "nowhere"}
    assert api.ask("POST", publish, nowhere) == (200, {"routed": False})
    queue = api.get(path)
    assert (queue["messages"], queue["messages_ready"], queue["type"]) == (1, 1, "quorum")
    for ackmode, left in (("ack_requeue_true", 1), ("ack_requeue_false", 0)):
        body = {"count": 10, "ackmode": ackmode, "encoding": "auto"}
        status, [got] = api.ask("POST", f"{path}/get", body)
        assert status == 200
        assert (got["payload_encoding"], got["payload"]) == ("base64", message["payload"])
        assert got["properties"]["content_type"] == "text/plain"
        assert got["properties"]["headers"]["h"] == 1
        assert got["routing_key"] == "q"
        until("the count", lambda left=left: api.get(path)["messages_ready"] == left)
    for _ in range(3):
        api.ask("POST", publish, message)
    assert api.ask("DELETE", f"{path}/contents")[0] == 204
    assert api.get(path)["messages"] == 0
    assert api.ask("DELETE", path)[0] == 204
    assert api.ask("GET", path)[0] == 404


def test_bindings_are_made_found_and_deleted(api, vhost):
    api.ask("PUT", f"/queues/{vhost}/q", {})
    assert api.ask("PUT", f"/exchanges/{vhost}/e", {"type": "topic"})[0] == 201
    place = f"/bindings/{vhost}/e/e/q/q"
    for body in ({"routing_key": "a.b/c"}, {"routing_key": "", "arguments": {"x": 1}}):
        assert api.ask("POST", place, body)[0] == 201
    bindings = api.get(place)
    assert sorted(one["routing_key"] for one in bindings) == ["", "a.b/c"]
    for one in bindings:
        assert api.get(f"{place}/{one['properties_key']}")["routing_key"] == one["routing_key"]
        assert api.ask("DELETE", f"{place}/{one['properties_key']}")[0] == 204
    assert api.get(place) == []
    assert len(api.get(f"/queues/{vhost}/q/bindings")) == 1  # to the default exchange
    assert api.ask("DELETE", f"/exchanges/{vhost}/e")[0] == 204


def test_lists_come_in_pages(api, vhost):
    for number in range(5):
        api.ask("PUT", f"/queues/{vhost}/q{number}", {})
    query = "page=2&page_size=2&sort=name&columns=name"
    page = api.get(f"/queues/{vhost}?{query}")
    assert page["items"] == [{"name": "q2"}, {"name": "q3"}]
    assert (page["total_count"], page["page_count"], page["page_size"]) == (5, 3, 2)
    page = api.get(f"/queues/{vhost}?page=1&name=%5Eq%5B01%5D&use_regex=true")
    assert page["filtered_count"] == 2


def test_rates_and_counts_are_what_a_scaler_reads(forebay, api, vhost):
    """KEDA's scaler reads messages, messages_unacknowledged and publish_details.rate."""
    connection = connect(forebay, vhost)
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()

    def rate():
        channel.basic_publish("", "q", b"x")
        return api.get(f"/queues/{vhost}/q")["message_stats"]["publish_details"]["rate"]

    assert until("a rate", rate) > 0
    channel.basic_get("q")
    queue = until("one unacked", lambda: api.get(f"/queues/{vhost}/q"))
    assert queue["messages_unacknowledged"] == 1
    assert queue["messages"] == queue["messages_ready"] + 1 == queue["message_stats"]["publish"]
    connection.close()


def test_connections_channels_and_consumers_are_shown_and_closed(forebay, api, vhost):
    connection = connect(forebay, vhost)
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.basic_qos(prefetch_count=7)
    channel.basic_consume("q", lambda *_: None, consumer_tag="me")
    [shown] = api.get(f"/vhosts/{vhost}/connections")
    assert (shown["user"], shown["vhost"], shown["protocol"]) == ("guest", vhost, "AMQP 0-9-1")
    [of_channel] = api.get(f"/vhosts/{vhost}/channels")
    assert (of_channel["prefetch_count"], of_channel["consumer_count"]) == (7, 1)
    [consumer] = api.get(f"/consumers/{vhost}")
    assert (consumer["consumer_tag"], consumer["queue"]["name"]) == ("me", "q")
    assert consumer["ack_required"] and consumer["prefetch_count"] == 7
    assert api.get(f"/queues/{vhost}/q")["consumers"] == 1
    name = shown["name"].replace(" ", "%20").replace(">", "%3E")
    assert api.ask("DELETE", f"/connections/{name}")[0] == 204
    with pytest.raises(ConnectionClosedByBroker) as caught:
        connection.process_data_events(30)
    assert caught.value.reply_code == 320


def test_policies_act_on_queues_that_are_there_and_that_come(forebay, api, vhost):
    api.ask("PUT", f"/queues/{vhost}/dead", {})
    api.ask("PUT", f"/queues/{vhost}/old", {})
    api.ask("POST", f"/bindings/{vhost}/e/amq.fanout/q/dead", {})
    policy = {
        "pattern": "^(old|new)$",
        "apply-to": "queues",
        "priority": 1,
        "definition": {"dead-letter-exchange": "amq.fanout"},
    }
    assert api.ask("PUT", f"/policies/{vhost}/letters", policy)[0] == 201
    api.ask("PUT", f"/queues/{vhost}/new", {})
    connection = connect(forebay, vhost)
    channel = connection.channel()
    for queue in ("old", "new"):
        shown = api.get(f"/queues/{vhost}/{queue}")
        assert shown["policy"] == "letters"
        assert shown["effective_policy_definition"] == policy["definition"]
        channel.basic_publish("", queue, queue.encode())
        got = until("the message", lambda queue=queue: channel.basic_get(queue)[0])
        channel.basic_reject(got.delivery_tag, requeue=False)
        dead = until(
            "the dead letter", lambda: (got := channel.basic_get("dead", auto_ack=True))[0] and got
        )
        assert dead[2] == queue.encode()
    assert api.get(f"/queues/{vhost}/dead")["policy"] is None
    assert api.ask("DELETE", f"/policies/{vhost}/letters")[0] == 204
    assert api.get(f"/queues/{vhost}/old")["policy"] is None
    channel.basic_publish("", "old", b"again")
    got = until("the message", lambda: channel.basic_get("old")[0])
    channel.basic_reject(got.delivery_tag, requeue=False)
    until("the queue to be empty", lambda: api.get(f"/queues/{vhost}/old")["messages"] == 0)
    assert api.get(f"/queues/{vhost}/dead")["messages"] == 0
    connection.close()


def test_the_users_own_name_is_checked_in_messages(forebay, vhost):
    connection = connect(forebay, vhost)

    def publish(user):
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", "q", b"x", pika.BasicProperties(user_id=user))

    publish("guest")
    with pytest.raises(ChannelClosedByBroker) as caught:
        publish("somebody")
    assert caught.value.reply_code == 406
    connection.close()


def test_definitions_go_out_and_come_back(api, vhost):
    api.ask("PUT", f"/queues/{vhost}/q", {"arguments": {"x-queue-type": "quorum"}})
    api.ask("PUT", f"/exchanges/{vhost}/e", {"type": "headers", "durable": True})
    body = {"arguments": {"x-match": "all", "a": "b", "n": 1}}
    api.ask("POST", f"/bindings/{vhost}/e/e/q/q", body)
    policy = {"pattern": "^z", "apply-to": "queues", "definition": {"delivery-limit": 3}}
    api.ask("PUT", f"/policies/{vhost}/p", policy)
    definitions = api.get(f"/definitions/{vhost}")
    other = f"vhost-{uuid.uuid4()}"
    api.ask("PUT", f"/vhosts/{other}")
    assert api.ask("POST", f"/definitions/{other}", definitions)[0] == 204
    assert api.ask("POST", f"/definitions/{other}", definitions)[0] == 204
    assert api.get(f"/definitions/{other}")["bindings"] == definitions["bindings"]
    for what in ("queues", "exchanges", "policies"):
        assert api.get(f"/definitions/{other}")[what] == definitions[what], what
    api.ask("DELETE", f"/vhosts/{other}")


@pytest.fixture(scope="module")
def moved():
    """A program that was started with the definitions a RabbitMQ had."""
    with tempfile.TemporaryDirectory() as data_dir:
        environment = {"FOREBAY_DEFINITIONS": str(DEFINITIONS)}
        program = Forebay(data_dir, environment)
        yield program
        program.process.terminate()
        assert program.process.wait(30) == 0


def test_a_file_of_rabbitmqs_is_taken_in_at_the_start(moved):
    for _ in range(2):  # and again after a kill, where all of it is there already
        connection = connect(moved, "shop", "shop", "test12")
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("shop.events", "order.new", b"an order")
        assert channel.basic_get("shop.orders", auto_ack=True)[2] == b"an order"
        code, _ = refused(connection, lambda ch: ch.queue_declare("elsewhere"))
        assert code == 403
        connection.close()
        api = Api(moved, "guest", "test12")
        queue = api.get("/queues/shop/shop.orders")
        assert (queue["policy"], queue["operator_policy"]) == ("dead-letters", "limits")
        assert queue["type"] == "quorum"
        assert api.get("/vhosts/shop")["default_queue_type"] == "quorum"
        assert api.get("/vhost-limits/shop")[0]["value"]["max-queues"] == 20
        assert api.get("/parameters/federation-upstream")[0]["name"] == "warehouse"
        exported = api.get("/definitions")
        given = json.loads(DEFINITIONS.read_text())
        for what in ("permissions", "topic_permissions", "bindings", "policies"):
            key = lambda one: json.dumps(one, sort_keys=True)
            assert sorted(exported[what], key=key) == sorted(given[what], key=key), what
        moved.kill_and_restart()


def test_metrics_have_rabbitmqs_names(forebay, api, vhost):
    api.ask("PUT", f"/queues/{vhost}/q", {})
    root = f"http://{forebay.at['http']}"
    text = urllib.request.urlopen(f"{root}/metrics").read().decode()
    for name in ("queue_messages_ready", "connections", "queue_messages_published_total"):
        assert f"\nrabbitmq_{name} " in text, name
    each = urllib.request.urlopen(f"{root}/metrics/per-object").read().decode()
    assert f'rabbitmq_queue_messages{{vhost="{vhost}",queue="q"}} 0' in each


def test_rabbitmq_admin(forebay, topic):
    """PyPI's rabbitmq-admin."""
    client = AdminAPI(url=f"http://{forebay.at['http']}", auth=("guest", "guest"))
    assert client.overview()["cluster_name"]
    [node] = client.list_nodes()
    assert client.get_node(node["name"])["running"]
    client.create_vhost(topic)
    client.create_user("someone", "pw")
    client.create_user_permission("someone", topic)
    assert client.get_user_permission(topic, "someone")["configure"] == ".*"
    client.create_user_permission("guest", topic)
    client.is_vhost_alive(topic)
    assert any(one["name"] == topic for one in client.list_vhosts())
    assert client.list_bindings_for_vhost(topic)
    client.create_policy_for_vhost(topic, "p", {"delivery-limit": 2}, pattern="^a")
    assert client.get_policy_for_vhost(topic, "p")["pattern"] == "^a"
    client.delete_policy_for_vhost(topic, "p")
    client.delete_user_permission("someone", topic)
    client.delete_user("someone")
    client.delete_vhost(topic)


def test_pyrabbit2(forebay, vhost):
    """PyPI's pyrabbit2."""
    client = Client(forebay.at["http"], "guest", "guest")
    assert client.is_alive(vhost)
    client.create_exchange(vhost, "e", "topic")
    client.create_queue(vhost, "q", durable=True)
    client.create_binding(vhost, "e", "q", "a.#")
    assert client.publish(vhost, "e", "a.b", "hello")
    assert client.get_queue_depth(vhost, "q") == 1
    [message] = client.get_messages(vhost, "q", count=1, requeue=True)
    assert message["payload"] == "hello"
    assert [one["routing_key"] for one in client.get_queue_bindings(vhost, "q")] == ["q", "a.#"]
    client.purge_queue(vhost, "q")
    client.delete_queue(vhost, "q")
    client.delete_exchange(vhost, "e")
    assert vhost in client.get_vhost_names()
