"""The documentation's site builds without a warning and has every page, command, option and recipe key."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from typer.main import get_command

from graphhand.cli import app
from graphhand.training.config import TrainConfig

REPOSITORY = Path(__file__).parents[1]
pytest.importorskip("mkdocs")
pytest.importorskip("latex2mathml")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site: strict, so a broken link, a missing page or an unread docstring fails."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)  # hooks read files of the repository
        config = load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(folder), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    return folder


def text(page: Path) -> str:
    return html.unescape(re.sub("<[^>]+>", "", page.read_text("utf-8")))


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    for page in (REPOSITORY / "docs").rglob("*.md"):
        assert (site / page.relative_to(REPOSITORY / "docs")).with_suffix(".html").is_file()


def test_every_local_link_and_image_leads_to_a_file(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":  # its links are absolute
            continue
        for target in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text("utf-8")):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / html.unescape(target)).exists(), (page.relative_to(site), target)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]*src="(https?:[^"]+)|<link[^>]*href="(https?:[^"]+)', page.read_text("utf-8")
        )
        assert not loaded, page.relative_to(site)


def test_equations_are_set_as_mathml(site: Path) -> None:
    page = (site / "method.html").read_text("utf-8")
    assert page.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">') >= 12
    assert "$`" not in page
    assert "```math" not in page
    assert "\ue000" not in page


def test_the_reference_has_every_option(site: Path) -> None:
    written = text(site / "reference" / "commands.html")
    waiting = [get_command(app)]
    while waiting:
        command = waiting.pop()
        context = command.context_class(command)
        if hasattr(command, "list_commands"):
            waiting += [command.get_command(context, name) for name in command.list_commands(context)]
        for parameter in command.get_params(context):
            if not parameter.hidden and not hasattr(command, "list_commands"):
                assert all(name in written for name in parameter.opts if name.startswith("--"))


def test_the_reference_has_every_key_of_a_recipe(site: Path) -> None:
    written = text(site / "reference" / "recipes.html")
    for name, field in TrainConfig.model_fields.items():
        assert re.search(rf"\b{name}\b", written)
        assert (field.description or "")[:20] in written
