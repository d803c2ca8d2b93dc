"""GraphHand: 3D hand pose from one colour image, and the system that trains it.

Every public name is imported from its module on first use, so ``import graphhand`` loads neither torch nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from graphhand.batch import BatchJob
    from graphhand.data import HandSample, open_dataset
    from graphhand.errors import GraphHandError, InputError
    from graphhand.evaluation import evaluate, predict_dataset
    from graphhand.hand_model import HandModel
    from graphhand.inference import HandPoseEstimator, HandTracker
    from graphhand.io import LiveCamera, Video, read_image, write_image
    from graphhand.models import Generator, load_generator
    from graphhand.skeleton import Joint
    from graphhand.synthesis import RenderConfig, RenderEngine
    from graphhand.training.config import TrainConfig, load_config
    from graphhand.training.trainer import Trainer
    from graphhand.types import Camera, Hand, Prediction
    from graphhand.visualize import draw_hands, draw_result

_NAMES_OF_MODULES = {
    "batch": ("BatchJob",),
    "data": ("HandSample", "open_dataset"),
    "errors": ("GraphHandError", "InputError"),
    "evaluation": ("evaluate", "predict_dataset"),
    "hand_model": ("HandModel",),
    "inference": ("HandPoseEstimator", "HandTracker"),
    "io": ("LiveCamera", "Video", "read_image", "write_image"),
    "models": ("Generator", "load_generator"),
    "skeleton": ("Joint",),
    "synthesis": ("RenderConfig", "RenderEngine"),
    "training.config": ("TrainConfig", "load_config"),
    "training.trainer": ("Trainer",),
    "types": ("Camera", "Hand", "Prediction"),
    "visualize": ("draw_hands", "draw_result"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names}

__all__ = [
    "BatchJob",
    "Camera",
    "Generator",
    "GraphHandError",
    "Hand",
    "HandModel",
    "HandPoseEstimator",
    "HandSample",
    "HandTracker",
    "InputError",
    "Joint",
    "LiveCamera",
    "Prediction",
    "RenderConfig",
    "RenderEngine",
    "TrainConfig",
    "Trainer",
    "Video",
    "__version__",
    "draw_hands",
    "draw_result",
    "evaluate",
    "load_config",
    "load_generator",
    "open_dataset",
    "predict_dataset",
    "read_image",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'graphhand' has no attribute {name!r}")
    try:
        value = getattr(import_module(f"graphhand.{_MODULE_OF[name]}"), name)
    except ModuleNotFoundError as error:
        from graphhand.errors import missing_extra

        missing = missing_extra(error)
        if missing is None:
            raise
        raise ImportError(f"graphhand.{name}: {missing}") from None
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
