"""Images, videos and cameras: files to upright ``(H, W, 3)`` uint8 RGB arrays and back."""

from graphhand.io.calibration import read_calibration, read_rig
from graphhand.io.images import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    Photo,
    decode_image,
    decode_photo,
    list_images,
    read_image,
    read_photo,
    write_image,
)
from graphhand.io.video import STREAM_SCHEMES, VIDEO_SUFFIXES, Frame, LiveCamera, Video, camera_path
from graphhand.io.video_writer import VideoWriter, writes_h264, writing_video

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "STREAM_SCHEMES",
    "VIDEO_SUFFIXES",
    "Frame",
    "LiveCamera",
    "Photo",
    "Video",
    "VideoWriter",
    "camera_path",
    "decode_image",
    "decode_photo",
    "list_images",
    "read_calibration",
    "read_image",
    "read_photo",
    "read_rig",
    "write_image",
    "writes_h264",
    "writing_video",
]
