"""Finished pictures on stdout: their paths, or JSON lines.

Rules: a path is printed when its file is whole; a picture that could not be written where it belongs is written
elsewhere, for it is paid for. This blocks, and is called when the call is over. It refuses to print bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, fields

from openai_images import DownloadError, PartialResultError, TokenDetails, Usage
from openai_images.cli.failures import Problem, show_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai_images import Image, ImageResult, ImagesError
    from openai_images.cli.console import Console

__all__ = ["report_error", "report_images", "report_result", "usage_of"]


def report_result(console: Console, result: ImageResult, into: Path) -> int:
    """Print what came and give the exit code."""
    about = {
        "size": result.size,
        "quality": result.quality,
        "background": result.background,
        "output_format": result.output_format,
        "created": result.created,
        "usage": usage_of(result),
        "request_id": result.request_id,
        "attempts": result.attempts,
        "elapsed": round(result.elapsed, 3),
    }
    return report_images(console, result.images, into, about)


def report_images(
    console: Console, images: Sequence[Image], into: Path, about: dict[str, Any] | None = None
) -> int:
    """Print where each picture is, with what is known `about` their call; 1 if one is not here."""
    known, code = about or {}, 0
    for number, image in enumerate(images):
        placed = _placed(console, image, into)
        if placed is None:
            code = 1
            continue
        if console.as_json:
            is_taken = console.record(_record(placed, number, known))
            known = {
                **known,
                "usage": None,
            }  # it is the whole call's: adding up the lines must not count it twice
        else:
            is_taken = console.result(str(placed.path))
        if not is_taken:
            console.always(f"stdout takes nothing; the picture is {str(placed.path)!r}", "yellow")
    return code


def report_error(console: Console, error: ImagesError, into: Path) -> None:
    """Print the finished pictures that an error carries, with what is known of their call."""
    if isinstance(error, PartialResultError):
        report_result(console, error.result, into)
    else:
        report_images(console, _images_of(error), into)
    for image in error.damaged:
        kept = _placed(console, image, into)
        where = "" if kept is None else f" is kept in {str(kept.path)!r}"
        console.always(f"warning: what came in a picture's place ({image.flaw}){where}", "yellow")


def _images_of(error: ImagesError) -> Sequence[Image]:
    """The finished pictures that an error carries; those that could not be fetched are told with it."""
    if isinstance(error, DownloadError):
        return [] if error.response is None else [one for one in error.response.images if one.nbytes]
    return error.images


def usage_of(result: ImageResult) -> dict[str, Any] | None:
    """The tokens of a call for a JSON line; None where the server did not count them."""
    if result.usage is None:
        return None
    told = _grouped(Usage, result.usage.as_dict())
    for name in ("input_tokens_details", "output_tokens_details"):
        if getattr(result.usage, name) is not None and isinstance(told[name], dict):
            told[name] = _grouped(TokenDetails, told[name])
    return told


def _grouped(cls: type[Usage | TokenDetails], told: dict[str, Any]) -> dict[str, Any]:
    """What is known of a usage, null where the server did not say it, and the rest as `extra`."""
    rest = dict(told)
    known = {field.name: rest.pop(field.name, None) for field in fields(cls) if field.name != "extra"}
    return known | ({"extra": rest} if rest else {})


def _record(image: Image, index: int, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "index": index,
        "path": str(image.path),
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "bytes": image.nbytes,
        "sha256": image.sha256,
        "revised_prompt": image.revised_prompt,
        **about,
    }


def _placed(console: Console, image: Image, into: Path) -> Image | None:
    """The picture with a path; None where it cannot have one."""
    if image.path is not None:
        return image
    if image.url is not None:
        message = "a picture that is paid for was not fetched from where it is"
        show_problem(console, Problem(kind="DownloadError", message=message, urls=(image.url,)))
        return None
    folder = tempfile.mkdtemp(prefix="openai-images-")
    path = image.save(Path(folder) / into.stem)
    console.always(f"warning: {str(into)!r} could not be written; the picture is in {folder}", "yellow")
    return evolve(image, path=path)
