"""What a client knows of limits that it shares, and what it reports of them.

Invariants: pure; times are parameters, in seconds of the client's own clock, and leave it only as distances. Limits are
kept where the places are given (`reserve.lua`); here are only the reports that are not sent yet and the last response.
What a rejection teaches is found by the estimator's own rules, from counts of all clients.
Must not: wait, or send.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from attrs import define, field

from openai_images.models.options import Limits
from openai_images.ratelimit.estimator import RECENT_REQUESTS, Estimate, Rejection, SentRequest, learn
from openai_images.ratelimit.pacer import LIMIT_NAMES, Advertised, Pacer, Permit

_MAX_REPORTS = 1000
"""Maximum number of reports kept while the server is unreachable; the oldest are dropped first."""
_CATCH_UP = 0.06
"""Seconds of a configured limit that may be used later, by processes that were late to use their places."""
_OTHERS = "requests of other clients under the shared limit"


class SharedPermit(Permit):
    """A request with a place: when it may be sent, and the number of its place."""

    ready_at = told_at = checked_at = 0.0
    serial = 0

    @property
    def images(self) -> float:
        """How many images it is for."""
        return self.sent.images


@define(eq=False)
class Report:
    """What the script is to know; `until` is the end of a wait, `rejection` what may be learnt from it."""

    what: str
    facts: dict[str, Any]
    until: float = 0.0
    rejection: tuple[SentRequest, float, tuple[SentRequest, ...]] | None = field(default=None, repr=False)


class Sent(NamedTuple):
    """Reports that were sent with one script, in order."""

    reports: Sequence[Report]
    facts: list[dict[str, Any]]


class SharedPacer(Pacer):
    """The pauses and the delay that are known here; results of requests become reports."""

    def __init__(self, limits: Limits, now: float, notify: Callable[[], None]) -> None:
        """`notify` is called when there is something to report."""
        super().__init__(limits, now)
        self._notify = notify
        self.told = [
            {
                "kind": kind,
                "rate": bucket.rate,
                "capacity": max(bucket.capacity, bucket.rate * _CATCH_UP),
            }
            for kind, bucket in self._configured.items()
        ]
        self._reports = deque[Report](maxlen=_MAX_REPORTS)
        self._recent = deque[SentRequest](maxlen=RECENT_REQUESTS)
        self._period = 0
        self._next_at = now
        self._reason = _OTHERS
        self.difference = ""
        """The limits that another client has configured for the same name, if they differ."""

    @property
    def is_urgent(self) -> bool:
        """Whether a report is to be sent immediately: a pause, or what only helps at once."""
        return any(report.what in {"rejected", "learnt", "unused"} for report in self._reports)

    @property
    def has_reports(self) -> bool:
        """Whether there is anything to be sent."""
        return bool(self._reports)

    def delay(self, images: int, now: float, *, only_configured: bool = False) -> float:  # noqa: ARG002
        """Return the seconds until the place that was reserved last, or the end of the pause."""
        return max(self.pause_left(now), self._next_at - now, 0.0)

    def binding_limit(self, images: int, now: float) -> str:  # noqa: ARG002
        """Describe the limit that decided the last place."""
        return self._reason

    def take_reports(self, now: float) -> Sent:
        """Return all reports, to be sent now."""
        reports, facts = tuple(self._reports), list[dict[str, Any]]()
        self._reports.clear()
        for index, report in enumerate(reports):
            times = {"seconds": max(0.0, report.until - now), "index": index} if report.until else {}
            facts.append({"what": report.what, **report.facts, **times})
        return Sent(reports, facts)

    def keep_pauses(self, sent: Sent, now: float) -> None:
        """Keep for later what may be sent twice, as it is unknown whether the script ran: waits that last."""
        for report in reversed(sent.reports):
            if report.until > now:
                facts = {**report.facts, "explained": True}  # learnt from it, if at all, by then
                self._reports.appendleft(Report(report.what, {**facts, "charge": _NOTHING}, report.until))

    def read_answer(self, answer: Mapping[str, Any], sent: Sent, now: float) -> SharedPermit | None:
        """Take over an answer that came now; return the place in it."""
        self.resume_at = max(self.resume_at, now + answer["pause"])
        self._period = answer["period"]
        if (replaced := answer.get("replaced")) is not None:
            self.difference = self._describe_difference(replaced["kind"], replaced["rate"])
        if (lesson := answer.get("learn")) is not None:
            index: int = lesson["report"]
            self._learn(lesson, sent.reports[index], now)
        if (place := answer.get("place")) is None:
            return None
        source, _, kind = (place.get("reason") or "").rpartition(" ")
        rate = 60 * place.get("rate", 0.0)
        self._reason = LIMIT_NAMES.get(source, _OTHERS).format(kind=kind, rate=rate)
        self._next_at = now + place["delay"]
        request = SentRequest(self._next_at, place["charge"]["images"], place["period"], place["before"])
        permit = SharedPermit(request, dict(place["charge"]), dict(place["held"]))
        permit.ready_at, permit.told_at, permit.checked_at = self._next_at, now + place["told"], now
        permit.serial = place["serial"]
        return permit

    def is_void(self, permit: SharedPermit, now: float) -> bool:
        """Whether a place is to be given up, as somebody was rejected since it was reserved, as far as is known."""
        return self.resume_at > max(now, permit.ready_at) or permit.sent.period != self._period

    def send(self, permit: SharedPermit) -> None:
        """Record that the request of a place is sent."""
        self._recent.append(permit.sent)

    def return_place(self, permit: SharedPermit) -> None:
        """Report that a place is not used."""
        facts = {"serial": permit.serial, "period": permit.sent.period, "charge": permit.charged}
        self._add(Report("unused", facts))

    def record_success(self, permit: Permit, advertised: Advertised, now: float) -> None:
        """Report the limits that the server advertised."""
        self._apply_advertised(permit, advertised, now)

    def record_rejection(self, permit: Permit, advertised: Advertised, seconds: float, now: float) -> None:
        """Report that it was rejected (429): no client sends anything for `seconds`."""
        self.resume_at = max(self.resume_at, now + seconds)
        facts = {
            "period": permit.sent.period,
            "before": permit.sent.before,
            "charge": permit.charged,
            "explained": any(limit.remaining < permit.charged[kind] for kind, limit in advertised.items()),
        }
        recent = tuple(sent for sent in self._recent if sent.period == permit.sent.period)
        self._add(Report("rejected", facts, now + seconds, (permit.sent, seconds, recent)))
        self._apply_advertised(permit, advertised, now)

    def record_usage(self, permit: Permit, tokens: int, now: float) -> None:  # noqa: ARG002
        """Report the tokens it took; the next requests are expected to take as many."""
        per_image = tokens / max(1, permit.charged["images"])
        facts = {"difference": tokens - permit.charged["tokens"], "per_image": per_image}
        self._add(Report("usage", facts))

    def close(self, permit: Permit) -> None:
        """Record that it is no longer in flight."""
        permit.is_open = False

    def _apply_advertised(self, permit: Permit, advertised: Advertised, now: float) -> None:  # noqa: ARG002
        for kind, limit in advertised.items():
            facts: dict[str, Any] = {
                "kind": kind,
                "limit": limit.limit,
                "remaining": limit.remaining,
                "rate": self._advertised_rate(permit, kind, limit),
            }
            if kind in permit.held:
                facts["held"] = permit.held[kind]
            self._add(Report("advertised", facts))

    def _describe_difference(self, kind: str, rate: float) -> str:
        own = self._configured[kind].rate
        return (
            f"{kind}_per_minute={60 * rate:.6g} was configured for this name by another client or an earlier run, this "
            f"client has {60 * own:.6g}: the last value is used for all; give all clients the same Limits"
        )

    def _add(self, report: Report) -> None:
        self._reports.append(report)
        self._notify()

    def _learn(self, lesson: Mapping[str, Any], report: Report, now: float) -> None:
        """Report the estimate that follows from a rejection and the counts of all clients before it."""
        if report.rejection is None:
            return
        sent, seconds, recent = report.rejection
        first = SentRequest(now + lesson["first"], 0.0, sent.period, 0.0)
        last = Estimate()
        if (stored := lesson.get("estimate")) is not None:
            rate, doubling, capacity, level, *sums = json.loads(stored)
            last = Estimate(rate, doubling, capacity, level, now + lesson["since"], *sums)
        rejection = Rejection(sent, seconds, (first, *recent), lesson["pace"], last)
        estimate = learn(rejection, max(0.0, lesson["accepted"]))
        facts = {
            "period": lesson["period"],
            "rate": estimate.rate,
            "doubling": estimate.doubling,
            "capacity": estimate.capacity,
            "level": min(estimate.level, estimate.capacity),
            "since": estimate.since - now,
            "estimate": json.dumps([*estimate[:4], *estimate[5:]]),
        }
        self._add(Report("learnt", facts))


_NOTHING = {"images": 0, "requests": 0, "tokens": 0}
