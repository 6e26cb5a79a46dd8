"""What the tests of downloads share: names that lead where a test wants, and an image behind a URL."""

import socket
from typing import Any

import pytest

from openai_images import Image

PUBLIC = "93.184.216.34"


def away(url: str) -> Image:
    """An image as a server answers it that gives a URL."""
    return Image(url=url, revised_prompt="an otter, revised", generation_id="g1", extra={"seed": 7})


def names(monkeypatch: pytest.MonkeyPatch, **addresses: list[str]) -> list[str]:
    """Let `name.test` lead to these addresses, and nothing else anywhere; the names that were looked up."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        found = addresses.get(name.removesuffix(".").removesuffix(".test"))
        if found is None:
            if name.replace(".", "").isdigit() or ":" in name:
                return real(host, port, *args, **kwargs)
            raise socket.gaierror(socket.EAI_NONAME, f"no such name: {name}")
        asked.append(name)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (one, port or 0, 0, 0))
            if ":" in one
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port or 0))
            for one in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked
