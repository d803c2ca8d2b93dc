"""What users may say of a picture, alike on the command line and over HTTP: beyond these arithmetic breaks down."""

BOX_PX = 1e6
"""Numbers of a hand's box are smaller than this."""

FOCAL_PX = (1.0, 1e7)
"""Shortest and longest focal length, pixels."""

FOV_DEG = (0.01, 179.99)
"""Narrowest and widest field of view, degrees."""
