"""What a grid leaves beside its cells: results.json, tables.md and the pictures. Made anew from the cells' results."""

from __future__ import annotations

import json
from typing import Any

from graphhand.files import write_text_atomically
from graphhand.training.ablation.pictures import draw_figures
from graphhand.training.ablation.runner import Ablation
from graphhand.training.ablation.tables import markdown, summary
from graphhand.training.sources import open_source

RESULTS_FILE = "results.json"
TABLES_FILE = "tables.md"


def write_outputs(ablation: Ablation, figures: bool) -> dict[str, Any]:
    """Write what is known so far.

    Args:
        ablation: the grid, in whatever state.
        figures: draw the pictures too, from the first seed that has their cells.

    Returns:
        What results.json holds.
    """
    results = ablation.results()
    names: list[str] = []
    if figures:
        samples = open_source(ablation.base.validation, ablation.base)
        for seed in ablation.seeds:
            names = names or draw_figures(ablation.base, seed, samples, ablation.out)
    found = summary(results, ablation.tables, ablation.seeds, ablation.base.model_dump(mode="json"))
    write_text_atomically(ablation.out / RESULTS_FILE, json.dumps(found, indent=1) + "\n")
    write_text_atomically(ablation.out / TABLES_FILE, markdown(results, ablation.tables, names))
    return found
