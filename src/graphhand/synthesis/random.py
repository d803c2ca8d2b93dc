"""Counter-based random numbers: each depends on (seed, index, stream name, position in the stream) alone.

Every number is a hash of these coordinates (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011; here
with the SplitMix64 finaliser of Steele et al. 2014). So the sample of an index is the same in every batch, process and
device, and a new stream does not change the others. Renaming a stream changes the images. Uniform numbers are equal bit
for bit everywhere, normal ones up to the rounding of log and cos.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the mask makes it a logical shift
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def _name_key(seed: int, stream: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    return _signed(int.from_bytes(digest, "little"))


class StreamCache:
    """Remembers which streams a batch used, so that the next batch's numbers are computed all at once.

    The numbers are the same. About 300 small draws of two dozen kernels each become one; on a GPU they would otherwise
    take most of the time of a batch.
    """

    _MAX_COUNT = 512  # numbers of a stream; larger ones are computed on their own

    def __init__(self) -> None:
        self._streams: dict[tuple[str, int], None] = {}
        self._table: tuple[int, Tensor, Tensor, Tensor] | None = None

    def note(self, stream: str, count: int) -> None:
        """Record that a batch used this stream."""
        if count <= self._MAX_COUNT:
            self._streams[stream, count] = None
            self._table = None

    def draw(self, seed: int, base: Tensor) -> dict[tuple[str, int], Tensor]:
        """The numbers in (0, 1) of all recorded streams, for the indices hashed to ``base`` (B,)."""
        if not self._streams:
            return {}
        counts = [count for _, count in self._streams]
        if self._table is None or self._table[0] != seed:
            keys = torch.tensor([_name_key(seed, stream) for stream, _ in self._streams])
            stream = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
            draw = torch.cat([torch.arange(1, count + 1) for count in counts])
            self._table = (seed, keys.to(base.device), stream.to(base.device), draw.to(base.device))
        _, keys, stream, draw = self._table
        unit = _unit(_mix(_mix(base[:, None] ^ keys)[:, stream] + draw * _GAMMA))
        return dict(zip(self._streams, unit.split(counts, dim=1)))


def _unit(bits: Tensor) -> Tensor:
    """float32 in the open interval (0, 1) of 64 random bits."""
    return (_shift_right(bits, 41).to(torch.float32) + 0.5) * 2.0**-23


class CounterRandom:
    """Named random streams for a batch of indices.

    Args:
        seed: any integer.
        indices: (B,) int64, one per sample. The numbers are on their device.
        cache: shared by consecutive batches; it changes speed alone.
    """

    def __init__(self, seed: int, indices: Tensor, cache: StreamCache | None = None) -> None:
        self.seed = int(seed)
        self.indices = indices.long()
        self._base = _mix(self.indices * _GAMMA + 1)
        self._whole: CounterRandom | None = None
        self._rows = slice(None)
        self._cache = cache or StreamCache()
        self._numbers = self._cache.draw(self.seed, self._base)

    def select(self, rows: slice) -> CounterRandom:
        """The same streams for some of the samples. Each stream is computed once, for the whole batch."""
        selected = CounterRandom(self.seed, self.indices[rows])
        selected._whole, selected._rows = self, rows
        return selected

    @property
    def batch(self) -> int:
        """Number of samples."""
        return self.indices.shape[0]

    def bits(self, stream: str, count: int) -> Tensor:
        """(B, count) int64, all 64 bits random."""
        key = _mix(self._base ^ _name_key(self.seed, stream))
        draw = torch.arange(1, count + 1, device=key.device, dtype=torch.int64)
        return _mix(key[:, None] + draw * _GAMMA)

    def uniform(self, stream: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32 in the open interval (low, high)."""
        unit = self._unit(stream, math.prod(shape))
        if low != 0.0 or high != 1.0:
            unit = unit * (high - low) + low
        return unit.view(self.batch, *shape)

    def _unit(self, stream: str, count: int) -> Tensor:
        if self._whole is not None:
            return self._whole._unit(stream, count)[self._rows]
        key = (stream, count)
        if key not in self._numbers:
            self._numbers[key] = _unit(self.bits(stream, count))
            self._cache.note(stream, count)
        return self._numbers[key]

    def normal(self, stream: str, *shape: int, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """(B, *shape) float32, by Box and Muller's transform."""
        u = self.uniform(stream, 2, math.prod(shape))
        z = torch.sqrt(-2.0 * torch.log(u[:, 0])) * torch.cos((2.0 * math.pi) * u[:, 1])
        return (mean + std * z).view(self.batch, *shape)

    def triangular(self, stream: str, *shape: int, low: float, mode: float, high: float) -> Tensor:
        """(B, *shape) float32 of the triangular distribution, by inversion."""
        u = self.uniform(stream, *shape)
        split = (mode - low) / (high - low)
        rising = low + torch.sqrt(u * ((high - low) * (mode - low)))
        falling = high - torch.sqrt((1.0 - u) * ((high - low) * (high - mode)))
        return torch.where(u < split, rising, falling)

    def chance(self, stream: str, probability: float, *shape: int) -> Tensor:
        """(B, *shape) bool, true with the given probability; never for 0, always for 1."""
        return self.uniform(stream, *shape) < probability

    def choice(self, stream: str, weights: Tensor, *shape: int) -> Tensor:
        """(B, *shape) int64 in [0, len(weights)), drawn in proportion to the weights (n,)."""
        edges = (weights / weights.sum()).cumsum(0)[:-1].to(self.indices.device, torch.float32).contiguous()
        return torch.bucketize(self.uniform(stream, *shape).contiguous(), edges)

    def rotation(self, stream: str, *shape: int) -> Tensor:
        """(B, *shape, 3, 3) rotations, uniform over SO(3) (Shoemake, "Uniform random rotations", 1992)."""
        u = self.uniform(stream, *shape, 3)
        a, b = (2 * math.pi) * u[..., 1], (2 * math.pi) * u[..., 2]
        r, s = torch.sqrt(1 - u[..., 0]), torch.sqrt(u[..., 0])
        x, y, z, w = r * torch.sin(a), r * torch.cos(a), s * torch.sin(b), s * torch.cos(b)
        rows = (
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        )  # fmt: skip
        return torch.stack(rows, -1).view(*u.shape[:-1], 3, 3)


def pixel_noise(seeds: Tensor, count: int) -> Tensor:
    """Noise for whole images: (B,) int64 seeds -> (B, count) float32 of mean 0, standard deviation 1.

    The sum of four bytes of a 32-bit hash (Irwin and Hall), near enough to a normal number for sensor noise and an
    order of magnitude cheaper than one from `CounterRandom.normal`. Equal bit for bit on every device.
    """
    counter = torch.arange(count, device=seeds.device, dtype=torch.int32)
    low = (seeds & 0x7FFFFFFF).to(torch.int32)
    x = counter[None] * -1640531527 + low[:, None]  # 0x9E3779B9 as a signed number
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * -2073319797  # 0x846CA68B
    x = x ^ ((x >> 16) & 0xFFFF)
    total = (x & 255) + ((x >> 8) & 255) + ((x >> 16) & 255) + ((x >> 24) & 255)
    # four bytes: mean 510, variance 4 * (256^2 - 1) / 12
    return (total.to(torch.float32) - 510.0) * (1.0 / math.sqrt(4 * (256**2 - 1) / 12))
