"""A batch as the provider describes it, and when to look at it again."""

from typing import Any

import pytest

from openai_images.batch_api.provider_batch import TAG, ProviderBatch, poll_delay, read_provider_batch

DOC: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/images/generations",
    "errors": None,
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "in_progress",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1_700_000_000,
    "expires_at": 1_700_086_400,
    "request_counts": {"total": 10, "completed": 4, "failed": 1},
    "metadata": {TAG: "tag"},
}


def test_fields() -> None:
    """Those that matter."""
    batch = read_provider_batch(DOC)
    assert batch is not None
    assert batch == ProviderBatch(
        id="batch_1", status="in_progress", created_at=1_700_000_000, expires_at=1_700_086_400, total=10, completed=4,
        failed=1, tag="tag", input_file_id="file-1",
    )  # fmt: skip
    assert not batch.is_ended
    assert batch.files == ()


@pytest.mark.parametrize(
    "doc", [None, [], {}, {"id": 1, "status": "failed"}, {"id": "a"}, {"id": "", "status": "b"}]
)
def test_what_is_no_batch(doc: object) -> None:
    """It is not taken for one."""
    assert read_provider_batch(doc) is None


def test_odd_fields_are_none() -> None:
    """They cost nothing."""
    odd = {name: ["odd"] for name in DOC} | {"id": "a", "status": "new", "metadata": {TAG: 5}}
    assert read_provider_batch(odd) == ProviderBatch(id="a", status="new")


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_ends(status: str) -> None:
    """Nothing more comes after these."""
    batch = read_provider_batch({**DOC, "status": status, "error_file_id": "file-3"})
    assert batch is not None
    assert batch.is_ended
    assert batch.files == ("file-3",)


def test_reasons() -> None:
    """The provider's own words."""
    errors = {
        "object": "list",
        "data": [{"code": "x", "message": "Bad line.", "line": 3, "param": None}, 5, {"message": 1}],
    }
    batch = read_provider_batch({**DOC, "status": "failed", "errors": errors})
    assert batch is not None
    assert batch.reasons == ("Bad line. (line 3)",)


@pytest.mark.parametrize(
    ("status", "completed", "succeeded", "proves"),
    [
        ("expired", 4, 4, True),
        ("expired", 4, 3, False),
        ("cancelled", 0, 0, True),
        ("failed", 0, 0, True),
        ("expired", None, 4, False),
        ("in_progress", 4, 4, False),
        ("completed", 4, 4, True),
    ],
)
def test_what_did_not_run(status: str, completed: int | None, succeeded: int, proves: bool) -> None:
    """Only the provider's own count shows it."""
    assert ProviderBatch(id="a", status=status, completed=completed).proves_not_run(succeeded) is proves


def test_delays_grow() -> None:
    """From a second to five minutes."""
    assert [poll_delay(age) for age in (-5.0, 0.0, 60.0, 600.0, 80_000.0)] == [1.0, 1.0, 6.0, 60.0, 300.0]
