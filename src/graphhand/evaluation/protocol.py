"""Evaluation protocols: every choice between a set of predictions and a number, in one value.

Two numbers compare only where their protocols agree, so no result leaves this package without one. ``PRESETS`` holds
what published evaluations computed, read off their code where it is public; ``docs/protocols.md`` has the sources.
A preset's ``note`` says where it differs from the code it is named after.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from graphhand.config import StrictModel, read_settings, validate
from graphhand.errors import InputError
from graphhand.metrics import MIDDLE_PROXIMAL_BONE, THRESHOLD_GRIDS, WRIST_MIDDLE_BONE, Average
from graphhand.skeleton import JOINT_NAMES, NUM_JOINTS, Joint
from graphhand.types import FloatArray

JointZero = Literal["wrist", "palm_middle", "palm_ring"]
AlignmentKind = Literal["none", "root", "procrustes"]
ScaleKind = Literal["none", "bone", "least_squares"]

_GRID = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)x(\d+)")
_MAX_THRESHOLD_MM, _MAX_POINTS = 10_000.0, 100_000
_JOINT_ZERO = {
    "wrist": "joint 0 is the wrist",
    "palm_middle": "joint 0 is the palm (midpoint of wrist and middle_mcp, both hands)",
    "palm_ring": "joint 0 is the palm (midpoint of wrist and ring_mcp, both hands)",
}
_AVERAGE = {
    "joints": "mean over samples, then over joints",
    "samples": "mean over joints, then over samples",
    "pooled": "mean over all counted joints at once",
}


def thresholds_mm(name: str) -> FloatArray:
    """A threshold grid by its name: one of ``metrics.THRESHOLD_GRIDS``, or ``LOW-HIGHxPOINTS`` such as ``20-50x31``.

    Raises:
        ValueError: no such grid.
    """
    if name in THRESHOLD_GRIDS:
        return THRESHOLD_GRIDS[name]
    match = _GRID.fullmatch(name)
    if match:
        low, high, points = float(match[1]), float(match[2]), int(match[3])
        if low < high <= _MAX_THRESHOLD_MM and 2 <= points <= _MAX_POINTS:
            return np.linspace(low, high, points)
    raise ValueError(f"no thresholds {name!r}; use one of {', '.join(THRESHOLD_GRIDS)}, or LOW-HIGHxPOINTS in mm")


def _joint_index(value: Any) -> Any:
    """A joint's index from its name; anything else is left to pydantic."""
    if isinstance(value, str) and value in JOINT_NAMES:
        return JOINT_NAMES.index(value)
    if isinstance(value, str) and not value.strip().isdigit():
        raise ValueError(f"no joint {value!r}; choose from {', '.join(JOINT_NAMES)}")
    return value


