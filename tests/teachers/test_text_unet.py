"""U-Nets of text-to-image pipelines: told w and the time, computed again in the backward pass, refused if others'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from boot_exp.diffusion.predictions import FromEps, FromV
from boot_exp.diffusion.pure_noise import NoSignalLeft
from boot_exp.diffusion.schedules import KarrasTime, SquaredCosineTable
from boot_exp.methods.students import SignalStudent
from boot_exp.teachers.deepfloyd import as_seen
from boot_exp.teachers.text_unet import PipelineEmbedding, reduced
from boot_exp.teachers.told import ToldNorm
from evals.ground.faults import ConfigurationFault
from tests.house import pipelines as tiny
from tests.house.formats import asked

KINDS = ["sd", "sdxl", "if_base", "if_sr"]
DIMENSIONS = 32
WAYS = [(kind, None) for kind in KINDS] + [("sd", DIMENSIONS), ("sdxl", DIMENSIONS)]
T = torch.tensor([0.9, 0.3], dtype=torch.float64)


def teacher(kind: str, **changed: Any) -> Any:
    """A teacher with the weights of a tiny pipeline, of which none is zero."""
    made = tiny.teacher(kind, **changed)
    made.net.unet.load_state_dict(tiny.pipeline(kind).unet.state_dict())
    return made.requires_grad_(False)


def student(of: Any) -> SignalStudent:
    """A student that takes w, whose layers for it have learnt something."""
    made = SignalStudent(of, takes_w=True, prediction=FromV())
    drawn = torch.Generator().manual_seed(1)
    for name, weight in made.named_parameters():
        if "adain" in name or "cond_proj" in name:
            nn.init.normal_(weight, std=0.1, generator=drawn)
    return made


@pytest.mark.parametrize(("kind", "dimensions"), WAYS)
def test_a_network_that_gains_w_is_as_it_was_until_it_learns(kind: str, dimensions: int | None) -> None:
    told = {} if dimensions is None else {"w_dimensions": dimensions}
    of = teacher(kind, **told)
    x, condition = asked(of)
    made = SignalStudent(of, takes_w=True)
    at_end = torch.full_like(T, of.schedule.t_max)
    for w in (1.0, 7.5):
        with_w = replace(condition, w=torch.full((2,), w))
        assert torch.equal(made(x, at_end, with_w), of(x, at_end, condition))
    learnt = student(of)
    one, other = (learnt(x, T, replace(condition, w=torch.full((2,), w))) for w in (1.0, 7.5))
    assert not torch.allclose(one, other, atol=1e-3)


def gradients(made: SignalStudent, of: Any) -> dict[str, Tensor]:
    """Of a loss of two calls with different w, after both of which the networks are told others still."""
    x, condition = asked(of)
    one, other = (made(x, T, replace(condition, w=torch.tensor(w))) for w in ((1.0, 7.5), (3.0, 2.0)))
    with torch.no_grad():
        of(x, T, condition)
        made(x, T, replace(condition, w=torch.tensor((5.0, 6.0))))
    (one.square().mean() + (one * other).mean()).backward()
    return {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize(("kind", "dimensions"), WAYS)
def test_gradients_are_the_same_where_activations_are_computed_again(kind: str, dimensions: int | None) -> None:
    told = {} if dimensions is None else {"w_dimensions": dimensions}
    wanted = gradients(student(of := teacher(kind, **told)), of)
    again = student(of := teacher(kind, checkpointing=True, **told))
    calls: list[int] = []
    norms = [module for module in again.modules() if isinstance(module, ToldNorm)]
    for norm in norms:
        norm.register_forward_hook(lambda *_: calls.append(1))
    found = gradients(again, of)
    assert 4 * len(norms) < len(calls) <= 5 * len(norms), "of three calls two are computed again, but for few layers"
    assert found.keys() == wanted.keys() and any("guidance" in n or "cond_proj" in n for n in found)
    for name, value in wanted.items():
        assert float((found[name] - value).norm()) <= 1e-5 * float(value.norm()), name


def test_a_students_copy_shares_no_w_with_its_teacher() -> None:
    made = student(of := teacher("sd", checkpointing=True))
    assert made.net.told is not of.net.told
    norms = [module for module in made.modules() if isinstance(module, ToldNorm)]
    assert norms and all(norm.told is made.net.told for norm in norms)


@pytest.mark.parametrize("dimensions", [4, 33, 256])
def test_w_is_embedded_as_pipelines_embed_their_guidance_scale(dimensions: int) -> None:
    w = torch.tensor([1.0, 1.01, 7.5, 12.0])
    embed = tiny.pipeline("sd").get_guidance_scale_embedding
    torch.testing.assert_close(PipelineEmbedding(dimensions=dimensions)(w), embed(w - 1, dimensions))


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_student_told_w_by_the_pipelines_own_embedding_obeys_its_guidance_scale(kind: str) -> None:
    """The pipeline calls such a network once a step, whatever the scale."""
    import diffusers

    made = student(teacher(kind, w_dimensions=DIMENSIONS)).requires_grad_(False)
    pipeline, seen = tiny.pipeline(kind), []
    pipeline.unet = diffusers.UNet2DConditionModel(**tiny.CONFIGS[kind], time_cond_proj_dim=DIMENSIONS)
    pipeline.unet.load_state_dict(made.net.unet.state_dict())
    pipeline.unet.register_forward_hook(lambda _, given, named, out: seen.append(out[0]), with_kwargs=True)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    pipeline("a cube", num_inference_steps=1, guidance_scale=3.5, latents=x, output_type="latent")
    texts = pipeline.encode_prompt("a cube", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    named = {"text": texts[0], **({"pooled": texts[2]} if kind == "sdxl" else {})}
    k = float(pipeline.scheduler.timesteps[0])
    ours = made.net(x, torch.tensor([k / 999]), None, torch.tensor([3.5]), **named)
    assert len(seen) == 1
    torch.testing.assert_close(ours, seen[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_times_are_told_in_float32_whatever_the_rest_is_in(kind: str) -> None:
    of, told = teacher(kind), []
    of.net.unet.time_proj.register_forward_hook(lambda _, given, out: told.append(given[0]))
    x, condition = asked(of)
    of.net.to(torch.bfloat16)
    if kind == "if_sr":
        condition = replace(condition, low_time=torch.tensor([249.0, 987.0]))
    with torch.no_grad():
        out = of(x.bfloat16(), torch.tensor([981, 983], dtype=torch.float64) / 999, condition)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(told[0], torch.tensor([981.0, 983.0]), rtol=0, atol=1e-3)
    if kind == "if_sr":
        torch.testing.assert_close(told[1], torch.tensor([249.0, 987.0]), rtol=0, atol=0)


BUILT: list[tuple[str, dict[str, Any], str]] = [
    ("sd", {"config": tiny.CONFIGS["sdxl"]}, "addition_embed_type None, got text_time; it is the network of another"),
    ("sd", {"config": tiny.CONFIGS["if_base"]}, "addition_embed_type None, got text"),
    ("sdxl", {"config": tiny.CONFIGS["sd"]}, "addition_embed_type text_time, got None"),
    ("if_base", {"config": tiny.CONFIGS["if_sr"]}, "class_embed_type None, got timestep"),
    ("if_sr", {"config": tiny.CONFIGS["if_base"]}, "class_embed_type timestep, got None"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "in_channels": 9}}, r"9 channels in and 9, .* got 9 and 4; .*inpainting"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "time_cond_proj_dim": 256}}, "told w is a distilled student"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "_class_name": "UNet2DModel"}}, "of a UNet2DConditionModel, got UNet2DM"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "mystery": 1}}, "what UNet2DConditionModel knows, got mystery"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "num_class_embeds": 10}}, "num_class_embeds None, got 10"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "sample_size": None}}, "sample_size of one or two numbers"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "norm_num_groups": 7}}, "must be one of UNet2DConditionModel"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "sample_size": 0.5}}, "sample_size of one or two numbers"),
    ("sd", {"config": {**tiny.CONFIGS["sd"], "resnet_time_scale_shift": "spatial"}}, "scale_shift, got spatial"),
    ("sd", {"schedule": KarrasTime()}, "must be a table of betas"),
    ("sd", {"w_dimensions": 2}, "w_dimensions of 4 or more, got 2"),
    ("if_base", {"w_dimensions": 256}, "IF's pipelines never tell a network w; leave it out"),
    ("if_sr", {"w_dimensions": 256}, "IF's pipelines never tell a network w; leave it out"),
    ("sdxl", {"crop": (0, 0, 0)}, "crop must be two numbers of pixels, got"),
    (
        "sdxl",
        {"config": {**tiny.CONFIGS["sdxl"], "projection_class_embeddings_input_dim": 48}},
        "room for pooled text beside 6 sizes of 8, got projection_class_embeddings_input_dim 48",
    ),
]


@pytest.mark.parametrize(("kind", "changed", "message"), BUILT)
def test_a_text_to_image_network_of_another_kind_is_refused_when_it_is_built(
    kind: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        tiny.teacher(kind, **changed)
    assert "\n" not in str(caught.value)


def test_eps_with_zero_terminal_snr_is_refused_and_v_is_not() -> None:
    assert tiny.teacher("sd_zsnr", prediction=FromV())
    with pytest.raises(NoSignalLeft, match=r"FromEps must have signal left at t_max.*bind FromV if the network"):
        tiny.teacher("sd_zsnr", prediction=FromEps())


CALLED: list[tuple[str, dict[str, Any], str]] = [
    ("sd", {"text": None}, "must be told text, text of width 32, got nothing; bind the prompts and the encoder"),
    ("sd", {"text": torch.zeros(2, 77, 48)}, r"got text \[2, 77, 48\]; bind"),
    ("sd", {"pooled": torch.zeros(2, 32)}, r"must be told text, .*pooled \[2, 32\]"),
    ("sd", {"label": torch.zeros(2, dtype=torch.long)}, "got label, text"),
    ("sdxl", {"pooled": None}, "must be told text, pooled, text of width 64"),
    ("sdxl", {"pooled": torch.zeros(2, 16)}, r"pooled text of width 32, got \[2, 16\]"),
    ("if_sr", {"low": None}, "must be told text, low, low_time"),
    ("if_sr", {"low": torch.zeros(2, 3, 16, 16)}, r"low image as large as its own, \[3, 32, 32\], got \[3, 16, 16\]"),
]


@pytest.mark.parametrize(("kind", "changed", "message"), CALLED)
def test_a_network_told_other_than_it_takes_is_refused(kind: str, changed: dict[str, Any], message: str) -> None:
    of = tiny.teacher(kind)
    x, condition = asked(of)
    with pytest.raises(ConfigurationFault, match=message) as caught:
        of(x, T, replace(condition, **changed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 1, 16, 16)])
def test_low_images_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationFault, match="3 channels and be no larger than"):
        as_seen(torch.zeros(shape), torch.zeros(2, 3, 32, 32), SquaredCosineTable(), 250)


def test_a_guided_image_is_thresholded_as_the_scheduler_of_the_pipeline_does() -> None:
    x0 = 3 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    x0[0] /= 10
    for kind, largest in (("if_base", 1.5), ("if_sr", 1.0)):
        bounded, wanted = tiny.teacher(kind).bounded(x0), tiny.pixel_table(largest)._threshold_sample(x0)
        torch.testing.assert_close(bounded, wanted)
    assert torch.equal(tiny.teacher("if_base", thresholding=None).bounded(x0), x0)
    assert torch.equal(tiny.teacher("sd").bounded(x0), x0)


RELEASED: dict[str, dict[str, Any]] = {
    "sd": {"sample_size": 64, "cross_attention_dim": 768},
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [5, 10, 20],
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "if_base": {**tiny.CONFIGS["if_base"], "sample_size": 64, "block_out_channels": [192, 384], "norm_num_groups": 32},
}


@pytest.mark.parametrize("kind", RELEASED)
def test_a_released_network_is_built_whole_without_memory_and_small_for_a_dry_run(kind: str) -> None:
    with torch.device("meta"):
        whole = tiny.teacher(kind, config=RELEASED[kind])
    small = tiny.teacher(kind, config=reduced(RELEASED[kind]))
    assert whole.net.text == small.net.text, "prompts stay as they are"
    count = sum(weight.numel() for weight in whole.parameters())
    assert count > 10 * sum(weight.numel() for weight in small.parameters())
    if kind == "sd":
        assert whole.shape == (4, 64, 64) and count == 859_520_964
