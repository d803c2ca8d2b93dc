"""The paper's networks, one file each, to be read beside it."""

from graphhand.model.backbones import Backbone, build_backbone
from graphhand.model.checkpoint import bundled_weights, load_generator, save_generator
from graphhand.model.config import DiscriminatorConfig, GeneratorConfig
from graphhand.model.discriminator import MultiSourceDiscriminator, SingleSourceDiscriminator, build_discriminator
from graphhand.model.generator import Generator, GeneratorOutput
from graphhand.model.hand_model_module import HandModelModule, LatentCode
from graphhand.model.refinement import FCRefinement, GCNRefinement

__all__ = [
    "Backbone",
    "DiscriminatorConfig",
    "FCRefinement",
    "GCNRefinement",
    "Generator",
    "GeneratorConfig",
    "GeneratorOutput",
    "HandModelModule",
    "LatentCode",
    "MultiSourceDiscriminator",
    "SingleSourceDiscriminator",
    "build_backbone",
    "build_discriminator",
    "bundled_weights",
    "load_generator",
    "save_generator",
]
