"""`openai-images models`: the table of models, and what the server says."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from openai_images import GenerateRequest, estimate_cost, known_models
from openai_images.cli import models
from tests.helpers.server_thread import NOW, serving

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day of the table, which some models do not outlive by a week."""
    monkeypatch.setattr(models, "current_date", lambda: date(2026, 11, 28))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_it_says_what_each_model_takes_and_costs(cli: Cli) -> None:
    """Without a key: sizes, qualities, formats, streaming, edits, the largest n, costs, and the end."""
    done = cli("models")
    assert done.code == 0
    block = done.out.split("\n\n")[3]
    assert block.startswith("gpt-image-1.5\n")
    for line in (
        "  sizes           auto, 1024x1024, 1536x1024, 1024x1536",
        "  quality         auto, low, medium, high",
        "  output format   png, webp, jpeg",
        "  streaming       yes, with partial images (png, webp, jpeg)",
        "  edits           yes",
        "  limits          up to 10 images in one request; prompts of up to 32,000 characters",
        "  ends            2026-12-01 (in 3 days); use gpt-image-2.6-sunburst or gpt-image-2.6-flare",
    ):
        assert f"{line}\n" in block
    assert "gpt-image-2.6-sunburst, gpt-image-2.6-flare\n" in done.out
    assert "transparent (uncertain)" in done.out.split("\n\n")[2]
    assert "ended: gpt-image-1 (2026-10-23), dall-e-3 (2026-05-12), dall-e-2 (2026-05-12)\n" in done.out
    assert "the prices of 2026-" in done.err


def test_the_costs_are_those_of_estimate_cost(cli: Cli) -> None:
    """Rounded up to four digits in the text, exact as JSON."""
    exact = estimate_cost(GenerateRequest("", model="gpt-image-2", size="1024x1024", quality="high"))
    rows = [line.split() for line in cli("models").out.split("\n\n")[2].splitlines()]
    assert ["1024x1024", "$0.0060", "$0.0528", "$0.2108"] in rows
    records = [json.loads(line) for line in cli("models", "--json").out.splitlines()]
    by_name = {record["model"]: record for record in records}
    assert Decimal(by_name["gpt-image-2"]["image_cost"]["1024x1024"]["high"]) == exact
    assert by_name["gpt-image-2"]["token_prices"]["image_output"] == "30"
    assert by_name["dall-e-3"]["image_cost"]["1024x1024"] == {"standard": None, "hd": None}


def test_json_has_a_line_for_each_model(cli: Cli) -> None:
    """Those that have ended too, and nobody knows what the server has."""
    records = [json.loads(line) for line in cli("models", "--json").out.splitlines()]
    assert [record["model"] for record in records] == [spec.name for spec in known_models()]
    assert {record["available"] for record in records} == {None}
    assert [record["model"] for record in records if record["ended"]] == [
        "gpt-image-1",
        "dall-e-3",
        "dall-e-2",
    ]
    first, last = records[0], records[-1]
    assert first["size_rules"] == {
        "step": 16, "min_pixels": 655_360, "max_pixels": 8_294_400, "max_edge": 3840, "max_ratio": 3,
    }  # fmt: skip
    assert (last["sizes"], last["streaming"], last["max_n"]) == (
        ["256x256", "512x512", "1024x1024"],
        False,
        10,
    )
    assert [record["edits"] for record in records[-2:]] == [False, True]


def test_check_asks_the_server(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the key has is said for each, and an end is the server's own."""
    with serving(now=lambda: NOW + 10 * 86_400) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        url = server.base_url
        done = cli("models", "--check", "--base-url", url)
    blocks = {block.split("\n")[0]: block for block in done.out.split("\n\n")}
    assert (done.code, len(server.requests)) == (0, 0)
    assert ["server", "available"] in [line.split() for line in blocks["gpt-image-2"].splitlines()]
    assert "  server          not available to this key\n" in blocks["gpt-image-1.5"]
    assert f"{url} lists 8 models, 5 of them in the table" in done.err


def test_check_overrides_the_table(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that the server still lists has not ended, whatever the table says."""
    with serving(now=lambda: NOW, legacy=True) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        text = cli("models", "--check", "--base-url", server.base_url).out
        lines = cli("models", "--check", "--json", "--base-url", server.base_url).out
    assert "ended:" not in text
    assert "2026-10-23 (over by the table)" in text
    assert "  cost" in text.split("dall-e-2\n")[1]
    records = {record["model"]: record for record in map(json.loads, lines.splitlines())}
    assert (records["gpt-image-1"]["available"], records["gpt-image-1"]["ended"]) == (True, False)


def test_models_that_the_table_lacks_are_listed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a few; of many those with "image" in the name, and how many others there are."""
    from openai_images import ImagesClient, ModelInfo

    listed = [ModelInfo("gpt-image-3", shutdown_date=date(2030, 1, 1)), ModelInfo("gpt-image-2-2027-01-01")]

    async def list_models(_: ImagesClient) -> tuple[ModelInfo, ...]:
        return tuple(listed)

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setattr(ImagesClient, "list_models", list_models)
    assert "not in the table: gpt-image-3 (ends 2030-01-01)\n" in cli("models", "--check").out
    listed += [ModelInfo(f"gpt-{number}\x1b[2J") for number in range(30)]
    done = cli("models", "--check")
    assert "not in the table: gpt-image-3 (ends 2030-01-01)\n" in done.out
    assert "and 30 models without 'image' in the name; --json lists all\n" in done.out
    records = [json.loads(line) for line in cli("models", "--check", "--json").out.splitlines()]
    assert records[len(known_models())] == {
        "model": "gpt-image-3", "known": False, "available": True, "ends": "2030-01-01",
    }  # fmt: skip
    assert len(records) == len(known_models()) + 31
    del listed[2:]
    listed.append(ModelInfo("odd\x1b[2Jname"))
    assert "\x1b" not in cli("models", "--check").out


def test_a_wrong_key_is_an_error_of_the_server(
    cli: Cli, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, with its sentence."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    done = cli("models", "--check")
    assert (done.code, done.out) == (1, "")
    assert "the server answered 401" in done.err
    assert "billed" not in done.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--base-url", "http://localhost:1/v1"], "--base-url is about a server, and only --check calls one"),
        (["--local"], "--local is about a server"),
        (["--check"], "no API key"),
        (["--check", "--local", "--azure"], "--local starts its own server"),
        (["--check", "--azure", "--base-url", "https://x.openai.azure.com"], "Azure's API does not list"),
    ],
)
def test_usage(cli: Cli, argv: list[str], said: str) -> None:
    """What cannot be asked is said, with exit code 2."""
    done = cli("models", *argv)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
