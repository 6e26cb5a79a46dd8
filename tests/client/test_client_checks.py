"""Requests are checked before they are sent, as far as the client was told to."""

import logging

import pytest

from openai_images import ConfigurationError, ImagesClient, RequestInvalidError
from openai_images.http.access import Access
from openai_images.server import LocalImagesServer
from tests.calling import client_of

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
    assert Access.of("k", url, None, None, {}).is_openai is expected


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
    assert warnings[0].endswith("sent all the same")


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
