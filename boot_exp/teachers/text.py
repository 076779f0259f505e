"""Text encoders of diffusers' pipelines, asked exactly as each pipeline asks them, through transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor

from boot_exp.config.components import Count, component
from boot_exp.engine.libraries import check_cleaning
from boot_exp.teachers.pipelines import Pipeline, quiet
from evals.ground.extras import extras
from evals.ground.faults import NumericalFault

if TYPE_CHECKING:
    from boot_exp.data.encoders import Encode

KINDS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CLIP = ("CLIPTokenizer", "CLIPTextModel")


@component
class PipelineText(ABC):
    """The text encoders in the folder of a pipeline, or of the hub with a revision.

    longest: how many tokens are read; None: what the tokenizer says. computes: the precision of the encoder; rounded:
    the 16 bits that text is rounded to, float16 or bfloat16. at_once: prompts in each call, which is filled up to it:
    what a prompt is encoded to depends in its last bits on how many are encoded with it, and stored text must be that
    of every step.
    """

    source: str
    revision: str | None = None
    computes: str = "float32"
    rounded: str = "float16"
    at_once: Count = 16
    longest: Count | None = None

    parts: ClassVar[Sequence[tuple[str, str, str, str]]]
    """Folder of a tokenizer, folder of its encoder, and the classes of both."""

    def __post_init__(self) -> None:
        if self.computes not in KINDS or self.rounded not in ("float16", "bfloat16"):
            raise ValueError(
                f"{type(self).__name__} must compute in {', '.join(KINDS)} and round to float16 or bfloat16, got "
                f"{self.computes} and {self.rounded}"
            )

    def prepared(self, prompt: str) -> str:
        """Returns a prompt as the tokenizer gets it."""
        return prompt

    @abstractmethod
    def asked(self, models: Sequence[Any], ids: Sequence[Tensor], mask: Tensor) -> dict[str, Tensor]:
        """Encodes the tokens of each tokenizer, [B, L], with the mask of the first: each part [B, ...]."""

    def unconditional(self, prompt: str, encode: PipelineEncode) -> Mapping[str, Tensor]:
        """Encodes the prompt that guidance compares with: a batch of one."""
        return encode([prompt])

    def on(self, where: torch.device) -> Encode:
        """Reads tokenizers and encoders to a device. MissingResource: not there; StateFault: another or damaged."""
        pipeline = Pipeline.at(self.source, self.revision, [part for pair in self.parts for part in pair[:2]])
        return PipelineEncode(self, pipeline, where)


class PipelineEncode:
    """The encoders of a pipeline in memory; see `Encode`."""

    def __init__(self, encoder: PipelineText, pipeline: Pipeline, where: torch.device) -> None:
        self.encoder, self.pipeline, self.where = encoder, pipeline, where
        self.tokenizers = [pipeline.tokenizer(part[0], part[2]) for part in encoder.parts]
        dtype = KINDS[encoder.computes]
        self.models = [pipeline.model(part[1], part[3], dtype).to(where) for part in encoder.parts]
        self.sha256 = pipeline.sha256()
        self.lengths = [encoder.longest or tokenizer.model_max_length for tokenizer in self.tokenizers]
        self.tokens = min(self.lengths)

    def counts(self, prompts: Sequence[str]) -> list[int]:
        """Returns how many tokens each prompt has, of the tokenizer that makes the most of it."""
        texts = [self.encoder.prepared(prompt) for prompt in prompts]
        with quiet():
            each = [[len(ids) for ids in tokenizer(texts)["input_ids"]] for tokenizer in self.tokenizers]
        return [max(counts) for counts in zip(*each, strict=True)]

    def __call__(self, prompts: Sequence[str], **more: Any) -> dict[str, Tensor]:
        size, made = self.encoder.at_once, []
        # Never under the autocast of a training, which would encode otherwise than what is stored.
        with torch.no_grad(), torch.autocast(self.where.type, enabled=False):
            for low in range(0, len(prompts), size):
                some = [self.encoder.prepared(prompt) for prompt in prompts[low : low + size]]
                full = some + [some[-1]] * (size - len(some))
                made.append({name: value[: len(some)] for name, value in self.whole(full, **more).items()})
            return {name: torch.cat([part[name] for part in made]) for name in made[0]}

    def whole(self, texts: list[str], **more: Any) -> dict[str, Tensor]:
        """Encodes exactly `at_once` texts and rounds. NumericalFault: 16 bits do not hold what comes out."""
        tokenised = [
            tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            for tokenizer, length in zip(self.tokenizers, self.lengths, strict=True)
        ]
        ids = [tokens["input_ids"].to(self.where) for tokens in tokenised]
        mask = tokenised[0]["attention_mask"].to(self.where)
        made = self.encoder.asked(self.models, ids, mask, **more)
        rounded = {name: value.to(KINDS[self.encoder.rounded]) for name, value in made.items()}
        if not all(bool(value.isfinite().all()) for value in rounded.values()):
            raise NumericalFault(
                f"encoded text must be finite in {self.encoder.rounded}, got others, of {texts[0][:60]!r} or of the "
                f"{len(texts) - 1} after it; bind {type(self.encoder).__name__}.rounded = 'bfloat16', or computes"
            )
        return rounded

    def negative(self, prompt: str) -> Mapping[str, Tensor]:
        """Encodes the prompt that guidance compares with, as the pipeline does: a batch of one."""
        return self.encoder.unconditional(prompt, self)


@component
class ClipText(PipelineText):
    """Stable Diffusion 1 and 2: text [B, 77, D], CLIP's last layer after its norm.

    skip: how many last layers are left out of prompts, and not of the negative one: the pipeline's clip_skip.
    """

    skip: Count | None = None

    parts: ClassVar[Sequence[tuple[str, str, str, str]]] = [("tokenizer", "text_encoder", *CLIP)]

    def unconditional(self, prompt: str, encode: PipelineEncode) -> Mapping[str, Tensor]:
        return encode([prompt], skip=None)

    def asked(self, models: Sequence[Any], ids: Sequence[Tensor], mask: Tensor, **more: Any) -> dict[str, Tensor]:
        (model,), (tokens,) = models, ids
        seen = mask if getattr(model.config, "use_attention_mask", False) else None
        skip = more.get("skip", self.skip)
        if skip is None:
            return {"text": model(tokens, attention_mask=seen)[0]}
        hidden = model(tokens, attention_mask=seen, output_hidden_states=True).hidden_states
        norm = getattr(model, "text_model", model).final_layer_norm
        return {"text": norm(hidden[-(skip + 1)])}


@component
class ClipPairText(PipelineText):
    """Stable Diffusion XL: text [B, 77, D1 + D2], both CLIPs' layers before the last; pooled [B, P] of the second.

    An empty negative prompt is zeros where the pipeline's force_zeros_for_empty_prompt says so.
    """

    parts: ClassVar[Sequence[tuple[str, str, str, str]]] = [
        ("tokenizer", "text_encoder", *CLIP),
        ("tokenizer_2", "text_encoder_2", "CLIPTokenizer", "CLIPTextModelWithProjection"),
    ]

    def unconditional(self, prompt: str, encode: PipelineEncode) -> Mapping[str, Tensor]:
        made = encode([prompt])
        zeros = not prompt and bool(encode.pipeline.said.get("force_zeros_for_empty_prompt", True))
        return {name: torch.zeros_like(value) if zeros else value for name, value in made.items()}

    def asked(self, models: Sequence[Any], ids: Sequence[Tensor], mask: Tensor) -> dict[str, Tensor]:
        made = [model(tokens, output_hidden_states=True) for model, tokens in zip(models, ids, strict=True)]
        return {"text": torch.cat([each.hidden_states[-2] for each in made], dim=-1), "pooled": made[-1][0]}


@component
class T5Text(PipelineText):
    """DeepFloyd IF: text [B, 77, D] of T5, whose own attention has a mask; the U-Net gets none.

    clean: whether captions are cleaned as IF's pipelines clean them if bs4 and ftfy are installed; if not, they are put
    in lower case alone. MissingResource: they are to be cleaned, and one of the two is not installed.
    """

    clean: bool
    longest: Count | None = 77

    parts: ClassVar[Sequence[tuple[str, str, str, str]]] = [
        ("tokenizer", "text_encoder", "T5Tokenizer", "T5EncoderModel")
    ]

    def on(self, where: torch.device) -> Encode:
        if self.clean:
            check_cleaning()
        return PipelineText.on(self, where)

    def prepared(self, prompt: str) -> str:
        if not self.clean:
            return prompt.lower().strip()
        with extras():
            from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline
        cleaned: Any = partial(IFPipeline._clean_caption, cast(Any, IFPipeline))  # it reads nothing of an object
        twice: str = cleaned(cleaned(prompt))  # as IF's pipelines do
        return twice

    def asked(self, models: Sequence[Any], ids: Sequence[Tensor], mask: Tensor) -> dict[str, Tensor]:
        return {"text": models[0](ids[0], attention_mask=mask)[0]}
