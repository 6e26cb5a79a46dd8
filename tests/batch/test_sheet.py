"""The contact sheet: what it says, that no text breaks out of it, and that a browser draws ten thousand cards."""

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image as Pillow

from openai_images._util import atomic_file
from openai_images.batch.sheet import contact_sheet as sheet
from openai_images.batch.sheet.contact_sheet import write_sheet
from openai_images.batch.sheet.sheet_entries import SheetEntry, SheetHeader

pytestmark = pytest.mark.slow

VOID = {"meta", "input", "img"}


class Page(HTMLParser):
    """What a page is made of: elements with their attributes, the texts in them, scripts apart."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text("utf-8")
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: dict[str, str] = {}
        self.feed(self.text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]
        self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag: str) -> None:
        """It closes what is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note the text."""
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self.open:
            path = " ".join(self.open[2:])
            self.words[path] = self.words.get(path, "") + data

    @property
    def rows(self) -> list[Any]:
        """The cards, as the script reads them."""
        rows: list[Any] = json.loads(self.scripts[0])
        return rows

    @property
    def axes(self) -> str | None:
        """The parameters by which the items of one prompt differ."""
        return next(attrs["data-axes"] for _, attrs in self.elements if "data-axes" in attrs)


def written(folder: Path, *cards: SheetEntry, **totals: Any) -> Page:
    """The page for these cards."""
    return Page(write_sheet(folder, cards, SheetHeader(**totals)))


HOSTILE = {
    "end of script": "</script><script>document.title='owned'</script>",
    "comment": "<!-- <script> --> <!--cards--> <!--script-->",
    "quotes": "\"'`${1+1}` \\ \\u003c &lt; &amp;",
    "image": "<img src=x onerror=\"document.title='owned'\">",
    "noscript": "</li></ol></noscript><h1>owned</h1>",
    "emoji": "an owl \N{OWL}\N{NEWSPAPER} \N{WOMAN}\N{ZERO WIDTH JOINER}\N{GIRL}",
    "line separators": "one\u2028two\u2029three\nfour\r\nfive\0six",
    "right to left": "\N{RIGHT-TO-LEFT OVERRIDE}owt \N{ARABIC LETTER MEEM}\N{ARABIC LETTER NOON}",
    "nothing": "",
}


@pytest.mark.parametrize("prompt", HOSTILE.values(), ids=HOSTILE)
def test_no_prompt_breaks_out(tmp_path: Path, prompt: str) -> None:
    """Wherever it stands, it is text: the page has the same elements, and the script reads what was given."""
    same = written(tmp_path, SheetEntry("k", "x", "failed", reason="x"), title="x", note="x")
    page = written(
        tmp_path, SheetEntry("k", prompt, "failed", reason=prompt), title=prompt, note=prompt or "x"
    )
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in same.elements]
    assert page.rows == [["k", prompt, 1, None, None, None, None, prompt] if prompt else ["k", "", 1]]
    assert len(page.scripts) == 2
    assert page.scripts[1] == same.scripts[1]
    assert "\u2028" not in page.scripts[0]
    assert "<" not in page.scripts[0]
    for place in ("header h1", "main noscript ol li bdi"):
        assert page.words.get(place, "") == prompt.replace("\r\n", "\n")


def test_halves_of_characters(tmp_path: Path) -> None:
    """Two that belong together become their character, a lone one a mark; the page is valid UTF-8."""
    page = written(tmp_path, SheetEntry("\udc00", "\ud83e\udd89 and \ud800", "done", ("\ud800.png",)))
    assert page.rows == [["\ufffd", "\N{OWL} and \ufffd", 0, ["\ufffd.png"]]]


def test_a_long_prompt_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many, of which ten thousand would be no page; how much is missing is said."""
    page = written(tmp_path, SheetEntry("k", "x" * 32_001, "failed", reason="y" * 5_000))
    assert page.rows[0][1] == ["x" * 32_000, 1]
    assert page.rows[0][7] == "y" * 1_000 + "… (4,000 more characters)"
    assert page.words["main noscript ol li bdi"] == "x" * 200 + "… (31,801 more characters)"
    assert len(written(tmp_path, SheetEntry("k", "x" * 32_000, "done")).rows[0][1]) == 32_000
    monkeypatch.setattr(sheet, "_MAX_PROMPTS", 40_000)
    many = [SheetEntry(str(number), "x" * 32_000, "done") for number in range(2)]
    assert written(tmp_path, *many).rows[1][1] == ["x" * 4_000, 28_000]


