"""`openai-images studio`."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest

from openai_images.server import LocalImagesServer
from openai_images.studio import History
from tests.cli.test_interrupt import started, wait_for

Cli = Callable[..., Any]


def test_it_prints_its_address_and_stops_on_ctrl_c(empty_folder: Path) -> None:
    """The address opens the page once; the folder is there, and the token is in no log."""
    with started("studio", "--local", "--no-open", "--out", "images") as running:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        err = wait_for(running.stderr, "0 generations in images")
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        browser.open(url).close()
        with browser.open(url.partition("?")[0]) as page:
            assert "Image studio" in page.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            urllib.request.urlopen(url)
        refused.value.close()
        running.send_signal(signal.SIGINT)
        out, rest = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert "error: stopped" in rest
    assert url.partition("token=")[2] not in err + rest
    assert (empty_folder / "images" / "history.jsonl").exists()


@contextmanager
def generating(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[str], LocalImagesServer]]:
    """Yield a studio with a generation in flight, and its server, which holds the image back."""
    order = {"prompt": "an otter", "params": {"model": "gpt-image-2", "size": "1024x1024"}}
    parts = {"id": "20261129-080000-00000001", "order": json.dumps(order)}
    head = '--b\r\nContent-Disposition: form-data; name="'
    body = "".join(f'{head}{name}"\r\n\r\n{text}\r\n' for name, text in parts.items())
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with LocalImagesServer.in_thread(pictures="small") as server:
        server.script("stall_between_events")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        with started("studio", "--no-open", "--out", "images") as running:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            browser.open(url).close()
            origin = url.partition("/?")[0]
            headers = {"Origin": origin, "Content-Type": "multipart/form-data; boundary=b"}
            request = urllib.request.Request(f"{origin}/api/generate", f"{body}--b--".encode(), headers)
            with browser.open(request) as stream:
                stream.readline()
                while not server.posts:
                    time.sleep(0.001)
                yield running, server


def stored() -> tuple[str, int]:
    """Return the status of the generation and the number of its images."""
    history = History("images")
    (record,) = history.page(None, 9)
    history.close()
    return record["status"], len(record["images"])


@pytest.mark.usefixtures("empty_folder")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_stopping_waits_for_what_is_paid_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, `kill`, a closed terminal: the generation in flight is finished and stored, without a browser."""
    with generating(monkeypatch) as (running, server):
        running.send_signal(getattr(signal, name))
        wait_for(running.stderr, "waiting for 1 generation that may be billed")
        server.release()
        running.communicate(timeout=60)
    assert running.returncode == 130
    assert stored() == ("done", 1)


@pytest.mark.usefixtures("empty_folder")
def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The generation is unknown then."""
    with generating(monkeypatch) as (running, server):
        running.send_signal(signal.SIGINT)
        wait_for(running.stderr, "waiting for 1 generation that may be billed")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
        server.release()
    assert running.returncode == 130
    assert "others count as unknown" in err
    assert stored() == ("unknown", 0)


@pytest.mark.usefixtures("empty_folder")
def test_its_address_is_printed_anyway() -> None:
    """On stderr if stdout is full."""
    with (
        Path("/dev/full").open("w") as full,
        started("studio", "--local", "--no-open", stdout=full) as running,
    ):
        wait_for(running.stderr, "/?token=")
        wait_for(running.stderr, "0 generations")
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)


def test_it_opens_the_browser(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the address that it prints; Ctrl-C does not wait for a browser that is open."""
    opened: list[str] = []
    is_closed = threading.Event()

    def open_browser(url: str) -> bool:
        opened.append(url)
        os.kill(os.getpid(), signal.SIGINT)
        return is_closed.wait(60)

    monkeypatch.setattr("webbrowser.open", open_browser)
    done = cli("studio", "--local")
    is_closed.set()
    assert (done.code, done.out) == (130, opened[0] + "\n")


def test_what_it_cannot_use_is_said(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port in use, a folder in use or of another kind, no key: exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = cli("studio", "--local", "--no-open", "--port", str(taken.getsockname()[1]))
    assert (done.code, done.out) == (2, "")
    assert "cannot be used" in done.err
    assert "--port" in done.err
    history = History(tmp_path / "taken")
    done = cli("studio", "--local", "--no-open", "--out", str(tmp_path / "taken"))
    history.close()
    assert (done.code, done.out) == (2, "")
    assert "another studio has the folder" in done.err
    (tmp_path / "file").touch()
    done = cli("studio", "--local", "--no-open", "--out", str(tmp_path / "file"))
    assert (done.code, done.out) == (2, "")
    assert "Choose another folder with --out." in done.err
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    done = cli("studio", "--no-open", "--out", str(tmp_path / "new"))
    assert (done.code, done.out) == (2, "")
    assert "no API key" in done.err
    assert not (tmp_path / "new").exists()


def test_help_needs_no_studio(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--help` loads nothing of it."""
    monkeypatch.setitem(sys.modules, "openai_images.studio", None)
    assert cli("studio", "--help").code == 0
