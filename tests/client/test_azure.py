"""Azure: which address a request goes to, what its body names, and that both are the official client's."""

import inspect
import json
import subprocess
import sys
from typing import Any

import openai
import pytest

from openai_images import ConfigurationError, GenerateRequest, ImagesClient, RequestInvalidError
from openai_images.client.settings import ClientSettings
from tests.helpers.clients import B64, BOTH, COMPLETED, PNG, PROMPT, Call, FakeTime, partial
from tests.helpers.tcp_recorder import Answer, Recorder

HOST = "https://x.openai.azure.com"
KEY = "0123456789abcdef0123456789abcdef"
DATE = "2025-04-01-preview"
CLASSIC = f"{HOST}/openai/deployments/pics/images/generations?api-version={DATE}"


def target(client: ImagesClient, model: str | None = None, path: str = "/images/generations") -> str:
    """Where a client sends a request for this model."""
    return client._endpoint.current().url(path, model)


def azure(endpoint: str | None, **settings: Any) -> ImagesClient:
    """A client of Azure, with a key."""
    return ImagesClient.azure(endpoint, **{"api_key": KEY, **settings})


@pytest.mark.parametrize(
    ("endpoint", "settings", "expected"),
    [
        (HOST, {}, f"{HOST}/openai/v1/images/generations"),
        (f" {HOST}/ \n", {}, f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}/openai", {}, f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}/openai/v1/", {}, f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}//openai//v1//", {}, f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}/openai/v1/images/generations", {}, f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}/openai/v1/images/edits/", {}, f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}/openai/v1?api-version=preview", {}, f"{HOST}/openai/v1/images/generations?api-version=preview"),
        (HOST, {"api_version": "preview"}, f"{HOST}/openai/v1/images/generations?api-version=preview"),
        (HOST, {"api_version": "v1"}, f"{HOST}/openai/v1/images/generations?api-version=v1"),
        (HOST, {"api_version": ""}, f"{HOST}/openai/v1/images/generations"),
        (HOST, {"deployment": "pics"}, f"{HOST}/openai/v1/images/generations"),
        (HOST, {"api_version": DATE}, CLASSIC),
        (f"{HOST}/", {"api_version": f" {DATE} ", "deployment": "pics"}, CLASSIC),
        (f"{HOST}/openai/", {"api_version": DATE, "deployment": "pics"}, CLASSIC),
        (f"{HOST}?api-version={DATE}", {}, CLASSIC),
        (f"{HOST}/openai?api-version={DATE}", {"deployment": "pics"}, CLASSIC),
        (f"{HOST}/openai/deployments/pics", {"api_version": DATE}, CLASSIC),
        (f"{HOST}/openai/deployments/pics/?api-version={DATE}", {"api_version": DATE, "deployment": "pics"}, CLASSIC),
        (CLASSIC, {}, CLASSIC),
        (CLASSIC.replace("generations", "edits"), {}, CLASSIC),
        ("HTTPS://X.OpenAI.Azure.COM", {}, "https://X.OpenAI.Azure.COM/openai/v1/images/generations"),
        (
            "https://f.services.ai.azure.com/api/projects/p-1",
            {},
            "https://f.services.ai.azure.com/api/projects/p-1/openai/v1/images/generations",
        ),
        (
            "https://eastus.api.cognitive.microsoft.com/",
            {"api_version": DATE, "deployment": "pics"},
            CLASSIC.replace(HOST, "https://eastus.api.cognitive.microsoft.com"),
        ),
        # Fronts of one's own, with whatever path.
        ("https://apim.example/team", {}, "https://apim.example/team/openai/v1/images/generations"),
        ("https://apim.example/v1", {}, "https://apim.example/v1/images/generations"),
        ("http://apim.example:8080/a/openai/v1", {}, "http://apim.example:8080/a/openai/v1/images/generations"),
        (
            f"https://apim.example/aoai/deployments/pics/images/generations?api-version={DATE}",
            {},
            f"https://apim.example/aoai/deployments/pics/images/generations?api-version={DATE}",
        ),
    ],
)  # fmt: skip
def test_addresses_that_people_copy(endpoint: str, settings: dict[str, Any], expected: str) -> None:
    """Each form that Azure shows somewhere leads to the one address that is meant."""
    assert target(azure(endpoint, **settings), "pics") == expected


