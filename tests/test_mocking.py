"""The bridge between aioresponses and aiohttp holds on every aiohttp that is supported."""

import aiohttp

from tests.helpers.aioresponses_compat import CallbackResult, MockResponses

URL = "http://images.example/v1/images/generations"


async def test_a_mocked_body_arrives() -> None:
    """A mocked answer can be read piece by piece, as the client reads a real one."""
    with MockResponses() as mock:
        mock.post(URL, status=429, body=b"x" * 100_000, headers={"Retry-After": "1"})
        async with aiohttp.ClientSession() as session, session.post(URL) as response:
            body = b"".join([piece async for piece in response.content.iter_any()])
            assert (response.status, response.headers["Retry-After"], len(body)) == (429, "1", 100_000)


async def test_a_callback_can_answer() -> None:
    """A callback may decide about the answer when the request comes."""
    with MockResponses() as mock:
        mock.post(URL, callback=lambda url, **kwargs: CallbackResult(payload={"asked": kwargs["json"]}))
        async with aiohttp.ClientSession() as session, session.post(URL, json=[1]) as response:
            assert await response.json() == {"asked": [1]}
