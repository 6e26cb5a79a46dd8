"""A batch as the provider describes it, and when to look at it again."""

from typing import Any

import pytest

from openai_images.batch.provider.provider_batch import TAG, ProviderBatch, poll_delay, read_provider_batch

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
        id="batch_1", status="in_progress", created_at=1_700_000_000, total=10, completed=4,
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
    """The provider's own words, and what of them can be shown anywhere."""
    errors = {
        "object": "list",
        "data": [
            {"code": "bad_line", "message": "Bad line.", "line": 3},
            5,
            {"message": 1, "code": "An otter."},
        ],
    }
    batch = read_provider_batch({**DOC, "status": "failed", "errors": errors})
    assert batch is not None
    assert batch.reasons == ("line 3: Bad line.",)
    assert batch.codes == ("bad_line (line 3)", "no code")


@pytest.mark.parametrize(
    ("status", "counts", "succeeded", "proves"),
    [
        ("expired", (6, 4, 2), 4, True),
        ("expired", (6, 4, 2), 3, False),
        ("expired", (6, 4, 2), 5, False),  # the count comes later than the files
        ("expired", (None, 4, None), 4, True),
        ("expired", (6, None, 2), 4, False),
        ("expired", (0, 0, 0), 1, False),  # the counts are not filled in
        ("cancelled", (6, 0, 0), 0, True),
        ("failed", (0, 0, 0), 0, True),  # it was not accepted
        ("in_progress", (6, 4, 2), 4, False),
        ("completed", (6, 4, 2), 4, True),
        ("completed", (6, 4, 1), 4, False),
        ("completed", (0, 0, 0), 0, False),
        ("completed", (None, 4, None), 4, False),
    ],
)
def test_what_did_not_run(
    status: str, counts: tuple[int | None, int | None, int | None], succeeded: int, proves: bool
) -> None:
    """Only the provider's own count shows it, where it adds up."""
    total, completed, failed = counts
    batch = ProviderBatch(id="a", status=status, total=total, completed=completed, failed=failed)
    assert batch.proves_not_run(succeeded) is proves


def test_delays_grow() -> None:
    """From a second to five minutes."""
    assert [poll_delay(age) for age in (-5.0, 0.0, 60.0, 600.0, 80_000.0)] == [1.0, 1.0, 6.0, 60.0, 300.0]