@pytest.mark.parametrize(
    ("endpoint", "settings", "says"),
    [
        ("x.openai.azure.com", {}, "should look like https://NAME.openai.azure.com"),
        ("https://", {}, "should look like"),
        ("https://[::1", {}, "should look like"),
        ("https://x.openai.azure.com:0", {}, "should look like"),
        ("https://user:sentinel@x.openai.azure.com", {}, "should look like"),
        (f"{HOST}/#part", {}, "should look like"),
        (f"{HOST}?api-key=sentinel", {}, "its only query may be api-version"),
        (f"{HOST}?api-version={DATE}&api-version={DATE}", {}, "its only query may be api-version"),
        (HOST.replace("https", "http"), {}, "must begin with https"),
        ("https://api.openai.com/v1", {}, "it is OpenAI's own address"),
        ("https://eu.api.openai.com/v1", {}, "it is OpenAI's own address"),
        (f"{HOST}/openai/deployments/gpt/chat/completions", {}, "not one for images"),
        (f"{HOST}/openai/responses", {}, "not one for images"),
        (f"{HOST}/openai/v1/responses", {}, "not one for images"),
        (f"{HOST}/v1", {}, "not one for images"),
        (f"{HOST}/models", {}, "not one for images"),
        (f"{HOST}/api/projects/p/agents", {}, "not one for images"),
        ("https://apim.example/openai/deployments/gpt/chat/completions", {}, "not one for images"),
        (f"{HOST}/openai/deployments/pics", {}, "needs an api-version that is a date"),
        (
            f"{HOST}/openai/deployments/pics",
            {"api_version": "preview"},
            "needs an api-version that is a date",
        ),
        (f"{HOST}/openai/v1", {"api_version": DATE}, "takes no dated api-version"),
        (f"{HOST}/openai/v1?api-version={DATE}", {}, "takes no dated api-version"),
        (CLASSIC, {"api_version": "2024-02-01"}, "the endpoint says '2025-04-01-preview' and api_version="),
        (CLASSIC, {"deployment": "others"}, "the endpoint says 'pics' and deployment= says 'others'"),
        (HOST, {"api_version": "2025-4-1"}, "can only be a date such as"),
        (HOST, {"api_version": "2025-04-01&x=1"}, "can only be a date such as"),
        (HOST, {"api_version": DATE, "deployment": ".."}, "cannot be part of a URL"),
        (HOST, {"api_version": DATE, "deployment": "\ud800"}, "cannot be part of a URL"),
    ],
)
def test_addresses_that_nothing_can_be_sent_to(endpoint: str, settings: dict[str, Any], says: str) -> None:
    """What is not understood is refused at once, without what may be secret in it."""
    with pytest.raises(ConfigurationError) as caught:
        _ = azure(endpoint, **settings).base_url
    assert says in str(caught.value)
    assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize("endpoint", [None, "", " "])
def test_no_endpoint(endpoint: str | None) -> None:
    """The text says both ways to name one."""
    with pytest.raises(ConfigurationError, match=r"pass endpoint='https://.* or set AZURE_OPENAI_ENDPOINT"):
        _ = azure(endpoint).base_url


