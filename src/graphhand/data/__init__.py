"""Data sets, one typed sample for all of them, and the crops the network sees."""

from graphhand.data.augmentation import Augmentation
from graphhand.data.batch import HandBatch, HandExample, collate
from graphhand.data.example import make_example
from graphhand.data.handless import HandlessPictures
from graphhand.data.info import DatasetInfo
from graphhand.data.loading import HandLoader, SkippedSamples
from graphhand.data.mixing import MixedHands, WeightedSet
from graphhand.data.registry import (
    DATASETS,
    HO3D,
    RHD,
    STB,
    CocoWholeBody,
    DexYCB,
    FreiHAND,
    GeRealWorld,
    InterHand,
    NamedDataset,
    PlainHands,
    open_dataset,
)
from graphhand.data.sample import HandDataset, HandSample

__all__ = [
    "DATASETS",
    "HO3D",
    "RHD",
    "STB",
    "Augmentation",
    "CocoWholeBody",
    "DatasetInfo",
    "DexYCB",
    "FreiHAND",
    "GeRealWorld",
    "HandBatch",
    "HandDataset",
    "HandExample",
    "HandLoader",
    "HandSample",
    "HandlessPictures",
    "InterHand",
    "MixedHands",
    "NamedDataset",
    "PlainHands",
    "SkippedSamples",
    "WeightedSet",
    "collate",
    "make_example",
    "open_dataset",
]
