"""Epochs of canvases: which scenes, in which order, made by how many processes.

A canvas is a function of (seed, place in training), so a resume in the middle of an epoch changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset

from graphhand.data.boxed_scenes import EmptyScenes, Scene, SceneDataset
from graphhand.data.canvases import (
    Canvas,
    SceneAugmentation,
    SceneBatch,
    collate_canvases,
    letterboxed,
    make_canvas,
)
from graphhand.data.loader import SkippedSamples, UnusableSample, prepare_worker, unchanged
from graphhand.data.mixing import MixedHands, WeightedSet
from graphhand.data.sample import HandDataset
from graphhand.errors import InputError
from graphhand.types import Image

_GROUND = 0.7
"""Probability that an image without hands shows where a canvas is empty."""
_ATTEMPTS = 20


class CanvasLoader:
    """Epochs of :class:`SceneBatch`. A corrupt scene is replaced by another one, and counted in ``skipped``.

    Args:
        sets: weighted sets of scenes.
        size: side of a canvas, pixels.
        batch_size: canvases in a batch.
        epoch_size: canvases in an epoch.
        augmentation: random changes; None letterboxes the scenes in order, once each.
        seed: of the order and of the changes.
        workers: processes that make batches; 0 makes them here.
        strict: raise on the first corrupt scene.
    """

    def __init__(
        self,
        sets: Sequence[tuple[SceneDataset, float, str]],
        *,
        size: int,
        batch_size: int,
        epoch_size: int | None = None,
        augmentation: SceneAugmentation | None = None,
        seed: int = 0,
        workers: int = 0,
        strict: bool = False,
    ) -> None:
        # A mixture asks no more of its sets than a length and samples by number.
        self.scenes = MixedHands([WeightedSet(cast(HandDataset, scenes), *rest) for scenes, *rest in sets])  # type: ignore[arg-type]
        self.size, self.batch_size, self.augmentation = size, batch_size, augmentation
        self.seed, self.strict = seed, strict
        self.epoch_size = len(self.scenes) if epoch_size is None else epoch_size
        self.skipped = SkippedSamples()
        self._keys: list[list[tuple[int, int]]] = []
        self._loader = DataLoader(
            _CanvasMaker(self.scenes, size, augmentation, seed),
            batch_sampler=_Keys(self),  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=unchanged,
            persistent_workers=workers > 0,
            worker_init_fn=prepare_worker,
        )

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.augmentation is None:
            return -(-self.epoch_size // self.batch_size)
        return self.epoch_size // self.batch_size

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[SceneBatch]:
        """The batches of one epoch, from ``start_batch`` on.

        Raises:
            InputError: a scene is corrupt and ``strict`` is set, or so many are that no replacement was found.
        """
        count = self.epoch_size
        order = np.arange(count) if self.augmentation is None else self.scenes.epoch_order(self.seed, epoch, count)
        keys = [(epoch * count + place, int(scene)) for place, scene in enumerate(order)]
        self._keys = [keys[i * self.batch_size : (i + 1) * self.batch_size] for i in range(start_batch, len(self))]
        for canvases, skipped in self._loader:
            for one in skipped:
                if self.strict:
                    raise one.error
                self.skipped.add(one)
            yield collate_canvases(canvases)


class _CanvasMaker(Dataset[Any]):
    """Canvases by keys (place in training, scene)."""

    def __init__(self, scenes: MixedHands, size: int, augmentation: SceneAugmentation | None, seed: int) -> None:
        self.scenes, self.size, self.augmentation, self.seed = scenes, size, augmentation, seed
        self.empty = [i for i, part in enumerate(scenes.sets) if isinstance(part.samples, EmptyScenes)]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> tuple[list[Canvas], list[UnusableSample]]:
        skipped: list[UnusableSample] = []
        return [self._make(*key, skipped) for key in keys], skipped

    def _make(self, place: int, scene: int, skipped: list[UnusableSample]) -> Canvas:
        rng = np.random.default_rng((self.seed, place))
        first = self._read(scene, rng, skipped)
        if self.augmentation is None:
            return letterboxed(first, self.size)
        scenes = [first]
        if rng.random() < self.augmentation.mosaic:
            weights = np.array([part.weight for part in self.scenes.sets])
            count = int(rng.choice([4, 9], p=[0.6, 0.4]))
            for _ in range(count - 1):
                which = int(rng.choice(len(weights), p=weights / weights.sum()))
                index = self.scenes.start(which) + int(rng.integers(len(self.scenes.sets[which].samples)))
                scenes.append(self._read(index, rng, skipped))
            scenes = [scenes[i] for i in rng.permutation(count)]
        return make_canvas(scenes, self.size, self.augmentation, rng, self._ground(rng, skipped))

    def _ground(self, rng: np.random.Generator, skipped: list[UnusableSample]) -> Image | None:
        """An image without hands, where a set has them."""
        if not self.empty or rng.random() >= _GROUND:
            return None
        which = self.empty[int(rng.integers(len(self.empty)))]
        index = self.scenes.start(which) + int(rng.integers(len(self.scenes.sets[which].samples)))
        return self._read(index, rng, skipped).image

    def _read(self, index: int, rng: np.random.Generator, skipped: list[UnusableSample]) -> Scene:
        for _ in range(_ATTEMPTS):
            try:
                return cast(Scene, self.scenes[index])
            except InputError as error:
                skipped.append(UnusableSample(index, error))
                index = int(rng.integers(len(self.scenes)))
        raise InputError("scenes", f"{_ATTEMPTS} corrupt images in a row", str(skipped[-1].error))


class _Keys:
    """The loader's current keys; DataLoader keeps one sampler for its lifetime."""

    def __init__(self, loader: CanvasLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self._loader._keys)

    def __len__(self) -> int:
        return len(self._loader._keys)
