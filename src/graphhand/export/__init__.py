"""Hands that other programs can pose: estimates as rigged, animated glTF files and as rotations."""

from graphhand.export.gltf import HandClip, clips_of, rotations_json, write_glb

__all__ = ["HandClip", "clips_of", "rotations_json", "write_glb"]
