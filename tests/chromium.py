"""A real browser for the tests of pages. They need playwright and a Chromium, and are skipped without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


@contextmanager
def started(*arguments: str) -> Iterator[Any]:
    """The browser, with a camera that shows a test picture; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need playwright")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("the page's tests need Chromium")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=path, args=[*_ARGUMENTS, *arguments])
        yield chromium
        chromium.close()


def download(page: Any, button: str, folder: Path) -> Path:
    """Click, and keep the file that comes under its name."""
    with page.expect_download() as waiting:
        page.click(button)
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path
