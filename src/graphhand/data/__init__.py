"""Data sets, one typed sample for all of them, and the crops the network sees."""

from graphhand.data.augmentation import Augmentation
from graphhand.data.batch import HandBatch, HandExample, collate
from graphhand.data.example import ASSUMED_FOV_DEG, CROP_MARGIN, make_example
from graphhand.data.loading import HandLoader, SkippedSamples
from graphhand.data.mixing import MixedHands, WeightedSet
from graphhand.data.plain import PlainHands
from graphhand.data.sample import HandDataset, HandSample

__all__ = [
    "ASSUMED_FOV_DEG",
    "CROP_MARGIN",
    "Augmentation",
    "HandBatch",
    "HandDataset",
    "HandExample",
    "HandLoader",
    "HandSample",
    "MixedHands",
    "PlainHands",
    "SkippedSamples",
    "WeightedSet",
    "collate",
    "make_example",
]
