"""The local S3 server of tests and benchmarks."""

import socket
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from benchmarks.s3_server import BUCKET, s3_server


def test_a_client_that_stops_in_its_request_makes_nobody_wait() -> None:
    """A process stopped by a signal holds its connection open, with half of a body sent."""
    with s3_server() as environment:
        url = environment["AWS_ENDPOINT_URL"]
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port)) as stopped:
            head = f"PUT /{BUCKET}/half HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 4\r\n\r\n"
            stopped.sendall(head.encode() + b"ha")
            with urlopen(Request(f"{url}/{BUCKET}/whole", b"data", method="PUT"), timeout=60) as response:
                assert response.status == 200
