"""JSON Schema of a prediction: a line of ``graphhand predict --json``, and an answer of the server."""

from __future__ import annotations

from typing import Any

from graphhand.skeleton import JOINT_NAMES

_JOINTS = len(JOINT_NAMES)
_NUMBER: dict[str, Any] = {"type": "number"}


def hand_schema() -> dict[str, Any]:
    """The schema of :meth:`graphhand.types.Hand.to_json`."""
    properties = {
        "side": {"enum": ["left", "right"], "description": "the person's own left or right hand"},
        "score": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "how much the image looks like a hand of this side; lower where heatmaps are uncertain",
        },
        "uncertainty": {
            "type": "number",
            "description": "share of the crop over which heatmaps leave the joints open; absent without heatmaps",
        },
        "box_px": _numbers(4, "x, y, width, height of the smallest box around the joints"),
        "joints_px": _rows(2, "pixels of the upright image; may lie outside it"),
        "joints_rel_m": _rows(3, "metres from the wrist; x right, y down, z away from the camera"),
        "joints_cam_m": {
            "oneOf": [_rows(3, "metres from the camera"), {"type": "null"}],
            "description": "metres from the camera, which camera projects onto joints_px; or null",
        },
        "camera": {
            "type": "object",
            "properties": {
                **dict.fromkeys(("fx", "fy", "cx", "cy"), _NUMBER),
                "assumed": {"type": "boolean"},
                "distortion": {"type": "array", "items": _NUMBER},
                "fisheye": {"type": "boolean"},
            },
            "required": ["fx", "fy", "cx", "cy", "assumed"],
            "additionalProperties": False,
            "description": "the intrinsics used, pixels; assumed where none were given; distortion of a lens",
        },
        "track": {"type": "integer", "description": "the hand's number where several are followed in a video"},
    }
    required = [name for name in properties if name not in ("uncertainty", "track")]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def prediction_schema(hand: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of :meth:`graphhand.types.Prediction.to_json`.

    Args:
        hand: the schema of a hand, or a reference to it; None puts it in.
    """
    size = {"type": ["integer", "null"], "description": "of the upright image, pixels; null beside an error"}
    properties = {
        "image": {"type": "string", "description": "the file or camera, as it was given"},
        "frame": {"type": "integer", "minimum": 0, "description": "of a video or camera: the frame's number"},
        "time_s": {"type": "number", "description": "of a video or camera: seconds since the first frame"},
        "width": size,
        "height": size,
        "hands": {"type": "array", "items": hand or hand_schema(), "description": "the hands, best first"},
        "error": {"type": "string", "description": "in place of hands, where the image cannot be read"},
        "model": {"type": "string", "description": "name of the weights"},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": ["image", "width", "height", "model"],
        "oneOf": [{"required": ["hands"]}, {"required": ["error"]}],
        "dependentRequired": {"frame": ["time_s"], "time_s": ["frame"]},
        "additionalProperties": False,
    }


def _numbers(count: int, text: str) -> dict[str, Any]:
    return {"type": "array", "minItems": count, "maxItems": count, "items": _NUMBER, "description": text}


def _rows(width: int, text: str) -> dict[str, Any]:
    row = {"type": "array", "minItems": width, "maxItems": width, "items": _NUMBER}
    return {"type": "array", "minItems": _JOINTS, "maxItems": _JOINTS, "items": row, "description": text}
