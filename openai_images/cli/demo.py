"""`openai-images demo`: the client and the local server at work, and a page about what came.

Rules: no key and no network; the calls it shows are the calls it made; running it again replaces what it wrote and
nothing else. It refuses to pass the local server's pictures off as a model's.
"""

from __future__ import annotations

import asyncio
import json
import time
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from attrs import frozen

from openai_images import ImageResult, ImagesClient, ModerationBlockedError, PartialImage
from openai_images.cli.command_runner import run_command
from openai_images.cli.console import Console
from openai_images.cli.progress import Progress, Step, in_bytes, make_progress
from openai_images.cli.report import Problem, show_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openai_images import Image, Usage
    from openai_images.cli.startup import Streams


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
    template = Template(files("openai_images.cli").joinpath("demo.html").read_text("utf-8"))
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


_PACE = 1.0
_PARTIALS = 3

_STREAMED = Shot(
    "boat", "a small boat on a calm sea in the evening", {"size": "1536x1024", "partial_images": _PARTIALS}
)
_OTHERS = (
    Shot(
        "flower", "a garden flower in spring, seen from above", {"size": "1024x1536", "output_format": "jpeg"}
    ),
    Shot("lights", "a winter night above a lake", {"size": "1536x864", "output_format": "webp"}),
    Shot("ribbons", "silk ribbons in the wind", {"n": 2, "size": "1024x1024", "output_format": "webp"}),
    Shot(
        "city",
        "a city cut from paper",
        {"size": "1280x720", "output_format": "jpeg", "output_compression": 80},
    ),
    Shot(
        "sticker",
        "a planet with a ring",
        {"model": "gpt-image-2.6-flare", "size": "1024x1024", "background": "transparent"},
    ),
)
_REFUSED = Shot("refused", "words that trigger moderation", {})


@frozen(kw_only=True)
class Options:
    """What was typed."""

    out: str = "demo-output"
    preview: bool | None = None
    verbose: bool = False
    quiet: bool = False


def run_demo(options: Options, streams: Streams) -> int:
    """Paint, write the page, and give the exit code."""
    console = Console(streams.out, streams.err, quiet=options.quiet, verbose=options.verbose)
    return run_command(
        console, lambda: _demo(options, console), lambda: Problem(kind="Interrupted", message="interrupted")
    )


async def _demo(options: Options, console: Console) -> int:
    from openai_images.server import LocalImagesServer

    started = time.monotonic()
    out = Path(options.out)
    console.note("local stand-in: painted by a program on this machine, not by a model", "yellow")
    async with (
        LocalImagesServer(pace=_PACE) as server,
        ImagesClient(base_url=server.base_url, api_key=server.api_key, trust_env=False) as client,
    ):
        try:
            async with make_progress(console, options.preview) as progress:
                arrivals = await _stream(client, out, progress)
            async with make_progress(console, wish=False) as progress:
                finished = await _generate_others(client, out, progress)
            refusal = await _refused(client)
            console.note(f"{'':10}one refusal, handled: {refusal}")
            page = await asyncio.to_thread(
                write_page, out, _STREAMED, arrivals, finished, (_REFUSED, refusal)
            )
        except OSError as error:
            why = error.strerror or type(error).__name__
            show_problem(
                console, Problem(kind=type(error).__name__, message=f"cannot write to {str(out)!r}: {why}")
            )
            return 2
    console.note(
        f"done in {time.monotonic() - started:.1f} s; open {page.absolute().as_uri()} in a browser", "bold"
    )
    console.result(str(page))
    return 0


async def _stream(client: ImagesClient, out: Path, progress: Progress) -> list[Arrival]:
    """One picture while it is painted; what came, and when."""
    arrivals: list[Arrival] = []
    progress.advance(Step(stage="streaming, waiting for the first partial image", wanted=_PARTIALS))
    started = time.monotonic()
    nbytes = 0
    async with client.stream(
        _STREAMED.prompt, into=out / _STREAMED.name, overwrite=True, **_STREAMED.params
    ) as stream:
        async for event in stream:
            if isinstance(event, PartialImage):
                arrivals.append(Arrival(event.image, time.monotonic() - started))
                nbytes += event.image.nbytes
                stage = f"partial image {len(arrivals)} of {_PARTIALS}"
                progress.advance(Step(stage=stage, seen=len(arrivals), wanted=_PARTIALS, nbytes=nbytes))
                await progress.show(event.image)
    arrivals.append(Arrival(stream.result.image, time.monotonic() - started, stream.result.usage))
    await progress.show(stream.result.image)
    progress.advance(
        Step(
            stage=f"streamed a picture after {_PARTIALS} partial images",
            nbytes=stream.result.image.nbytes,
            is_last=True,
        )
    )
    return arrivals


async def _generate_others(client: ImagesClient, out: Path, progress: Progress) -> list[Finished]:
    """The other calls, all at once."""
    done = 0
    progress.advance(Step(stage=f"{len(_OTHERS)} calls at once", wanted=len(_OTHERS)))

    async def generate(shot: Shot) -> Finished:
        nonlocal done
        result: ImageResult = await client.generate(
            shot.prompt, into=out / shot.name, overwrite=True, **shot.params
        )
        done += 1
        last = done == len(_OTHERS)
        progress.advance(
            Step(stage=f"{done} of {len(_OTHERS)} calls done", seen=done, wanted=len(_OTHERS), is_last=last)
        )
        return Finished(shot, result)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(generate(shot)) for shot in _OTHERS]
    return [task.result() for task in tasks]


async def _refused(client: ImagesClient) -> str:
    """A prompt that the server refuses, turned into a sentence."""
    try:
        await client.generate(_REFUSED.prompt)
    except ModerationBlockedError as error:
        return f"{type(error).__name__} at the {error.stage} stage"
    return "not refused"
