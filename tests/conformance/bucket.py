"""A real S3 server, Versity's gateway onto a directory, and a bad road that leads to it."""

import http.client
import itertools
import os
import pathlib
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCESS_KEY, SECRET_KEY, BUCKET = "forebay", "forebay-secret", "old-messages"

SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class S3Server:
    """The server; the bucket is a directory."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        (self.root / BUCKET).mkdir(parents=True)
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                os.environ["FOREBAY_S3_SERVER"],
                *("--quiet", "--port", f"127.0.0.1:{self.port}"),
                *("--access", ACCESS_KEY, "--secret", SECRET_KEY),
                *("posix", str(self.root)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", self.port)) != 0:
            assert self.process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server did not come up"
            time.sleep(0.05)

    def segments(self):
        """The objects there are, by name."""
        return sorted(path.name for path in (self.root / BUCKET).rglob("*.segment"))

    def close(self):
        self.process.kill()
        self.process.wait()


class BadRoad:
    """Carries requests to the server and back, as well as it is told to. Counts what it did."""

    def __init__(self, server):
        self.server = server
        self.fates, self.delay = itertools.repeat("carried"), 0
        self.lock = threading.Lock()
        self.counts = dict.fromkeys(("carried", "throttled", "cut", "lost"), 0)
        self.listener = None
        self.blocked = threading.Event()
        self.port = free_port()
        self.open()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def be(self, *fates, delay=0):
        """What becomes of one request after the other, again and again: `carried`, `throttled`,
        `cut` off on the way there, or `lost` on the way back; each after `delay` seconds."""
        self.fates, self.delay = itertools.cycle(fates or ["carried"]), delay

    def open(self):
        road = self
        self.blocked.clear()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def carry(self):
                road.carry(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = carry

            def log_message(self, *_):
                pass

        class Listener(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # a client that went away

        self.listener = Listener(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def block(self):
        """As if the server were gone: nobody listens, nor answers on connections kept alive."""
        self.blocked.set()
        self.listener.shutdown()
        self.listener.server_close()

    def carry(self, request):
        if self.blocked.is_set():
            request.close_connection = True
            return
        with self.lock:
            fate = next(self.fates)
            self.counts[fate] += 1
        length = int(request.headers.get("Content-Length") or 0)
        time.sleep(self.delay)
        if fate == "cut":
            request.rfile.read(length // 2)
            request.close_connection = True
            return
        body = request.rfile.read(length)
        if fate == "throttled":
            self.answer(request, 503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            # The signature covers the headers, the name of the host among them.
            upstream.putrequest(
                request.command, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
        finally:
            upstream.close()
        if fate == "lost":
            # The server has done it, and only a part of its answer comes back.
            request.close_connection = True
            content = content[: len(content) // 2]
        self.answer(request, answer.status, answer.getheaders(), content)

    @staticmethod
    def answer(request, status, headers, content):
        request.send_response_only(status)
        named = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection"):
                request.send_header(name, value)
        if "content-length" not in named:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