@pytest.mark.parametrize(
    ("env", "settings", "expected"),
    [
        ({}, {}, f"{HOST}/openai/v1/images/generations"),
        ({"OPENAI_API_VERSION": DATE}, {}, CLASSIC),
        ({"AZURE_OPENAI_API_VERSION": DATE, "OPENAI_API_VERSION": "2024-02-01"}, {}, CLASSIC),
        ({"AZURE_OPENAI_API_VERSION": " ", "OPENAI_API_VERSION": DATE}, {}, CLASSIC),
        ({"OPENAI_API_VERSION": "2024-02-01"}, {"api_version": DATE}, CLASSIC),
        ({"OPENAI_API_VERSION": "2024-02-01"}, {"endpoint": CLASSIC}, CLASSIC),
        # For other programs, which use the classic path.
        (
            {"OPENAI_API_VERSION": DATE},
            {"endpoint": f"{HOST}/openai/v1"},
            f"{HOST}/openai/v1/images/generations",
        ),
        (
            {"OPENAI_API_VERSION": "preview"},
            {"endpoint": f"{HOST}/openai/v1"},
            f"{HOST}/openai/v1/images/generations?api-version=preview",
        ),
        ({"OPENAI_BASE_URL": "https://wrong.example"}, {}, f"{HOST}/openai/v1/images/generations"),
    ],
)  # fmt: skip
def test_the_environment_speaks_last(
    env: dict[str, str], settings: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said in the program or in the address wins; OPENAI_BASE_URL is not Azure's."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{HOST}/")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert target(azure(**{"endpoint": None, **settings}), "pics") == expected


def test_an_endpoint_of_the_environment_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names the variable."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "my-resource")
    with pytest.raises(ConfigurationError, match=r"AZURE_OPENAI_ENDPOINT 'my-resource' cannot be used"):
        _ = azure(None).base_url


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, f"{HOST}/openai/v1"),
        ({"api_version": DATE}, f"{HOST}/openai"),
        ({"api_version": DATE, "deployment": "my pics"}, f"{HOST}/openai/deployments/my%20pics"),
    ],
)
def test_what_is_shown(settings: dict[str, Any], shown: str) -> None:
    """The base URL, which the client's repr shows as well, and no key."""
    client = azure(HOST, **settings)
    assert client.base_url == shown
    assert repr(client) == f"<ImagesClient {shown}>"


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        (f"{HOST}/openai/v1/", f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}/openai/v1?api-version=preview", f"{HOST}/openai/v1/images/generations?api-version=preview"),
        (HOST, f"{HOST}/openai/v1/images/generations"),
        (f"{HOST}/openai?api-version={DATE}", CLASSIC),
        (CLASSIC, CLASSIC),
    ],
)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_base_url_of_azure(base_url: str, expected: str, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructor understands Azure's own hosts as well; an API version is only what the URL says."""
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-02-01")
    if by == "environment":
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    client = ImagesClient(api_key=KEY, base_url=base_url if by == "argument" else None)
    assert target(client, "pics") == expected


@pytest.mark.parametrize("host", ["x.openai.azure.com.evil.example", "openai.azure.com", "xopenai.azure.com"])
def test_hosts_that_only_look_like_azure(host: str) -> None:
    """A query in their URL is refused as everybody's is."""
    with pytest.raises(ConfigurationError, match="without query"):
        ImagesClient(api_key=KEY, base_url=f"https://{host}/openai?api-version={DATE}")


@BOTH
async def test_the_deployments_path(call: Call) -> None:
    """The model names the deployment in the path and is gone from the body; everything else travels as it was set."""
    answers = [Answer(), Answer(partial() + COMPLETED, kind="text/event-stream")][call.__name__ == "stream" :]
    async with Recorder(*answers) as server, azure(server.url, api_version=DATE) as client:
        result = await call(client)
    assert result.image.width == 1
    sent = server.only
    assert (sent.method, sent.target) == (
        "POST",
        f"/openai/deployments/gpt-image-2/images/generations?api-version={DATE}",
    )
    assert sent.authorizing == {"api-key": KEY}
    streamed = {"stream": True, "partial_images": 2} if call.__name__ == "stream" else {}
    assert sent.json == {"prompt": PROMPT, **streamed}


@pytest.mark.parametrize(
    ("settings", "params", "target", "body"),
    [
        ({"api_version": DATE, "deployment": "pics"}, {"model": "other"}, "/openai/deployments/pics", {}),
        ({"api_version": DATE, "model": "mine"}, {}, "/openai/deployments/mine", {}),
        ({"api_version": DATE, "model": "mine"}, {"model": "own", "n": 1}, "/openai/deployments/own", {"n": 1}),
        (
            {"api_version": DATE, "deployment": "pics"},
            {"extra_body": {"model": "gpt-image-1"}},
            "/openai/deployments/pics",
            {"model": "gpt-image-1"},
        ),
        ({}, {"model": "pics"}, "/openai/v1", {"model": "pics"}),
        ({"deployment": "pics", "model": "gpt-image-2"}, {}, "/openai/v1", {"model": "pics"}),
        ({"deployment": "pics"}, {"model": "other"}, "/openai/v1", {"model": "pics"}),
        ({}, {"extra_body": {"model": "pics"}}, "/openai/v1", {"model": "pics"}),
    ],
)  # fmt: skip
async def test_who_names_the_deployment(
    settings: dict[str, Any], params: dict[str, Any], target: str, body: dict[str, Any]
) -> None:
    """The client's deployment wins, then the request's model; `extra_body` is laid over the body as everywhere."""
    async with Recorder() as server, azure(server.url, **settings) as client:
        await client.generate(PROMPT, **params)
    query = f"?api-version={DATE}" if "api_version" in settings else ""
    assert server.only.target == f"{target}/images/generations{query}"
    assert server.only.json == {"prompt": PROMPT, **body}


@pytest.mark.parametrize("settings", [{}, {"api_version": DATE}])
@pytest.mark.parametrize("model", [None, ""])
async def test_no_deployment(settings: dict[str, Any], model: str | None) -> None:
    """A request that names none is refused before anything is sent."""
    async with Recorder() as server, azure(server.url, **settings) as client:
        with pytest.raises(
            RequestInvalidError, match=r"pass model=… with the deployment's name, or deployment="
        ):
            await client.generate(PROMPT, model=model)
        with pytest.raises(RequestInvalidError, match="it names no Azure deployment"):
            client.stream(PROMPT, model=model)
    assert server.requests == []


@pytest.mark.parametrize("model", [".", "..", "\ud800"])
async def test_a_deployment_that_would_leave_its_place(model: str) -> None:
    """A model may come from somebody else: it stays one segment of the path, or is refused."""
    async with Recorder() as server, azure(server.url, api_version=DATE) as client:
        with pytest.raises(RequestInvalidError, match="cannot be part of a URL"):
            await client.generate(PROMPT, model=model)
        await client.generate(PROMPT, model="../../x?y#z")
    assert server.only.target.startswith("/openai/deployments/..%2F..%2Fx%3Fy%23z/images/generations?")


async def test_model_of_no_sense() -> None:
    """Even unchecked, what is no text does not come out as a puzzling exception."""
    wrong: Any = GenerateRequest(PROMPT, model=5)  # type: ignore[arg-type]
    client = azure(HOST, api_version=DATE, validate="off")
    with pytest.raises(RequestInvalidError, match="cannot be part of a URL"):
        await client.generate(wrong)


@pytest.mark.parametrize(
    ("model", "fixed"),
    [
        *((model, None) for model in ("pics", "my pics", "bücher", "a/b", "a%2Fb", "a?b#c", "x.y_z-1")),
        ("gpt-image-2", "x.y_z-1"),
    ],
)
async def test_the_official_clients_address(model: str, fixed: str | None) -> None:
    """The same settings lead to the same path and the same header as with AsyncAzureOpenAI."""
    async with Recorder() as server:
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=server.url, azure_deployment=fixed, api_version=DATE, api_key=KEY, max_retries=0
        ) as official:
            answer = await official.images.generate(prompt=PROMPT, model=model)
        async with azure(server.url, deployment=fixed, api_version=DATE) as client:
            result = await client.generate(PROMPT, model=model)
    theirs, ours = server.requests
    assert (ours.method, ours.target, ours.authorizing) == (theirs.method, theirs.target, theirs.authorizing)
    assert ours.json == {name: value for name, value in theirs.json.items() if name != "model"}
    assert answer.data[0].b64_json == B64
    assert result.image.media_type == "image/png"