class Protocol(StrictModel):
    """How errors are taken. Immutable; unknown keys and contradictions are refused by name.

    Joints are given by name or index.
    """

    name: str = Field(default="custom", description="what reports call it")
    joint_zero: JointZero = Field(
        default="wrist", description="joint 0 of both hands: wrist, or midpoint with a knuckle: palm_middle, palm_ring"
    )
    alignment: AlignmentKind = Field(default="root", description="none (camera frame), root or procrustes")
    root: int = Field(default=0, ge=0, lt=NUM_JOINTS, description="joint that alignment root makes coincide")
    scale: ScaleKind = Field(
        default="none",
        description="predicted size: none (unchanged), bone (its true length) or least_squares",
    )
    bone: tuple[int, int] = Field(default=MIDDLE_PROXIMAL_BONE, description="two joints; their bone sets scale bone")
    reflection: bool = Field(default=False, description="whether procrustes may mirror the prediction")
    excluded: tuple[int, ...] = Field(default=(), description="joints that do not count")
    visibility: Literal["all", "visible"] = Field(default="all", description="joints that count: all or visible")
    average: Average = Field(
        default="joints", description="joints (over samples, then joints), samples (joints, then samples) or pooled"
    )
    thresholds: str = Field(
        default="20-50x20", description="PCK grid and AUC range in mm: LOW-HIGHxPOINTS, zb-20-50x12 or zb-0-50x20"
    )
    note: str = Field(default="", description="a remark that reports repeat")

    @field_validator("root", mode="before")
    @classmethod
    def _root_by_name(cls, value: Any) -> Any:
        return _joint_index(value)

    @field_validator("bone", "excluded", mode="before")
    @classmethod
    def _joints_by_name(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if info.field_name == "bone" and isinstance(value, (list, tuple)) and len(value) != 2:
            raise ValueError("a bone is two joints, such as wrist,middle_mcp")
        return tuple(map(_joint_index, value)) if isinstance(value, (list, tuple)) else value

    @field_validator("thresholds")
    @classmethod
    def _thresholds_exist(cls, value: str) -> str:
        thresholds_mm(value)
        return value

    @field_validator("excluded")
    @classmethod
    def _excluded_are_joints(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= joint < NUM_JOINTS for joint in value) or len(set(value)) >= NUM_JOINTS:
            raise ValueError(f"excluded joints are indices 0-{NUM_JOINTS - 1}, and at least one joint must count")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _choices_agree(self) -> Protocol:
        if self.bone[0] == self.bone[1] or not all(0 <= joint < NUM_JOINTS for joint in self.bone):
            raise ValueError(f"bone joins two different joints 0-{NUM_JOINTS - 1}, got {self.bone}")
        if self.alignment == "none" and self.scale != "none":
            raise ValueError(
                f"scale={self.scale} needs a centre: alignment=none leaves the hand where it was predicted"
            )
        if self.alignment == "procrustes" and self.scale == "bone":
            raise ValueError("alignment=procrustes fits the scale itself: scale is least_squares (or none, for rigid)")
        if self.reflection and self.alignment != "procrustes":
            raise ValueError(f"reflection belongs to alignment=procrustes, not to alignment={self.alignment}")
        return self

    @property
    def grid_mm(self) -> FloatArray:
        """Thresholds of the PCK curve, ``(T,)`` millimetres."""
        return thresholds_mm(self.thresholds)

    @property
    def counted(self) -> tuple[int, ...]:
        """Joints that count, in order."""
        return tuple(joint for joint in range(NUM_JOINTS) if joint not in self.excluded)

    def changed(self, **changes: Any) -> Protocol:
        """This protocol with some fields changed, and with a name that says which: ``ge+excluded``.

        Raises:
            pydantic.ValidationError: the changes are unknown, impossible or contradict each other.
        """
        changed = Protocol.model_validate({**self.model_dump(), **changes})
        if "name" in changes:
            return changed
        differing = sorted(key for key, value in changed.model_dump().items() if value != getattr(self, key))
        if not differing:
            return self
        return changed.model_copy(update={"name": f"{self.name}+{'+'.join(differing)}"})

    def describe(self) -> str:
        """Every choice in one line, in words."""
        if self.alignment == "none":
            alignment = "no alignment (camera frame)"
        elif self.alignment == "root":
            alignment = f"aligned at {JOINT_NAMES[self.root]} (joint {self.root})"
        else:
            mirror = "admitted" if self.reflection else "not admitted"
            alignment = f"Procrustes-aligned (reflection {mirror})"
        if self.scale == "bone":
            first, second = (JOINT_NAMES[joint] for joint in self.bone)
            scale = f"true scale from bone {first}-{second}"
        else:
            scale = {"none": "no scale correction", "least_squares": "least-squares scale"}[self.scale]
        if self.alignment == "root" and self.root not in self.excluded:
            counted = f"{len(self.counted)} joints count, the aligned root among them"
        else:
            counted = f"{len(self.counted)} joints count"
        if self.excluded:
            counted += f" (without {', '.join(JOINT_NAMES[joint] for joint in self.excluded)})"
        visibility = "visible joints only" if self.visibility == "visible" else "hidden joints count too"
        grid = self.grid_mm
        auc = f"AUC over {grid[0]:.4g}-{grid[-1]:.4g} mm, {len(grid)} points"
        return "; ".join(
            (alignment, scale, _JOINT_ZERO[self.joint_zero], counted, visibility, _AVERAGE[self.average], auc)
        )

    def to_yaml(self) -> str:
        """A file for :func:`load_protocol`, each field with its description."""
        values: dict[str, Any] = self.model_dump()
        values["root"] = JOINT_NAMES[self.root]
        values["bone"], values["excluded"] = (
            [JOINT_NAMES[joint] for joint in joints] for joints in (self.bone, self.excluded)
        )
        lines = []
        for key, field in type(self).model_fields.items():
            entry = yaml.safe_dump(
                {key: values[key]},
                default_flow_style=None if isinstance(values[key], list) else False,
                width=10_000,
                allow_unicode=True,
            )
            lines.append(f"{entry.strip()}  # {field.description}")
        return "\n".join([f"# {self.describe()}", *lines]) + "\n"


_UNITS = (
    "that network predicts in units of the bone and its output is multiplied by the true length; "
    "here the predicted bone is given the true length"
)

_ALL = (
    Protocol(name="root", thresholds="20-50x100"),
    Protocol(name="root-scale", scale="least_squares", thresholds="20-50x100"),
    Protocol(name="procrustes", alignment="procrustes", scale="least_squares", thresholds="0-50x100"),
    Protocol(
        name="paper",
        scale="bone",
        bone=MIDDLE_PROXIMAL_BONE,
        note="the paper states neither alignment nor scale: the root counts among the 21 joints because its Table V "
        "quotes Boukhayma et al. with it; the true scale is the convention of the methods it compares with",
    ),
    Protocol(name="paper-no-scale", note="as 'paper', without the true scale: the stricter reading"),
    Protocol(
        name="paper-camera",
        alignment="none",
        note="as 'paper' in camera coordinates, the third reading: c_t of Eq. 1 then decides most of the error",
    ),
    Protocol(
        name="zb-rhd",
        joint_zero="palm_middle",
        scale="bone",
        bone=MIDDLE_PROXIMAL_BONE,
        visibility="visible",
        thresholds="zb-20-50x12",
        note=f"Zimmermann & Brox, also Spurr et al.; the grid starts at 21.05 mm; {_UNITS}",
    ),
    Protocol(
        name="zb-stb",
        joint_zero="palm_ring",
        scale="bone",
        bone=MIDDLE_PROXIMAL_BONE,
        visibility="visible",
        thresholds="zb-20-50x12",
        note="Zimmermann & Brox, also Spurr et al., on the 6,000 Bumblebee test images; the labelled palm centre is "
        f"recovered exactly where the wrist came from it by the 2 palm - ring rule; {_UNITS}",
    ),
    Protocol(
        name="ge",
        scale="bone",
        bone=MIDDLE_PROXIMAL_BONE,
        note="that code lifts 2D joints and relative depths with the true root depth, box and camera and copies the "
        "true root; here the predicted pose is moved to the true root",
    ),
    Protocol(name="boukhayma", thresholds="20-50x100", note="scale treatment is not stated; MANO gives metric size"),
    Protocol(
        name="mtc",
        scale="least_squares",
        thresholds="20-50x100",
        note="'root joint and global scale aligned'; how the scale is fitted and the grid are not stated",
    ),
    Protocol(
        name="bihand", root=Joint.MIDDLE_MCP, scale="bone", bone=WRIST_MIDDLE_BONE, thresholds="20-50x20", note=_UNITS
    ),
    Protocol(name="minimal-hand", root=Joint.MIDDLE_MCP, scale="bone", bone=WRIST_MIDDLE_BONE, thresholds="20-50x15"),
    Protocol(
        name="obman",
        root=Joint.MIDDLE_MCP,
        excluded=(Joint.WRIST,),
        thresholds="0-50x100",
        note="its number of thresholds is not verified",
    ),
    Protocol(name="internet", thresholds="20-50x20", note="publishes a mean error only; the curve is ours"),
    Protocol(name="freihand", alignment="procrustes", scale="least_squares", reflection=True, thresholds="0-50x100"),
    Protocol(name="freihand-unaligned", alignment="none", thresholds="0-50x100"),
    Protocol(name="ho3d", alignment="procrustes", scale="least_squares", reflection=True, thresholds="0-50x100"),
    Protocol(name="ho3d-root-scale", scale="bone", bone=WRIST_MIDDLE_BONE, thresholds="0-50x100"),
    Protocol(name="ho3d-unaligned", alignment="none", thresholds="0-50x100"),
    Protocol(name="dexycb", alignment="procrustes", scale="least_squares", reflection=True, thresholds="0-50x100"),
    Protocol(name="dexycb-root", thresholds="0-50x100"),
    Protocol(name="dexycb-absolute", alignment="none", thresholds="0-50x100"),
)

PRESETS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}

