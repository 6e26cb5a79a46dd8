"""A `repr` never raises, whatever a constructor was given and wherever it stopped."""

import importlib
import inspect
import pkgutil
import traceback
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

import openai_images
from openai_images import EditRequest, GenerateRequest, ImagesClient, Limits, Prices, RetryPolicy, Timeouts
from openai_images._util.attrs import repr_keys, repr_length
from openai_images.batch.run.budget import Budget
from openai_images.http.azure import AzureEndpoint


def shown_by_hand() -> Iterator[type]:
    """All classes of the package with a `repr` of their own; the command line and the server are at the edge."""
    for module in pkgutil.walk_packages(openai_images.__path__, "openai_images."):
        if module.name.split(".")[1] in ("cli", "server", "web", "pytest_plugin", "__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(value) and value.__module__ == module.name:
                show = vars(value).get("__repr__")
                if show is not None and not show.__qualname__.startswith(value.__name__):
                    yield value


def test_nothing_there() -> None:
    """An object of which nothing is there yet says so."""
    classes = list(shown_by_hand())
    assert {"ImagesClient", "Batch", "ImageStream", "Outcomes", "Image", "Prices", "Budget"} == {
        cls.__name__ for cls in classes
    }
    for cls in classes:
        assert repr(object.__new__(cls)) == f"<{cls.__name__}, not complete>"


REFUSED: list[Callable[[], object]] = [
    lambda: ImagesClient(api_key="sk-with a space"),
    lambda: ImagesClient(api_key="sk-x", base_url="nowhere"),
    lambda: ImagesClient(api_key="sk-x", session="none"),  # type: ignore[arg-type]
    lambda: ImagesClient(api_key="sk-x", proxy="socks5://proxy"),
    lambda: ImagesClient.azure("nowhere", api_key="k"),
    lambda: AzureEndpoint.from_base_url("nowhere", "k", None, None, {}),
    lambda: GenerateRequest(5),  # type: ignore[arg-type]
    lambda: GenerateRequest("an otter", extra_body=5),  # type: ignore[arg-type]
    lambda: EditRequest("an otter", image=None),  # type: ignore[arg-type]
    lambda: Prices(as_of=date(2026, 1, 1), models=5),  # type: ignore[arg-type]
    lambda: Budget(Decimal("NaN")),
    lambda: Timeouts(total=-1),
    lambda: Limits(concurrency="x"),  # type: ignore[arg-type]
    lambda: RetryPolicy(max_retries=-1),
]


@pytest.mark.parametrize("build", REFUSED)
def test_what_was_refused(build: Callable[[], object]) -> None:
    """An error reporter that shows locals shows the half-built object of a constructor, too."""
    try:
        repr(build())
    except Exception as error:  # noqa: BLE001  whatever refuses it
        for frame, _ in traceback.walk_tb(error.__traceback__):
            for name, value in frame.f_locals.items():
                if type(value).__module__.startswith("openai_images"):
                    assert repr(value), name


@pytest.mark.parametrize("value", [None, 5, b"x", [1], object()])
def test_what_is_shown_of_a_wrong_value(value: Any) -> None:
    """The two short forms take what is no text and no mapping."""
    assert repr_length(value).startswith("<")
    assert repr_keys(value)
