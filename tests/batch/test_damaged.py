"""What came in the place of an image and is none: on the disk under a name that says so, and never taken for one."""

from pathlib import Path

from openai_images import DecodeError
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import many, pictures, rows, run, states
from tests.helpers.clients import PNG, client_of


async def test_half_a_picture_is_kept(out: Path) -> None:
    """It may have been paid for: it is in the folder, and the next run neither adopts it nor buys it again unasked."""
    async with LocalImagesServer(pictures=PNG[:-20]) as server, client_of(server) as client:
        ran = await run(client, many(1), out)
        assert isinstance(ran.failed["00001"], DecodeError)
        assert pictures(out) == ["00001.damaged.png"]
        assert (out / "images" / "00001.damaged.png").read_bytes() == PNG[:-20]
        [file] = rows(out)[-1]["files"]
        assert file["name"] == "images/00001.damaged.png"
        again = await run(client, many(1), out)
        assert (again.outcomes, server.posts) == ([], 1)
    assert states(out, "00001") == ["sent", "unknown"]
    async with LocalImagesServer(pictures=PNG) as server, client_of(server) as client:
        await run(client, many(1), out, retry_unknown=True)
        assert server.posts == 1
    assert pictures(out) == ["00001.damaged.png", "00001.png"]
