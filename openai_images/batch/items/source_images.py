"""The input images of a batch's items: parsed from an input file, and identified by digests.

Invariants: a file is identified by the SHA-256 of its bytes, so a changed file is a changed request; each file is read
once, in chunks; a URL is identified by its text, as the server downloads it; relative paths are relative to the input
file. Blocks; called in a thread.
Must not: accept one-shot streams (a later run may have to send them again).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from attrs import define, evolve, field

from openai_images._util.json import is_list, is_object
from openai_images.errors import ImagesError, RequestInvalidError
from openai_images.models.image import Image
from openai_images.models.requests import EditRequest, GenerateRequest, ImageReference, as_list, reference_of

EDIT_NAMES = ("image", "mask", "markup", "input_fidelity")
"""The parameters that only edits have, as columns of an input file."""

IMAGE_NAMES = EDIT_NAMES[:3]

_MAX_SHOWN_PATH = 200

IMAGE_TYPE = "a path or a URL, for image also a list of them"


def parse_images(name: str, value: Any, *, from_text: bool) -> Any:
    """Return the images of a row. Raises TypeError and ValueError.

    Several images are separate lines or a JSON list in a cell (`from_text`), a list in JSON. One image is text, or an
    object with an `image_url` or a `file_id`.
    """
    if from_text:
        text = value.strip()
        value = json.loads(text) if text[:1] == "[" and text[-1:] == "]" else text.splitlines()
        value = value[0] if is_list(value) and len(value) == 1 else value
    if not is_list(value):
        return _parse_image(value)
    if name != "image" or not value:
        raise ValueError(name)
    return [_parse_image(each) for each in value]


def _parse_image(value: Any) -> str | ImageReference:
    if is_object(value) and len(value) == 1 and value.keys() <= {"image_url", "file_id"}:
        ((name, text),) = value.items()
        return ImageReference(**{name: _parse_text(text)})
    return _parse_text(value)


def _parse_text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise TypeError
    return value.strip()


def with_folder(request: GenerateRequest, folder: str) -> GenerateRequest:
    """Return the request with relative image paths joined to `folder`."""
    if not isinstance(request, EditRequest) or not folder:
        return request

    def placed(image: Any) -> Any:
        if is_list(image):
            return [placed(each) for each in image]
        is_path = isinstance(image, str) and reference_of(image) is None
        return os.path.join(folder, image) if is_path else image  # noqa: PTH118  as the user would write it

    return evolve(request, **{name: placed(getattr(request, name)) for name in IMAGE_NAMES})


@define
class ImageDigests:
    """Identifies images; files are read once."""

    _by_path: dict[str, str] = field(factory=dict[str, str], init=False, repr=False)

    def of_request(self, request: EditRequest) -> dict[str, Any]:
        """Return the identities of an edit's images, as JSON. Raises `RequestInvalidError` with all problems."""
        found: dict[str, list[Any]] = {}
        problems: list[str] = []
        for part, name, image in _images(request):
            try:
                found.setdefault(part, []).append(self._identify(image))
            except (ImagesError, ValueError) as error:
                problems.append(f"{name}: {error}")
            except OSError as error:
                why = error.strerror or type(error).__name__
                problems.append(f"{name}: {str(error.filename)[:_MAX_SHOWN_PATH]!r} cannot be read ({why})")
        if problems:
            raise RequestInvalidError("; ".join(problems))
        return found

    def _identify(self, image: Any) -> dict[str, str | None]:
        reference = reference_of(image)
        if reference is not None:
            return {"image_url": reference.image_url, "file_id": reference.file_id}
        match image:
            case Image():
                return self._identify(image.data if image.path is None else image.path)
            case bytes() | bytearray() | memoryview():
                return {"sha256": hashlib.sha256(cast("bytes", image)).hexdigest()}
            case str() | os.PathLike():
                return {"sha256": self._digest(os.fspath(image))}
            case _:
                raise RequestInvalidError(
                    f"a batch accepts paths, bytes, Images, URLs and ImageReferences, not {type(image).__name__}, "
                    "which another run could not send again"
                )

    def _digest(self, path: str) -> str:
        if path not in self._by_path:
            with Path(path).open("rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise RequestInvalidError(f"{path!r} is not a regular file")
                self._by_path[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._by_path[path]


def _images(request: EditRequest) -> Iterator[tuple[str, str, Any]]:
    """Yield each image with its parameter, and its name in messages."""
    images = as_list(request.image)
    for number, image in enumerate(images):
        yield "image", "image" if len(images) == 1 else f"image[{number}]", image
    for name, layer in (("mask", request.mask), ("markup", request.markup)):
        if layer is not None:
            yield name, name, layer
