"""The networks of Moebius as plain PyTorch modules: tensors in, tensors out. Needs the extra `[torch]`.

Nothing here knows of files, images, devices or sampling, and nothing here imports another room. Only building a
`PixelHackerUNet` imports diffusers.
"""

from moebius.networks.architectures import build_denoiser, denoiser_config
from moebius.networks.autoencoder import AutoencoderConfig, NanoAutoencoder
from moebius.networks.blocks import DepthwiseResBlock, LambdaMixBlock, MixFFN
from moebius.networks.denoiser import MoebiusConfig, MoebiusUNet
from moebius.networks.gla import GatedLinearAttention
from moebius.networks.lambdas import InteractiveLambda, LocalLambda
from moebius.networks.teacher import PixelHackerConfig, PixelHackerUNet

__all__ = [
    "AutoencoderConfig",
    "DepthwiseResBlock",
    "GatedLinearAttention",
    "InteractiveLambda",
    "LambdaMixBlock",
    "LocalLambda",
    "MixFFN",
    "MoebiusConfig",
    "MoebiusUNet",
    "NanoAutoencoder",
    "PixelHackerConfig",
    "PixelHackerUNet",
    "build_denoiser",
    "denoiser_config",
]
