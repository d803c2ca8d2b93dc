"""The paper's networks, one file each, to be read beside it."""

from graphhand.models.backbones import Backbone, build_backbone
from graphhand.models.checkpoint import bundled_weights, load_generator, save_generator
from graphhand.models.config import GeneratorConfig, MultiSourceConfig, SingleSourceConfig
from graphhand.models.discriminator import MultiSourceDiscriminator, SingleSourceDiscriminator, build_discriminator
from graphhand.models.generator import Generator, GeneratorOutput
from graphhand.models.hand_model_module import HandModelModule, LatentCode
from graphhand.models.refinement import FCRefinement, GCNRefinement

__all__ = [
    "Backbone",
    "FCRefinement",
    "GCNRefinement",
    "Generator",
    "GeneratorConfig",
    "GeneratorOutput",
    "HandModelModule",
    "LatentCode",
    "MultiSourceConfig",
    "MultiSourceDiscriminator",
    "SingleSourceConfig",
    "SingleSourceDiscriminator",
    "build_backbone",
    "build_discriminator",
    "bundled_weights",
    "load_generator",
    "save_generator",
]
