"""`Telemetry` as an argument: off by default and free, checked, kept by copies and derived clients."""

import copy
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.trace import TracerProvider

from openai_images import ConfigurationError, ImagesClient, Telemetry
from openai_images.server import LocalImagesServer
from tests.helpers.clients import KEY, PROMPT, client_of
from tests.helpers.server_thread import serving
from tests.helpers.telemetry import Recorded

OFF = """
import asyncio, sys
from openai_images import ImagesClient

async def main():
    async with ImagesClient(model="gpt-image-2") as client:
        await client.generate("a")
        async with client.stream("a", partial_images=1) as stream:
            await stream.finish()
        async with client.generate_many(["a"]) as outcomes:
            async for _ in outcomes:
                pass

asyncio.run(main())
print(sorted(name for name in sys.modules if "telemetry" in name or "traced" in name))
"""


def output_of(code: str, **environment: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PATH": "/usr/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_off_imports_nothing() -> None:
    """Calls of a client without telemetry import neither OpenTelemetry nor what uses it."""
    with serving(pictures="small") as server:
        environment = {"OPENAI_API_KEY": server.api_key, "OPENAI_BASE_URL": str(server.base_url)}
        assert output_of(OFF, **environment) == "[]"


def test_the_name_imports_no_opentelemetry() -> None:
    """A `Telemetry` is a value; what it needs is imported with the client."""
    code = (
        "import sys; from openai_images import Telemetry; Telemetry(); print('opentelemetry' in sys.modules)"
    )
    assert output_of(code) == "False"


def test_without_opentelemetry() -> None:
    """What to install is said where the client is built."""
    code = """
    import sys
    sys.modules["opentelemetry"] = None
    from openai_images import ConfigurationError, ImagesClient, Telemetry
    try:
        ImagesClient(telemetry=Telemetry())
    except ConfigurationError as error:
        print(error)
    """
    expected = "telemetry= needs opentelemetry-api, which is not installed: pip install 'openai-images[otel]'"
    assert output_of(code) == expected


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tracer_provider": trace.get_tracer("x")}, "must be a TracerProvider of OpenTelemetry"),
        ({"meter_provider": metrics.get_meter("x")}, "must be a MeterProvider of OpenTelemetry"),
        ({"capture_prompts": "no"}, "must be True or False"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], problem: str) -> None:
    """A tracer is no provider, and "no" is not False."""
    with pytest.raises(ConfigurationError, match=problem):
        Telemetry(**options)


def test_what_is_no_telemetry() -> None:
    """`telemetry=True` says what to pass."""
    value: Any = True
    with pytest.raises(ConfigurationError, match=r"telemetry must be Telemetry\(…\) or None, not bool"):
        ImagesClient(telemetry=value)


def test_reprs() -> None:
    """What is set is shown."""
    assert repr(Telemetry()) == "Telemetry()"
    assert repr(Telemetry(capture_prompts=True)) == "Telemetry(capture_prompts=True)"
    assert repr(ImagesClient(telemetry=Telemetry(), base_url="http://h/v1")) == "<ImagesClient http://h/v1>"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
async def test_copies_report(copied: Any, client: ImagesClient, recorded: Recorded) -> None:
    """To the same providers."""
    other: ImagesClient = copied(client)
    async with other:
        await client.generate(PROMPT)
        await other.generate(PROMPT)
    assert len(recorded.spans) == 2
    assert recorded.points()["openai_images.client.images"][0][1] == 2


async def test_derived_clients_report(client: ImagesClient, recorded: Recorded) -> None:
    """Those of `with_options`, and calls with options; the option itself belongs to the whole client."""
    await client.with_options(model="gpt-image-1.5").generate(PROMPT)
    await client.generate(PROMPT, timeout=30)
    assert [span.name.partition(" ")[2] for span in recorded.spans] == ["gpt-image-1.5", "gpt-image-2"]
    options: Any = {"telemetry": None}
    with pytest.raises(TypeError, match="with_options has no setting 'telemetry'"):
        client.with_options(**options)


async def test_an_overridden_client_reports(
    client: ImagesClient, server: LocalImagesServer, recorded: Recorded
) -> None:
    """With the address of the other server."""
    async with LocalImagesServer(pictures="small") as other:
        with client.override(base_url=other.base_url, api_key=other.api_key):
            await client.generate(PROMPT)
    assert recorded.attributes["server.port"] != int(server.base_url.rpartition(":")[2].partition("/")[0])


async def test_pickles(server: LocalImagesServer) -> None:
    """With the global providers a client can be sent to another process; providers cannot."""
    client = ImagesClient(
        base_url=server.base_url,
        api_key=server.api_key,
        telemetry=Telemetry(capture_prompts=True),
        model="gpt-image-2",
    )
    other = pickle.loads(pickle.dumps(client))
    assert other._settings == client._settings
    async with other:
        await other.generate(PROMPT)


@pytest.mark.parametrize("name", ["tracer_provider", "meter_provider"])
def test_providers_do_not_travel(name: str, recorded: Recorded) -> None:
    """The error says what to do."""
    telemetry = Telemetry(**{name: getattr(recorded, name)})
    with pytest.raises(
        TypeError, match=r"whose telemetry= has providers cannot be pickled: .* Telemetry\(\)"
    ):
        pickle.dumps(ImagesClient(api_key=KEY, telemetry=telemetry))


GLOBAL = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from openai_images import ImagesClient, Telemetry

client = ImagesClient(model="gpt-image-2", telemetry=Telemetry())
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

async def main():
    async with client:
        await client.generate("a")

asyncio.run(main())
print([span.name for span in exporter.get_finished_spans()])
"""


def test_global_providers() -> None:
    """Also those that are set after a client at module level was built."""
    with serving(pictures="small") as server:
        environment = {"OPENAI_API_KEY": server.api_key, "OPENAI_BASE_URL": str(server.base_url)}
        assert output_of(GLOBAL, **environment) == "['generate_content gpt-image-2']"


async def test_without_any_provider(server: LocalImagesServer) -> None:
    """Nothing is recorded, nothing fails, and the caller's current span stays."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("handler")
    async with client_of(server, telemetry=Telemetry(), model="gpt-image-2") as client:
        with trace.use_span(span):
            await client.generate(PROMPT)
            assert trace.get_current_span() is span
    span.end()
