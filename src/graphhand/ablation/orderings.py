"""Which cell the paper finds better than which, and whether ours agree, seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from graphhand.ablation.grid import OPTIONS, VARIANTS, Table, Variant

Verdict = Literal["holds", "does not hold", "within seed spread", "not measured"]
Measure = Mapping[str, Mapping[int, float]]
"""Millimetres by cell and seed."""


@dataclass(frozen=True)
class Ordering:
    """The claim that one cell errs less than another.

    Attributes:
        table: whose claim it is.
        better, worse: cells.
        claim: in words.
        ours: the paper does not make it: a control or an option is ours.
    """

    table: Table
    better: str
    worse: str
    claim: str
    ours: bool = False


def _orderings() -> tuple[Ordering, ...]:
    full, fc = "III-gcn-multi-full", "III-fc-multi-full"
    found = [
        Ordering(1, "II-gcn-full", "I-full", "stage II errs less than stage I"),
        Ordering(1, full, "II-gcn-full", "stage III errs less than stage II"),
        Ordering(1, "II-gcn-full", "I-long-full", "stage II errs less than stage I trained as long", ours=True),
        Ordering(1, full, "II-gcn-long-full", "stage III errs less than stage II trained as long", ours=True),
        Ordering(2, "II-gcn-full", "II-fc-full", "without a discriminator, GCN errs less than FC"),
        Ordering(2, full, fc, "with a discriminator, GCN errs less than FC"),
        Ordering(2, fc, "II-fc-full", "FC errs less with a discriminator than without"),
        Ordering(2, full, "II-gcn-full", "GCN errs less with a discriminator than without"),
        Ordering(2, fc, "II-fc-long-full", "FC errs less with a discriminator than without, as long", ours=True),
        Ordering(2, full, "II-gcn-long-full", "GCN errs less with a discriminator than without, as long", ours=True),
        Ordering(3, full, "III-gcn-single-full", "the multi-source discriminator serves better than the single-source"),
        Ordering(
            *(3, "III-gcn-single-full", "II-gcn-long-full"),
            "the single-source discriminator serves better than none, as long",
            ours=True,
        ),
    ]
    pairs: tuple[tuple[Variant, Variant], ...] = (
        *(("len", "base"), ("dir", "base"), ("dir", "len")),
        *(("full", "len"), ("full", "dir"), ("full", "base")),
    )
    for stage, name in (("I", "I"), ("II", "II-gcn"), ("III", "III-gcn-multi")):
        for better, worse in pairs:
            claim = f"stage {stage}: {VARIANTS[better]} errs less than {VARIANTS[worse]}"
            found.append(Ordering(4, f"{name}-{better}", f"{name}-{worse}", claim))
    for name, option in OPTIONS.items():
        claim = f"{option.title}: errs less than {OPTIONS[option.rival].title if option.rival else 'the paper'}"
        found.append(Ordering("options", f"II-{name}", f"II-{option.rival or 'gcn-full'}", claim, ours=True))
    return tuple(found)


ORDERINGS: tuple[Ordering, ...] = _orderings()
"""Every claim of Tables I-IV, what the controls say beside them, and that every option is one for the better."""


@dataclass(frozen=True)
class Finding:
    """What our seeds say of an ordering.

    Attributes:
        ordering: the claim.
        verdict: ``holds`` and ``does not hold`` where the mean over seeds of (worse - better) is larger than that
            difference's own standard deviation over seeds; ``within seed spread`` where it is not. One seed has no
            spread: its sign alone decides, and ``seeds`` says so.
        gain_mm: that mean; positive where the claim holds. None where not measured.
        spread_mm: that standard deviation (n - 1); None below two seeds.
        seeds: seeds that have both cells; the difference is taken within each.
        agreeing: seeds whose own difference is positive.
    """

    ordering: Ordering
    verdict: Verdict
    gain_mm: float | None
    spread_mm: float | None
    seeds: int
    agreeing: int

    def describe(self) -> str:
        """In words."""
        if self.gain_mm is None:
            return "not measured: a cell is missing"
        amount = f"{abs(self.gain_mm):.2f} mm {'better' if self.gain_mm >= 0 else 'worse'}"
        if self.spread_mm is None:
            return f"{self.verdict} ({amount}; one seed, so its spread is unknown)"
        return f"{self.verdict} ({amount}, spread {self.spread_mm:.2f} mm; {self.agreeing} of {self.seeds} seeds agree)"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        ordering = self.ordering
        return {
            "table": ordering.table,
            "claim": ordering.claim,
            "by": "us" if ordering.ours else "paper",
            "better": ordering.better,
            "worse": ordering.worse,
            "verdict": self.verdict,
            "gain_mm": self.gain_mm,
            "spread_mm": self.spread_mm,
            "seeds": self.seeds,
            "agreeing": self.agreeing,
        }


def judge(ordering: Ordering, measured: Measure) -> Finding:
    """Compare two cells within each seed they share."""
    better, worse = measured.get(ordering.better, {}), measured.get(ordering.worse, {})
    gains = [worse[seed] - better[seed] for seed in sorted(better.keys() & worse.keys())]
    if not gains:
        return Finding(ordering, "not measured", None, None, 0, 0)
    gain = statistics.fmean(gains)
    spread = statistics.stdev(gains) if len(gains) > 1 else None
    verdict: Verdict = "holds" if gain > 0 else "does not hold"
    if spread is not None and abs(gain) <= spread:
        verdict = "within seed spread"
    return Finding(ordering, verdict, gain, spread, len(gains), sum(g > 0 for g in gains))


def findings(tables: Sequence[Table], measured: Measure) -> list[Finding]:
    """All orderings of some tables."""
    return [judge(ordering, measured) for ordering in ORDERINGS if ordering.table in tables]
