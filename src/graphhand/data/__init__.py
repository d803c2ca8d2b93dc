"""Data sets, one typed sample for all of them, and the crops the network sees."""

from graphhand.data.datasets import (
    DATASETS,
    HO3D,
    MPIINZSL,
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
from graphhand.data.datasets.plain import NegativeImages
from graphhand.data.loader import HandLoader, SkippedSamples
from graphhand.data.mixing import MixedHands, WeightedSet, WholeImages
from graphhand.data.sample import HandBatch, HandDataset, HandExample, HandSample, collate
from graphhand.data.transforms import Augmentation, make_example
from graphhand.data.validation import DatasetInfo

__all__ = [
    "DATASETS",
    "HO3D",
    "MPIINZSL",
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
    "InterHand",
    "MixedHands",
    "NamedDataset",
    "NegativeImages",
    "PlainHands",
    "SkippedSamples",
    "WeightedSet",
    "WholeImages",
    "collate",
    "make_example",
    "open_dataset",
]
