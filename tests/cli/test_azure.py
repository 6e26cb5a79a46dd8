"""Commands and Azure: who is asked, with which key, for which deployment, by what the environment says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Done, names
from tests.helpers.tcp_recorder import Answer, Recorder, recording

PROMPT = "an otter on a raft"
KEY = "0123456789abcdef0123456789abcdef"
DATE = "2025-04-01-preview"
Cli = Callable[..., Done]


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A server that the environment names as Azure's, with its key."""
    with recording() as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{server.url}/")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", f"{KEY}\n")
        yield server


@pytest.fixture
def other() -> Iterator[Recorder]:
    """A server that speaks as OpenAI does."""
    with recording() as server:
        yield server


def test_the_environment_names_azure(cli: Cli, azure: Recorder, empty_folder: Path) -> None:
    """AZURE_OPENAI_ENDPOINT and its key are enough; stderr says where it goes."""
    done = cli("generate", PROMPT, "-o", "otter.png")
    assert (done.code, done.out, names(empty_folder)) == (0, "otter.png\n", ["otter.png"])
    assert f"sending to Azure: {azure.url}/openai/v1\n" in done.err
    assert (azure.only.target, azure.only.authorizing) == ("/openai/v1/images/generations", {"api-key": KEY})
    assert azure.only.json == {"prompt": PROMPT, "model": "gpt-image-2", "output_format": "png"}
    assert KEY not in done.err


