"""Checks the source images of an edit as the API does: number, type, size, and what goes with what.

Invariants: the first wrong image gets the API's own message, where it is known; an image given by URL or file id is
unknown and passes.
Must not: decode images; `image_info.py` does.
"""

import binascii
import hashlib
import io
import re
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from openai_images.server.catalog import ServedModel, input_tokens
from openai_images.server.error_replies import (
    USER_ERROR,
    bad_request,
    check_length,
    choice,
    invalid_value,
    missing_parameter,
    unknown_parameter,
    wrong_type,
)
from openai_images.server.image_info import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    ImageInfo,
    Role,
    UploadedImage,
    UploadedImages,
    inspect_image,
    unresolved_image,
)

_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
_MAX_URL: Final = 20_971_520
_DATA_URL: Final = re.compile(r"data:(image/[a-z0-9.+-]{1,100});base64,", re.IGNORECASE)
_BASE64_SLICE: Final = 1024 * 1024  # characters decoded in one go, a multiple of four


@attrs.frozen(kw_only=True)
class CheckedEdit:
    """The images of an edit that was accepted, and how many tokens they are."""

    images: tuple[ImageInfo, ...]
    mask: ImageInfo | None = None
    markup: ImageInfo | None = None
    tokens: int = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the first image, None if it is unresolved."""
        return self.images[0].size if self.images[0].fetched else None


def check_edit(values: Mapping[str, Any], uploads: UploadedImages, model: ServedModel) -> CheckedEdit:
    """The images of an edit with `model`, or a `RequestRejectedError`."""
    high = _fidelity(values, model)
    if not uploads.images:
        raise missing_parameter(uploads.parameter)
    _check_count(len(uploads.images), uploads.parameter)
    images = tuple(_check_image(item, index) for index, item in enumerate(uploads.images, 1))
    first = images[0]
    mask = None if uploads.mask is None else _check_image(uploads.mask, None)
    markup = None if uploads.markup is None else _check_image(uploads.markup, None)
    if markup is not None:
        if model.generation not in {"2.5", "2.6"}:
            raise unknown_parameter("markup")
        if mask is not None:
            raise invalid_value("markup", "The 'markup' parameter cannot be used together with 'mask'.")
        _check_layer(markup, first, "markup")
        if markup.fetched and not markup.has_clear_pixels:
            raise invalid_value(
                "markup", "Invalid markup image format - markup image has no transparent pixels"
            )
    if mask is not None:
        _check_layer(mask, first, "mask")
    tokens = sum(input_tokens(model, *item.size, high_fidelity=high) for item in images)
    return CheckedEdit(images=images, mask=mask, markup=markup, tokens=tokens)


def resolve_references(values: dict[str, Any], *, pixels: bool) -> UploadedImages:
    """Takes the images of a JSON edit out of its parameters; decodes those in data: URLs."""
    images = values.pop("images", None)
    if images is None:
        raise missing_parameter("images")
    if not isinstance(images, list):
        wrong_type("images", "an array of objects", images)
    listed = cast("list[object]", images)
    if not listed:
        message = (
            "Invalid 'images': empty array. Expected an array with minimum length 1, but got an empty array."
        )
        raise bad_request(message, code="empty_array", param="images")
    _check_count(len(listed), "images")
    images = tuple(
        _reference(item, f"images[{index}]", "other" if index else "first", pixels=pixels)
        for index, item in enumerate(listed)
    )
    layers = {name: values.pop(name, None) for name in ("mask", "markup")}
    mask, markup = (
        None if item is None else _reference(item, name, cast("Role", name), pixels=pixels)
        for name, item in layers.items()
    )
    return UploadedImages(parameter="images", images=images, mask=mask, markup=markup)


def _fidelity(values: Mapping[str, Any], model: ServedModel) -> bool:
    if "input_fidelity" not in values:
        return False
    if model.generation == "2":
        problem = f"The model '{model.name}' does not support the 'input_fidelity' parameter."
    elif choice(values, "input_fidelity", ("high", "low"), "low") == "low":
        return False
    elif model.name != "gpt-image-1-mini":
        return True
    else:
        problem = f"input_fidelity 'high' is not supported for model '{model.name}'."
    code = "invalid_input_fidelity_model"
    raise bad_request(problem, code=code, param="input_fidelity", error_type=USER_ERROR)


def _check_count(number: int, name: str) -> None:
    if number > MAX_IMAGES:
        message = (
            f"Invalid '{name}': array too long. Expected an array with maximum length {MAX_IMAGES}, "
            f"but got an array with length {number} instead."
        )
        raise bad_request(message, code="array_above_max_length", param=name)


def _check_image(upload: UploadedImage, number: int | None) -> ImageInfo:
    """One image with a type the API takes, not too large, and readable; `number` counts images from 1."""
    if upload.info is None or upload.info.fetched:
        declared = (upload.media_type or "application/octet-stream").partition(";")[0].strip().lower()
        accepted = _TYPES if number is not None else ("image/png",)
        if declared not in accepted:
            quoted = [f"'{item}'" for item in accepted]
            listed = f"{', '.join(quoted[:-1])}, and {quoted[-1]}" if len(quoted) > 1 else quoted[0]
            message = (
                f"Invalid file '{upload.name}': unsupported mimetype ('{declared[:80]}'). "
                f"Supported file formats are {listed}."
            )
            raise bad_request(message, code="unsupported_file_mimetype", param=upload.name)
    if upload.nbytes >= MAX_IMAGE_BYTES:
        message = f"Invalid file '{upload.name}': file too large. Images must be less than 50MB."
        raise invalid_value(upload.name, message)
    if upload.info is None:
        subject = f"image {number}" if number is not None else upload.name
        message = f"Invalid image file or mode for {subject}, please check your image file."
        raise bad_request(message, code="invalid_image_file", error_type=USER_ERROR)
    return upload.info


def _check_layer(layer: ImageInfo, first: ImageInfo, name: str) -> None:
    """Rejects a mask or markup that is no png, has no alpha channel, or another size than the first image."""
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
        raise invalid_value(name, f"Invalid {name} image format - {problem}")


def _reference(item: object, name: str, role: Role, *, pixels: bool) -> UploadedImage:
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
        return UploadedImage(name=f"{name}.{key}", media_type=None, nbytes=0, info=unresolved_image(value))
    return _from_url(value, f"{name}.{key}", role, pixels=pixels)


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
    """The bytes whose base64 begins at `start`, in slices between which other threads have their turn."""
    if 0 <= text.find("=", start) < len(text) - 2:
        raise ValueError("padding before the end")
    slices = range(start, len(text), _BASE64_SLICE)
    return b"".join(
        binascii.a2b_base64(text[index : index + _BASE64_SLICE], strict_mode=True) for index in slices
    )
