"""Images with a manifest of their provenance (C2PA) that holds a hash of the file's other bytes, as a real one does.

PNG keeps it in a chunk `caBX`, JPEG in segments APP11, WebP in a chunk `C2PA`; in each it is a JUMBF box.
"""

import hashlib
import io
import struct
import zlib

from PIL import Image

_MARK = b"c2pa.hash.data:"
_DIGEST_BYTES = 32


def signed(image_format: str) -> bytes:
    """A small image of this format (png, jpeg, webp) with a manifest."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((16, 12)).convert("RGB").save(file, image_format)
    data = _with_manifest(image_format, file.getvalue(), b"\0" * _DIGEST_BYTES)
    return _with_manifest(image_format, file.getvalue(), _digest(data))


def is_intact(data: bytes) -> bool:
    """Whether the manifest is there, and the file is the one that was signed."""
    start = data.find(_MARK) + len(_MARK)
    return _MARK in data and data[start : start + _DIGEST_BYTES] == _digest(data)


def _digest(data: bytes) -> bytes:
    """The hash of all bytes but itself, and a PNG chunk's checksum of it."""
    start = data.find(_MARK) + len(_MARK)
    skipped = _DIGEST_BYTES + 4  # the checksum, or what stands in its place
    return hashlib.sha256(data[:start] + data[start + skipped :]).digest()


def _with_manifest(image_format: str, data: bytes, digest: bytes) -> bytes:
    box = struct.pack(">I4s", 8 + len(_MARK) + len(digest), b"jumb") + _MARK + digest
    if image_format == "png":
        chunk = struct.pack(">I", len(box)) + b"caBX" + box + struct.pack(">I", zlib.crc32(b"caBX" + box))
        return data[:33] + chunk + data[33:]  # behind the header
    if image_format == "jpeg":
        payload = b"JP" + struct.pack(">HI", 1, 1) + box + b"\0\0\0\0"
        return data[:2] + b"\xff\xeb" + struct.pack(">H", len(payload) + 2) + payload + data[2:]
    chunk = b"C2PA" + struct.pack("<I", len(box)) + box + b"\0" * (len(box) % 2) + b"\0\0\0\0\0\0\0\0"
    body = data[8:] + chunk[: len(chunk) - len(chunk) % 2]
    return b"RIFF" + struct.pack("<I", len(body)) + body
