"""What is freed is kept for the next image where glibc is the allocator, and nothing fails where it is not."""

import ctypes
import os
import subprocess
import sys

import pytest

from openai_images._util import heap

PROGRAM = """
import resource, sys
from openai_images._util import heap

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def images():
    kept = [bytearray(b"x") * 4_000_000 for _ in range(int(sys.argv[2]))]

def pages():
    images()
    before = faults()
    images()
    return faults() - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

before = pages()
{"adapt": heap.adapt_to_images, "keep": lambda: heap.keep_freed(256_000_000)}[sys.argv[1]]()
after, full = pages(), resident()
heap.give_back()
print(before, after, full - resident())
"""
on_glibc = pytest.mark.skipif(heap._libc("malloc_trim") is None, reason="not glibc")


@on_glibc
@pytest.mark.parametrize(("how", "count"), [("adapt", 8), ("keep", 20)])
def test_pages_are_used_again(how: str, count: int) -> None:
    """Images of 32 MB together, or 80 MB, take no fresh pages the second time, and go back when asked for."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, str(count)],
        env={**os.environ, "PYTHONDEVMODE": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    before, after, given_back = map(int, done.stdout.split())
    assert before > count * 900
    assert after < before / 10
    assert given_back > count * 900 / 2


@pytest.mark.skipif(sys.flags.dev_mode, reason="not done there")
def test_it_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block is freed once in a process."""
    heap.adapt_to_images.cache_clear()
    sizes: list[int] = []
    monkeypatch.setattr(heap, "bytes", sizes.append, raising=False)  # not in builtins: other threads use it
    heap.adapt_to_images()
    heap.adapt_to_images()
    assert sizes == [heap._FREED]


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError, ImportError])
def test_other_systems(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without these functions nothing happens."""

    def load(name: object) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", load)
    heap.keep_freed(1)
    heap.give_back()
    assert heap._libc("mallopt") is None
