"""``graphhand predict --mesh``: one file a hand, of the hand model fitted to its joints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from graphhand.cli.outputs import make_folder, model_files, refuse_inputs
from graphhand.cli.predict_inputs import Job
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.types import Prediction

MeshKind = Literal["obj", "ply", "glb", "npz"]


def mesh_path(drawing: Path, frame: int | None, number: int, kind: MeshKind) -> Path:
    """Where the mesh of a hand goes: beside the drawing of its photo or video, whose name it has."""
    of_frame = "" if frame is None else f"_{frame:06d}"
    return drawing.with_name(f"{drawing.stem.removesuffix('_hands')}{of_frame}_hand{number}.{kind}")


class MeshFiles:
    """Writes the hands of predictions as ``NAME_hand0.obj``; of videos' frames as ``NAME_000012_hand0.obj``.

    Args:
        kind: of the files.
        jobs: what is predicted.
        targets: where their drawings go, whose names the meshes share.
        hand_model: a name or a file, of a right hand.

    Raises:
        InputError: there is no such hand model.
        ModuleNotFoundError: the extra ``train`` is not installed.
    """

    def __init__(self, kind: MeshKind, jobs: Iterable[Job], targets: dict[int, Path], hand_model: str) -> None:
        from graphhand.hand_model.fitting import hand_models

        self.kind, self.hand_model = kind, hand_model
        self.models = hand_models(hand_model)
        self.read = model_files(hand_model=hand_model)
        self.stems = {str(job.path): targets[job.index] for job in jobs if job.index in targets}

    def write(self, prediction: Prediction) -> None:
        """Write the meshes of one photo or frame.

        Raises:
            InputError: a file cannot be written, or a hand's joints are not finite.
        """
        if not prediction.hands:
            return
        for number, hand in enumerate(prediction.hands):
            number = number if hand.track is None else hand.track
            target = mesh_path(self.stems[prediction.image], prediction.frame, number, self.kind)
            refuse_inputs(target, "--out", self.read)
            make_folder(target.parent)
            try:
                if self.kind == "glb":
                    from graphhand.export.clips import image_clip
                    from graphhand.export.gltf import write_glb

                    write_glb(target, image_clip(prediction, hand, self.models))
                else:
                    from graphhand.export.meshes import write_mesh

                    write_mesh(target, hand.mesh(self.hand_model), self.kind)
            except ValueError as error:
                raise InputError(prediction.image, f"hand {number} has no mesh ({error})", "leave out --mesh") from None
