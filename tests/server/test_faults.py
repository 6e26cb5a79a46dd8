"""The registry of faults and how a request comes by one."""

from pathlib import Path
from typing import Any

import pytest

from openai_images.server import FAULTS, LocalImagesServer


def test_every_fault_is_described_and_tested() -> None:
    """No fault is without a sentence, nor without a test that names it."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert all(about and "\n" not in about for about in FAULTS.values())
    assert [name for name in FAULTS if f'"{name}' not in tests] == []


def test_the_registry_cannot_be_changed() -> None:
    """`FAULTS` is read-only."""
    with pytest.raises(TypeError):
        FAULTS["mine"] = "x"  # type: ignore[index]  # that is what is tested


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "unknown fault 'nonsense'; known faults: batch_cancel, "),
        ("stall:3", "the fault 'stall' takes no argument, but got '3'"),
        ("status", "the fault 'status' needs an argument: status:NNN"),
        ("status:200", "bad argument '200' for the fault 'status': a status from 400 to 599"),
        ("rate_limited:soon", "bad argument 'soon' for the fault 'rate_limited'"),
        ("rate_limited:-1", "bad argument '-1' for the fault 'rate_limited': seconds from 0"),
        ("slow_first_byte:-1", "bad argument '-1' for the fault 'slow_first_byte'"),
        ("eof_after_partials:4", "a number from 0 to 3"),
        ("fewer_partials:4", "a number from 0 to 3"),
        ("fewer_images:0", "a number from 1 to 10"),
        ("tiny_chunks:0", "a size from 1 byte"),
        ("huge_picture:0", "megabytes from just above 0"),
        ("moderation_400:soon", "input, output or unknown"),
    ],
)
async def test_a_wrong_name_is_refused(server: LocalImagesServer, name: str, message: str) -> None:
    """Unknown faults and bad arguments are refused where they are named, with what is known."""
    for use in (
        lambda: server.script(name),
        lambda: server.always(name),
        lambda: LocalImagesServer(faults=[name]),
    ):
        with pytest.raises(ValueError, match="fault") as caught:
            use()
        assert message in str(caught.value)


async def test_a_script_is_used_up_in_order(ask: Any, server: LocalImagesServer) -> None:
    """Each request takes one fault, then all is normal."""
    server.script("status:500", "ok", "html_502")
    assert [(await ask()).status for _ in range(4)] == [500, 200, 502, 200]
    assert [request.fault for request in server.requests] == ["status:500", "ok", "html_502", "ok"]


async def test_a_script_can_be_replaced(ask: Any, server: LocalImagesServer) -> None:
    """`faults` shows what is left and takes a new script."""
    server.script("status:500", "status:503")
    server.faults = ["status:403"]
    assert server.faults == ("status:403",)
    assert [(await ask()).status for _ in range(2)] == [403, 200]


async def test_an_unknown_name_leaves_the_script_as_it_was(server: LocalImagesServer) -> None:
    """A script is taken as a whole or not at all."""
    with pytest.raises(ValueError, match="unknown fault"):
        server.script("status:500", "nonsense")
    assert server.faults == ()


async def test_one_fault_can_be_always_on(ask: Any, server: LocalImagesServer) -> None:
    """`always` holds until it is taken back; the script goes before it."""
    server.always("status:503")
    server.script("status:403")
    assert [(await ask()).status for _ in range(3)] == [403, 503, 503]
    server.always(None)
    assert (await ask()).status == 200


async def test_faults_can_be_given_at_the_start(ask: Any, picture: bytes) -> None:
    """The constructor takes a script and a fault that is always on."""
    async with LocalImagesServer(faults=["status:403"], always="status:503", pictures=picture) as server:
        assert [(await ask(of=server)).status for _ in range(2)] == [403, 503]


async def test_a_header_names_the_fault_of_one_request(ask: Any, server: LocalImagesServer) -> None:
    """X-Local-Fault goes before script and `always`, and an unknown one is a 400."""
    server.script("status:500")
    assert (await ask(headers={"X-Local-Fault": "status:404"})).status == 404
    unknown = await ask(headers={"X-Local-Fault": "nonsense"})
    assert (unknown.status, unknown.error["param"]) == (400, "X-Local-Fault")
    assert (await ask()).status == 500


async def test_rate_limited_then_ok_takes_turns(ask: Any, server: LocalImagesServer) -> None:
    """Kept on, every other request is refused; scripted, the next one passes."""
    server.always("rate_limited_then_ok")
    assert [(await ask()).status for _ in range(4)] == [429, 200, 429, 200]
    server.always(None)
    server.script("rate_limited_then_ok")
    assert [(await ask()).status for _ in range(2)] == [429, 200]


def test_the_page_lists_every_fault() -> None:
    """The tables of the documentation say what the registry says."""
    page = (Path(__file__).parents[2] / "docs" / "local-server.md").read_text(encoding="utf-8")
    assert [name for name, about in FAULTS.items() if f"| `{name}` | {about} |" not in page] == []
