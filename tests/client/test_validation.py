"""Requests are checked before they are sent, as far as the client was told to."""

import logging
import re
from datetime import datetime

import attrs
import pytest

from openai_images import ConfigurationError, ImagesClient, RequestInvalidError, Timing
from openai_images.http.endpoint import is_openai
from openai_images.server import LocalImagesServer
from tests.helpers.clients import FakeTime, client_of

WRONG = {"size": "1000x1001", "output_compression": 50, "output_format": "png", "n": 11}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://notapi.openai.com.example/v1", False),
        ("https://xapi.openai.com/v1", False),
        ("http://127.0.0.1:8080/v1", False),
    ],
)
def test_whose_rules_hold(url: str, expected: bool) -> None:
    """OpenAI's rules are certain at OpenAI's own hosts only."""
    assert is_openai(url) is expected


async def test_what_is_certainly_wrong_is_not_sent_to_openai() -> None:
    """All of it is told at once, and nothing goes out: no name is looked up for this key."""
    url = "https://api.openai.com/v1"
    async with ImagesClient(api_key="k", base_url=url, model="gpt-image-2", split=False) as client:
        with pytest.raises(RequestInvalidError) as caught:
            await client.generate("a secret prompt", **WRONG)
        with pytest.raises(RequestInvalidError):
            client.stream("a secret prompt", n=2)
    assert caught.value.attempts == 0
    for word in ("size", "output_compression", "n:", 'validate="off"'):
        assert word in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_another_server_is_asked_all_the_same(
    server: LocalImagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What may be wrong there is logged, once, and sent."""
    with caplog.at_level(logging.WARNING, "openai_images"):
        async with client_of(server, model="gpt-image-2") as client:
            for _ in range(2):
                await client.generate("x", safety_identifier="i" * 200)
    assert server.posts == 2
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("safety_identifier:")
    assert warnings[0].endswith("; the server decides")


async def test_strict_refuses_what_is_doubtful(server: LocalImagesServer) -> None:
    """Nothing is sent."""
    async with client_of(server, model="gpt-image-2", validate="strict") as client:
        with pytest.raises(RequestInvalidError, match="safety_identifier"):
            await client.generate("x", safety_identifier="i" * 200)
    assert server.posts == 0


async def test_off_sends_anything(server: LocalImagesServer, caplog: pytest.LogCaptureFixture) -> None:
    """The server is the judge, and nothing is logged."""
    with caplog.at_level(logging.WARNING, "openai_images"):
        async with client_of(server, model="gpt-image-2", validate="off") as client:
            await client.generate("x", safety_identifier="i" * 200)
    assert server.posts == 1
    assert not [record for record in caplog.records if record.levelno == logging.WARNING]


def test_a_mode_that_does_not_exist_is_refused() -> None:
    """At once, with those that do."""
    with pytest.raises(ConfigurationError, match="strict, warn, off"):
        ImagesClient(api_key="k", validate="loud")


def on(day: str) -> Timing:
    """Timing whose wall clock stands at noon of a day, in UTC."""
    seconds = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
    return attrs.evolve(FakeTime().timing, wall=lambda: seconds)


@pytest.mark.parametrize("day", ["2026-11-28", "2026-12-01", "2027-11-28"])
async def test_the_end_of_a_model_is_told_once_by_the_clients_clock(
    day: str, server: LocalImagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """By each client for each model: before the end with its replacement, afterwards that it is over."""
    with caplog.at_level(logging.WARNING, "openai_images"):
        for _ in range(2):
            async with client_of(server, timing=on(day)) as client:
                await client.generate("x", model="gpt-image-1.5")
                await client.generate("x", model="gpt-image-1.5-2025-12-16")
                async with client.stream("x", model="gpt-image-1.5") as stream:
                    assert [event async for event in stream]
    warnings = [record.getMessage() for record in caplog.records]
    if day == "2026-11-28":
        use = "use gpt-image-2.6-sunburst or gpt-image-2.6-flare in its place"
        assert warnings == [f"OpenAI ends gpt-image-1.5 on 2026-12-01: {use}"] * 2
    else:
        assert [warning.partition(" (")[0] for warning in warnings] == [
            "model: OpenAI ended 'gpt-image-1.5' on 2026-12-01",
            "model: OpenAI ended 'gpt-image-1.5-2025-12-16' on 2026-12-01",
        ] * 2


async def test_an_ended_model_is_not_sent_to_openai() -> None:
    """From the day of its end on, and not before it."""
    url = "https://api.openai.com/v1"
    async with ImagesClient(api_key="k", base_url=url, timing=on("2026-12-01")) as client:
        for model in ("gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest"):
            with pytest.raises(RequestInvalidError, match=f"OpenAI ended '{model}' on 2026-12-01"):
                await client.generate("x", model=model)
    async with ImagesClient(api_key="k", base_url=url, timing=on("2026-11-30")) as client:
        for model in ("gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest"):
            client.stream("x", model=model)  # checked, and not sent


@pytest.mark.parametrize(
    ("day", "told"),
    [
        ("2026-11-10", []),
        ("2026-12-15", ["Azure ends gpt-image-1.5 on 2026-12-16"]),
        ("2026-12-16", ["model: Azure ended 'gpt-image-1.5' on 2026-12-16"]),
    ],
)
def test_azure_has_days_of_its_own(day: str, told: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """A deployment is known by the name of its model, if at all."""
    client = ImagesClient.azure(
        "https://x.openai.azure.com", api_key="k", deployment="gpt-image-1.5", timing=on(day)
    )
    with caplog.at_level(logging.WARNING, "openai_images"):
        client.stream("x")
    assert [re.split(r": use | \(", record.getMessage())[0] for record in caplog.records] == told
