"""What a shell completes: `_OPENAI_IMAGES_COMPLETE` as click's scripts for bash and fish set it."""

import shlex
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from openai_images import known_models
from openai_images.cli.commands import cli
from tests.cli.test_main import python


def completed(line: str) -> list[tuple[str, str]]:
    """What click finds for the end of a command line."""
    *args, incomplete = shlex.split(line)[1:] + ([""] if line.endswith(" ") else [])
    shell = ShellComplete(cli, {}, "openai-images", "_OPENAI_IMAGES_COMPLETE")
    return [(item.type, item.value) for item in shell.get_completions(args, incomplete)]


def values(line: str) -> list[str]:
    """The plain values among them."""
    return [value for kind, value in completed(line) if kind == "plain"]


def test_models_that_live_are_completed() -> None:
    """Of the table; one that has ended is no suggestion."""
    assert "gpt-image-2.6-flare" in values("openai-images generate x --model ")
    assert "dall-e-2" not in values("openai-images generate x --model ")
    assert values("openai-images batch f --model gpt-image-2.5-f") == ["gpt-image-2.5-flare"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("generate x --quality ", ["auto", "low", "medium", "high"]),
        (
            "generate x --model gpt-image-2.6-flare --quality ",
            ["auto", "low", "medium", "high", "xhigh", "max"],
        ),
        ("edit a.png --model gpt-image-1.5 --size 15", ["1536x1024"]),
        ("generate x --size 3", ["3840x2160"]),
        ("generate x --format ", ["png", "webp", "jpeg"]),
        ("generate x --model gpt-image-2.6-flare --format s", ["svg"]),
        ("generate x --model of-tomorrow --quality x", ["xhigh"]),
        ("batch f --background t", ["transparent"]),
        ("batch f --input-format ", ["txt", "csv", "json", "jsonl"]),
        ("edit a.png --model gpt-image-1.5 --input-fidelity ", ["high", "low"]),
        ("serve --always moderation_mi", ["moderation_mid_stream"]),
        ("mod", ["models"]),
    ],
)
def test_values_are_completed(line: str, found: list[str]) -> None:
    """Those of the model that stands before them, or of the default one."""
    assert values(f"openai-images {line}") == found


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("edit ", "file"),
        ("edit a.png --mask ", "file"),
        ("generate x -o ", "file"),
        ("batch ", "file"),
        ("batch f --prices p", "file"),
        ("batch f --out ", "dir"),
        ("demo --out ", "dir"),
        ("costs ", "dir"),
    ],
)
def test_paths_are_completed_by_the_shell(line: str, kind: str) -> None:
    """It knows the disk; a prompt is not a path."""
    assert completed(f"openai-images {line}")[0][0] == kind
    assert completed("openai-images generate ") == []


def test_a_shell_gets_them() -> None:
    """By the protocol of bash, in a process, with nothing else on either stream."""
    done = python(
        "-m",
        "openai_images",
        _OPENAI_IMAGES_COMPLETE="bash_complete",
        COMP_WORDS="openai-images generate --model gpt-image-2",
        COMP_CWORD="3",
    )
    known = [spec.name for spec in known_models() if spec.name.startswith("gpt-image-2") and not spec.ends]
    assert (done.returncode, done.stderr) == (0, "")
    assert {f"plain,{name}" for name in known} <= set(done.stdout.splitlines())


def test_the_server_is_not_needed_to_complete_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its extra there is just nothing."""
    monkeypatch.setitem(sys.modules, "openai_images.server", None)
    assert values("openai-images serve --fault ") == []


BASH = shutil.which("bash")


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_the_script_is_bashs() -> None:
    """What `bash_source` prints is a script that bash can read, and that names this command."""
    script = python("-m", "openai_images", _OPENAI_IMAGES_COMPLETE="bash_source").stdout
    checked = subprocess.run([str(BASH), "-n"], input=script, text=True, check=False, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "complete -o nosort -F _openai_images_completion openai-images" in script