def test_a_row_has_what_there_is(tmp_path: Path) -> None:
    """In the order in which the script reads it, without the empty end."""
    whole = SheetEntry(
        "b", "p", "done", ("i/b-0.png", "i/b-1.png"), 1024, 1536, "r", Decimal("0.00527"), 12.34, "m", "low",
        "png", "2026-11-22T10:00:05.123Z", 1, {"size": "auto", "n": 2}, 3,
    )  # fmt: skip
    other = SheetEntry("c", "p", "done", cost=Decimal(0), group=1, parameters={"size": "1x1", "n": 2})
    page = written(tmp_path, SheetEntry("a", "p", "pending"), whole, other)
    told = [*(None, 1024, 1536, "r", 0.00527, 12.3), *("m", "low", "png", "2026-11-22T10:00:05")]
    assert page.rows == [
        ["a", "p", 5],
        ["b", "p", 0, ["i/b-0.png", "i/b-1.png"], *told, 1, ["auto"], 3],
        ["c", None, 0, *[None] * 5, 0.0, *[None] * 5, 1, ["1x1"]],
    ]
    assert page.axes == "size"
    names = re.search(r"const \[(.*)\] = Array\(17\)", page.scripts[1])
    assert names is not None
    assert names[1].startswith(
        "KEY, PROMPT, STATE, FILES, THUMBS, WIDTH, HEIGHT, REASON, COST, SECONDS, MODEL, "
    )
    assert names[1].endswith(" QUALITY, FORMAT, TIME, GROUP, VALUES, SOURCES")
    assert f"const STATES = {json.dumps(list(sheet.STATES))};" in page.scripts[1]


@pytest.mark.parametrize("texts", ["NAMES", "OF_ALL", "OF_ONE"])
def test_the_script_has_a_text_for_each_state(texts: str) -> None:
    """Also for items that are in a batch at the provider."""
    script = sheet._resource("sheet_rows.js")
    found = re.search(rf"const {texts} = \[(.*?)\];", script, re.DOTALL)
    assert found is not None
    assert len(re.findall(r'"[^"]*"', found[1])) == len(sheet.STATES)


