"""The page that `openai-images demo` writes.

Rules: one HTML file beside its pictures, with nothing fetched from a network; every text is escaped; the code shown
is made from the same values as the call. It refuses to hide that a local stand-in painted them.
"""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from attrs import frozen

from openai_images.cli.progress import in_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from openai_images import Image, ImageResult, Usage

__all__ = ["Arrival", "Finished", "Shot", "call_text", "write_page"]


@frozen
class Shot:
    """A call to make: the name of its file, its prompt, its other parameters."""

    name: str
    prompt: str
    params: Mapping[str, Any]


@frozen
class Arrival:
    """A picture of the stream and the seconds after which it came; the usage comes with the last."""

    image: Image
    seconds: float
    usage: Usage | None = None


@frozen
class Finished:
    """A call and its result."""

    shot: Shot
    result: ImageResult


def write_page(
    out: Path,
    streamed: Shot,
    arrivals: Sequence[Arrival],
    finished: Sequence[Finished],
    refused: tuple[Shot, str],
) -> Path:
    """Write `index.html` into `out` and give its path. Raises OSError."""
    template = Template(files("openai_images.cli").joinpath("page.html").read_text("utf-8"))
    shot, refusal = refused
    text = template.substitute(
        prompt=escape(streamed.prompt),
        seconds=f"{arrivals[-1].seconds:.1f}",
        first=f"{arrivals[0].seconds:.1f}",
        arrivals="\n".join(
            _arrival(arrival, number, len(arrivals)) for number, arrival in enumerate(arrivals)
        ),
        stream_code=escape(_stream_text(streamed)),
        calls=len(finished),
        cards="\n".join(_card(call) for call in finished),
        refused_code=escape(call_text("generate", shot, into=False)),
        refusal=escape(refusal),
    )
    page = out / "index.html"
    page.write_text(text, "utf-8")
    return page


def call_text(verb: str, shot: Shot, *, into: bool = True) -> str:
    """The call as it stands in Python."""
    given = [json.dumps(shot.prompt, ensure_ascii=False)]
    given += [f"{name}={json.dumps(value)}" for name, value in shot.params.items()]
    given += [f'into="{shot.name}"'] if into else []
    return f"client.{verb}({', '.join(given)})"


def _stream_text(shot: Shot) -> str:
    return (
        f"async with {call_text('stream', shot)} as stream:\n"
        "    async for event in stream:\n"
        "        print(event.image.path)\n"
        "stream.result.usage"
    )


def _arrival(arrival: Arrival, number: int, count: int) -> str:
    is_last = number == count - 1
    name = "finished" if is_last else f"partial image {number + 1}"
    facts = [in_bytes(arrival.image.nbytes)]
    if arrival.usage is not None and arrival.usage.total_tokens:
        facts.append(f"{arrival.usage.total_tokens:,} tokens")
    return (
        f"<li{' class=done' if is_last else ''}>{_picture(arrival.image, name)}"
        f"<p><b>{arrival.seconds:.1f} s</b> {name}</p><p class=facts>{_joined(facts)}</p></li>"
    )


def _card(call: Finished) -> str:
    result = call.result
    pictures = "".join(_picture(image, call.shot.prompt) for image in result.images)
    image = result.image
    facts = [
        f"{image.width} \N{MULTIPLICATION SIGN} {image.height}",
        image.media_type.removeprefix("image/"),
        " + ".join(in_bytes(one.nbytes) for one in result.images),
        f"{result.elapsed:.1f} s",
    ]
    if result.usage is not None and result.usage.total_tokens:
        facts.append(f"{result.usage.total_tokens:,} tokens")
    clear = " clear" if call.shot.params.get("background") == "transparent" else ""
    return (
        f'<article><div class="pictures{clear}">{pictures}</div><h3>{escape(call.shot.prompt)}</h3>'
        f"<p class=facts>{_joined(facts)}</p>"
        f"<pre><code>{escape('await ' + call_text('generate', call.shot))}</code></pre></article>"
    )


def _joined(facts: Sequence[str]) -> str:
    """Facts in a row, which breaks between them only."""
    return " · ".join(escape(fact).replace(" ", "&nbsp;") for fact in facts)


def _picture(image: Image, words: str) -> str:
    name = "" if image.path is None else escape(image.path.name)
    return (
        f'<a href="{name}"><img src="{name}" width="{image.width}" height="{image.height}" '
        f'alt="{escape(words)}" loading="lazy"></a>'
    )
