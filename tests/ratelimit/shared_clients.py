"""Clients of a shared limit in virtual time: the real script on a real server, with another clock.

A `SharedPacing` does what the limiter does, without waiting: a place is reserved, checked when it is due, and used.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from itertools import count
from typing import Any

from redis import Redis

from benchmarks.redis_server import RedisServer
from openai_images import Limits
from openai_images.ratelimit.shared_pacer import SharedPacer, SharedPermit
from openai_images.wire.headers import AdvertisedLimit

START = 1_000_000
"""The server's clock at the virtual time 0, in seconds."""
_CHECKED = 0.1
_NUMBERS = count()


class VirtualScript:
    """The script of one name, run at a given time."""

    def __init__(self, server: RedisServer) -> None:
        """Take a name that nobody has."""
        text = files("openai_images.ratelimit").joinpath("reserve.lua").read_text("utf-8")
        assert text.count("redis.call('TIME')") == 1
        self._redis = Redis(unix_socket_path=str(server.path))
        self._script = self._redis.register_script(text.replace("redis.call('TIME')", "{ARGV[2], ARGV[3]}"))
        self.key = f"virtual:{next(_NUMBERS)}"
        self.runs = 0

    def run(self, now: float, **ask: Any) -> dict[str, Any]:
        """Its answer."""
        self.runs += 1
        micros = round((START + now) * 1_000_000)
        ask = {"told": [], "reports": [], **ask}
        args = [json.dumps(ask), micros // 1_000_000, micros % 1_000_000]
        answer: dict[str, Any] = json.loads(self._script(keys=[self.key], args=args))  # type: ignore[arg-type]
        return answer

    def close(self) -> None:
        """Forget everything."""
        self._redis.delete(self.key)
        self._redis.close()


class SharedPacing:
    """One client: what a simulation asks before it sends, and tells afterwards."""

    def __init__(self, script: VirtualScript, limits: Limits, now: float) -> None:
        """A client that begins now."""
        self.pacer = SharedPacer(limits, now, lambda: None)
        self._script = script
        self._place: SharedPermit | None = None

    def delay(self, images: int, now: float) -> float:
        """Seconds until its place."""
        place = self._place
        if place is not None and now >= place.ready_at and now - place.checked_at > _CHECKED:
            self._run(now)
            place.checked_at = now
        if place is not None and self.pacer.is_void(place, now):
            self.pacer.return_place(place)
            self._place = None
        if self._place is None:
            self._place = self._run(now, images=images)
        assert self._place is not None
        return max(0.0, self._place.ready_at - now)

    def acquire(self, images: int, now: float) -> SharedPermit:
        """It goes."""
        place, self._place = self._place, None
        assert place is not None
        self.pacer.send(place)
        return place

    def record_success(
        self, permit: SharedPermit, advertised: Mapping[str, AdvertisedLimit], now: float
    ) -> None:
        """It was accepted."""
        self.pacer.record_success(permit, advertised, now)

    def record_rejection(
        self, permit: SharedPermit, advertised: Mapping[str, AdvertisedLimit], seconds: float, now: float
    ) -> None:
        """It was rejected, which everybody learns immediately."""
        self.pacer.record_rejection(permit, advertised, seconds, now)
        while self.pacer.has_reports:
            self._run(now)

    def _run(self, now: float, **ask: Any) -> SharedPermit | None:
        sent = self.pacer.take_reports(now)
        answer = self._script.run(now, told=self.pacer.told, reports=sent.facts, **ask)
        return self.pacer.read_answer(answer, sent, now)
