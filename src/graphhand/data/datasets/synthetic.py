"""GraphHand-Rendered, our stand-in for RHD, drawn as it is evaluated: no file on disk."""

from __future__ import annotations

from graphhand.data.datasets.info import DatasetInfo
from graphhand.data.sample import HandSample
from graphhand.synthesis import RenderEngine, benchmark
from graphhand.synthesis.writers.dataset import records


class RenderedBenchmark:
    """The hands that ``graphhand render --benchmark`` writes: 320x320 images, right and left hands in turn.

    Args:
        split: "training" or "evaluation".

    Raises:
        InputError: no such split.
    """

    info = DatasetInfo(
        name="rendered",
        title=benchmark.NAME,
        tree="none: the images are drawn\n",
        splits=("training", "evaluation"),
        test_split="evaluation",
        counts=benchmark.COUNTS,
        licence="CC0",
    )

    def __init__(self, split: str = "evaluation") -> None:
        self.split = self.info.require_split(split)
        self._engine: RenderEngine | None = None
        self._indices: list[int] = []

    def __len__(self) -> int:
        return benchmark.COUNTS[self.split]

    def __getitem__(self, index: int) -> HandSample:
        """Draw one hand."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self._engine is None:  # one engine a process, made where it is used
            self._engine = RenderEngine(benchmark.config(self.split))
            self._indices = benchmark.indices(self.split, self._engine.hand.num_shape).tolist()
        (record,) = records(self._engine.render([self._indices[index]]))
        if (record.side == "left") != bool(index % 2):
            record = record.mirrored()
        return record.sample(f"{self.split}/{index:05d}")

    @property
    def protocol(self) -> dict[str, str]:
        """The choices that a number taken on this set depends on."""
        return {"dataset": "rendered", "benchmark": benchmark.NAME, "split": self.split}
