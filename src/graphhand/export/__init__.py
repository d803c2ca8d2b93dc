"""Exports for other programs: predicted hands as rigged glTF files and rotations, networks as ONNX files."""

from graphhand.export.gltf import HandClip, clips_of, rotations_json, write_glb

__all__ = ["HandClip", "clips_of", "rotations_json", "write_glb"]
