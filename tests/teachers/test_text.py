"""Text encoders and the decoder of latents agree exactly with diffusers' own pipelines, and refuse what they cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from boot_exp.engine import libraries
from boot_exp.teachers import pipelines as reading
from boot_exp.teachers.decoding import VaeDecoder, decoder
from boot_exp.teachers.text import ClipPairText, ClipText, PipelineText, T5Text
from evals.ground.faults import ConfigurationFault, MissingResource, NumericalFault, StateFault
from tests.house import pipelines
from tests.house.prompted import CPU, folder_of

PROMPTS = ["a dog", "A red   FOX & co", "x" * 200, ""]
ENCODERS: dict[str, Callable[[str], PipelineText]] = {
    "sd": lambda source: ClipText(source=source, at_once=4),
    "sd_v": lambda source: ClipText(source=source, at_once=4),
    "sdxl": lambda source: ClipPairText(source=source, at_once=4),
    "if_base": lambda source: T5Text(source=source, at_once=4, clean=False),
    "if_sr": lambda source: T5Text(source=source, at_once=4, clean=False),
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture
def copied(parent: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the folder of a tiny pipeline, to be damaged."""

    def copy(kind: str) -> Path:
        shutil.copytree(folder_of(kind, parent), tmp_path / kind)
        return tmp_path / kind

    return copy


def theirs(folder: Path, prompts: list[str], negative: str | None = None, **more: Any) -> list[Tensor]:
    """What the pipeline itself encodes prompts to, and what it compares them with, rounded."""
    pipe = pipelines.loaded(folder)
    if "IF" in type(pipe).__name__:
        more["clean_caption"] = False
    against = None if negative is None else [negative] * len(prompts)
    with torch.no_grad():
        made = pipe.encode_prompt(
            prompts,
            device=CPU,
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=against,
            **more,
        )
    return [part.half() for part in made]


@pytest.mark.parametrize("kind", list(ENCODERS))
@pytest.mark.parametrize("negative", ["", "bad quality"])
def test_text_is_what_the_pipeline_encodes(parent: Path, kind: str, negative: str) -> None:
    """To the bit; where a pipeline tells no negative prompt from an empty one, that is ours."""
    folder = folder_of(kind, parent)
    encode = ENCODERS[kind](str(folder)).on(CPU)
    made, against = encode(PROMPTS), encode.negative(negative)
    text, without, *pooled = theirs(folder, PROMPTS, negative or None)
    assert torch.equal(made["text"], text) and torch.equal(against["text"], without[:1])
    assert made["text"].dtype is torch.float16 and made["text"].shape[:2] == (4, 77) and made["text"].any()
    assert len(pooled) == 2 * ("pooled" in made)
    if pooled:
        assert torch.equal(made["pooled"], pooled[0]) and torch.equal(against["pooled"], pooled[1][:1])
    assert encode.tokens == 77 and encode.counts(PROMPTS)[2] > 200 // 2


@pytest.mark.parametrize("says", [True, False])
def test_an_empty_negative_prompt_is_zeros_where_the_pipeline_says_so(
    copied: Callable[[str], Path], says: bool
) -> None:
    folder = copied("sdxl")
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "force_zeros_for_empty_prompt": says}))
    encode = ENCODERS["sdxl"](str(folder)).on(CPU)
    against = encode.negative("")
    assert all(bool(value.any()) is not says for value in against.values())
    for name, want in zip(("text", "pooled"), theirs(folder, PROMPTS)[1::2], strict=True):
        assert torch.equal(against[name], want[:1])


def test_what_a_prompt_is_encoded_to_depends_on_it_alone(parent: Path) -> None:
    for kind in ("sd", "sdxl", "if_base"):
        encode = ENCODERS[kind](str(folder_of(kind, parent))).on(CPU)
        together = encode([*PROMPTS, "one more", "and one"])
        for index, prompt in enumerate(PROMPTS):
            for name, value in encode([prompt]).items():
                assert torch.equal(value[0], together[name][index])


