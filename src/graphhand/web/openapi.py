"""The server's description in OpenAPI 3.1, for generators of clients and for the page ``/api``."""

from __future__ import annotations

from typing import Any

from graphhand import __version__
from graphhand.types.schema import hand_schema, prediction_schema


def description(max_bytes: int, max_waiting: int) -> dict[str, Any]:
    """The document, as ``/openapi.json`` gives it.

    Args:
        max_bytes: largest image file.
        max_waiting: how many requests may wait.
    """
    responses = {
        "200": {"description": "the hands", "content": _json({"$ref": "#/components/schemas/Prediction"})},
        "400": _problem("the image or a parameter cannot be used"),
        "413": _problem(f"larger than {max_bytes // 1024**2} MiB"),
        "415": _problem("a form instead of the file's bytes"),
        "503": _problem(f"{max_waiting} requests wait already; send it again later"),
    }
    predict = {
        "summary": "Hands of one image",
        "parameters": _parameters(),
        "requestBody": {
            "required": True,
            "description": "the bytes of a JPEG, PNG, WebP or BMP file",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _IMAGE_TYPES},
        },
        "responses": responses,
    }
    track = {
        "summary": "Hands of a camera or a video, followed (WebSocket)",
        "description": (
            "A WebSocket: each message is the bytes of one image file, each answer a Prediction with frame and time_s. "
            "Takes the parameters of /predict, and two more."
        ),
        "parameters": [
            *_parameters(),
            _parameter("smooth", "boolean", "smooth joints over time (true)"),
            _parameter("fps", "number", "images come from a file of this rate; without it, as fast as they arrive"),
        ],
        "responses": {"101": {"description": "the connection is open"}, "403": {"description": "of another origin"}},
    }
    skeleton = {
        "summary": "Joints, bones and colours of the drawings, and the model's name",
        "responses": {"200": {"description": "the skeleton", "content": _json({"type": "object"})}},
    }
    glb = {"model/gltf-binary": {"schema": {"type": "string", "format": "binary"}}}
    rig = {
        "summary": "Hands as a rigged, animated glTF file",
        "requestBody": {
            "required": True,
            "description": "answers of /predict or /track, one a line, of one photo or video",
            "content": {"application/jsonl": {"schema": {"type": "string"}}},
        },
        "responses": {
            "200": {"description": "a .glb file", "content": glb},
            "400": _problem("no lines of predictions, or none with a hand"),
            "413": responses["413"],
            "501": _problem("torch is not installed"),
            "503": responses["503"],
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "GraphHand", "version": __version__, "summary": "3D hand pose from images"},
        "paths": {
            "/predict": {"post": predict},
            "/track": {"get": track},
            "/rig": {"post": rig},
            "/skeleton": {"get": skeleton},
        },
        "components": {"schemas": _schemas()},
    }


_IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp")


def _parameters() -> list[dict[str, Any]]:
    return [
        _parameter("side", "string", "of the hand, if known", enum=["auto", "left", "right"]),
        _parameter("box", "string", "x,y,width,height of the hand in pixels"),
        _parameter("whole_image", "boolean", "the image is already cropped to one hand"),
        _parameter("focal", "number", "focal length in pixels"),
        _parameter("fov", "number", "field of view across the longer side, degrees"),
        _parameter("max_hands", "integer", "how many hands to find at most; all by default"),
        _parameter("min_score", "number", "score threshold in [0, 1]; by default 0.5, and 0.3 with box or whole_image"),
    ]


def _parameter(name: str, kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": {"type": kind, **more}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": _json({"$ref": "#/components/schemas/Error"})}


def _schemas() -> dict[str, Any]:
    return {
        "Prediction": prediction_schema({"$ref": "#/components/schemas/Hand"}),
        "Hand": hand_schema(),
        "Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
    }