def test_nothing_is_fetched(tmp_path: Path) -> None:
    """No address of a network is in it, and its own policy allows its one script and images beside it."""
    page = written(tmp_path, SheetEntry("k", "p", "done", ("images/k.png",)))
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.text.replace(page.scripts[1], ""))
    assert not re.search(r"https?:|fetch|XMLHttp|import\b|innerHTML|eval|document\.write", page.scripts[1])
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    policy = next(attrs["content"] for tag, attrs in page.elements if "http-equiv" in attrs)
    assert policy == (
        "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]


def test_the_list_for_those_without_scripts(tmp_path: Path) -> None:
    """Links to all images, with odd names, and what befell the others."""
    page = written(
        tmp_path,
        SheetEntry("a", "an otter", "done", ("images/a b#c?%.png", "images/a-1.png")),
        SheetEntry("b", "a fox", "blocked", reason="not <allowed>"),
    )
    links = [attrs["href"] for tag, attrs in page.elements if tag == "a"]
    assert links[-2:] == ["images/a%20b%23c%3F%25.png", "images/a-1.png"]
    assert page.words["main noscript ol li b"] == "Blocked by moderation"
    assert " not <allowed> " in page.words["main noscript ol li"]
    assert page.words["main noscript ol li bdi"] == "an ottera fox"


def test_the_totals(tmp_path: Path) -> None:
    """Images, prompts, money and time above; a link for each state there is."""
    cards = [SheetEntry(str(number), "p", "done", ("a.png", "b.png")) for number in range(1200)]
    cards += [
        SheetEntry("x", "p", "blocked"),
        SheetEntry("y", "p", "unknown"),
        SheetEntry("z", "p", "pending"),
    ]
    page = written(
        tmp_path,
        *cards,
        title="otters",
        spent=Decimal("1234.5"),
        unpriced=1,
        elapsed=7860.0,
        stopped="budget",
        note="A local stand-in painted these.",
    )
    assert page.words["header p b"] == "2,400 images$1,234.50"
    assert page.words["header p"] == " of 1,203 prompts,  spent, 1 result of unknown cost, 2 h 11 min"
    assert page.words["header div p"].startswith("A local stand-in painted these.It stopped because the next")
    states = [attrs["href"] for _, attrs in page.elements if re.match("#(state|$)", attrs.get("href") or "-")]
    assert states == ["#", "#state=done", "#state=blocked", "#state=unknown", "#state=pending"]
    assert page.words["nav div a b"] == "1,2031,200111"
    assert page.words["nav div a"] == "All Done Blocked by moderation Unknown Not yet VariantsGrid"


def test_no_more_is_said_than_is_known(tmp_path: Path) -> None:
    """An unknown cost is not shown as nothing; a batch of nothing is a page too."""
    page = written(tmp_path)
    assert page.rows == []
    assert page.words["header p"] == " of 0 prompts"
    assert "header div p" not in page.words
    assert "$" not in page.words["header p b"]
    assert written(tmp_path, spent=Decimal(0)).words["header p b"] == "0 images$0.0000"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0.00527", "$0.0053"),
        ("0.99996", "$1.0000"),
        ("1", "$1.00"),
        ("12345.678", "$12,345.68"),
        ("0", "$0.0000"),
    ],
)
def test_money(amount: str, shown: str) -> None:
    """Cents, and hundredths of a cent below a dollar."""
    assert sheet._usd(Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (12.34, "12.3 s"),
        (119.9, "119.9 s"),
        (120, "2 min"),
        (7170, "2 h 0 min"),
        (40_000, "11 h 7 min"),
    ],
)
def test_time(seconds: float, shown: str) -> None:
    """In the unit that fits."""
    assert sheet._duration(seconds) == shown


def test_a_card_is_a_value() -> None:
    """It shows neither its prompt nor its reason, which may quote it; its state is one there is."""
    card = SheetEntry("k", "sentinel", "failed", reason="about sentinel")
    assert "sentinel" not in repr(card)
    with pytest.raises(ValueError, match="'state' must be in"):
        SheetEntry("k", "p", "lost")


def test_the_page_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full leaves the page that was there, and nothing half-written; else it is replaced."""
    first = write_sheet(tmp_path, [SheetEntry("a", "p", "pending")])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = first.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(atomic_file, "publish", full)
        with pytest.raises(OSError, match="No space"):
            write_sheet(tmp_path, [])
    assert first.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert write_sheet(tmp_path, []) == first
    assert first.read_bytes() != before


def test_a_file_that_takes_a_part_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it arrives, in order."""

    class Short(io.FileIO):
        """Takes at most seven bytes at once."""

        def write(self, data: Any) -> int:
            """A part."""
            return super().write(bytes(data[:7]))

    monkeypatch.setattr(atomic_file, "_WRITE_SIZE", 16)
    monkeypatch.setattr(atomic_file, "create_part", lambda path: Short(path, "xb"))
    pieces = ["otter \N{OTTER}" * 3, "", "x" * 50, "end"]
    assert atomic_file.replace_file(tmp_path, "name", pieces).read_text("utf-8") == "".join(pieces)


def paint(path: Path, colour: str) -> None:
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (64, 48), colour).save(path)


def shrink(source: Path, target: Path) -> None:
    """A small copy."""
    with Pillow.open(source) as image:
        image.thumbnail((16, 16))
        image.save(target, "WEBP")