def test_skipped_layers_are_those_of_a_smaller_network_and_not_of_the_negative_prompt(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("sd")
    skipped = ClipText(source=str(folder), at_once=4, skip=1).on(CPU)
    made, against = skipped(PROMPTS)["text"], skipped.negative("")["text"]
    assert torch.equal(against, ClipText(source=str(folder), at_once=4).on(CPU).negative("")["text"])
    config = folder / "text_encoder/config.json"
    config.write_text(config.read_text().replace('"num_hidden_layers": 3', '"num_hidden_layers": 2'))
    assert torch.equal(made, ClipText(source=str(folder), at_once=4).on(CPU)(PROMPTS)["text"])


def test_another_precision_is_near_and_is_rounded_to_its_16_bits(parent: Path) -> None:
    source = str(folder_of("sd", parent))
    exact = ClipText(source=source, at_once=4).on(CPU)(PROMPTS)["text"].float()
    for computes, rounded in (("bfloat16", "bfloat16"), ("float32", "bfloat16"), ("bfloat16", "float16")):
        made = ClipText(source=source, at_once=4, computes=computes, rounded=rounded).on(CPU)(PROMPTS)["text"]
        assert str(made.dtype) == f"torch.{rounded}" and 0 < float((made.float() - exact).std()) < 0.02
    with pytest.raises(ValueError, match=r"ClipText must compute in float32, float16, bfloat16 and round to .*int8"):
        ClipText(source=source, rounded="int8")


def test_text_that_16_bits_do_not_hold_is_refused(copied: Callable[[str], Path]) -> None:
    from safetensors.torch import load_file, save_file

    path = copied("sd") / "text_encoder/model.safetensors"
    weights = load_file(path)
    (name,) = (name for name in weights if name.endswith("final_layer_norm.weight"))
    save_file({**weights, name: weights[name] * 1e6}, path, metadata={"format": "pt"})
    with pytest.raises(NumericalFault, match=r"must be finite in float16, got others, of 'a dog'.* 'bfloat16'"):
        ClipText(source=str(path.parents[1])).on(CPU)(PROMPTS)
    assert ClipText(source=str(path.parents[1]), rounded="bfloat16").on(CPU)(PROMPTS)["text"].isfinite().all()


@pytest.mark.parametrize("part", ["tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2"])
def test_a_part_that_was_left_out_of_a_folder_is_named(copied: Callable[[str], Path], part: str) -> None:
    folder = copied("sdxl")
    shutil.rmtree(folder / part)
    with pytest.raises(StateFault, match=rf"must be a whole pipeline with the folder {part}, got .*; fetch that part"):
        ClipPairText(source=str(folder)).on(CPU)


def emptied(folder: Path) -> None:
    for path in (folder / "tokenizer").iterdir():
        path.unlink()


def pickled(folder: Path) -> None:
    (folder / "text_encoder/model.safetensors").rename(folder / "text_encoder/pytorch_model.bin")


def cut(folder: Path) -> None:
    path = folder / "text_encoder/model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def without_a_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "text_encoder/model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if "layers.1" not in name}
    save_file(kept, path, metadata={"format": "pt"})


def wider(folder: Path) -> None:
    path = folder / "text_encoder/config.json"
    path.write_text(path.read_text().replace('"intermediate_size": 64', '"intermediate_size": 96'))


