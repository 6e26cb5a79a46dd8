"""Images that are whole by their own bytes: tiny ones, as many as a test wants to tell apart, and large ones."""

import base64
import struct
import zlib

__all__ = ["gif", "png", "text"]


def gif(name: str) -> bytes:
    """The image of this letter: a GIF without a frame has 14 bytes."""
    return b"GIF89a" + name.encode() + b"\0\1\0\0\0\0;"


def text(name: str) -> str:
    """Its base64."""
    return base64.b64encode(gif(name)).decode()


def png(content: bytes, size: tuple[int, int] = (1, 1)) -> bytes:
    """A PNG whose data are these, compressed or not."""
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", content), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