@pytest.mark.parametrize("version", ["OPENAI_API_VERSION", "AZURE_OPENAI_API_VERSION"])
@pytest.mark.parametrize("deployment", ["AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_DEPLOYMENT_NAME"])
def test_the_classic_path(
    cli: Cli, azure: Recorder, version: str, deployment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API version of a date leads to the deployment, which the environment names unless --model does."""
    monkeypatch.setenv(version, DATE)
    monkeypatch.setenv(deployment, "pics")
    assert cli("generate", PROMPT, "-q").code == 0
    assert cli("generate", PROMPT, "-q", "--model", "own").code == 0
    assert [request.target for request in azure.requests] == [
        f"/openai/deployments/{name}/images/generations?api-version={DATE}" for name in ("pics", "own")
    ]
    assert [request.json for request in azure.requests] == [{"prompt": PROMPT}] * 2


def test_a_token(cli: Cli, azure: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """AZURE_OPENAI_AD_TOKEN comes before the key, as for the client."""
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "a-token")
    assert cli("generate", PROMPT, "-q").code == 0
    assert azure.only.authorizing == {"authorization": "Bearer a-token"}


@pytest.mark.parametrize("by", ["--base-url", "OPENAI_BASE_URL"])
@pytest.mark.parametrize("more", [[], ["--no-azure"]])
def test_a_base_url_says_otherwise(
    cli: Cli, azure: Recorder, other: Recorder, by: str, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with OPENAI_API_KEY, and needs no explanation."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    address = f"{other.url}/v1"
    if by == "OPENAI_BASE_URL":
        monkeypatch.setenv(by, address)
    else:
        more = [*more, by, address]
    done = cli("generate", PROMPT, *more)
    assert (done.code, azure.requests) == (0, [])
    assert (other.only.target, other.only.authorizing) == (
        "/v1/images/generations",
        {"authorization": "Bearer sk-of-openai"},
    )
    assert "zure" not in done.err


@pytest.mark.parametrize("by", ["--base-url", "OPENAI_BASE_URL"])
def test_a_base_url_without_its_key(
    cli: Cli, azure: Recorder, other: Recorder, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure's key does not go there; the error names both ways."""
    more = [by, f"{other.url}/v1"] if by == "--base-url" else []
    if not more:
        monkeypatch.setenv(by, f"{other.url}/v1")
    done = cli("generate", PROMPT, *more)
    assert (done.code, done.out, azure.requests, other.requests) == (2, "", [], [])
    assert "set OPENAI_API_KEY" in done.err
    assert "AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY" in done.err


def test_a_key_of_openai_says_otherwise(cli: Cli, azure: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """With both keys it goes to OpenAI, and that is said, for somebody pays; --no-azure is the quiet way."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nothing gets as far as OpenAI
    done = cli("generate", PROMPT)
    assert (done.code, azure.requests) == (1, [])
    assert "OPENAI_API_KEY is set, so this goes to OpenAI; --azure sends to" in done.err
    assert "the proxy could not be reached" in done.err
    assert "Nothing was sent. The proxy's address is HTTPS_PROXY, HTTP_PROXY or ALL_PROXY." in done.err
    assert "--base-url" not in done.err
    assert "--azure sends to" not in cli("generate", PROMPT, "--no-azure").err
    assert azure.requests == []


def test_azure_on_demand(cli: Cli, azure: Recorder, other: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """--azure wins over all that names OpenAI, takes --base-url for the endpoint, and never OpenAI's key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{other.url}/v1")
    assert cli("generate", PROMPT, "--azure", "-q").code == 0
    assert azure.only.authorizing == {"api-key": KEY}
    target = f"/team/openai/deployments/pics/images/generations?api-version={DATE}"
    assert cli("generate", PROMPT, "--azure", "--base-url", f"{other.url}{target}", "-q").code == 0
    assert (other.only.target, other.only.authorizing) == (target, {"api-key": KEY})
    assert "sk-of-openai" not in str([*azure.requests, *other.requests])


@pytest.mark.parametrize(
    ("env", "argv", "says"),
    [
        ({}, [], "no API key: set OPENAI_API_KEY"),
        ({}, [], "AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"),
        ({"AZURE_OPENAI_API_KEY": KEY}, [], "no API key: set OPENAI_API_KEY"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}, [], "set AZURE_OPENAI_API_KEY"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}, [], "or OPENAI_API_KEY to send to OpenAI"),
        ({"AZURE_OPENAI_API_KEY": KEY}, ["--azure"], "set AZURE_OPENAI_ENDPOINT, or add --base-url"),
        ({"OPENAI_API_KEY": "sk-x"}, ["--azure", "--base-url", "https://x.openai.azure.com"], "no key for Azure"),
        (
            {"OPENAI_API_KEY": "sk-x"},
            ["--base-url", "https://x.openai.azure.com/openai/v1"],
            "the key begins with sk-",
        ),
        ({"AZURE_OPENAI_ENDPOINT": "x.openai.azure.com", "AZURE_OPENAI_API_KEY": KEY}, [], "AZURE_OPENAI_ENDPOINT 'x"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.example", "AZURE_OPENAI_AD_TOKEN": "a b"}, [], "that no key has"),
        ({}, ["--local", "--azure"], "leave --azure out"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["generate", "batch"])
def test_what_is_missing(
    cli: Cli, command: str, env: dict[str, str], argv: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent, and the error says what to set."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    Path("prompts.txt").write_text(PROMPT)
    what = [PROMPT] if command == "generate" else ["prompts.txt", "--out", "out"]
    done = cli(command, *what, *argv)
    assert (done.code, done.out, Path("out").exists()) == (2, "", False)
    assert says in done.err
    assert KEY not in done.err


def test_a_batch(cli: Cli, azure: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that name a model go to that deployment, the others to the environment's."""
    monkeypatch.setenv("AZURE_OPENAI_API_VERSION", DATE)
    monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "pics")
    rows = [{"key": "a", "prompt": PROMPT}, {"key": "b", "prompt": PROMPT, "model": "own"}]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = cli("batch", "rows.jsonl", "--out", "out")
    assert done.code == 0
    assert {request.target.split("/")[3] for request in azure.requests} == {"pics", "own"}
    assert {tuple(request.authorizing) for request in azure.requests} == {("api-key",)}


def test_a_dry_run(cli: Cli, azure: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no key, sends nothing, and finds an address that cannot be used."""
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    Path("prompts.txt").write_text(PROMPT)
    argv = ("batch", "prompts.txt", "--out", "out", "--dry-run")
    assert cli(*argv).code == 0
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "nowhere")
    done = cli(*argv)
    assert (done.code, azure.requests) == (2, [])
    assert "AZURE_OPENAI_ENDPOINT 'nowhere' cannot be used" in done.err


def test_a_stand_in_is_not_azures(
    cli: Cli, azure: Recorder, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --local neither the endpoint nor the deployment's name is looked at."""
    monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "pics")
    done = cli("generate", PROMPT, "--local", "--size", "1024x640", "-o", "otter.png")
    assert (done.code, done.out, azure.requests) == (0, "otter.png\n", [])
    assert "zure" not in done.err


def test_a_plain_key_is_nothing_new(cli: Cli, other: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AZURE_OPENAI_ENDPOINT nothing of Azure's is looked at or said."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "pics")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{other.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    done = cli("generate", PROMPT)
    assert (done.code, other.only.json["model"]) == (0, "gpt-image-2")
    assert other.only.authorizing == {"authorization": "Bearer sk-of-openai"}
    assert "zure" not in done.err


def test_a_deployment_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to look at is said in the words of the command line."""
    body = {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}
    with recording(Answer(json.dumps(body).encode(), 404)) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
        done = cli("generate", PROMPT)
    assert done.code == 1
    assert "the server answered 404 (DeploymentNotFound)" in done.err
    assert (
        "Check the deployment's name (--model, or AZURE_OPENAI_DEPLOYMENT) and OPENAI_API_VERSION."
        in done.err
    )
