"""The pictures of one call: opened once, checked, and sent with each of its attempts and parts.

Rules: a call that is split, or sent again, opens what it was handed once: what can be read only once would be gone.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from openai_images.client.open_sources import Opened, opened
from openai_images.models.requests import EditRequest, ImageReference, as_list, reference_of
from openai_images.validation.edit_rules import SourceFacts, picture_problems
from openai_images.wire.codec import body_of
from openai_images.wire.requests import HttpRequest, Pictures, edit

if TYPE_CHECKING:
    from openai_images.models.requests import GenerateRequest
    from openai_images.validation.validator import Checker

_log = logging.getLogger("openai_images")


def preparation_of(request: GenerateRequest, check: Checker) -> Preparation | None:
    """What has to be opened for a request, None where that is nothing."""
    return Preparation(request, check) if isinstance(request, EditRequest) else None


class Preparation:
    """`await ready()` before a slot is taken, `build` for each attempt."""

    def __init__(self, request: EditRequest, check: Checker) -> None:
        """Nothing is opened yet."""
        self._request = request
        self._check = check
        self._opening = asyncio.Lock()
        self._pictures: Pictures | None = None

    @property
    def secrets(self) -> Iterator[str]:
        """What no error may repeat: a URL may be signed."""
        for one in (*as_list(self._request.image), self._request.mask, self._request.markup):
            reference = reference_of(one)
            if reference is not None and reference.image_url is not None:
                yield reference.image_url

    async def ready(self) -> Pictures:
        """The opened pictures. Raises `RequestInvalidError`."""
        async with self._opening:
            if self._pictures is None:
                self._pictures = self._checked(await opened(self._request))
            return self._pictures

    async def build(
        self, url: str, request: GenerateRequest, headers: Mapping[str, str], *, stream: bool
    ) -> HttpRequest:
        """The request of an attempt, for all of the pictures asked for or a part of them."""
        pictures = await self.ready()
        as_json = self._as_json(pictures)
        # 128 bits of chance: no picture has this line in it.
        boundary = secrets.token_hex(16)
        return edit(
            url,
            body_of(request, stream=stream),
            pictures,
            headers,
            stream=stream,
            boundary=None if as_json else boundary,
        )

    def _checked(self, found: list[Opened]) -> Pictures:
        by_part = {one.part: one.picture for one in found}
        images = [one.picture for one in found if one.part == "image"]
        pictures = Pictures(images, by_part.get("mask"), by_part.get("markup"))
        facts = [_facts(one) for one in found]
        problems = picture_problems(facts, official=self._check.official, as_json=self._as_json(pictures))
        for doubtful in self._check.pictures(problems):
            _log.warning("%s; it is sent all the same", doubtful)
        return pictures

    def _as_json(self, pictures: Pictures) -> bool:
        return self._request.as_json or pictures.referred


def _facts(one: Opened) -> SourceFacts | ImageReference:
    if isinstance(one.picture, ImageReference):
        return one.picture
    return SourceFacts(one.part, one.name, one.picture.nbytes, one.head)
