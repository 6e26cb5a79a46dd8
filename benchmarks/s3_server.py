"""A local S3 server in a process of its own (moto), with one bucket; and the environment that leads to it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from urllib.request import Request, urlopen

BUCKET = "shared-batches"

# Both moto and the server below it send a `Server` header, which aiohttp refuses in Python's development mode.
# Moto checks whether a name exists, then creates it, each request in a thread: one at a time, or two could create it.
# The body is read before: a client that stops in the middle of its request must not make the others wait.
_SERVE = """
import io, sys, threading
from http.server import BaseHTTPRequestHandler
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import main

def send_response(self, code, message=None):
    self.send_response_only(code, message)

answer, lock = DomainDispatcherApplication.__call__, threading.Lock()

def answer_alone(self, environ, start_response):
    if length := int(environ.get("CONTENT_LENGTH") or 0):
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
    with lock:
        return answer(self, environ, start_response)

BaseHTTPRequestHandler.send_response = send_response
DomainDispatcherApplication.__call__ = answer_alone
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""


@contextmanager
def s3_server() -> Generator[dict[str, str]]:
    """The environment for clients of a server that runs meanwhile."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVE, str(port)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _make_bucket(url)
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.kill()
        process.wait()


def _make_bucket(url: str) -> None:
    end = time.monotonic() + 240
    while True:
        try:
            with urlopen(Request(f"{url}/{BUCKET}", method="PUT"), timeout=10):  # noqa: S310  our own server
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