def test_small_copies(tmp_path: Path) -> None:
    """They are made where a function for it is given, and used whenever they are there; one that fails is left out."""
    paint(tmp_path / "images/a.png", "red")
    (tmp_path / "images/b.png").write_bytes(b"broken")
    cards = [SheetEntry("a", "p", "done", ("images/b.png", "images/a.png"))]
    assert Page(write_sheet(tmp_path, cards)).rows[0][4:] == []
    assert Page(write_sheet(tmp_path, cards, thumbnail=shrink)).rows[0][4:] == [2]
    assert Page(write_sheet(tmp_path, cards)).rows[0][4:] == [2]
    assert (tmp_path / "thumbs/images/a.png.webp").is_file()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)


class Drawn:
    """A sheet as Chromium draws it: its document and a screenshot."""

    def __init__(self, page: Path, fragment: str, folder: Path) -> None:
        assert BROWSER is not None
        shot = folder / "shot.png"
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]
        flags += [f"--user-data-dir={folder / 'profile'}", f"--screenshot={shot}", "--window-size=1200,900"]
        flags.append("--virtual-time-budget=5000")  # its clock stands still while a file is being read
        command = [BROWSER, *flags, "--dump-dom", f"{page.as_uri()}#{fragment}"]
        ran = subprocess.run(command, capture_output=True, timeout=120, check=True)
        self.dom = ran.stdout.decode()
        with Pillow.open(shot) as image:
            assert image.size == (1200, 900)
            self.colours = len(image.convert("RGB").getcolors(1200 * 900) or [])

    def count(self, name: str) -> int:
        """How many elements have this class, or begin with these classes."""
        return len(re.findall(rf'class="{name}\b', self.dom))

    @property
    def told(self) -> str:
        """The line above the cards."""
        found = re.search(r'id="told"[^>]*>([^<]*)<', self.dom)
        assert found is not None
        return found[1]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_draws_ten_thousand_cards(tmp_path: Path) -> None:
    """Only those near the window are in the page; the filters of the fragment work, and hostile texts stay texts."""
    paint(tmp_path / "images/done.png", "green")
    paint(tmp_path / "images/old.png", "blue")
    hostile = [SheetEntry(name, prompt, "failed", reason=prompt) for name, prompt in HOSTILE.items()]
    cards = [*hostile, SheetEntry("gone", "p", "done", ("images/gone.png",), 64, 48)]
    cards += [SheetEntry("small", "p", "done", ("images/old.png",), 64, 48)]
    for number in range(10_000 - len(cards)):
        state = ("done", "done", "blocked", "unknown", "pending")[number % 5]
        files = ("images/done.png",) if state == "done" else ()
        cards.append(SheetEntry(f"{number:05d}", f"an otter, number {number}", state, files, 64, 48))
    page = write_sheet(tmp_path, cards, SheetHeader(title="</title>otters"), thumbnail=shrink)
    (tmp_path / "thumbs/images/old.png.webp").write_bytes(b"broken since")

    drawn = Drawn(page, "", tmp_path)
    assert drawn.told == ""
    assert 20 <= drawn.count("card ") <= 200
    assert "<title>&lt;/title&gt;otters</title>" in drawn.dom
    assert (
        drawn.dom.count("The file cannot be shown.") == 2
    )  # the image that is gone; and the script's own text
    assert 'data-original="images/old.png" src="images/old.png"' in drawn.dom
    assert 'src="thumbs/images/done.png.webp"' in drawn.dom
    assert drawn.count("here") == drawn.dom.count("<img") > 5
    assert drawn.colours > 50

    drawn = Drawn(page, "state=failed", tmp_path)
    assert drawn.told.startswith(f"{len(HOSTILE)} of 10,000 prompts. The same command with --retry-failed")
    assert drawn.count("card ") == drawn.count("card failed") == len(HOSTILE)
    assert "owned</title>" not in drawn.dom
    assert drawn.count("here") == drawn.dom.count("<img") == 0

    drawn = Drawn(page, "state=done&q=OTTER%20number%20997", tmp_path)
    found = [n for n in range(10_000 - 11) if "997" in str(n) and n % 5 < 2]
    assert drawn.told == f"{len(found)} of 10,000 prompts."
    assert drawn.count("card done") == drawn.count("card ") == len(found)


