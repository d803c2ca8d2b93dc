"""Data sets, one typed sample for all of them, and the crops the network sees."""

from graphhand.data.augmentation import Augmentation
from graphhand.data.batch import HandBatch, HandExample, collate
from graphhand.data.example import ASSUMED_FOV_DEG, CROP_MARGIN, make_example
from graphhand.data.plain import PlainHands
from graphhand.data.sample import HandDataset, HandSample

__all__ = [
    "ASSUMED_FOV_DEG",
    "CROP_MARGIN",
    "Augmentation",
    "HandBatch",
    "HandDataset",
    "HandExample",
    "HandSample",
    "PlainHands",
    "collate",
    "make_example",
]
