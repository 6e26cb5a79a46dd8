"""A provider of the Batch API that does what a test says, step by step: no clock, no limits, answers of one pixel."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.helpers.clients import B64, KEY

Answer = Callable[[web.Request], web.StreamResponse | None]

USAGE = {"input_tokens": 10, "output_tokens": 196, "total_tokens": 206}


def answer(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the output file, with the images that were asked for."""
    count = line["body"].get("n", 1)
    body = {"created": 1, "data": [{"b64_json": B64}] * count, "usage": USAGE}
    return replied(line, body)


def replied(line: dict[str, Any], body: Any, status: int = 200) -> dict[str, Any]:
    """A line with this response."""
    response = {"status_code": status, "request_id": f"req_{line['custom_id'][:6]}", "body": body}
    return {"id": "batch_req_1", "custom_id": line["custom_id"], "response": response, "error": None}


def unanswered(line: dict[str, Any], code: str = "batch_expired") -> dict[str, Any]:
    """A line of a request that was not run."""
    error = {
        "code": code,
        "message": "This request could not be executed before the completion window expired.",
    }
    return {"id": "batch_req_1", "custom_id": line["custom_id"], "response": None, "error": error}


def as_it_should(_: web.Request) -> None:
    """Let the provider answer."""


async def answer_nothing(_: web.Request) -> None:
    """Let the provider answer at once."""


class BatchProvider:
    """The server. `looks` at a batch until it ends as `status`; `answer` makes a line of an output file, or none.

    `creating` is called with the request before a batch is created, and may return a response in place of the real
    one, or raise; `lost` does so after it was created; `looking`, `reading` and `on_cancel` may answer the request that
    looks at a batch, downloads a file, or cancels a batch. `content` changes the bytes of a file that is downloaded,
    which may begin anywhere if it `has_ranges`; `page` changes a page of the list. A batch with lines that it finds
    `invalid`, and says why, fails. `first` is awaited with each request, and may answer it.
    """

    def __init__(self) -> None:
        """Without batches."""
        self.api_key = KEY
        self.looks = 2
        self.status = "completed"
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = answer
        self.creating: Callable[[], web.Response | None] = lambda: None
        self.lost: Callable[[], web.Response | None] = lambda: None
        self.looking: Answer = as_it_should
        self.reading: Answer = as_it_should
        self.on_cancel: Answer = as_it_should
        self.has_ranges = True
        self.content: Callable[[bytes, int], bytes] = lambda data, _: data
        self.page: Callable[[dict[str, Any]], dict[str, Any]] = lambda page: page
        self.invalid: Callable[[dict[str, Any]], str | None] = lambda _: None
        self.first: Callable[[web.Request], Awaitable[web.StreamResponse | None]] = answer_nothing
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self._looked: dict[str, int] = {}

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def sent(self) -> list[list[dict[str, Any]]]:
        """The lines of each batch."""
        return [
            [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
            for batch in self.batches.values()
        ]

    def prompts(self) -> list[str]:
        """All prompts of all batches."""
        return [line["body"]["prompt"] for batch in self.sent for line in batch]

    async def __aenter__(self) -> Self:
        @web.middleware
        async def hook(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.first(request) or await handler(request)

        app = web.Application(client_max_size=2**30, middlewares=[hook])
        app.add_routes(
            [
                web.post("/v1/files", self._upload),
                web.get("/v1/files/{id}", self._file),
                web.get("/v1/files/{id}/content", self._content),
                web.post("/v1/batches", self._create),
                web.get("/v1/batches", self._list),
                web.get("/v1/batches/{id}", self._retrieve),
                web.post("/v1/batches/{id}/cancel", self._cancel),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def end(self, batch: dict[str, Any], status: str) -> None:
        """End a batch now."""
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        errors = [
            {"code": "invalid_request", "message": message, "param": "body", "line": number}
            for number, line in enumerate(lines, 1)
            if (message := self.invalid(line)) is not None
        ]
        if errors:
            counts = {"total": 0, "completed": 0, "failed": 0}
            batch |= {
                "status": "failed",
                "errors": {"object": "list", "data": errors},
                "request_counts": counts,
            }
            return
        answers = [found for line in reversed(lines) if (found := self.answer(line)) is not None]
        good = [line for line in answers if line["response"] and line["response"]["status_code"] == 200]
        bad = [line for line in answers if line not in good]
        batch["status"] = status
        batch["request_counts"] = {
            "total": len(lines),
            "completed": len(good),
            "failed": len(lines) - len(good),
        }
        for field, group in (("output_file_id", good), ("error_file_id", bad)):
            if group:
                batch[field] = self._add(b"".join(json.dumps(line).encode() + b"\n" for line in group))

    def _add(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name

    async def _upload(self, request: web.Request) -> web.Response:
        self.calls.append("upload")
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        return web.json_response({"id": self._add(file.file.read()), "object": "file"})

    async def _file(self, request: web.Request) -> web.Response:
        self.calls.append("file")
        name = request.match_info["id"]
        if name not in self.files:
            return web.json_response({"error": {"message": "No such File object", "code": None}}, status=404)
        return web.json_response({"id": name, "object": "file"})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        self.calls.append("content")
        if (response := self.reading(request)) is not None:
            return response
        name = request.match_info["id"]
        if name not in self.files:
            return web.json_response({"error": {"message": "No such File object", "code": None}}, status=404)
        data = self.files[name]
        start = int(request.headers.get("Range", "bytes=0-")[6:-1]) if self.has_ranges else 0
        rest = data[start:]
        sent = self.content(rest, start)
        response = web.StreamResponse(status=206 if start else 200)
        response.content_length = len(rest)
        await response.prepare(request)
        await response.write(sent)
        if len(sent) < len(rest) and request.transport is not None:
            await asyncio.sleep(0.05)
            request.transport.close()
        return response

    async def _create(self, request: web.Request) -> web.Response:
        self.calls.append("create")
        body = await request.json()
        if (response := self.creating()) is not None:
            return response
        name = f"batch_{len(self.batches)}"
        batch = {
            "id": name,
            "object": "batch",
            "status": "validating",
            "created_at": 1_700_000_000,
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
            "request_counts": None,
            **body,
        }
        self.batches[name] = batch
        return self.lost() or web.json_response(batch)

    async def _list(self, request: web.Request) -> web.Response:
        self.calls.append("list")
        names = list(self.batches)
        start = names.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = [self.batches[name] for name in names[start : start + 2]]
        found = {"object": "list", "data": page, "has_more": start + 2 < len(names)}
        return web.json_response(self.page(found))

    async def _retrieve(self, request: web.Request) -> web.StreamResponse:
        self.calls.append("retrieve")
        if (response := self.looking(request)) is not None:
            return response
        name = request.match_info["id"]
        batch = self.batches[name]
        self._looked[name] = looks = self._looked.get(name, 0) + 1
        if looks >= self.looks and batch["status"] in ("validating", "in_progress", "cancelling"):
            self.end(batch, "cancelled" if batch["status"] == "cancelling" else self.status)
        elif batch["status"] == "validating":
            batch["status"] = "in_progress"
        return web.json_response(batch)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        self.calls.append("cancel")
        if (response := self.on_cancel(request)) is not None:
            return response
        batch = self.batches[request.match_info["id"]]
        batch["status"] = "cancelling"
        return web.json_response(batch)
