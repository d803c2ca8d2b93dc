"""The paper's networks: generator, discriminator, and their weights on disk."""

from graphhand.models.backbones import Backbone, build_backbone
from graphhand.models.checkpoint import bundled_weights, load_generator, save_generator
from graphhand.models.config import GeneratorConfig, MultiSourceConfig, SingleSourceConfig
from graphhand.models.discriminator import MultiSourceDiscriminator, SingleSourceDiscriminator, build_discriminator
from graphhand.models.generator import Generator, GeneratorOutput, fuse_conv_bn
from graphhand.models.hand_model_module import HandModelModule, LatentCode
from graphhand.models.heatmaps import Heatmaps
from graphhand.models.refinement import FCRefinement, GCNRefinement

__all__ = [
    "Backbone",
    "FCRefinement",
    "GCNRefinement",
    "Generator",
    "GeneratorConfig",
    "GeneratorOutput",
    "HandModelModule",
    "Heatmaps",
    "LatentCode",
    "MultiSourceConfig",
    "MultiSourceDiscriminator",
    "SingleSourceConfig",
    "SingleSourceDiscriminator",
    "build_backbone",
    "build_discriminator",
    "bundled_weights",
    "fuse_conv_bn",
    "load_generator",
    "save_generator",
]
