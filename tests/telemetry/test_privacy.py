"""Neither a prompt nor a key nor an image in what is recorded, whatever goes wrong; faults of telemetry end no call."""

import json
import logging
import re
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Tracer, get_current_span

from openai_images import GenerateRequest, ImagesClient, ImagesError
from openai_images.server import FAULTS, LocalImagesServer
from tests.helpers.clients import B64, KEY, PNG, FakeTime, client_of
from tests.helpers.raw_server import RawServer, reply
from tests.helpers.telemetry import Recorded

SECRET = "sk-sentinel-4b7e0c55d1f94a2e"
PROMPT = 'an otter named "Sentinel" under the moon'
FORBIDDEN = re.compile(r"sentinel|otter named|under the moon|[A-Za-z0-9+/]{80,}", re.IGNORECASE)
KINDS = (
    "cut",
    "echo",
    "empty",
    "eof",
    "error",
    "html",
    "invalid",
    "json",
    "moderation",
    "null",
    "ok",
    "problem",
)
"""What the names of the faults begin with whose bodies and statuses differ most."""


def _is_of_kinds(name: str) -> bool:
    return name.startswith(KINDS)


async def both(client: ImagesClient, **params: Any) -> None:
    """A generation and a stream, whatever comes of them."""
    with suppress(ImagesError):
        await client.generate(PROMPT, **params)
    with suppress(ImagesError):
        async with client.stream(PROMPT, partial_images=1, **params) as stream:
            await stream.finish()


async def test_after_each_fault(recorded: Recorded) -> None:
    """The server's texts, which may repeat the request, are never recorded."""
    async with (
        LocalImagesServer(pictures=PNG, api_key=SECRET, now=lambda: FakeTime.WALL) as server,
        client_of(
            server,
            telemetry=recorded.telemetry(),
            model="gpt-image-2",
            headers={"X-Team": "sentinel-header"},
        ) as client,
    ):
        for name in ("status:403", "status:500", "quota_429", *filter(_is_of_kinds, FAULTS)):
            server.reset(faults=[name] * 2)
            await both(client, user="sentinel-user")
    assert len(recorded.spans) > 50
    assert {(span.attributes or {}).get("error.type") for span in recorded.spans} >= {
        None,
        "DecodeError",
        "ModerationBlockedError",
        "PermissionDeniedError",
        "StreamInterruptedError",
    }
    assert FORBIDDEN.findall(recorded.text()) == []


@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_a_server_that_repeats_everything(recorded: Recorded, status: int) -> None:
    """In every field that it could fill, request id and model included."""
    echo = f"{PROMPT} {SECRET}"
    body = {
        "created": 1,
        "data": [{"b64_json": B64, "revised_prompt": echo}],
        "model": echo,
        "size": echo,
        "quality": echo,
        "output_format": echo,
        "usage": {"input_tokens": 1, "output_tokens": 2, echo: echo},
    }
    error = dict.fromkeys(("message", "code", "type", "param", "moderation_stage", "safety_violations"), echo)
    error_body: dict[str, Any] = {"error": {**error, "moderation_details": {"moderation_stage": echo}}}
    answer = json.dumps(body if status == 200 else error_body).encode()
    async with RawServer([reply(answer, f"x-request-id: {echo}", status=status)]) as server:
        options = {"api_key": SECRET, "telemetry": recorded.telemetry(), "max_retries": 1}
        async with client_of(server, model="gpt-image-2", **options) as client:
            await both(client)
    assert len(recorded.spans) == 2
    assert FORBIDDEN.findall(recorded.text()) == []


async def test_many(server: LocalImagesServer, recorded: Recorded) -> None:
    """The span of many calls neither: keys of requests may be prompts."""
    server.script("ok", "echo_secrets")
    requests = [{"prompt": PROMPT, "key": f"sentinel {n}"} for n in "ab"]
    async with (
        client_of(server, telemetry=recorded.telemetry(), model="gpt-image-2") as client,
        client.generate_many(requests) as outcomes,
    ):
        async for _ in outcomes:
            pass
    assert len(recorded.spans) == 3
    assert FORBIDDEN.findall(recorded.text()) == []


async def test_prompts_that_are_captured(server: LocalImagesServer, recorded: Recorded) -> None:
    """By the conventions' schema, in the spans of calls only; still no image and no key."""
    async with client_of(
        server, telemetry=recorded.telemetry(capture_prompts=True), model="gpt-image-2"
    ) as client:
        await client.generate(PROMPT)
        await client.edit(GenerateRequest(PROMPT).prompt, image=PNG, extra_body={"prompt": "another"})
    messages = [json.loads(str((span.attributes or {})["gen_ai.input.messages"])) for span in recorded.spans]
    assert messages == [
        [{"role": "user", "parts": [{"type": "text", "content": prompt}]}] for prompt in (PROMPT, "another")
    ]
    text = recorded.text()
    assert (server.api_key in text, B64 in text, KEY in text) == (False, False, False)


class Broken(SpanProcessor):
    """A processor with a bug."""

    def __init__(self, moment: str) -> None:
        """Raise at this moment."""
        self._moment = moment

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Perhaps raise."""
        if self._moment == "start":
            raise ZeroDivisionError

    def on_end(self, span: ReadableSpan) -> None:
        """Perhaps raise."""
        if self._moment == "end":
            raise ZeroDivisionError


@pytest.mark.parametrize("moment", ["start", "end"])
async def test_a_broken_processor(
    server: LocalImagesServer, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Images are delivered; the first failure is a warning."""
    recorded = Recorded(Broken(moment))
    async with client_of(server, telemetry=recorded.telemetry(), model="gpt-image-2") as client:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert (await client.generate(PROMPT)).image.data == PNG
            async with client.generate_many(["a"]) as outcomes:
                assert [outcome.index async for outcome in outcomes] == [0]
    warnings = [record.getMessage() for record in caplog.records if record.name == "openai_images"]
    assert warnings == ["telemetry failed with ZeroDivisionError; calls continue without it"]
    assert recorded.points()["openai_images.client.images"][0][1] == 3


async def test_a_broken_tracer(
    server: LocalImagesServer, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of OpenTelemetry raises: the image is delivered, and the caller's span stays the current one."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    telemetry = recorded.telemetry()
    client = client_of(server, telemetry=telemetry, model="gpt-image-2")
    instruments = client._context.telemetry
    assert instruments is not None
    tracer: Tracer = instruments.tracer
    monkeypatch.setattr(tracer, "start_span", fail)
    monkeypatch.setattr(instruments.duration, "record", fail)
    before = get_current_span()
    async with client:
        assert (await client.generate(PROMPT)).image.data == PNG
        async with client.stream(PROMPT, partial_images=1) as stream:
            assert (await stream.finish()).image.data == PNG
    assert get_current_span() is before
