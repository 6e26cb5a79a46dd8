"""What headers and words say about waiting; what makes no sense says nothing, and nothing raises."""

import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given, strategies as st

from openai_images.wire.headers import (
    LONGEST_WAIT,
    AdvertisedLimit,
    advertised_limits,
    parse_duration,
    request_id,
    retry_after,
    should_retry,
)

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp()


def date(seconds: float) -> str:
    """An HTTP date this long after now."""
    return format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12", 12), ("12.5", 12.5), ("0", 0), (" 7 ", 7), ("1e2", 100),
        ("1ms", 0.001), ("120ms", 0.12), ("0s", 0), ("1s", 1), ("58.891s", 58.891), (" 7s ", 7),
        ("6m0s", 360), ("1h2m3s", 3723), ("1h", 3600), ("2m", 120), ("1m500ms", 60.5),
        ("", None), (" ", None), ("-1", None), ("-1s", None), ("nan", None), ("inf", None), ("-inf", None),
        ("1e999", None), ("soon", None), ("s", None), ("1s1m", None), ("1 s", None), ("1,5", None), ("1d", None),
        ("1us", None), ("9" * 400, None), ("9" * 400 + "s", None),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    """Seconds, Go's durations, and nothing else."""
    assert parse_duration(text) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "1", "retry-after-ms": "534"}, "try again in 9s", 0.534),
        ({"retry-after-ms": "534ms"}, "", None),
        ({"retry-after-ms": " 1500 "}, "", 1.5),
        ({"retry-after-ms": "0", "retry-after": "2"}, "", 2),
        ({"retry-after-ms": "-5", "retry-after": "2"}, "", 2),
        ({"retry-after-ms": "nan", "retry-after": "inf"}, "try again in 3s", 3),
        ({"retry-after": "12"}, "", 12),
        ({"retry-after": "12s"}, "", 12),
        ({"retry-after": "0"}, "", None),
        ({"retry-after": "0"}, "Please try again in 15ms.", 0.015),
        ({"retry-after": date(30)}, "", 30),
        ({"retry-after": date(-30)}, "", None),
        ({"retry-after": date(0)}, "", None),
        ({"retry-after": date(30).replace(" GMT", "")}, "", 30),
        ({"retry-after": date(30).replace("GMT", "-0000")}, "", 30),
        ({"retry-after": "Sun, 22 Nov 2026 13:00:30 +0100"}, "", 30),
        ({"retry-after": "tomorrow"}, "", None),
        ({"retry-after": "Sun, 99 Nov 2026 13:00:30 GMT"}, "", None),
        ({}, "Limit 5. Please try again in 12s. Visit", 12),
        ({}, "please slow down and try again after 51.84 seconds.", 51.84),
        ({}, "Try again in 6m0s", 360),
        ({}, "TRY AGAIN IN 1H2M", 3720),
        ({}, "try again in 20sec", 20),
        ({}, "try again in 2 minutes", 120),
        ({}, "try again in 1 hour", 3600),
        ({}, "Please retry after 8 seconds.", 8),
        ({}, "Please retry in 32.5s.", 32.5),
        ({}, "try again in a while", None),
        ({}, "try again in 0s", None),
        ({}, "try again later in 5s", None),
        ({}, f"try again in {'9' * 400} seconds", None),
        ({}, "", None),
        # A moment, in Unix time.
        ({"retry-after": f"{NOW + 2:.0f}"}, "", 2),
        ({"retry-after": f"{NOW + 2.5}"}, "", 2.5),
        ({"retry-after": f"{(NOW + 2) * 1000:.0f}"}, "", 2),
        ({"retry-after-ms": f"{(NOW + 2) * 1000:.0f}"}, "", 2),
        ({"retry-after": f"{NOW - 2:.0f}"}, "", None),
        ({"retry-after": f"{NOW - 2:.0f}"}, "try again in 4s", 4),
        ({"retry-after": f"{NOW + 100 * 86_400:.0f}"}, "", None),
        ({"retry-after": "2026-11-22T12:00:30Z"}, "", 30),
        ({"retry-after": "2026-11-22T13:00:30.5+01:00"}, "", 30.5),
        # What nobody can mean, and the next that says something.
        ({"retry-after": "86400"}, "", 86_400),
        ({"retry-after": "86401"}, "", None),
        ({"retry-after": "2147483647"}, "try again in 4s", 4),
        ({"retry-after": "99999999999"}, "", None),
        ({"retry-after": "9" * 30}, "", None),
        ({"retry-after": "-30"}, "", None),
        ({"retry-after": "-1795000000"}, "", None),
        ({"retry-after": date(40 * 365 * 86_400)}, "", None),
        ({"retry-after-ms": "99999999999999999"}, "", None),
        ({"retry-after-ms": "172800000", "retry-after": "3"}, "", 3),
        ({}, "try again in 400 hours", None),
        # More words.
        ({}, "Your quota will reset after 3s.", 3),
        ({}, "Your quota will reset after 5h14m36s.", 18_876),
        ({}, "Your quota will reset after 156h14m36s.", None),
        ({}, "Please retry in 58.821668433s.", 58.821668433),
        ({}, "Please wait 20 seconds before trying again", 20),
        ({}, "please wait for about 2 minutes", 120),
        ({}, "Limit resets in 1 hour and 30 minutes", 5400),
        ({}, "try again in 1 hour, 1 minute, 1 second", 3661),
        ({}, "available again in 500 ms", 0.5),
        ({}, "try again in 20 milliseconds", 0.02),
        ({}, "\u8bf7\u572810\u79d2\u540e\u91cd\u8bd5", 10),
        ({}, "\u8bf7\u6c42\u8fc7\u4e8e\u9891\u7e41\uff0c\u8bf7 5 \u5206\u949f\u540e\u518d\u8bd5", 300),
        ({}, "we await 3 s", None),
        ({}, "reset the image in 5 steps", None),
    ],
)
def test_the_wait(headers: dict[str, str], message: str, seconds: float | None) -> None:
    """Milliseconds first, then seconds or a date, then the words; zero and nonsense are passed over."""
    assert retry_after(headers, message, NOW) == (seconds if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("stated", "seconds"),
    [
        ("34s", 34),
        ("0.5s", 0.5),
        ("12", 12),
        ("0", 9),
        ("-3", 9),
        ("5000ms", 5),
        ("soon", 9),
        ("", 9),
        ("1e12", 9),
    ],
)
def test_the_wait_of_a_body(stated: str, seconds: float) -> None:
    """It counts behind the headers and before the words, and says nothing where it makes no sense."""
    assert retry_after({}, "try again in 9s", NOW, stated) == seconds
    assert retry_after({"retry-after": "7"}, "try again in 9s", NOW, stated) == 7


