"""Beyond these, of a picture's labels as of what a user says of it, arithmetic breaks down."""

from __future__ import annotations

BOX_PX = 1e6
"""Numbers of a hand's box are smaller than this."""

FOCAL_PX = (1.0, 1e7)
"""Shortest and longest focal length, pixels."""

FOV_DEG = (0.01, 179.99)
"""Narrowest and widest field of view, degrees."""