DEFAULT_PRESETS = ("procrustes", "root-scale", "root")
"""What ``graphhand evaluate`` reports where no protocol is chosen."""


def preset(name: str) -> Protocol:
    """A named protocol.

    Raises:
        ValueError: no such preset.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"no protocol {name!r}; choose from {', '.join(PRESETS)}") from None


def load_protocol(path: str | PathLike[str]) -> Protocol:
    """A protocol from a YAML or JSON file; a field that the file leaves out has its default.

    Without a ``name`` the file's own name serves. A preset's name is refused where the file differs from the preset.

    Raises:
        InputError: the file is unreadable, or a key or value is not valid.
    """
    data = read_settings(path, "a file that --print-protocol wrote")
    protocol = validate(Protocol, {"name": Path(path).stem, **data}, path)
    _refuse_borrowed_name(protocol, str(path))
    return protocol


def choose_protocols(
    presets: Sequence[str] = (), files: Sequence[str | PathLike[str]] = (), changes: Mapping[str, Any] | None = None
) -> list[Protocol]:
    """The protocols of a report: presets, then files, with changes to each of them.

    Args:
        presets: names. Without presets and files it is :data:`DEFAULT_PRESETS`, or, with changes, one protocol of
            defaults with these changes.
        files: for :func:`load_protocol`.
        changes: fields of :class:`Protocol`.

    Raises:
        InputError: an unknown name, an unusable file, changes that contradict each other or have no effect on the
            number, or a name that comes twice.
    """
    try:
        chosen = [preset(name) for name in presets]
    except ValueError as error:
        raise InputError("--preset", str(error), "--list-presets explains them") from None
    chosen += [load_protocol(path) for path in files]
    if not chosen:
        chosen = [Protocol()] if changes else [preset(name) for name in DEFAULT_PRESETS]
    if changes:
        chosen = [_changed(protocol, changes) for protocol in chosen]
    names = [protocol.name for protocol in chosen]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError("protocol", f"{', '.join(repeated)} chosen twice", "choose each protocol once")
    return chosen


def _changed(protocol: Protocol, changes: Mapping[str, Any]) -> Protocol:
    validate(Protocol, {**protocol.model_dump(), **changes}, "protocol")
    changed = protocol.changed(**changes)
    if "bone" in changes and changed.scale != "bone":
        raise InputError("protocol.bone", f"is not read by {changed.name}", "add protocol.scale=bone")
    if "root" in changes and changed.alignment != "root":
        raise InputError("protocol.root", f"is not read by {changed.name}", "add protocol.alignment=root")
    _refuse_borrowed_name(changed, "protocol")
    return changed


def _refuse_borrowed_name(protocol: Protocol, source: str) -> None:
    """No changed protocol passes for the preset it came from."""
    if PRESETS.get(protocol.name, protocol) != protocol:
        raise InputError(source, f"differs from the preset {protocol.name!r}", "give it another name")
