"""Nothing secret travels to workers: they find it in their environment, or say what is missing."""

import pickle
from pathlib import Path

import pytest

from openai_images import BatchOptions, ConfigurationError, ImagesClient, Limits
from openai_images.cluster.job import Job
from openai_images.cluster.worker import close_workers, run_items
from openai_images.server import LocalImagesServer
from tests.cluster.test_worker import specs
from tests.helpers.batch_runs import many

HEADERS = {
    "X-Gateway-Key": "hidden1",
    "Cookie": "hidden2",
    "X-Token": "hidden3",
    "Authorization": "Bearer hidden4",
}


def job_with(server: LocalImagesServer, out: Path, limits: Limits = Limits()) -> Job:  # noqa: B008  frozen
    """A job of a client with secrets, as a worker gets it."""
    headers = {**HEADERS, "X-Team": "shown"}
    client = ImagesClient(base_url=server.base_url, api_key="hidden5", headers=headers, limits=limits)
    data = pickle.dumps(Job.from_client(client, str(out), BatchOptions()))
    assert b"hidden" not in data
    assert b"shown" in data
    job: Job = pickle.loads(data)
    assert "hidden" not in repr(job)
    return job


async def test_secret_headers(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their names do, and each has its variable; the key has its own."""
    for name in ("X_GATEWAY_KEY", "COOKIE"):
        monkeypatch.setenv(f"OPENAI_IMAGES_HEADER_{name}", name)
    job = job_with(server, out)
    with pytest.raises(ConfigurationError, match="OPENAI_IMAGES_HEADER_X_TOKEN"):
        await run_items(job, specs(many(1)))
    monkeypatch.setenv("OPENAI_IMAGES_HEADER_X_TOKEN", "of the worker")
    [row] = await run_items(job_with(server, out), specs(many(1)))
    assert row["state"] == "done"
    sent = server.requests[-1].headers
    assert (sent["X-Token"], sent["X-Gateway-Key"], sent["X-Team"]) == (
        "of the worker",
        "X_GATEWAY_KEY",
        "shown",
    )
    assert sent["Authorization"] == f"Bearer {server.api_key}"
    await close_workers()


def test_the_password_of_a_shared_limit(
    server_thread: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL without one travels as it is."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    job = job_with(server_thread, out, Limits(shared="redis://:hidden6@host:6379/1", name="team"))
    for name in ("X_GATEWAY_KEY", "COOKIE", "X_TOKEN"):
        monkeypatch.setenv(f"OPENAI_IMAGES_HEADER_{name}", name)
    with pytest.raises(
        ConfigurationError, match=r"redis://host:6379/1 has a password.* OPENAI_IMAGES_SHARED_LIMIT"
    ):
        job.client()
    monkeypatch.setenv("OPENAI_IMAGES_SHARED_LIMIT", "redis://:worker@host:6379/1")
    limits = job.client()._limits  # pyright: ignore[reportPrivateUsage]
    assert (limits.shared, limits.name) == ("redis://:worker@host:6379/1", "team")
    plain = job_with(server_thread, out, Limits(shared="redis://host:6379/2"))
    assert plain.client()._limits.shared == "redis://host:6379/2"  # pyright: ignore[reportPrivateUsage]
