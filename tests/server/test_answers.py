"""The answers of the local server: fields and headers as the API sends them."""

import base64
import re
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer


async def test_json_answer_has_the_fields_of_the_api_in_their_order(ask: Any, picture: bytes) -> None:
    """A JSON answer looks like the recorded ones."""
    reply = await ask(size="1024x1024", quality="medium")
    assert list(reply.json) == ["created", "background", "data", "output_format", "quality", "size", "usage"]
    assert base64.b64decode(reply.json["data"][0]["b64_json"], validate=True) == picture
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", reply.json["data"][0]["generation_id"])
    assert (reply.json["background"], reply.json["output_format"]) == ("opaque", "png")
    assert (reply.json["quality"], reply.json["size"]) == ("medium", "1024x1024")
    assert reply.json["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 3},
        "output_tokens": 1756,
        "output_tokens_details": {"image_tokens": 1756, "text_tokens": 0},
        "total_tokens": 1759,
    }


async def test_headers_are_those_of_the_api(ask: Any) -> None:
    """Every answer carries a request id, a version and a time."""
    reply = await ask()
    assert reply.headers["content-type"] == "application/json"
    assert re.fullmatch("req_[0-9a-f]{32}", reply.headers["x-request-id"])
    assert reply.headers["openai-version"] == "2020-10-01"
    assert int(reply.headers["openai-processing-ms"]) >= 1
    assert "x-ratelimit-limit-input-images" not in reply.headers


async def test_stream_has_the_events_of_the_api(ask: Any, picture: bytes) -> None:
    """A stream sends its partial images, then the completed one, each event named twice."""
    reply = await ask(stream=True, partial_images=2, size="1536x1024", headers={"Accept": "application/json"})
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["transfer-encoding"] == "chunked"
    names = re.findall(
        rb"event: (\S+)\ndata: \{\"created_at\":\d+,\"type\":\"(\S+?)\",\"b64_json\"", reply.body
    )
    partial, completed = b"image_generation.partial_image", b"image_generation.completed"
    assert names == [(partial, partial), (partial, partial), (completed, completed)]
    assert reply.body.endswith(b"}\n\n")
    assert [event["sequence_number"] for event in reply.events] == [0, 1, 2]
    assert [event.get("partial_image_index") for event in reply.events] == [0, 1, None]
    assert all(base64.b64decode(event["b64_json"]) == picture for event in reply.events)


async def test_stream_events_keep_the_order_of_recordings(ask: Any) -> None:
    """The type comes second and the image before the size."""
    first, last = (await ask(stream=True, partial_images=1)).events
    order = (
        "created_at type b64_json background output_format partial_image_index quality sequence_number size"
    )
    assert list(first) == order.split()
    order = "created_at type b64_json background output_format quality sequence_number size usage"
    assert list(last) == order.split()
    assert "output_tokens_details" not in last["usage"]
    assert last["usage"]["total_tokens"] == last["usage"]["input_tokens"] + last["usage"]["output_tokens"]


async def test_automatic_values_come_back_settled(ask: Any) -> None:
    """`auto` is answered with what it became, a size outside the rules included."""
    reply = await ask(size="auto", quality="auto", background="auto")
    assert (reply.json["size"], reply.json["quality"]) == ("1254x1254", "low")
    assert reply.json["background"] == "opaque"
    assert (await ask(size="1254x1254")).error["param"] == "size"
    assert (await ask(model="gpt-image-1.5")).json["size"] == "1024x1024"


async def test_several_pictures_come_in_one_answer(ask: Any) -> None:
    """`n` images are n items, paid n times."""
    reply = await ask(n=3, size="1024x1024", model="gpt-image-1.5", quality="low")
    assert len(reply.json["data"]) == 3
    assert reply.json["usage"]["output_tokens"] == 3 * 272


async def test_safety_identifier_is_echoed(ask: Any) -> None:
    """The caller's identifier comes back."""
    assert (await ask(safety_identifier="user-7")).json["safety_identifier"] == "user-7"


@pytest.mark.parametrize("authorization", ["Bearer sk-wrong-key-of-somebody", "Basic abc", "Bearer"])
async def test_a_wrong_key_is_a_401(ask: Any, server: LocalImagesServer, authorization: str) -> None:
    """A key that is not the server's is refused in the words of the API, and uses up no fault."""
    server.script("html_502")
    reply = await ask(headers={"Authorization": authorization})
    assert reply.status == 401
    assert reply.error["code"] == "invalid_api_key"
    assert reply.error["message"].startswith("Incorrect API key provided: ")
    assert "wrong-key-of" not in reply.error["message"]
    assert server.faults == ("html_502",)


