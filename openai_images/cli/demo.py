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
from openai_images.cli.console import DEFAULT_MODEL, Console, Streams
from openai_images.cli.error_report import ErrorReport, report_error, run_command, write_error_report
from openai_images.cli.progress import (
    CallProgress,
    ProgressDisplay,
    ProgressStep,
    format_bytes,
    make_progress_display,
)

_PACE = 1.0
_PARTIALS = 3


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


_MODEL = {"model": DEFAULT_MODEL}
_STREAM_CALL = DemoCall(
    "boat",
    "a small boat on a calm sea in the evening",
    {**_MODEL, "size": "1536x1024", "partial_images": _PARTIALS},
)
_OTHER_CALLS = (
    DemoCall(
        "flower",
        "a garden flower in spring, seen from above",
        {**_MODEL, "size": "1024x1536", "output_format": "jpeg"},
    ),
    DemoCall(
        "lights", "a winter night above a lake", {**_MODEL, "size": "1536x864", "output_format": "webp"}
    ),
    DemoCall(
        "valley", "a valley in autumn", {**_MODEL, "n": 2, "size": "1024x1024", "output_format": "webp"}
    ),
    DemoCall(
        "city",
        "a city cut from paper",
        {**_MODEL, "size": "1280x720", "output_format": "jpeg", "output_compression": 80},
    ),
    DemoCall(
        "sticker",
        "a flower in bloom",
        {"model": "gpt-image-2.6-flare", "size": "1024x1024", "background": "transparent"},
    ),
)
_STREAM_CODE = """\
async with {} as stream:
    async for event in stream:
        print(event.image.path)
stream.result.usage"""
_REFUSED_CALL = DemoCall("refused", "words that trigger moderation", _MODEL)


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
    interrupted = ErrorReport(error_type="Interrupted", message="interrupted")
    return run_command(console, lambda: _demo(options, console), lambda: interrupted)


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
            refusal = "not refused"
            try:
                await client.generate(_REFUSED_CALL.prompt, **_REFUSED_CALL.params)
            except ModerationBlockedError as error:
                refusal = f"{type(error).__name__} at the {error.stage} stage"
            console.print_note(f"{'':10}one refusal, handled: {refusal}")
            refused = (_REFUSED_CALL, refusal)
            page = await asyncio.to_thread(write_page, out, _STREAM_CALL, arrivals, finished, refused)
        except OSError as error:
            report_error(console, write_error_report(str(out), error))
            return 2
    seconds = time.monotonic() - started
    console.print_note(f"done in {seconds:.1f} s; open {page.absolute().as_uri()} in a browser", "bold")
    console.print_result(str(page))
    return 0


async def _stream(client: ImagesClient, out: Path, progress: ProgressDisplay) -> list[StreamedImage]:
    arrivals: list[StreamedImage] = []
    progress.advance(ProgressStep(stage="streaming, waiting for the first partial image", expected=_PARTIALS))
    started = time.monotonic()
    call, counts = _STREAM_CALL, CallProgress(image_count=1, partials_per_image=_PARTIALS)
    async with client.stream(call.prompt, into=out / call.name, overwrite=True, **call.params) as stream:
        async for event in stream:
            if isinstance(event, PartialImage):
                arrivals.append(StreamedImage(event.image, time.monotonic() - started))
                progress.advance(counts.add_partial(event.image))
                await progress.show(event.image)
    image = stream.result.image
    arrivals.append(StreamedImage(image, time.monotonic() - started, stream.result.usage))
    await progress.show(image)
    stage = f"streamed a picture after {_PARTIALS} partial images"
    progress.advance(ProgressStep(stage=stage, nbytes=image.nbytes, is_last=True))
    return arrivals


async def _generate_others(client: ImagesClient, out: Path, progress: ProgressDisplay) -> list[DemoResult]:
    done, total = 0, len(_OTHER_CALLS)
    progress.advance(ProgressStep(stage=f"{total} calls at once", expected=total))

    async def generate(call: DemoCall) -> DemoResult:
        nonlocal done
        result = await client.generate(call.prompt, into=out / call.name, overwrite=True, **call.params)
        done += 1
        stage = f"{done} of {total} calls done"
        progress.advance(ProgressStep(stage=stage, received=done, expected=total, is_last=done == total))
        return DemoResult(call, result)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(generate(call)) for call in _OTHER_CALLS]
    return [task.result() for task in tasks]


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
        arrivals="\n".join(_stream_item(each, number, len(arrivals)) for number, each in enumerate(arrivals)),
        stream_code=escape(_STREAM_CODE.format(call_text("stream", streamed))),
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
    arguments = [json.dumps(call.prompt, ensure_ascii=False)]
    arguments += [f"{name}={json.dumps(value)}" for name, value in call.params.items()]
    arguments += [f'into="{call.name}"'] if into else []
    return f"client.{verb}({', '.join(arguments)})"


def _stream_item(arrival: StreamedImage, number: int, count: int) -> str:
    is_last = number == count - 1
    name = "finished" if is_last else f"partial image {number + 1} of {count - 1}"
    facts = [format_bytes(arrival.image.nbytes), *_tokens(arrival.usage)]
    return (
        f"<li{' class=done' if is_last else ''}>{_image_tag(arrival.image, name)}"
        f"<p><b>{arrival.seconds:.1f} s</b> {name}</p><p class=facts>{_join_facts(facts)}</p></li>"
    )


def _card(finished: DemoResult) -> str:
    call, result, image = finished.call, finished.result, finished.result.image
    tags = "".join(_image_tag(each, call.prompt) for each in result.images)
    facts = [
        f"{image.width} \N{MULTIPLICATION SIGN} {image.height}",
        image.media_type.removeprefix("image/"),
        " + ".join(format_bytes(each.nbytes) for each in result.images),
        f"{result.elapsed:.1f} s",
        *_tokens(result.usage),
    ]
    clear = " clear" if call.params.get("background") == "transparent" else ""
    return (
        f'<article><div class="pictures{clear}">{tags}</div><h3>{escape(call.prompt)}</h3>'
        f"<p class=facts>{_join_facts(facts)}</p>"
        f"<pre><code>{escape('await ' + call_text('generate', call))}</code></pre></article>"
    )


def _tokens(usage: Usage | None) -> list[str]:
    return [f"{usage.total_tokens:,} tokens"] if usage is not None and usage.total_tokens else []


def _join_facts(facts: Sequence[str]) -> str:
    return " · ".join(escape(fact).replace(" ", "&nbsp;") for fact in facts)


def _image_tag(image: Image, words: str) -> str:
    name = "" if image.path is None else escape(image.path.name)
    return (
        f'<a href="{name}"><img src="{name}" width="{image.width}" height="{image.height}" '
        f'alt="{escape(words)}" loading="lazy"></a>'
    )
