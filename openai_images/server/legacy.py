"""The rules of dall-e-2 and dall-e-3, for servers that still have them.

Invariants: messages are those of these models; responses have URLs unless base64 is requested, a revised prompt from
dall-e-3, and no usage.
"""

from collections.abc import Mapping
from typing import Any, Final

from openai_images.server.catalog import ServedModel
from openai_images.server.edits import CheckedEdit
from openai_images.server.error_replies import (
    Types,
    bad_request,
    check_names_and_types,
    check_prompt,
    check_range,
    invalid_value,
)
from openai_images.server.image_info import ImageInfo, UploadedImage, UploadedImages
from openai_images.server.parameters import Parameters, parse_size
from openai_images.server.state import ServerSettings

_STRING: Final = ("a string", str)
_TYPES: Final[Types] = {
    "prompt": _STRING,
    "model": _STRING,
    "n": ("an integer", int),
    "size": _STRING,
    "quality": _STRING,
    "response_format": _STRING,
    "user": _STRING,
}
_ONLY_3: Final[Types] = {"style": _STRING}
_FILES: Final[Types] = dict.fromkeys(("image", "mask"), ("a file", object))
_SIZES: Final[Mapping[str, tuple[str, ...]]] = {
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
    "dall-e-3": ("1024x1024", "1024x1792", "1792x1024"),
}
_PROMPTS: Final = {"dall-e-2": 1000, "dall-e-3": 4000}
_MAX_IMAGE_BYTES: Final = 4 * 1024 * 1024


def check_legacy(
    values: Mapping[str, Any],
    model: ServedModel,
    settings: ServerSettings,
    uploads: UploadedImages | None = None,
) -> Parameters:
    """The parameters of a request to a dall-e model, or a `RequestRejectedError`; `uploads` are those of an edit."""
    is_3 = model.name == "dall-e-3"
    if uploads is not None and is_3:
        message = "Invalid value: 'dall-e-3'. Value must be 'dall-e-2'."
        raise bad_request(message, code="invalid_value", param="model")
    known = dict(_TYPES)
    known |= _ONLY_3 if is_3 else {}
    known |= _FILES if uploads is not None else {}
    check_names_and_types(values, known)
    present = {name: value for name, value in values.items() if value is not None}
    prompt = check_prompt(present, _PROMPTS[model.name])
    edit = None if uploads is None else _edit(uploads)
    check_range("n", present.get("n"), 1, 10)
    if is_3 and present.get("n", 1) > 1:
        raise bad_request("You must provide n=1 for this model.", code=None, param="n")
    size = _choice(present, "size", _SIZES[model.name], "1024x1024")
    _choice(present, "style", ("vivid", "natural"), "vivid")
    response_format = _choice(present, "response_format", ("url", "b64_json"), "url")
    width, height = parse_size(size)
    return Parameters(
        model=model,
        prompt=prompt,
        n=present.get("n", 1),
        width=width,
        height=height,
        quality=_quality(present, model),
        edit=edit,
        links=(settings.picture_links or "absolute") if response_format == "url" else None,
        bare=True,
        revised_prompt=f"{prompt} (a local stand-in, painted by a program)" if is_3 else None,
    )


def _choice(values: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    value: str = values.get(name, default)
    if value not in allowed:
        listed = ", ".join(f"'{option}'" for option in allowed)
        raise bad_request(f"'{value[:200]}' is not one of [{listed}] - '{name}'", code=None)
    return value


def _quality(values: Mapping[str, Any], model: ServedModel) -> str:
    quality = _choice(values, "quality", (*model.qualities, "auto"), "standard")
    return "standard" if quality == "auto" else quality


def _edit(uploads: UploadedImages) -> CheckedEdit:
    """One square png below 4 MB, with alpha where there is no mask for it."""
    if not uploads.images:
        raise bad_request("'image' is a required property", code=None)
    first, *rest = uploads.images
    if rest:
        raise invalid_value("image", "Only one image is supported for this model.")
    image = _square_png(first, "image")
    if uploads.mask is None and image.fetched and not image.has_alpha:
        raise bad_request(
            f"Invalid input image - format must be in ['RGBA', 'LA', 'L'], got {image.mode}.", code=None
        )
    mask = None if uploads.mask is None else _square_png(uploads.mask, "mask")
    if mask is not None and mask.fetched and image.fetched and mask.size != image.size:
        raise bad_request("Uploaded image and mask must be the same size.", code=None)
    return CheckedEdit(images=(image,), mask=mask or image)


def _square_png(upload: UploadedImage, name: str) -> ImageInfo:
    info = upload.info
    if info is None or (info.fetched and info.format != "PNG") or upload.nbytes >= _MAX_IMAGE_BYTES:
        raise bad_request(f"Uploaded {name} must be a PNG and less than 4 MB.", code=None)
    if info.width != info.height:
        raise bad_request(f"Uploaded {name} must be square.", code=None)
    return info