DAMAGES = {
    "no tokenizer's files": (
        emptied,
        r"tokenizer must hold tokenizer.json, spiece.model, or .*, got nothing",
    ),
    "a pickle": (pickled, r"must hold weights as safetensors, .* got pytorch_model.bin; .* it may run code"),
    "cut short": (cut, r"text_encoder must hold a CLIPTextModel, got "),
    "a layer lacks": (
        without_a_layer,
        r"must hold all weights of a CLIPTextModel, got \d+ that lack or differ, first ",
    ),
    "another width": (wider, r"text_encoder must hold a"),
    "no json": (lambda folder: (folder / "text_encoder/config.json").write_text("{"), r"must hold a CLIPTextModel"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_encoder_is_refused_and_nothing_of_it_is_run(copied: Callable[[str], Path], damage: str) -> None:
    folder = copied("sd")
    does, said = DAMAGES[damage]
    does(folder)
    with pytest.raises(StateFault, match=said):
        ClipText(source=str(folder)).on(CPU)


def test_an_encoder_of_another_family_is_refused(parent: Path) -> None:
    with pytest.raises(StateFault, match=r"tokenizer must hold a T5Tokenizer, got .*; fetch it again, or bind"):
        T5Text(source=str(folder_of("sd", parent)), clean=False).on(CPU)


def test_code_that_a_folder_brings_is_not_run(copied: Callable[[str], Path]) -> None:
    folder = copied("sd")
    (folder / "text_encoder/evil.py").write_text("raise SystemExit('was run')")
    for name in ("text_encoder/config.json", "tokenizer/tokenizer_config.json"):
        said = json.loads((folder / name).read_text())
        mapped = {"AutoModel": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
        (folder / name).write_text(json.dumps({**said, "auto_map": mapped}))
    assert ClipText(source=str(folder)).on(CPU)(["a dog"])["text"].any()


class GatedRepoError(Exception):
    """As huggingface_hub names it."""


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (GatedRepoError("401 Client Error."), "accept its licence there and log in"),
        (ConnectionError("no route to host"), "fetch it elsewhere, or bind the path of its folder"),
    ],
)
def test_weights_that_cannot_be_fetched_are_a_missing_resource(
    error: Exception, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def fails(*arguments: Any, **more: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    for asked in (lambda: ClipText(source="of/nobody").on(CPU), lambda: VaeDecoder(source="of/nobody")(torch.ones(1))):
        with pytest.raises(MissingResource, match=cure):
            asked()


def test_only_what_is_read_is_fetched(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fnmatch import fnmatch

    import huggingface_hub

    folder, asked = folder_of("sd", parent), []

    def fetch(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        taken = {file for file in there if any(fnmatch(file, pattern) for pattern in allow_patterns)}
        read = {path.relative_to(folder).as_posix() for path in reading.Pipeline.at(str(folder), None, parts).files()}
        assert taken == {"model_index.json", *read}
        assert not any(fnmatch("text_encoder/pytorch_model.bin", pattern) for pattern in allow_patterns)
        return str(folder)

    parts = ["tokenizer", "text_encoder"]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    made = ClipText(source="some/one", revision="abc").on(CPU)
    assert asked == [("some/one", "abc")] and made.sha256 == ClipText(source=str(folder)).on(CPU).sha256


@pytest.mark.parametrize("lacking", [["bs4"], ["ftfy"], ["bs4", "ftfy"]], ids=" ".join)
def test_captions_are_not_left_uncleaned_in_silence(
    parent: Path, lacking: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None if name in lacking else object())
    encoder = T5Text(source=str(folder_of("if_base", parent)), clean=True)
    with pytest.raises(MissingResource, match=r"cleaning captions needs .*; run: pip install .*, or bind T5Text"):
        encoder.on(CPU)


def test_a_tokenizer_that_was_not_converted_names_what_reads_it(
    copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied("if_base")
    (folder / "tokenizer/tokenizer.json").rename(folder / "tokenizer/spiece.model")
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    with pytest.raises(MissingResource, match=r"spiece.model needs sentencepiece protobuf, not installed here; run: "):
        T5Text(source=str(folder), clean=False).on(CPU)


def test_captions_are_cleaned_twice_as_the_pipeline_cleans_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """bs4 and ftfy may not be installed: both are stood in for by what leaves a plain caption as it is."""
    from diffusers.pipelines.deepfloyd_if import pipeline_if

    class Soup:
        def __init__(self, text: str, **more: Any) -> None:
            self.text = text

    class Fixed:
        @staticmethod
        def fix_text(text: str) -> str:
            return text

    monkeypatch.setattr(pipeline_if, "BeautifulSoup", Soup, raising=False)
    monkeypatch.setattr(pipeline_if, "ftfy", Fixed, raising=False)
    pipe: Any = object.__new__(pipeline_if.IFPipeline)
    monkeypatch.setattr(pipeline_if, "is_bs4_available", lambda: True)
    monkeypatch.setattr(pipeline_if, "is_ftfy_available", lambda: True)
    caption = "A  <person> at www.example.com, #12345: click here for 3x4, “quoted”"
    (want,) = pipe._text_preprocessing([caption], clean_caption=True)
    assert T5Text(source="no", clean=True).prepared(caption) == want != caption.lower()
    assert T5Text(source="no", clean=False).prepared("  A Dog ") == "a dog"


@pytest.mark.parametrize("module", ["transformers", "diffusers"])
def test_libraries_that_are_not_installed_are_named(parent: Path, module: str) -> None:
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Without:\n"
        "    find_distributions = PathFinder.find_distributions\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        return None if name.partition('.')[0] == {module!r} else PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]\n"
        "import torch\n"
        "from boot_exp.teachers.text import ClipText\n"
        f"ClipText(source={str(folder_of('sd', parent))!r}).on(torch.device('cpu'))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    extra = {"transformers": "text", "diffusers": "teachers"}[module]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("evals.ground.faults.MissingResource: ") and last.endswith(f"'boot-exp[{extra}]'"), last


def test_latents_are_decoded_as_the_pipeline_decodes_them(parent: Path) -> None:
    for kind in ("sd", "sdxl"):
        folder = folder_of(kind, parent)
        pipe = pipelines.loaded(folder)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            latents = torch.randn(5, 4, 8, 8)
        kept: dict[str, Tensor] = {}

        def keep(pipe: Any, step: int, t: Any, values: dict[str, Tensor], kept: dict[str, Tensor] = kept) -> Any:
            kept["latents"] = values["latents"]
            return values

        images = pipe(
            ["a dog"] * 5, latents=latents, num_inference_steps=2, output_type="pt", callback_on_step_end=keep
        ).images
        made = VaeDecoder(source=str(folder), at_once=5)(kept["latents"])
        assert torch.equal((made / 2 + 0.5).clamp(0, 1), images) and made.shape == (5, 3, 64, 64)
        some = VaeDecoder(source=str(folder), at_once=2)(kept["latents"])
        assert torch.allclose(some, made, atol=1e-5)


def test_latents_mean_and_deviation_and_shift_are_the_files(copied: Callable[[str], Path]) -> None:
    """As XL's pipeline, which knows mean and deviation, and as SD3's, which knows a shift."""
    folder = copied("sdxl")
    path = folder / "vae/config.json"
    said = json.loads(path.read_text())
    mean, deviation = [0.1, -0.2, 0.3, 0.4], [1.5, 0.5, 2.0, 1.0]
    path.write_text(json.dumps({**said, "latents_mean": mean, "latents_std": deviation}))
    pipe, latents = pipelines.loaded(folder), torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scaled = latents * torch.tensor(deviation).view(1, 4, 1, 1) / pipe.vae.config.scaling_factor
        want = pipe.vae.decode(scaled + torch.tensor(mean).view(1, 4, 1, 1)).sample
        decoder.cache_clear()
        assert torch.equal(VaeDecoder(source=str(folder))(latents), want)
        path.write_text(json.dumps({**said, "shift_factor": 0.06}))
        decoder.cache_clear()
        want = pipe.vae.decode(latents / pipe.vae.config.scaling_factor + 0.06).sample
        assert torch.equal(VaeDecoder(source=str(folder))(latents), want)


def test_a_decoder_that_overflows_computes_in_float32(copied: Callable[[str], Path]) -> None:
    """Whatever is bound, and under autocast too; one that does not overflow computes as it is told."""
    folder = copied("sdxl")
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    exact = VaeDecoder(source=str(folder))(latents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(VaeDecoder(source=str(folder))(latents), exact)
        told = VaeDecoder(source=str(folder), computes="bfloat16")
        assert decoder(told.source, None, "bfloat16", CPU).dtype is torch.float32
    path = folder / "vae/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "force_upcast": False}))
    decoder.cache_clear()
    rough = told(latents)
    assert rough.dtype is torch.float32 and 0 < float((rough - exact).std()) < 0.05
    with pytest.raises(ValueError, match=r"VaeDecoder must compute in float32, float16, bfloat16, got int8"):
        VaeDecoder(source=str(folder), computes="int8")


def test_latents_of_other_channels_are_refused(parent: Path) -> None:
    with pytest.raises(ConfigurationFault, match=r"decodes latents of 4 channels, got 16; bind the decoder of"):
        VaeDecoder(source=str(folder_of("sd", parent)))(torch.zeros(1, 16, 8, 8))


def test_a_pipeline_without_a_decoder_is_refused(parent: Path) -> None:
    with pytest.raises(StateFault, match=r"must be a whole pipeline with the folder vae, got "):
        VaeDecoder(source=str(folder_of("if_base", parent)))(torch.zeros(1, 4, 8, 8))


os.environ.setdefault("HF_HUB_OFFLINE", "1")
