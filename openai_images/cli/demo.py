"""`openai-images demo`: the client at work with the local server, and an HTML page of the results.

Invariants: no key, no network; the code shown is made from the values of the calls; every text of the page is escaped;
a second run replaces only what the first one wrote.
Must not: pass placeholder images off as a model's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from attrs import frozen

from openai_images import Image, ImageResult, ImagesClient, ModerationBlockedError, PartialImage, Usage
from openai_images.cli.command_runner import run_command
from openai_images.cli.console import Console
from openai_images.cli.progress import ProgressDisplay, ProgressStep, format_bytes, make_progress_display
from openai_images.cli.report import ErrorReport, report_error
from openai_images.cli.startup import Streams


@frozen
class DemoCall:
    """A call of the demo: file name, prompt, other parameters."""

    name: str
    prompt: str
    params: Mapping[str, Any]


@frozen
class StreamedImage:
    """A partial or final image, and seconds since the start; the usage comes with the last."""

    image: Image
    seconds: float
    usage: Usage | None = None


@frozen
class DemoResult:
    """A call and its result."""

    call: DemoCall
    result: ImageResult


def write_page(
    out: Path,
    streamed: DemoCall,
    arrivals: Sequence[StreamedImage],
    finished: Sequence[DemoResult],
    refused: tuple[DemoCall, str],
) -> Path:
    """Write `index.html` into `out` and return its path. Raises OSError."""
    template = Template(files("openai_images.cli").joinpath("demo.html").read_text("utf-8"))
    call, refusal = refused
    text = template.substitute(
        prompt=escape(streamed.prompt),
        seconds=f"{arrivals[-1].seconds:.1f}",
        first=f"{arrivals[0].seconds:.1f}",
        arrivals="\n".join(
            _stream_item(arrival, number, len(arrivals)) for number, arrival in enumerate(arrivals)
        ),
        stream_code=escape(_stream_text(streamed)),
        calls=len(finished),
        cards="\n".join(_card(call) for call in finished),
        refused_code=escape(call_text("generate", call, into=False)),
        refusal=escape(refusal),
    )
    page = out / "index.html"
    page.write_text(text, "utf-8")
    return page


def call_text(verb: str, call: DemoCall, *, into: bool = True) -> str:
    """Return the call as Python code."""
    given = [json.dumps(call.prompt, ensure_ascii=False)]
    given += [f"{name}={json.dumps(value)}" for name, value in call.params.items()]
    given += [f'into="{call.name}"'] if into else []
    return f"client.{verb}({', '.join(given)})"


def _stream_text(call: DemoCall) -> str:
    return (
        f"async with {call_text('stream', call)} as stream:\n"
        "    async for event in stream:\n"
        "        print(event.image.path)\n"
        "stream.result.usage"
    )


def _stream_item(arrival: StreamedImage, number: int, count: int) -> str:
    is_last = number == count - 1
    name = "finished" if is_last else f"partial image {number + 1}"
    facts = [format_bytes(arrival.image.nbytes)]
    if arrival.usage is not None and arrival.usage.total_tokens:
        facts.append(f"{arrival.usage.total_tokens:,} tokens")
    return (
        f"<li{' class=done' if is_last else ''}>{_image_tag(arrival.image, name)}"
        f"<p><b>{arrival.seconds:.1f} s</b> {name}</p><p class=facts>{_join_facts(facts)}</p></li>"
    )


def _card(call: DemoResult) -> str:
    result = call.result
    pictures = "".join(_image_tag(image, call.call.prompt) for image in result.images)
    image = result.image
    facts = [
        f"{image.width} \N{MULTIPLICATION SIGN} {image.height}",
        image.media_type.removeprefix("image/"),
        " + ".join(format_bytes(one.nbytes) for one in result.images),
        f"{result.elapsed:.1f} s",
    ]
    if result.usage is not None and result.usage.total_tokens:
        facts.append(f"{result.usage.total_tokens:,} tokens")
    clear = " clear" if call.call.params.get("background") == "transparent" else ""
    return (
        f'<article><div class="pictures{clear}">{pictures}</div><h3>{escape(call.call.prompt)}</h3>'
        f"<p class=facts>{_join_facts(facts)}</p>"
        f"<pre><code>{escape('await ' + call_text('generate', call.call))}</code></pre></article>"
    )


def _join_facts(facts: Sequence[str]) -> str:
    return " · ".join(escape(fact).replace(" ", "&nbsp;") for fact in facts)


def _image_tag(image: Image, words: str) -> str:
    name = "" if image.path is None else escape(image.path.name)
    return (
        f'<a href="{name}"><img src="{name}" width="{image.width}" height="{image.height}" '
        f'alt="{escape(words)}" loading="lazy"></a>'
    )


_PACE = 1.0
_PARTIALS = 3

_STREAM_CALL = DemoCall(
    "boat", "a small boat on a calm sea in the evening", {"size": "1536x1024", "partial_images": _PARTIALS}
)
_OTHER_CALLS = (
    DemoCall(
        "flower", "a garden flower in spring, seen from above", {"size": "1024x1536", "output_format": "jpeg"}
    ),
    DemoCall("lights", "a winter night above a lake", {"size": "1536x864", "output_format": "webp"}),
    DemoCall("ribbons", "silk ribbons in the wind", {"n": 2, "size": "1024x1024", "output_format": "webp"}),
    DemoCall(
        "city",
        "a city cut from paper",
        {"size": "1280x720", "output_format": "jpeg", "output_compression": 80},
    ),
    DemoCall(
        "sticker",
        "a planet with a ring",
        {"model": "gpt-image-2.6-flare", "size": "1024x1024", "background": "transparent"},
    ),
)
_REFUSED_CALL = DemoCall("refused", "words that trigger moderation", {})


@frozen(kw_only=True)
class DemoOptions:
    """Options of `demo`."""

    out: str = "demo-output"
    preview: bool | None = None
    verbose: bool = False
    quiet: bool = False


def run_demo(options: DemoOptions, streams: Streams) -> int:
    """Make the calls, write the page, and return the exit code."""
    console = Console(streams.out, streams.err, quiet=options.quiet, verbose=options.verbose)
    return run_command(
        console,
        lambda: _demo(options, console),
        lambda: ErrorReport(error_type="Interrupted", message="interrupted"),
    )


async def _demo(options: DemoOptions, console: Console) -> int:
    from openai_images.server import LocalImagesServer

    started = time.monotonic()
    out = Path(options.out)
    console.print_note("local stand-in: painted by a program on this machine, not by a model", "yellow")
    async with (
        LocalImagesServer(pace=_PACE) as server,
        ImagesClient(base_url=server.base_url, api_key=server.api_key, trust_env=False) as client,
    ):
        try:
            async with make_progress_display(console, options.preview) as progress:
                arrivals = await _stream(client, out, progress)
            async with make_progress_display(console, wish=False) as progress:
                finished = await _generate_others(client, out, progress)
            refusal = await _refusal(client)
            console.print_note(f"{'':10}one refusal, handled: {refusal}")
            page = await asyncio.to_thread(
                write_page, out, _STREAM_CALL, arrivals, finished, (_REFUSED_CALL, refusal)
            )
        except OSError as error:
            why = error.strerror or type(error).__name__
            report_error(
                console,
                ErrorReport(error_type=type(error).__name__, message=f"cannot write to {str(out)!r}: {why}"),
            )
            return 2
    console.print_note(
        f"done in {time.monotonic() - started:.1f} s; open {page.absolute().as_uri()} in a browser", "bold"
    )
    console.print_result(str(page))
    return 0


async def _stream(client: ImagesClient, out: Path, progress: ProgressDisplay) -> list[StreamedImage]:
    arrivals: list[StreamedImage] = []
    progress.advance(ProgressStep(stage="streaming, waiting for the first partial image", expected=_PARTIALS))
    started = time.monotonic()
    nbytes = 0
    async with client.stream(
        _STREAM_CALL.prompt, into=out / _STREAM_CALL.name, overwrite=True, **_STREAM_CALL.params
    ) as stream:
        async for event in stream:
            if isinstance(event, PartialImage):
                arrivals.append(StreamedImage(event.image, time.monotonic() - started))
                nbytes += event.image.nbytes
                stage = f"partial image {len(arrivals)} of {_PARTIALS}"
                progress.advance(
                    ProgressStep(stage=stage, received=len(arrivals), expected=_PARTIALS, nbytes=nbytes)
                )
                await progress.show(event.image)
    arrivals.append(StreamedImage(stream.result.image, time.monotonic() - started, stream.result.usage))
    await progress.show(stream.result.image)
    progress.advance(
        ProgressStep(
            stage=f"streamed a picture after {_PARTIALS} partial images",
            nbytes=stream.result.image.nbytes,
            is_last=True,
        )
    )
    return arrivals


async def _generate_others(client: ImagesClient, out: Path, progress: ProgressDisplay) -> list[DemoResult]:
    done = 0
    progress.advance(ProgressStep(stage=f"{len(_OTHER_CALLS)} calls at once", expected=len(_OTHER_CALLS)))

    async def generate(call: DemoCall) -> DemoResult:
        nonlocal done
        result: ImageResult = await client.generate(
            call.prompt, into=out / call.name, overwrite=True, **call.params
        )
        done += 1
        last = done == len(_OTHER_CALLS)
        progress.advance(
            ProgressStep(
                stage=f"{done} of {len(_OTHER_CALLS)} calls done",
                received=done,
                expected=len(_OTHER_CALLS),
                is_last=last,
            )
        )
        return DemoResult(call, result)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(generate(call)) for call in _OTHER_CALLS]
    return [task.result() for task in tasks]


async def _refusal(client: ImagesClient) -> str:
    try:
        await client.generate(_REFUSED_CALL.prompt)
    except ModerationBlockedError as error:
        return f"{type(error).__name__} at the {error.stage} stage"
    return "not refused"
