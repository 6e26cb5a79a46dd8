"""A real browser for tests of pages."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Playwright, async_playwright, expect

_PATIENCE = 60_000
"""Milliseconds that an expectation may take on a busy machine."""


@asynccontextmanager
async def chromium() -> AsyncGenerator[Browser]:
    """Chromium, without a window."""
    expect.set_options(timeout=_PATIENCE)
    path = shutil.which("chromium")
    assert path is not None, "these tests need Debian's chromium: apt-get install chromium"
    playwright: Playwright
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()
