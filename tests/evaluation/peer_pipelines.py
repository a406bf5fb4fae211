"""Pipelines of diffusers with random weights, as `save_pretrained` writes them. Small enough to run in a moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIDE = 32
"""What the tiny latent networks are made for: 16 latent pixels of 2 x 2."""


def _tokenizer(folder: Path) -> Any:
    """CLIP's, over the letters alone."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16), len(
        words
    )


def _parts(folder: Path, channels: int) -> dict[str, Any]:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer, words = _tokenizer(folder.with_name(f"{folder.name}-vocabulary"))
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=channels, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, sample_size=SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=words, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, projection_dim=16, bos_token_id=words - 2, eos_token_id=words - 1, pad_token_id=0,
    )  # fmt: skip
    return {
        "vae": vae, "text_encoder": CLIPTextModel(text), "tokenizer": tokenizer, "unet": unet,
        "scheduler": DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1, clip_sample=False),
        "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False,
    }  # fmt: skip


def save_inpainter(folder: Path) -> Path:
    """Stable Diffusion for inpainting: its network sees mask and masked picture."""
    from diffusers import StableDiffusionInpaintPipeline

    StableDiffusionInpaintPipeline(**_parts(folder, 9)).save_pretrained(folder)
    return folder


def save_generator(folder: Path) -> Path:
    """Stable Diffusion as it makes pictures from text; diffusers has an inpainting pipeline for its parts."""
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline(**_parts(folder, 4)).save_pretrained(folder)
    return folder


def _pixel_network() -> Any:
    import torch
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=32, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip


def save_repaint(folder: Path) -> Path:
    """RePaint, which keeps the known pixels themselves; its mask is black where it fills. Takes no prompt."""
    from diffusers import RePaintPipeline, RePaintScheduler

    RePaintPipeline(_pixel_network(), RePaintScheduler()).save_pretrained(folder)
    return folder


def save_unmasked(folder: Path) -> Path:
    """A pipeline that fills nothing."""
    from diffusers import DDPMPipeline, DDPMScheduler

    DDPMPipeline(_pixel_network(), DDPMScheduler()).save_pretrained(folder)
    return folder