@given(
    st.floats() | st.integers(),
    st.sampled_from(["retry-after", "retry-after-ms"]),
    st.sampled_from(["", "s"]),
)
def test_no_number_is_waited_for_longer_than_the_bound(number: float, name: str, unit: str) -> None:
    """Whatever number a server writes, the wait is none or has an end that somebody can live to see."""
    for wait in (
        retry_after({name: f"{number}{unit}"}, "", NOW),
        retry_after({}, "", NOW, f"{number}{unit}"),
    ):
        assert wait is None or 0 < wait <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("stated", "meant"),
    [("true", True), ("false", False), (" True ", True), ("FALSE", False), ("", None), ("1", None)],
)
def test_the_word_on_sending_again(stated: str, meant: bool | None) -> None:
    """`x-should-retry` is true, false or not there."""
    assert should_retry({"x-should-retry": stated}) is meant
    assert should_retry({}) is None


def test_the_name_of_the_request() -> None:
    """OpenAI's header first, then Azure's two."""
    names = {"x-request-id": "a", "apim-request-id": "b", "x-ms-request-id": "c"}
    for name in names.copy():
        assert request_id(names) == names.pop(name)
    assert request_id({}) is None
    assert request_id({"x-request-id": "a\x1b\udcff\n" + "b" * 500}) == "a\ufffd\ufffd\ufffd" + "b" * 196


def limit(stated: str, remaining: str = "0", reset: str = "1s") -> AdvertisedLimit | None:
    """What three headers about requests say."""
    headers = {f"x-ratelimit-{name}-requests": text for name, text in
               (("limit", stated), ("remaining", remaining), ("reset", reset))}  # fmt: skip
    return advertised_limits(headers).get("requests")


@pytest.mark.parametrize(
    "stated", ["0", "0.5", "5e-324", "1e-300", "-1", "nan", "1e999", "", "many", "9" * 400]
)
def test_a_limit_below_one_is_none(stated: str) -> None:
    """It would be waited for until the end of days."""
    assert limit(stated) is None


@pytest.mark.parametrize(
    "reset", ["1795000000", "1795000000000", "86401s", "1e308", "99999h", "", "0", "never", "5e-324"]
)
def test_a_reset_of_more_than_a_day_is_none(reset: str) -> None:
    """Some servers write the time of day there, in seconds since 1970; a minute is taken."""
    assert limit("60", reset=reset) == AdvertisedLimit(limit=60, remaining=0, rate=1)
    assert limit("60", reset="24h") == AdvertisedLimit(limit=60, remaining=0, rate=60 / 86_400)


words = st.text(max_size=30) | st.from_regex(
    r"(try again|retry) (in|after) [0-9.]{1,5} ?[a-z]{0,4}", fullmatch=True
)
dates = st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,4} [A-Z][a-z]{2} [0-9]{1,5} [0-9:]{1,12} [A-Z+-]{0,3}[0-9]{0,6}", fullmatch=True
)


@given(words | dates, words | dates, words)
@example("", "0 0 0 0 0", "")
@example("", "Mon, 01 Jan 0001 00:00:00 +2359", "")
@example("", "Mon, 01 Jan 9999 23:59:59 -2359", "")
@example("", "1 Jan 2026 00:00:00 +99999", "")
def test_nothing_raises(milliseconds: str, seconds: str, message: str) -> None:
    """Whatever a server writes, the wait is None or a sensible number of seconds."""
    headers = {"retry-after-ms": milliseconds, "retry-after": seconds, "x-should-retry": message}
    wait = retry_after(headers, message, NOW)
    assert wait is None or 0 < wait < float("inf")
    assert parse_duration(message) is None or parse_duration(message) >= 0
    assert should_retry(headers) in (True, False, None)


def test_long_words_take_no_time() -> None:
    """A message made to defeat the search is read in no time to speak of."""
    begun = time.process_time()
    for piece in ("try again in 1", "1h1m", "9", "try again in ", "1.", " "):
        retry_after({"retry-after": piece * 10_000}, f"try again in {piece * 10_000}", NOW)
    assert time.process_time() - begun < 1