QUALITIES, MODELS = ("low", "medium", "high"), ("gpt-image-2", "gpt-image-2.5-flare", "a-model")


def matrix(folder: Path) -> Path:
    """The page of a 3 x 3 matrix of one prompt, and of a prompt that stands alone."""
    paint(folder / "images/a.png", "green")
    cells = [(quality, model) for quality in QUALITIES for model in MODELS]
    entries = [
        SheetEntry(
            f"fox-{quality}-{model}",
            "a <b>red</b> fox",
            "done",
            ("images/a.png",),
            64,
            48,
            cost=Decimal(number) / 100,
            seconds=float(number),
            model=model,
            quality=quality,
            image_format="webp" if quality == "high" else "png",
            recorded_at="2026-11-22T10:00:05.123Z",
            group=1,
            parameters={"model": model, "quality": quality, "size": "auto"},
        )
        for number, (quality, model) in enumerate(cells, 1)
    ]
    return write_sheet(folder, [*entries, SheetEntry("owl", "an owl", "pending", model="a-model")])


def cell_texts(dom: str, tag: str, attribute: str = "") -> list[str]:
    """What the elements with this tag and attribute say."""
    texts = re.findall(rf"<{tag}\b[^>]*{attribute}[^>]*>(.*?)</{tag}>", dom)
    return [re.sub("<[^>]*>", " ", text).strip() for text in texts]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_matrix_is_a_table(tmp_path: Path) -> None:
    """The variants of a prompt side by side, with their costs; the prompt is there once, with its copy button."""
    page = matrix(tmp_path)
    assert Page(page).axes == "model quality"
    assert [row[1] for row in Page(page).rows] == ["a <b>red</b> fox", *[None] * 8, "an owl"]
    drawn = Drawn(page, "", tmp_path).dom.split('<div id="sheet"')[1].split("<noscript>")[0]
    first, second = drawn.split("</section>")[:2]
    assert cell_texts(first, "th", 'scope="col"') == list(QUALITIES)
    assert cell_texts(first, "th", 'scope="row"') == list(MODELS)
    costs = [f"${number / 100:.4f}" for number in (1, 4, 7, 2, 5, 8, 3, 6, 9)]
    assert cell_texts(first, "b") == costs
    assert cell_texts(first, "p", 'class="sum"') == ["9 images, $0.4500"]
    assert first.count("a &lt;b&gt;red&lt;/b&gt; fox") == 1
    assert cell_texts(first, "button", 'aria-label="Copy the prompt of fox-low-gpt-image-2"') == [
        "Copy prompt"
    ]
    assert ("an owl" in second, cell_texts(second, "b")) == (True, ["not yet", "not yet"])


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize(
    ("fragment", "keys"),
    [
        ("view=grid&model=a-model&format=png&order=dearest", ["fox-medium-a-model", "fox-low-a-model"]),
        ("view=grid&quality=low&time=2 s \N{EN DASH} 5 s&cost=$0.0300", ["fox-low-a-model"]),
    ],
)
def test_filters(tmp_path: Path, fragment: str, keys: list[str]) -> None:
    """By model, quality, format, cost and time, in the order that is asked for; each card copies its prompt."""
    drawn = Drawn(matrix(tmp_path), quote(fragment, safe="&="), tmp_path)
    assert cell_texts(drawn.dom, "span", 'class="key"') == keys
    assert drawn.told == f"{len(keys)} of 10 requests."
    assert drawn.count("copy") == len(keys)
    names = re.findall(r'<select name="(\w+)"', drawn.dom)
    assert names == ["model", "quality", "format", "cost", "time", "order"]
