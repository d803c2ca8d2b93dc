"""Builds pages for files of the repository that the documentation links to, so that the site is complete in itself.

A page under docs/ may link to ../src/graphhand/losses.py or ../research/README.md, as it does where the repository
is browsed. The site has such files at repository/<path>: Markdown as it is, code as a block, others to
download. Pages that these link to follow in turn.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

FOLDER = "repository"
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
LANGUAGES = {
    ".txt": "text",
    ".py": "python",
    ".yaml": "yaml",
    ".toml": "toml",
    ".json": "json",
    ".ipynb": "json",
    ".sh": "bash",
}


def site_path(path: str) -> str:
    """Where a file of the repository is within the site's sources; both are relative, with forward slashes."""
    if path.startswith("docs/"):
        return path[len("docs/") :]
    return f"{FOLDER}/{path}.md" if Path(path).suffix in LANGUAGES else f"{FOLDER}/{path}"


def repository_path(site: str) -> str:
    """The inverse of :func:`site_path` for Markdown files."""
    return site[len(FOLDER) + 1 :] if site.startswith(f"{FOLDER}/") else f"docs/{site}"


def rewrite(text: str, path: str) -> tuple[str, set[str]]:
    """Markdown with links that lead where the site has the files, and the files of the repository it links to.

    Args:
        text: the Markdown.
        path: of its file, relative to the repository.
    """
    linked: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        before, target, anchor, after = match[1], match[2], match[3] or "", match[4]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        full = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        if full.startswith("..") or not Path(full).exists():
            return match[0]
        if Path(full).is_dir():  # a folder has no page: its name stays
            return "]"
        linked.add(full)
        return before + posixpath.relpath(site_path(full), posixpath.dirname(site_path(path)) or ".") + anchor + after

    return LINK.sub(replace, text), linked


def content(path: str) -> str:
    """The Markdown of a file of the repository's page, links as they stand in the file."""
    text = Path(path).read_text("utf-8")
    if path.endswith(".md"):
        return text
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"# {path}\n\n{fence}{LANGUAGES.get(Path(path).suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages and images."""
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        linked = rewrite(content(path), path)[1] if path.endswith(".md") else set()
        for other in sorted(linked - seen):
            seen.add(other)
            if other.startswith("docs/"):
                continue
            waiting.append(other)
            if other.endswith(".md") or Path(other).suffix in LANGUAGES:
                added = File.generated(config, site_path(other), content=content(other))
            else:  # an image or another file as it is
                added = File.generated(config, site_path(other), abs_src_path=str(Path(other).resolve()))
            files.append(added)
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links at the site's pages. A search finds the documentation first and leaves source files out."""
    path = repository_path(page.file.src_uri)
    if page.file.src_uri.startswith(f"{FOLDER}/"):
        page.meta["search"] = {"boost": 0.3} if Path(path).is_file() else {"exclude": True}
    return rewrite(markdown, path)[0] if Path(path).is_file() and path.endswith(".md") else markdown