async def test_the_official_clients_v1() -> None:
    """Azure's own guide points the plain official client at /openai/v1; ours sends the same body there."""
    async with Recorder() as server:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/openai/v1/", api_key=KEY, max_retries=0
        ) as official:
            await official.images.generate(prompt=PROMPT, model="pics", size="1024x1024")
        async with azure(f"{server.url}/openai/v1/") as client:
            await client.generate(PROMPT, model="pics", size="1024x1024")
    theirs, ours = server.requests
    assert (ours.method, ours.target, ours.json) == (theirs.method, theirs.target, theirs.json)


@pytest.mark.parametrize(
    ("settings", "target", "names_it"),
    [
        ({"api_version": DATE}, f"/openai/deployments/pics/images/edits?api-version={DATE}", False),
        ({"api_version": "preview"}, "/openai/v1/images/edits?api-version=preview", True),
    ],
)
async def test_edits(settings: dict[str, Any], target: str, names_it: bool) -> None:
    """They go the same two ways, and their form names the model where the path does not."""
    async with Recorder() as server, azure(server.url, **settings) as client:
        await client.edit(PROMPT, image=PNG, model="pics")
    sent = server.only
    assert (sent.target, sent.authorizing) == (target, {"api-key": KEY})
    assert sent.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert (b'name="model"' in sent.body) == names_it
    assert PNG in sent.body