async def test_no_key_is_a_401(server: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """A request without an Authorization header is refused too."""
    async with http.post(f"{server.base_url}/images/generations", json={"prompt": "x"}) as response:
        assert response.status == 401
        assert (await response.json())["error"]["message"].startswith("You didn't provide an API key.")


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/images/nothing", 404, "Invalid URL (POST /v1/images/nothing)"),
        ("GET", "/../elsewhere", 404, "Invalid URL (GET /elsewhere)"),
        ("GET", "/images/generations", 405, "Not allowed to GET on /v1/images/generations."),
        ("DELETE", "/models", 405, "Not allowed to DELETE on /v1/models."),
        ("GET", "/models/dall-e-3", 404, "The model 'dall-e-3' does not exist"),
    ],
)
async def test_unknown_paths_answer_in_the_error_shape(
    server: LocalImagesServer,
    http: aiohttp.ClientSession,
    *,
    method: str,
    path: str,
    status: int,
    message: str,
) -> None:
    """What does not exist is refused as the API does."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with http.request(method, server.base_url + path, headers=headers) as response:
        assert response.status == status
        error = (await response.json())["error"]
    assert error["message"].startswith(message)
    assert list(error) == ["message", "type", "param", "code"]


async def test_models_are_listed(server: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """The catalogue answers as a list and one by one, to those with the key."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with http.get(f"{server.base_url}/models", headers=headers) as response:
        names = [model["id"] for model in (await response.json())["data"]]
    assert "gpt-image-2.6-flare" in names
    assert "dall-e-3" not in names
    async with http.get(f"{server.base_url}/models/gpt-image-2", headers=headers) as response:
        assert (await response.json())["object"] == "model"
    async with http.get(f"{server.base_url}/models") as response:
        assert response.status == 401


@pytest.mark.parametrize(
    ("day", "there"), [("2026-11-30", True), ("2026-12-01", False), ("2027-11-28", False)]
)
async def test_models_end_by_the_servers_clock(
    ask: Any, http: aiohttp.ClientSession, picture: bytes, day: str, there: bool
) -> None:
    """Gone from the list and refused from that day on, unless they are kept; the list says when that is."""
    now = datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()
    name = "gpt-image-1.5-2025-12-16"
    for legacy in (False, True):
        async with LocalImagesServer(pictures=picture, now=lambda: now, legacy=legacy) as server:
            headers = {"Authorization": f"Bearer {server.api_key}"}
            async with http.get(f"{server.base_url}/models", headers=headers) as response:
                ends = {model["id"]: model["shutdown_date"] for model in (await response.json())["data"]}
            async with http.get(f"{server.base_url}/models/{name}", headers=headers) as response:
                assert (response.status == 200) == (there or legacy)
            reply = await ask(of=server, model=name)
        assert ends["gpt-image-2"] is None
        assert ends.get(name) == ("2026-12-01" if there or legacy else None)
        assert (name in ends) == (there or legacy) == (reply.status == 200)
        if reply.status != 200:
            assert reply.error["message"] == f"The model '{name}' does not exist."


async def test_requests_are_recorded(ask: Any, server: LocalImagesServer) -> None:
    """The record holds what arrived, and its repr is short."""
    await ask(size="1024x1024", headers={"X-Test": "7"})
    (recorded,) = server.requests
    assert server.posts == 1
    assert (recorded.method, recorded.path) == ("POST", "/v1/images/generations")
    assert recorded.headers["x-test"] == "7"
    assert recorded.json == {"prompt": "a lighthouse", "size": "1024x1024"}
    assert recorded.fault == "ok"
    assert isinstance(recorded.peer_port, int)
    assert server.api_key not in repr(recorded)


async def test_a_broken_body_is_recorded_too(server: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """A body that is not JSON is kept as bytes."""
    headers = {"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"}
    async with http.post(f"{server.base_url}/images/generations", data=b"{", headers=headers) as response:
        assert response.status == 400
    assert (server.requests[0].body, server.requests[0].json) == (b"{", None)
