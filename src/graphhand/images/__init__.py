"""Pictures, videos and cameras: files to upright ``(H, W, 3)`` uint8 RGB arrays and back."""

from graphhand.images.camera import LiveCamera, camera_path
from graphhand.images.files import IMAGE_SUFFIXES, MAX_PIXELS, decode_image, list_images, read_image, write_image
from graphhand.images.video import VIDEO_SUFFIXES, Frame, Video, VideoWriter, writing_video

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "VIDEO_SUFFIXES",
    "Frame",
    "LiveCamera",
    "Video",
    "VideoWriter",
    "camera_path",
    "decode_image",
    "list_images",
    "read_image",
    "write_image",
    "writing_video",
]
