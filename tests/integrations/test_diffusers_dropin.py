"""Code written for diffusers' inpainting pipelines, with another class name; folders that diffusers opens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from moebius import OutputError
from moebius.cli import moebius as program

diffusers = pytest.importorskip("diffusers", reason="the pipeline is diffusers' own kind")
transformers = pytest.importorskip("transformers", reason="the other two pipelines read text with it")

from moebius.integrations.diffusers import MoebiusInpaintPipeline  # noqa: E402
from moebius.integrations.diffusers_folder import export_diffusers  # noqa: E402
from moebius.integrations.diffusers_scheduler import MoebiusDDIMScheduler  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
"""In diffusers' own schedulers, with numpy 2."""

TESTS = Path(__file__).parents[1]
EXAMPLES = TESTS.parent / "examples"
SIDE = 64

SCRIPT = """
pipe = Pipeline.from_pretrained(folder, torch_dtype=torch.float32)
pipe = pipe.to("cpu")
pipe.set_progress_bar_config(disable=True)
pipe.enable_attention_slicing()

def on_step(pipe, step, timestep, kwargs):
    steps.append(step)
    return kwargs

def fill(**more):
    return pipe(
        prompt="an empty sky", image=photo, mask_image=mask, height=64, width=64, num_inference_steps=3,
        guidance_scale=7.5, strength=1.0, num_images_per_prompt=1, output_type="pil",
        generator=torch.Generator("cpu").manual_seed(0), callback_on_step_end=on_step,
        callback_on_step_end_tensor_inputs=["latents"], **more,
    ).images[0]

pictures = [fill(), fill()]
array = pipe(
    "an empty sky", image=photo, mask_image=mask, height=64, width=64, num_inference_steps=2, output_type="np",
    generator=[torch.Generator("cpu").manual_seed(1)], return_dict=False,
)[0]
"""
"""What people write. `Pipeline` and `folder` are all that differs."""


def photo_and_mask() -> tuple[Image.Image, Image.Image]:
    photo = Image.open(EXAMPLES / "rocket.jpg").convert("RGB").resize((SIDE, SIDE))
    hole = np.zeros((SIDE, SIDE), np.uint8)
    hole[20:44, 24:40] = 255
    return photo, Image.fromarray(hole)


def clip_tokenizer(folder: Path) -> Any:
    """CLIP's, over the letters alone."""
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
    )


def t5_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = Tokenizer(
        models.Unigram([(word, -1.0) for word in ("<pad>", "</s>", "<unk>", *letters)], unk_id=2)
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )


def clip(words: int) -> Any:
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=words, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=16, projection_dim=16, bos_token_id=words - 2, eos_token_id=words - 1,
            pad_token_id=0,
        )
    ).eval()  # fmt: skip


def autoencoder(**more: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, sample_size=SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **more,
    ).eval()  # fmt: skip


def save_stable_diffusion(folder: Path) -> None:
    tokenizer = clip_tokenizer(folder.with_name("stable-diffusion-words"))
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE // 2, in_channels=9, out_channels=4, layers_per_block=1, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    diffusers.StableDiffusionInpaintPipeline(
        vae=autoencoder(), text_encoder=clip(len(tokenizer)), tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def save_flux_fill(folder: Path) -> None:
    tokenizer, second = clip_tokenizer(folder.with_name("flux-words")), t5_tokenizer()
    t5 = transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=len(second), d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
        )
    ).eval()  # fmt: skip
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=3 * 16, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=16, axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()  # fmt: skip
    diffusers.FluxFillPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(shift_factor=0.0, scaling_factor=1.0, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip(len(tokenizer)), tokenizer=tokenizer, text_encoder_2=t5, tokenizer_2=second,
        transformer=transformer,
    ).save_pretrained(folder)  # fmt: skip


