"""The networks of Moebius as plain PyTorch modules: tensors in, tensors out. Needs the extra `[torch]`.

Nothing here knows of files, images, devices or sampling, and nothing here imports another room.
"""

from moebius.networks.autoencoder import AutoencoderConfig, NanoAutoencoder
from moebius.networks.blocks import DepthwiseResBlock, LambdaMixBlock, MixFFN
from moebius.networks.denoiser import MoebiusConfig, MoebiusUNet
from moebius.networks.lambdas import InteractiveLambda, LocalLambda

__all__ = [
    "AutoencoderConfig",
    "DepthwiseResBlock",
    "InteractiveLambda",
    "LambdaMixBlock",
    "LocalLambda",
    "MixFFN",
    "MoebiusConfig",
    "MoebiusUNet",
    "NanoAutoencoder",
]
