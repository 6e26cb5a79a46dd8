"""Texts, numbers and names that answers are damaged with: each has broken some reader somewhere.

Rules: data, nothing else.
"""
# ruff: noqa: E501  a table is read across

import json
import math
from typing import Any

from benchmarks.corpus import KEY, PROMPT

DIGITS = "a number of five thousand digits"
"""Where this text is a value, such a number is written."""

# fmt: off
BYTES = (
    *(b"\0", b"\xff", b"\xfe", b"\xc3", b"\xed\xa0\xbd", b"\xf4\x90\x80\x80", b"\x1b[2J", b"\x7f", b"\xef\xbb\xbf"),
    *(b'"', b'""', b"\\", b"\\\\", b'\\"', b"\\u", b"\\u00", b"\\ud83e", b"\\u0000", b"\\x", b"\\/"),
    *(b"{", b"}", b"[", b"]", b":", b",", b"}}", b"]}", b"{}", b"[]", b"[[[[", b'{"":'),
    *(b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b"\t", b" ", b"\x0b", b"\x0c", b"\xc2\xa0", b"\xe2\x80\xa8"),
    *(b"data:", b"data: ", b"data: [DONE]\n\n", b"event:", b"event: error\n", b"id: 7\n", b"retry: 1\n", b": ping\n\n"),
    *(b"data:image/png;base64,", b"data:,", b"=", b"==", b"====", b"-", b"_", b"+", b"QQ==", b"QUJD" * 30),
    *(b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"-0", b"1e999", b"-1", b"0.1", b"9" * 400, b"1E400"),
    *(b'"b64_json":', b'"b64_json":"', b'"url":"', b'"url":"data:', b'"type":"error",', b'"error":{', b'"data":[{'),
    *(b"<", b"<html>", b"<svg ", b"<title", b"<!--", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF89a", b"PK\x03\x04"),
    *(b"safety_violations=[", b"try again in ", b"try again in 99999999999999s", b'{"error"', b"moderation_blocked"),
)

_SHAPES = (
    *("[]", "{}", "[[]]", "[null]", "[{}]", '{"a":[]}', '["",0]', '{"detail":[{}]}', '{"type":"error"}', '{"task_id":"t"}'),
    *('{"error":{"message":"m","code":"c"}}', '{"b64_json":"QQ=="}', '{"url":"https://example.com"}', '{"status":"queued"}'),
    *('{"hate":{"filtered":true}}', '{"categories":[{},null,5,"a"]}', '{"cached_tokens":-1}', '{"image_tokens":1e30}'),
)

WORDS: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 1.5, -0.0, 2**31, 2**53, 2**63, 10**30, 10**400, 1e308, 5e-324),
    *(math.nan, math.inf, -math.inf, DIGITS),
    *("", " ", "0", "-1", "429", "503", "200", "None", "null", "false", "QQ==", "*", "\0", "\x1b[31m", "\ud83e", "\udd9d"),
    *("\u202e", "\u2028", "\N{OTTER}", "x" * 300, "long " * 5000, "QUJD" * 100, KEY, PROMPT, f"Bearer {KEY}"),
    *("error", "moderation_blocked", "rate_limit_exceeded", "insufficient_quota", "server_error", "contentFilter"),
    *("try again in 5s", "try again in 1e9s", "please retry after 999999999999 seconds", "safety_violations=[a,,b]"),
    *("data:image/png;base64,QQ==", "data:", "https://example.com/a.png", "/v1/x", "javascript:0", "//x"),
    *("image_generation.completed", "image_generation.partial_failed", "image", "x.partial_succeeded"),
    *('{"error":{"message":"{\\"error\\":{}}"}}', '{"error":' * 60),
    *map(json.loads, _SHAPES),
)

KEYS = (
    *("b64_json", "url", "data", "type", "error", "errors", "detail", "message", "code", "param", "status", "task_id"),
    *("usage", "created", "created_at", "size", "quality", "background", "output_format", "revised_prompt", "extra"),
    *("image", "images", "path", "nbytes", "image_index", "partial_image_index", "sequence_number", "generation_id"),
    *("input_tokens", "prompt_tokens", "output_tokens", "total_tokens", "input_tokens_details", "svg_usage", "model"),
    *("innererror", "inner_error", "content_filter_results", "content_filter_result", "moderation_details", "input"),
    *("prompt_filter_results", "categories", "moderation_stage", "loc", "msg", "title", "id", "request_id", "attempts"),
    *("edited", "parts", "missing", "elapsed", "safety_identifier", "self", "cls", "value", "__class__", "", "\0", "\ud800", KEY),
)

TYPES = (
    *(b"image_generation.completed", b"image_generation.partial_image", b"image_edit.completed", b"image_edit.partial_image"),
    *(b"image_generation.partial_succeeded", b"image_generation.partial_failed", b"error", b"message", b"image", b"ping"),
    *(b'"type"', b'"b64_json"', b'"url"', b'"data"', b'"error"', b'"code"', b"event:", b"data:", b'"usage"', b'"created"'),
)

STATUSES = (
    *(200, 200, 201, 202, 204, 301, 307, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504),
    *(524, 599),
)

HEADERS = (
    *("content-type", "content-type", "retry-after", "retry-after-ms", "x-should-retry", "date", "location"),
    *("x-request-id", "apim-request-id", "x-ms-request-id", "content-length", "content-encoding"),
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens", "images")),
    "x-ratelimit-limit-input-images",
)

WAITS = (
    *("0", "1", "-1", "0.5", "1e2", "1e308", "1e-308", "5e-324", "1e999", "nan", "inf", "-inf", "Infinity", "1_000", "+5", " 7 "),
    *("9" * 400, "9" * 5000, "0x10", "1,5", "\u0661\u0662", "1ms", "120ms", "0s", "6m0s", "1h2m3s", "58.891s", "1e5s", "1s1m"),
    *("999999999999h", "0.0000000000000000001ms", "s", "ms", "1d", "true", "false", "TRUE", "soon", ""),
)

DATES = (
    *("Sun, 22 Nov 2026 12:00:30 GMT", "Sun, 22 Nov 2026 12:00:30", "Wed, 01 Jan 2020 00:00:00 GMT"),
    *("Mon, 01 Jan 0001 00:00:00 +2359", "Mon, 01 Jan 9999 23:59:59 -2359", "1 Jan 2026 00:00:00 +99999", "0 0 0 0 0"),
    *("Sun, 99 Nov 2026 13:00:30 GMT", "Sunday, 22-Nov-26 12:00:30 GMT", "Sun Nov 22 12:00:30 2026", "2026-11-22T12:00:30Z"),
    *("Sun, 22 Nov 99999999999 12:00:30 GMT", "Sun, 22 Nov 2026 99:99:99 GMT", "1 jan 1 1:1:1 -0000", "Jan", ","),
)

TEXTS = (
    *("text/event-stream", "text/event-stream; charset=utf-16", "application/json", "APPLICATION/JSON;charset=latin-1"),
    *("image/png", "image/", "image/svg+xml", "text/html", "text/plain; charset=\udcff", "application/zip", "/", ";", ";;="),
    *("multipart/x-mixed-replace; boundary=x", "application/x-ndjson", "a/b" * 2000, "\x7f", "\xe9", "\udce9", "\u202e"),
    *("https://eu.example.com/v1", "/v1/images", "javascript:0", "x" * 4000, "QUJD" * 100, "req_0123456789"),
)