async def test_many_requests() -> None:
    """Each goes to its own deployment."""
    async with Recorder() as server, azure(server.url, api_version=DATE, timing=FakeTime().timing) as client:
        requests = [GenerateRequest(PROMPT, model=f"pics-{number}") for number in range(3)]
        async with client.generate_many(requests) as outcomes:
            assert [outcome.result.image.width async for outcome in outcomes] == [1, 1, 1]  # type: ignore[union-attr]
    assert {request.target.split("/")[3] for request in server.requests} == {"pics-0", "pics-1", "pics-2"}


@pytest.mark.parametrize(
    ("endpoint", "settings", "model"),
    [
        ("", {"deployment": "gpt-image-2"}, "gpt-image-2"),
        (f"/openai/deployments/gpt-image-2?api-version={DATE}", {}, "gpt-image-2"),
        ("", {"deployment": "pics", "model": "gpt-image-2"}, "gpt-image-2"),
        ("", {"deployment": "pics"}, "pics"),
    ],
)
async def test_the_model_that_a_price_is_known_for(
    endpoint: str, settings: dict[str, Any], model: str
) -> None:
    """It is the deployment's name unless the client's model says what is behind it."""
    async with Recorder() as server, azure(f"{server.url}{endpoint}", **settings) as client:
        result = await client.generate(PROMPT)
    assert result.model == model


class Mine(ImagesClient):
    """A client of somebody's own."""


def test_a_subclass_stays_one() -> None:
    """`azure` makes a client of the class it is called on."""
    assert type(Mine.azure(HOST, api_key=KEY)) is Mine


def test_every_setting_is_taken() -> None:
    """`azure` takes what the constructor takes, but for what Azure has other names for."""
    taken = {name for name in inspect.signature(ImagesClient).parameters if not name.startswith("_")}
    of_azure = {"api_key", "base_url", "organization", "project"}
    assert set(ClientSettings.__annotations__) == taken - of_azure


def test_a_plain_client_does_not_import_it() -> None:
    """Those who send elsewhere need not wait for Azure's modules."""
    code = (
        "import json, sys; from openai_images import ImagesClient; ImagesClient(api_key='k')\n"
        "print(json.dumps([name for name in sys.modules if 'azure' in name]))\n"
        f"ImagesClient.azure({HOST!r}, api_key='k'); print('openai_images.http.azure' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert (json.loads(before), after) == ([], "True")


def test_the_settings_keep_their_types() -> None:
    """The types are those of the constructor, word for word."""
    parameters = inspect.signature(ImagesClient).parameters
    of_azure = {name: hint.__forward_arg__ for name, hint in ClientSettings.__annotations__.items()}
    assert of_azure == {name: parameters[name].annotation for name in of_azure}
