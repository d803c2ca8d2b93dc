"""Builds the reference pages from the code: commands and their options, recipe keys, and the API from docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from typer.main import get_command

from graphhand.cli import app
from graphhand.config import StrictModel
from graphhand.synthesis.config import RenderConfig
from graphhand.training.config import TrainConfig

API = {
    "prediction": (
        "Prediction",
        "Image in, hands out. Needs no torch. Public names are imported from `graphhand`.",
        (
            "graphhand.inference.estimator.HandPoseEstimator",
            "graphhand.inference.tracking.HandTracker",
            "graphhand.inference.detector.Detection",
            "graphhand.inference.detector.load_detector",
            "graphhand.types.Prediction",
            "graphhand.types.Hand",
            "graphhand.types.Camera",
            "graphhand.skeleton",
            "graphhand.io.video.Video",
            "graphhand.io.video.LiveCamera",
            "graphhand.io.images",
            "graphhand.visualize",
            "graphhand.batch.job",
            "graphhand.batch.tables",
            "graphhand.errors",
        ),
    ),
    "networks": (
        "Networks and losses",
        "The paper's parts. Needs the extra `train`.",
        (
            "graphhand.hand_model.layer",
            "graphhand.models.generator",
            "graphhand.models.hand_model_module",
            "graphhand.models.refinement",
            "graphhand.models.heatmaps",
            "graphhand.models.discriminator",
            "graphhand.models.detector",
            "graphhand.models.checkpoint",
            "graphhand.losses",
            "graphhand.metrics",
            "graphhand.geometry.rotations",
            "graphhand.geometry.cameras",
            "graphhand.geometry.crops",
        ),
    ),
    "data": (
        "Data and rendering",
        "Samples, data sets, crops, and rendered hands. Needs the extra `train`.",
        (
            "graphhand.data.sample",
            "graphhand.data.datasets",
            "graphhand.data.transforms",
            "graphhand.data.loader",
            "graphhand.synthesis.engine",
            "graphhand.synthesis.poses",
            "graphhand.synthesis.scene_engine",
        ),
    ),
    "training": (
        "Training and evaluation",
        "The three stages, protocols and scores. Needs the extra `train`.",
        (
            "graphhand.training.trainer",
            "graphhand.training.steps",
            "graphhand.training.objective",
            "graphhand.evaluation.predict",
            "graphhand.evaluation.protocol",
            "graphhand.evaluation.scoring",
            "graphhand.inference.runtime",
            "graphhand.export.onnx",
            "graphhand.export.gltf",
        ),
    ),
}


def cell(text: object) -> str:
    """Text for a cell of a table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def code(value: object) -> str:
    """A value for a cell of a table; a bar inside code does not end the cell."""
    return f"`{value}`"


def commands(command: Any, path: str) -> Iterator[str]:
    """The section of a command, and of those below it."""
    context = command.context_class(command, info_name=path)
    if hasattr(command, "list_commands"):
        if command.invoke_without_command and path != "graphhand":
            yield from section(command, context, path)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from commands(below, f"{path} {name}")
    else:
        yield from section(command, context, path)


def section(command: Any, context: Any, path: str) -> Iterator[str]:
    """What a command does, its examples, and a table of its arguments and options."""
    yield f"## {path}\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        text = paragraph.removeprefix("\b").strip().replace("\\[", "[")  # typer's markup for a bracket
        if text.startswith("Example"):
            examples = text.partition(":")[2].splitlines()
            yield "```console\n" + "\n".join(line.strip() for line in examples if line.strip()) + "\n```\n"
        elif paragraph.startswith("\b"):  # a list, as it stands
            yield f"```text\n{text}\n```\n"
        else:
            yield text + "\n"
    yield f"```text\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield "| argument or option | value | default | |\n|---|---|---|---|"
    for parameter in command.get_params(context):
        if parameter.hidden:
            continue
        is_option = parameter.param_type_name == "option"
        names = parameter.opts if is_option else [parameter.metavar or parameter.name.upper()]
        value = code(parameter.metavar) if parameter.metavar else type_name(parameter.type_descriptor.annotation)
        if not is_option or parameter.is_flag:
            value = ""
        default = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
        default = default.value if isinstance(default, Enum) else default
        shown = "" if default in (None, False, ()) or callable(default) else code(default)
        shown = "required" if parameter.required else shown
        said, _, described = (parameter.help or "").partition("\\[default: ")  # one that no value says
        shown = shown or cell(described.removesuffix("]"))
        names = ", ".join(code(name) for name in (*names, *parameter.secondary_opts))
        yield f"| {names} | {value} | {shown} | {cell(said)} |"
    yield ""


def type_name(annotation: object) -> str:
    """A type as a reader of YAML knows it, as code."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return code(" | ".join(str(member.value) for member in annotation))
    text = re.sub(r"<class '([\w.]+)'>", r"\1", str(annotation))
    text = re.sub(r"(?:[a-zA-Z_]+\.)+", "", text)
    text = re.sub(r"Annotated\[(\w+), Tag\([^)]*\)\]", r"\1", text)
    text = re.sub(r"Union\[([^\]]*)\]", lambda match: match[1].replace(", ", " | "), text)
    text = re.sub(r"Literal\[([^\]]*)\]", lambda match: match[1].replace("'", "").replace(", ", " | "), text)
    text = re.sub(r"Optional\[(.*)\]", r"\1 | None", text)
    return code(text.replace("None", "null").replace("Path", "path"))


def models_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The sections of a recipe, in the order in which they are named, the recipe itself first."""
    found: list[type[BaseModel]] = []

    def visit(annotation: object) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in found:
            found.append(annotation)
            for field in annotation.model_fields.values():
                visit(field.annotation)
        for part in getattr(annotation, "__args__", ()):
            visit(part)

    visit(model)
    return found


def keys(model: type[BaseModel]) -> Iterator[str]:
    """The table of a section's keys."""
    yield f"## {model.__name__}\n"
    yield (model.__doc__ or "").strip().split("\n\n")[0].replace("``", "`") + "\n"
    yield "| key | value | default | |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        parts = default if isinstance(default, tuple) else (default,)
        shown = "null" if default is None else code(default)
        if any(isinstance(part, StrictModel) for part in parts):
            shown = ""  # in a table of its own
        if field.is_required():
            shown = "required"
        yield f"| `{name}` | {type_name(field.annotation)} | {shown} | {cell(field.description or '')} |"
    yield ""


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the reference pages."""
    sections: list[type[BaseModel]] = [*models_of(TrainConfig), RenderConfig]
    pages = {
        "commands": ["# Commands\n", *commands(get_command(app), "graphhand")],
        "recipes": [
            "# Recipes\n",
            "Every key of a recipe, with its default. A section `{...}` holds the keys of its own table.\n",
            *(line for model in sections for line in keys(model)),
        ],
    }
    for name, (title, introduction, modules) in API.items():
        pages[name] = [f"# {title}\n", introduction + "\n", *(f"::: {module}\n" for module in modules)]
    for name, lines in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(lines)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Drop the roles of names in docstrings, which only Sphinx reads."""
    return re.sub(r":(?:attr|class|data|exc|func|meth|mod):<code>~?", "<code>", html)
