"""Exports for other programs: tables, predicted hands as rigged glTF files and rotations, networks as ONNX graphs."""
