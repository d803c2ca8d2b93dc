"""H.264 in MP4 by PyAV, with exact frame times and the sound of the source. Importing it needs the extra ``video``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import av.logging
from av.error import FFmpegError

from graphhand.io.video import ffmpeg_name
from graphhand.types import Image

_ENCODER = "libx264"
_X264 = {"preset": "superfast", "crf": "20", "bf": "0"}
_TICKS = 360_000  # a second, of frame times: fits all usual rates
_BT709, _BT601, _LIMITED = 1, 6, 1
_COPIED_SOUND = ("aac", "mp3", "opus", "flac", "alac")  # what MP4 may hold and browsers play; the rest becomes AAC

av.logging.set_level(None)


@cache
def available() -> bool:
    """Whether this build of PyAV has x264."""
    try:
        av.Codec(_ENCODER, "w")
    except ValueError:
        return False
    return True


@contextmanager
def _os_errors() -> Iterator[None]:
    """FFmpeg's errors of writing, such as a full disk, as the operating system's."""
    try:
        yield
    except FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


class H264:
    """x264 by PyAV: YUV 4:2:0, the index in front so that browsers start at once, every frame at its own time."""

    def __init__(self, path: Path, size: tuple[int, int], fps: float, sound_of: Path | None) -> None:
        self.frames = 0
        self._last = -1
        self._duration = max(1, round(_TICKS / fps))
        self._file = av.open(ffmpeg_name(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._file.add_stream(_ENCODER, rate=Fraction(fps).limit_denominator(10_000), options=_X264)
        self._stream.width, self._stream.height, self._stream.pix_fmt = *size, "yuv420p"
        self._stream.time_base = Fraction(1, _TICKS)
        context = self._stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.color_primaries, context.color_trc, context.colorspace = _BT709, _BT709, _BT601
        context.color_range = _LIMITED
        self._sound = None if sound_of is None else Sound.of(sound_of, self._file)

    def add(self, image: Image, time_s: float) -> None:
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._last = max(self._last + 1, round(time_s * _TICKS))
        frame.pts, frame.time_base, frame.duration = self._last, Fraction(1, _TICKS), self._duration
        with _os_errors():
            self._file.mux(self._stream.encode(frame))
            self.frames += 1
            if self._sound is not None:
                self._sound.copy_until(self._last / _TICKS)

    def close(self) -> None:
        """Finish the file."""
        with _os_errors():
            try:
                if self.frames:
                    self._file.mux(self._stream.encode(None))
                    if self._sound is not None:
                        self._sound.copy_until((self._last + self._duration) / _TICKS, last=True)
            finally:
                if self._sound is not None:
                    self._sound.close()
                self._file.close()


class Sound:
    """The first sound track of a file, copied into another, or encoded as AAC where MP4 cannot hold it."""

    def __init__(self, source: Any, target: Any) -> None:
        track, video = source.streams.audio[0], source.streams.video[0]
        self._source, self._target, self._track = source, target, track
        self._packets = source.demux(track)
        # Times of the target count from the first frame.
        self._offset_s = (video.start_time or 0) * video.time_base
        self._unit = Fraction(1, track.rate)
        self._ahead: Any = None  # a packet that was read and is not due
        self._resampler = None
        if track.codec_context.codec.canonical_name in _COPIED_SOUND:
            self._stream = target.add_stream_from_template(track)
        else:
            self._stream = target.add_stream("aac", rate=track.rate)
            layout = "mono" if track.codec_context.channels == 1 else "stereo"
            self._stream.layout = layout
            self._resampler = av.AudioResampler("fltp", layout, track.rate)

    @classmethod
    def of(cls, path: Path, target: Any) -> Sound | None:
        """The sound of a file; None where there is none that can be read."""
        with suppress(OSError, ValueError, FFmpegError):
            source = av.open(ffmpeg_name(path))
            if source.streams.audio and source.streams.video:
                return cls(source, target)
            source.close()
        return None

    def copy_until(self, time_s: float, last: bool = False) -> None:
        """Copy what is heard before ``time_s``; ``last``: and nothing after it. A damaged rest is left out."""
        with suppress(StopIteration, FFmpegError):
            while True:
                packet = next(self._packets) if self._ahead is None else self._ahead
                self._ahead = None
                if packet.pts is None:  # the end
                    continue
                heard_s = packet.pts * packet.time_base - self._offset_s
                if heard_s >= time_s:
                    self._ahead = packet
                    break
                if heard_s >= 0:
                    self._copy(packet, heard_s)
        if last and self._resampler is not None:
            self._encode(self._resampler.resample(None))
            self._target.mux(self._stream.encode(None))

    def _copy(self, packet: Any, heard_s: Fraction) -> None:
        if self._resampler is not None:
            for frame in packet.decode():
                frame.pts = round((frame.pts * frame.time_base - self._offset_s) / self._unit)
                frame.time_base = self._unit
                self._encode(self._resampler.resample(frame))
            return
        duration_s = packet.duration * packet.time_base
        packet.time_base = self._unit  # a container's own may be coarser than the shift
        packet.pts = packet.dts = round(heard_s / self._unit)
        packet.duration = round(duration_s / self._unit)
        packet.stream = self._stream
        self._target.mux(packet)

    def _encode(self, frames: Any) -> None:
        for frame in frames:
            self._target.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._source.close()