@pytest.mark.parametrize(
    "name", ["StableDiffusionInpaintPipeline", "FluxFillPipeline", "MoebiusInpaintPipeline"]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_one_script_for_three_pipelines(name: str, tmp_path: Path, tiny_masked: Path) -> None:
    folder = tmp_path / "pipeline"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "MoebiusInpaintPipeline":
            MoebiusInpaintPipeline.from_moebius(tiny_masked).save_pretrained(folder)
        else:
            (save_flux_fill if name == "FluxFillPipeline" else save_stable_diffusion)(folder)
    kind = MoebiusInpaintPipeline if name == "MoebiusInpaintPipeline" else getattr(diffusers, name)
    photo, mask = photo_and_mask()
    steps: list[int] = []
    names = {
        "Pipeline": kind,
        "folder": str(folder),
        "torch": torch,
        "photo": photo,
        "mask": mask,
        "steps": steps,
    }
    exec(compile(SCRIPT, "script", "exec"), names)

    first, second = names["pictures"]
    assert first.size == (SIDE, SIDE) and first.mode == "RGB"
    assert np.array_equal(first, second)
    assert steps == [0, 1, 2] * 2
    assert names["array"].shape == (1, SIDE, SIDE, 3) and np.isfinite(names["array"]).all()
    hole = np.asarray(mask) > 0
    assert (np.asarray(first) != np.asarray(photo)).any(axis=-1)[hole].mean() > 0.9
    kept = np.array_equal(np.asarray(first)[~hole], np.asarray(photo)[~hole])
    assert kept == (name == "MoebiusInpaintPipeline")  # the others leave pasting to their caller


def filled(pipe: Any) -> Any:
    photo, mask = photo_and_mask()
    pipe.set_progress_bar_config(disable=True)
    return np.asarray(pipe(image=photo, mask_image=mask, seed=1).images[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_masked: Path) -> Path:
    """A pipeline for the Hub."""
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    export_diffusers(folder, model=tiny_masked)
    return folder


def test_a_folder_for_the_hub(folder: Path, tiny_masked: Path, tmp_path: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "MoebiusInpaintPipeline"]
    for part in ("unet", "vae", "scheduler"):
        module, _ = index[part]
        assert (folder / part / f"{module}.py").is_file()
    for part in ("unet", "vae"):
        assert (folder / part / "diffusion_pytorch_model.safetensors").stat().st_mode & 0o044
    assert index["model"]["feed"] == "masked"
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: diffusers\n")
    for path in folder.rglob("*.py"):
        assert len(path.read_text().splitlines()) < 12

    expected = filled(MoebiusInpaintPipeline.from_moebius(tiny_masked))
    pipe = MoebiusInpaintPipeline.from_pretrained(folder)  # no code of the folder is run for our own class
    assert np.array_equal(expected, filled(pipe))
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.save_pretrained(tmp_path / "again")
    again = MoebiusInpaintPipeline.from_pretrained(tmp_path / "again")
    assert isinstance(again.scheduler, diffusers.EulerDiscreteScheduler)
    assert again.spec == pipe.spec
    assert json.loads((tmp_path / "again" / "model_index.json").read_text())["scheduler"][0] == "diffusers"
    half = MoebiusInpaintPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    assert half.unet.dtype is half.vae.dtype is torch.bfloat16


OPEN = """
import sys
import numpy as np
from PIL import Image
from diffusers import DiffusionPipeline

folder, photo, mask, *outs = sys.argv[1:]
for custom, out in zip(({}, {"custom_pipeline": folder}), outs, strict=True):
    pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True, **custom)
    assert type(pipe).__name__ == "MoebiusInpaintPipeline", type(pipe)
    pipe.set_progress_bar_config(disable=True)
    pipe(image=Image.open(photo), mask_image=Image.open(mask), seed=1).images[0].save(out)
"""


def run_offline(code: str, arguments: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(home),
        "HF_MODULES_CACHE": str(home / "modules"),
        "PYTHONPATH": str(TESTS / "no_torchvision"),
    }
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_diffusers_opens_it_by_the_code_in_the_folder(folder: Path, tmp_path: Path) -> None:
    photo, mask = photo_and_mask()
    photo.save(tmp_path / "photo.png")
    mask.save(tmp_path / "mask.png")
    files = [str(tmp_path / name) for name in ("photo.png", "mask.png", "index.png", "custom.png")]
    done = run_offline(OPEN, [str(folder), *files], tmp_path / "home")
    assert done.returncode == 0, done.stderr
    expected = filled(MoebiusInpaintPipeline.from_pretrained(folder))
    for out in files[2:]:
        assert np.array_equal(np.asarray(Image.open(out)), expected)


def test_the_folders_code_says_what_to_install(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.py"):
        code = "import runpy, sys; sys.modules['moebius'] = None; runpy.run_path(sys.argv[1])"
        done = run_offline(code, [str(path)], tmp_path)
        assert "this pipeline needs moebius: pip install 'moebius-inpaint[torch]'" in done.stderr, path


def test_code_in_a_folder_is_not_run_unasked(folder: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        diffusers.DiffusionPipeline.from_pretrained(folder)


def test_the_command(tiny_masked: Path, tmp_path: Path) -> None:
    target, run = tmp_path / "pipeline", CliRunner()
    arguments = ["export", "diffusers", str(target), "--model", str(tiny_masked)]
    done = run.invoke(program, [*arguments, "--dtype", "float16", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["model"] == "tiny-masked"
    assert told["bytes"] == {
        path.relative_to(target).as_posix(): path.stat().st_size
        for path in target.rglob("*")
        if path.is_file()
    }
    large = told["bytes"]["unet/diffusion_pytorch_model.safetensors"]
    with pytest.raises(OutputError, match="new or empty folder"):
        export_diffusers(target, model=tiny_masked)
    assert told["bytes"]["scheduler/moebius_scheduler.py"]
    ddim = MoebiusInpaintPipeline.from_pretrained(target)
    assert type(ddim.scheduler) is MoebiusDDIMScheduler and ddim.scheduler.config.num_train_timesteps == 901
    assert "unet/moebius_unet.py" in run.invoke(program, [*arguments, "--overwrite"]).output
    assert (target / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size > 1.8 * large
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(OutputError, match="an earlier pipeline to replace, got something else"):
        export_diffusers(tmp_path / "mine", model=tiny_masked, overwrite=True)


def test_an_exported_model_has_no_network_to_take(tmp_path: Path, tiny_masked: Path) -> None:
    from dataclasses import replace

    from moebius import WeightsError
    from moebius.weights import ModelFolder, open_folder
    from moebius.weights.spec import Exported

    folder = open_folder(tiny_masked)
    exported = Exported(runtime="onnx", dtype="float16", source="0" * 64)
    with pytest.MonkeyPatch.context() as patch:
        made = ModelFolder(folder.path, replace(folder.spec, exported=exported))
        patch.setattr("moebius.integrations.diffusers.open_model", lambda name: made)
        with pytest.raises(WeightsError, match="expected a model with weights for PyTorch, got one exported"):
            MoebiusInpaintPipeline.from_moebius("any")
