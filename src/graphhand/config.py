"""Typed settings from files and ``key=value`` overrides; every fault is one line that names the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, ValidationError

from graphhand.errors import InputError, fault_message

Model = TypeVar("Model", bound=BaseModel)

_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_NOT_A_SECTION = ("model_type", "dataclass_type")


class StrictModel(BaseModel):
    """A section of settings: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def tagged(key: str, default: str) -> Discriminator:
    """Selects a section of a union by the value of its ``key``; ``default`` where the key is left out.

    ``key`` is the first field of every section in the union, and has one value.
    """

    def tag(section: Any) -> str:
        return str(section.get(key, default) if isinstance(section, dict) else getattr(section, key, default))

    return Discriminator(tag)


def read_settings(path: str | PathLike[str], example: str) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; an empty file is an empty mapping.

    Args:
        path: the file.
        example: what the error proposes instead, such as ``a recipe such as configs/cpu.yaml``.

    Raises:
        InputError: the file is unreadable or holds no mapping.
    """
    try:
        data = yaml.safe_load(Path(path).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(path, "no such file", f"give {example}") from None
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(path, f"cannot be read ({error})", "give a YAML text file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(path, f"not YAML ({' '.join(str(error).split())})", "correct it at that place") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(path, "not a mapping of keys to values", f"compare it with {example}")
    return data


def apply_overrides(data: dict[str, Any], overrides: Iterable[str], example: str) -> None:
    """Write ``key.subkey=value`` overrides into a mapping of settings; values are YAML.

    Args:
        data: changed in place.
        overrides: for example ``stage1.epochs=2``.
        example: a valid override, for errors.

    Raises:
        InputError: an override has another form, or reaches into a value that is not a section.
    """
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise InputError(override, "not key=value", f"write for example {example}")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise InputError(override, "its value is not YAML", "quote it, or write a plain number or word") from None
        *sections, last = key.split(".")
        node: Any = data
        for section in sections:
            if isinstance(node, dict) and node.get(section) is None:  # absent, or null in the file
                node[section] = {}
            node = node[section] if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise InputError(override, f"{key} is not inside a section", "check the dots in its name")
        node[last] = value


def validate(model: type[Model], data: dict[str, Any], source: str | PathLike[str]) -> Model:
    """The settings of a mapping.

    Args:
        model: what the mapping describes.
        data: keys and plain values.
        source: the file or option that errors name.

    Raises:
        InputError: the first fault; an unknown key comes first, with the nearest valid one.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = error.errors()
    # An unknown key often causes the other faults.
    fault = next((f for f in faults if f["type"] in _UNKNOWN_KEY), faults[0])
    keys, section = _resolve(model, fault["loc"])
    where = ".".join(keys)
    if fault["type"] in _UNKNOWN_KEY:
        raise InputError(source, f"unknown key {where}", did_you_mean(keys[-1], _fields(section)))
    if fault["type"] == "union_tag_invalid":
        raise InputError(source, f"{where}: no kind {fault['ctx']['tag']!r}", f"choose {fault['ctx']['expected_tags']}")
    if fault["type"] in _NOT_A_SECTION:
        remedy = f"write keys and values below it (valid here: {', '.join(_fields(section))})"
        raise InputError(source, f"{where}: not a section", remedy)
    problem = f"{where}: {fault_message(fault)}" if where else fault_message(fault)
    raise InputError(source, problem, "correct that value")


def did_you_mean(key: str, valid: Iterable[str]) -> str:
    """The remedy for an unknown key: the nearest valid one, and all of them."""
    valid = list(valid)
    (nearest,) = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    return f"did you mean {nearest}? (valid here: {', '.join(valid)})"


def _resolve(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The keys of a fault's location, without the tags that pydantic adds for unions, and the section at fault."""
    keys: list[str] = []
    section: Any = model
    candidates = [model]
    for part in location:
        tagged = [c for c in candidates if len(candidates) > 1 and _tag(c) == part]
        if tagged:
            section, candidates = tagged[0], tagged
            continue
        if isinstance(part, int):
            keys.append(str(part))
            continue
        keys.append(part)
        if candidates:
            section = candidates[0]
        fields = getattr(section, "model_fields", {})
        candidates = _sections(fields[part].annotation) if part in fields else []
    return keys, candidates[0] if candidates else section


def _tag(section: Any) -> Any:
    """What tells a section of a union from the others: the value of its first field."""
    field = next(iter(getattr(section, "model_fields", {}).values()), None)
    return next(iter(get_args(field.annotation)), None) if field is not None else None


def _fields(section: Any) -> list[str]:
    return list(section.model_fields if hasattr(section, "model_fields") else section.__dataclass_fields__)


def _sections(annotation: Any) -> list[Any]:
    """The models and dataclasses inside an annotation such as ``tuple[A | B, ...]``."""
    if get_origin(annotation) in (Annotated, Union, UnionType, tuple, list, dict):
        return [section for argument in get_args(annotation) for section in _sections(argument)]
    is_section = hasattr(annotation, "model_fields") or hasattr(annotation, "__dataclass_fields__")
    return [annotation] if is_section and isinstance(annotation, type) else []
