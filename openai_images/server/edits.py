"""Checks the pictures of an edit as the API does: how many, of what type and size, and what goes with what.

Rules: the first wrong picture is answered with the API's words, where they are known; of a picture that is given by url
or file id nothing is known, and it passes. It refuses to decode pictures: `inputs.py` does.
"""

import binascii
import hashlib
import io
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from openai_images.server.catalog import Model, input_tokens
from openai_images.server.checks import check_length, missing, one_of, unfit, unknown, wrong_type
from openai_images.server.error_replies import USER_ERROR, RefusalError, refuse
from openai_images.server.image_info import (
    MOST_IMAGES,
    PICTURE_BYTES,
    Given,
    GivenPictures,
    Picture,
    Role,
    look_at,
    unseen,
)

_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
_MOST_URL: Final = 20_971_520
_DATA_URL: Final = re.compile(r"data:(image/[a-z0-9.+-]{1,100});base64,", re.IGNORECASE)
_BASE64_SLICE: Final = 1024 * 1024  # characters decoded in one go, a multiple of four


@attrs.frozen(kw_only=True)
class Edit:
    """The pictures of an edit that was accepted, and how many tokens they are."""

    images: tuple[Picture, ...]
    mask: Picture | None = None
    markup: Picture | None = None
    tokens: int = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the first picture, None where nobody has seen it."""
        return self.images[0].size if self.images[0].fetched else None


def check_edit(given: Mapping[str, Any], pictures: GivenPictures, model: Model) -> Edit:
    """The pictures of an edit with `model`, or a `RefusalError`."""
    high = _fidelity(given, model)
    if not pictures.images:
        raise missing(pictures.asked_as)
    _check_number(len(pictures.images), pictures.asked_as)
    images = tuple(_checked(one, at) for at, one in enumerate(pictures.images, 1))
    first = images[0]
    mask = None if pictures.mask is None else _checked(pictures.mask, None)
    markup = None if pictures.markup is None else _checked(pictures.markup, None)
    if markup is not None:
        if model.generation not in {"2.5", "2.6"}:
            raise unknown("markup")
        if mask is not None:
            raise unfit("markup", "The 'markup' parameter cannot be used together with 'mask'.")
        _check_layer(markup, first, "markup")
        if markup.fetched and not markup.is_clear_somewhere:
            raise unfit("markup", "Invalid markup image format - markup image has no transparent pixels")
    if mask is not None:
        _check_layer(mask, first, "mask")
    tokens = sum(input_tokens(model, *one.size, high_fidelity=high) for one in images)
    return Edit(images=images, mask=mask, markup=markup, tokens=tokens)


def take_references(given: dict[str, Any], *, pixels: bool) -> GivenPictures:
    """Takes the pictures of a JSON edit out of its parameters; decodes those in data: URLs."""
    images = given.pop("images", None)
    if images is None:
        raise missing("images")
    if not isinstance(images, list):
        wrong_type("images", "an array of objects", images)
    listed = cast("list[object]", images)
    if not listed:
        message = (
            "Invalid 'images': empty array. Expected an array with minimum length 1, but got an empty array."
        )
        raise refuse(message, code="empty_array", param="images")
    _check_number(len(listed), "images")
    found = tuple(
        _reference(one, f"images[{at}]", "other" if at else "first", pixels=pixels)
        for at, one in enumerate(listed)
    )
    layers = {name: given.pop(name, None) for name in ("mask", "markup")}
    mask, markup = (
        None if one is None else _reference(one, name, cast("Role", name), pixels=pixels)
        for name, one in layers.items()
    )
    return GivenPictures(asked_as="images", images=found, mask=mask, markup=markup)


def _fidelity(given: Mapping[str, Any], model: Model) -> bool:
    """Whether the pictures are to be looked at closely."""
    if "input_fidelity" not in given:
        return False
    if model.generation == "2":
        message = f"The model '{model.name}' does not support the 'input_fidelity' parameter."
        raise refuse(message, code="invalid_input_fidelity_model", param="input_fidelity", kind=USER_ERROR)
    fidelity = one_of(given, "input_fidelity", ("high", "low"), "low")
    if fidelity == "high" and model.name == "gpt-image-1-mini":
        message = f"input_fidelity 'high' is not supported for model '{model.name}'."
        raise refuse(message, code="invalid_input_fidelity_model", param="input_fidelity", kind=USER_ERROR)
    return fidelity == "high"


def _check_number(number: int, name: str) -> None:
    if number > MOST_IMAGES:
        message = (
            f"Invalid '{name}': array too long. Expected an array with maximum length {MOST_IMAGES}, "
            f"but got an array with length {number} instead."
        )
        raise refuse(message, code="array_above_max_length", param=name)


def _checked(given: Given, number: int | None) -> Picture:
    """One picture with a type the API takes, not too large, and readable; `number` counts images from 1."""
    if given.picture is None or given.picture.fetched:
        declared = (given.media_type or "application/octet-stream").partition(";")[0].strip().lower()
        accepted = _TYPES if number is not None else ("image/png",)
        if declared not in accepted:
            raise _unsupported(given.name, declared, accepted)
    if given.nbytes >= PICTURE_BYTES:
        message = f"Invalid file '{given.name}': file too large. Images must be less than 50MB."
        raise unfit(given.name, message)
    if given.picture is None:
        what = f"image {number}" if number is not None else given.name
        message = f"Invalid image file or mode for {what}, please check your image file."
        raise refuse(message, code="invalid_image_file", kind=USER_ERROR)
    return given.picture


def _unsupported(name: str, declared: str, accepted: tuple[str, ...]) -> RefusalError:
    quoted = [f"'{one}'" for one in accepted]
    listed = f"{', '.join(quoted[:-1])}, and {quoted[-1]}" if len(quoted) > 1 else quoted[0]
    message = f"Invalid file '{name}': unsupported mimetype ('{declared[:80]}'). Supported file formats are {listed}."
    return refuse(message, code="unsupported_file_mimetype", param=name)


def _check_layer(layer: Picture, first: Picture, name: str) -> None:
    """Refuses a mask or markup that is no png, has no alpha channel, or another size than the first image."""
    if not layer.fetched:
        return
    problem = None
    if layer.format != "PNG":
        problem = f"{name} image must be a PNG"
    elif not layer.has_alpha:
        problem = f"{name} image missing alpha channel"
    elif first.fetched and layer.size != first.size:
        problem = f"{name} size does not match image size"
    if problem is not None:
        raise unfit(name, f"Invalid {name} image format - {problem}")


def _reference(one: object, name: str, role: Role, *, pixels: bool) -> Given:
    """One picture of a JSON edit: an object with either a url or a file id."""
    if not isinstance(one, dict):
        wrong_type(name, "an object", one)
    fields = {key: value for key, value in cast("dict[str, Any]", one).items() if value is not None}
    for key, value in fields.items():
        if key not in {"image_url", "file_id"}:
            raise unknown(f"{name}.{key}")
        if not isinstance(value, str):
            wrong_type(f"{name}.{key}", "a string", value)
    if len(fields) != 1:
        message = f"Invalid '{name}': expected exactly one of 'image_url' and 'file_id'."
        raise refuse(message, code="invalid_value", param=name)
    (key, value) = next(iter(fields.items()))
    if key == "file_id":
        return Given(name=f"{name}.{key}", media_type=None, nbytes=0, picture=unseen(value))
    return _from_url(value, f"{name}.{key}", role, pixels=pixels)


def _from_url(url: str, name: str, role: Role, *, pixels: bool) -> Given:
    check_length(name, url, _MOST_URL)
    if re.match(r"https?://[^/\s]", url):
        return Given(name=name, media_type=None, nbytes=0, picture=unseen(url))
    match = _DATA_URL.match(url)
    if match is None:
        message = (
            f"Invalid '{name}'. Expected a valid URL or a base64-encoded data URL with an image MIME type (e.g. "
            "'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value with an invalid format."
        )
        raise refuse(message, code="invalid_value", param=name)
    try:
        data = _decoded(url, match.end())
    except ValueError:
        message = (
            f"Invalid '{name}'. Expected a base64-encoded data URL, but got a value with invalid base64."
        )
        raise refuse(message, code="invalid_value", param=name) from None
    digest = hashlib.sha256(data).hexdigest()
    picture = look_at(io.BytesIO(data), digest, role, pixels=pixels)
    return Given(name=name, media_type=match[1].lower(), nbytes=len(data), picture=picture)


def _decoded(text: str, start: int) -> bytes:
    """The bytes whose base64 begins at `start`, in slices between which other threads have their turn."""
    if 0 <= text.find("=", start) < len(text) - 2:
        raise ValueError("padding before the end")
    slices = range(start, len(text), _BASE64_SLICE)
    return b"".join(binascii.a2b_base64(text[at : at + _BASE64_SLICE], strict_mode=True) for at in slices)
