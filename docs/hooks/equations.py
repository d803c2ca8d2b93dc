"""Sets equations as MathML when the site is built: browsers show it without scripts, fonts or a network.

Pages write them as GitHub reads them: a fenced block of ``math``, or ``$`...`$`` within a line.
"""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.pages import Page

BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"\$`([^`]+)`\$")
KEPT = re.compile(r"(?:<p>)?\ue000(\d+)\ue001(?:</p>)?")
"""Stands for an equation while Markdown is read, which would take its signs for markup."""


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Take the equations out."""
    found: list[str] = []

    def keep(match: re.Match[str], display: str) -> str:
        found.append(convert(match[1].strip(), display=display))
        return f"\ue000{len(found) - 1}\ue001"

    markdown = BLOCK.sub(lambda match: keep(match, "block"), markdown)
    markdown = INLINE.sub(lambda match: keep(match, "inline"), markdown)
    page.meta["equations"] = found
    return markdown


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Put them in."""
    return KEPT.sub(lambda match: page.meta["equations"][int(match[1])], html)
