"""Pictures in and out: files to upright ``(H, W, 3)`` uint8 RGB arrays and back."""

from graphhand.images.files import IMAGE_SUFFIXES, MAX_PIXELS, decode_image, list_images, read_image, write_image

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "decode_image", "list_images", "read_image", "write_image"]
