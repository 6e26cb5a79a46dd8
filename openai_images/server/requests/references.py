"""The images of an edit in JSON: data: URLs, other URLs, and the ids of files.

Invariants: nothing is fetched: the image of a URL, or of an unknown file id, stays unresolved.
Must not: check images and parameters; `source_images.py` and `parameters.py` do.
"""

import binascii
import hashlib
import io
import re
from typing import Any, Final, cast

import attrs

from openai_images.server.protocol.error_replies import (
    A_STRING,
    bad_request,
    check_length,
    check_members,
    missing_parameter,
    wrong_type,
)
from openai_images.server.requests.files import FileStore
from openai_images.server.requests.source_images import (
    MAX_IMAGE_BYTES,
    Role,
    UploadedImage,
    UploadedImages,
    check_image_count,
    inspect_image,
    unresolved_image,
)

_MAX_URL: Final = 20_971_520
_DATA_URL: Final = re.compile(r"data:(image/[a-z0-9.+-]{1,100});base64,", re.IGNORECASE)
_BASE64_SLICE: Final = 1024 * 1024  # characters per step, a multiple of four


@attrs.frozen(kw_only=True)
class ReferenceReader:
    """Reads the images of JSON edits; `pixels`: images are drawn from the source images' pixels."""

    pixels: bool
    files: FileStore

    def resolve(self, values: dict[str, Any]) -> UploadedImages:
        """Remove the images from the parameters and return them; blocking."""
        images = values.pop("images", None)
        if images is None:
            raise missing_parameter("images")
        if not isinstance(images, list):
            wrong_type("images", "an array of objects", images)
        listed = cast("list[object]", images)
        if not listed:
            message = "Invalid 'images': empty array. Expected an array with minimum length 1, but got an empty array."
            raise bad_request(message, code="empty_array", param="images")
        check_image_count(len(listed), "images")
        images = tuple(
            self._reference(item, f"images[{index}]", "other" if index else "first")
            for index, item in enumerate(listed)
        )
        layers = {name: values.pop(name, None) for name in ("mask", "markup")}
        mask, markup = (
            None if item is None else self._reference(item, name, cast("Role", name))
            for name, item in layers.items()
        )
        return UploadedImages(parameter="images", images=images, mask=mask, markup=markup)

    def _reference(self, item: object, name: str, role: Role) -> UploadedImage:
        present = check_members(name, item, {"image_url": A_STRING, "file_id": A_STRING})
        if len(present) != 1:
            message = f"Invalid '{name}': expected exactly one of 'image_url' and 'file_id'."
            raise bad_request(message, code="invalid_value", param=name)
        ((name, value),) = present.items()
        is_file = name.endswith(".file_id")
        data, media_type = self._read(value) if is_file else _read_url(value, name)
        if data is None:
            return UploadedImage(name=name, media_type=None, nbytes=0, info=unresolved_image(value))
        digest = hashlib.sha256(data).hexdigest()
        info = inspect_image(io.BytesIO(data), digest, role, pixels=self.pixels)
        if is_file and info is not None:
            media_type = f"image/{info.format.lower()}"
        return UploadedImage(name=name, media_type=media_type, nbytes=len(data), info=info)

    def _read(self, file_id: str) -> tuple[bytes | None, None]:
        path = self.files.find_path(file_id)
        try:
            if path is not None:
                with path.open("rb") as file:
                    return file.read(MAX_IMAGE_BYTES), None
        except FileNotFoundError:  # deleted in the meantime
            pass
        return None, None


def _read_url(url: str, name: str) -> tuple[bytes | None, str | None]:
    """Return the bytes and the media type in a data: URL, None for a URL that would have to be fetched."""
    check_length(name, url, _MAX_URL)
    if re.match(r"https?://[^/\s]", url):
        return None, None
    match = _DATA_URL.match(url)
    if match is None:
        message = (
            f"Invalid '{name}'. Expected a valid URL or a base64-encoded data URL with an image MIME type (e.g. "
            "'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value with an invalid format."
        )
        raise bad_request(message, code="invalid_value", param=name)
    try:
        return _decode(url, match.end()), match[1].lower()
    except ValueError:
        message = (
            f"Invalid '{name}'. Expected a base64-encoded data URL, but got a value with invalid base64."
        )
        raise bad_request(message, code="invalid_value", param=name) from None


def _decode(text: str, start: int) -> bytes:
    """Decode the base64 that begins at `start`, in slices, so that other threads can run in between."""
    if 0 <= text.find("=", start) < len(text) - 2:
        raise ValueError("padding before the end")
    slices = range(start, len(text), _BASE64_SLICE)
    return b"".join(
        binascii.a2b_base64(text[index : index + _BASE64_SLICE], strict_mode=True) for index in slices
    )
