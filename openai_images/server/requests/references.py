"""The images of an edit in JSON: data: URLs, other URLs, and the ids of files.

Invariants: nothing is fetched: the image of a URL, or of an unknown file id, stays unresolved.
Must not: check images and parameters; `source_images.py` and `parameters.py` do.
"""

import binascii
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import attrs

from openai_images.server.protocol.error_replies import (
    bad_request,
    check_length,
    missing_parameter,
    unknown_parameter,
    wrong_type,
)
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
    """Reads the images of JSON edits.

    `find_file` returns the path of a file by its id; `pixels`: images are drawn from the source images' pixels.
    """

    pixels: bool
    find_file: Callable[[str], Path | None]

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
        if not isinstance(item, dict):
            wrong_type(name, "an object", item)
        fields = {key: value for key, value in cast("dict[str, Any]", item).items() if value is not None}
        for key, value in fields.items():
            if key not in {"image_url", "file_id"}:
                raise unknown_parameter(f"{name}.{key}")
            if not isinstance(value, str):
                wrong_type(f"{name}.{key}", "a string", value)
        if len(fields) != 1:
            message = f"Invalid '{name}': expected exactly one of 'image_url' and 'file_id'."
            raise bad_request(message, code="invalid_value", param=name)
        (key, value) = next(iter(fields.items()))
        if key == "file_id":
            return self._from_file(value, f"{name}.{key}", role)
        return _from_url(value, f"{name}.{key}", role, pixels=self.pixels)

    def _from_file(self, file_id: str, name: str, role: Role) -> UploadedImage:
        data = self._read(file_id)
        if data is None:
            return UploadedImage(name=name, media_type=None, nbytes=0, info=unresolved_image(file_id))
        digest = hashlib.sha256(data).hexdigest()
        info = inspect_image(io.BytesIO(data), digest, role, pixels=self.pixels)
        media_type = None if info is None else f"image/{info.format.lower()}"
        return UploadedImage(name=name, media_type=media_type, nbytes=len(data), info=info)

    def _read(self, file_id: str) -> bytes | None:
        path = self.find_file(file_id)
        try:
            if path is not None:
                with path.open("rb") as file:
                    return file.read(MAX_IMAGE_BYTES)
        except FileNotFoundError:  # deleted in the meantime
            pass
        return None


def _from_url(url: str, name: str, role: Role, *, pixels: bool) -> UploadedImage:
    check_length(name, url, _MAX_URL)
    if re.match(r"https?://[^/\s]", url):
        return UploadedImage(name=name, media_type=None, nbytes=0, info=unresolved_image(url))
    match = _DATA_URL.match(url)
    if match is None:
        message = (
            f"Invalid '{name}'. Expected a valid URL or a base64-encoded data URL with an image MIME type (e.g. "
            "'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value with an invalid format."
        )
        raise bad_request(message, code="invalid_value", param=name)
    try:
        data = _decode(url, match.end())
    except ValueError:
        message = (
            f"Invalid '{name}'. Expected a base64-encoded data URL, but got a value with invalid base64."
        )
        raise bad_request(message, code="invalid_value", param=name) from None
    digest = hashlib.sha256(data).hexdigest()
    info = inspect_image(io.BytesIO(data), digest, role, pixels=pixels)
    return UploadedImage(name=name, media_type=match[1].lower(), nbytes=len(data), info=info)


def _decode(text: str, start: int) -> bytes:
    """Decode the base64 that begins at `start`, in slices, so that other threads can run in between."""
    if 0 <= text.find("=", start) < len(text) - 2:
        raise ValueError("padding before the end")
    slices = range(start, len(text), _BASE64_SLICE)
    return b"".join(
        binascii.a2b_base64(text[index : index + _BASE64_SLICE], strict_mode=True) for index in slices
    )
