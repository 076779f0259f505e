"""Stage distil: trains a student from its teacher and the input of its method. From noise it opens no data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from boot_exp.config.components import component, parts
from boot_exp.diffusion.conditions import Conditions, Guidance, Prompts
from boot_exp.diffusion.denoisers import Decoder, Networked, taking_w
from boot_exp.diffusion.samplers import Sampler
from boot_exp.engine.cards import Distilled, Model
from boot_exp.engine.checkpoints import load_weights
from boot_exp.engine.compute import Compute
from boot_exp.engine.loop import Training
from boot_exp.engine.processes import join
from boot_exp.engine.seeds import generator, numbered
from boot_exp.methods import Method, Start
from boot_exp.methods.companions import Scoring
from boot_exp.methods.distilling import Distilling, FromImages, FromNoise, FromPairs, Source
from boot_exp.methods.students import DenoisingStudent
from boot_exp.stages.place import Place
from boot_exp.stages.trained import PREVIEWS, check_unconditional, conditions_of, train_and_write
from evals.ground.faults import ConfigurationFault, DataFault


@component
class Distil:
    """The teacher's network, the student built from it, the method, how long to train, and the sampler of previews.

    guidance: how w is drawn; a teacher that takes no w is then guided (arXiv 2207.12598). prompts, decoder: for a
    teacher that takes text, and for one of latents.
    """

    teacher: Networked
    student: Callable[[Networked], nn.Module]
    method: Method | Scoring
    training: Training
    preview: Sampler
    guidance: Guidance | None = None
    prompts: Prompts | None = None
    decoder: Decoder | None = None
    compute: Compute = field(default_factory=Compute)

    def run(
        self,
        place: Place,
        *,
        teacher: Path,
        data: Path | None = None,
        pairs: Path | None = None,
        prompts: Path | None = None,
    ) -> None:
        """Distils the teacher stored in a folder and writes weights.safetensors and card.json.

        data, pairs: folders of the stages of these names, for a method that starts from them, and for no other.
        prompts: the folder of that stage, for a teacher that takes text.
        """
        start = self.method.starts_from
        self.check_given(start, data=data, pairs=pairs)
        stored = Model.of(load_weights(self.teacher, teacher), teacher)
        processes = join(self.compute.find())
        if processes.sharded and not getattr(self.method, "shardable", True):
            raise ConfigurationFault(
                f"{type(self.method).__name__} needs the whole weights in each process, got sharded ones; launch it "
                "without --use_fsdp"
            )
        where = processes.device
        shape, classes = tuple(stored.shape), stored.classes
        # In this order, because a student must have trainable weights and no dropout.
        model = self.compute.put(self.student(self.teacher.eval()), where)
        seed = self.training.seed
        companion = self.companion(model, where)
        conditions, told = conditions_of(
            self.teacher, where, classes=classes, seed=seed, prompts=self.prompts, folder=prompts
        )
        frozen = self.compute.frozen(self.teacher, where)
        self.check_told(start, model)
        source, inputs = self.source(data, pairs, shape, classes, conditions, {"teacher": stored.weights, **told})
        condition = conditions.of(seed, numbered(range(PREVIEWS), where))
        if self.guidance is not None:
            check_unconditional(stored)
            condition = replace(condition, w=self.guidance(generator(seed, device=where), PREVIEWS))
        train_and_write(
            place,
            model=model,
            objective=Distilling(
                method=self.method,
                teacher=frozen if self.guidance is None else taking_w(frozen),
                source=source,
                guidance=self.guidance,
                network=companion,
            ),
            training=self.training,
            preview=self.preview,
            decoder=self.decoder,
            condition=condition,
            shape=shape,
            inputs=inputs,
            classes=classes,
            kind=Distilled(
                starts_from=start.value,
                w=None if self.guidance is None else self.guidance.fixed,
                features_seen=features_seen(self.method),
            ),
            compute=self.compute,
            processes=processes,
        )

    def companion(self, student: Any, where: torch.device) -> Networked | None:
        """Makes the companion of a method that has one: the teacher's network, which takes w if the student does."""
        if not hasattr(self.method, "companion"):
            return None
        if getattr(student, "log_variance", None) is not None:
            raise ConfigurationFault(
                f"a learned weight of the times needs a loss that is not negative, got {type(self.method).__name__}, "
                "whose loss may be; leave log_variance out"
            )
        return self.compute.put(DenoisingStudent(self.teacher, takes_w=student.takes_w), where)

    def check_given(self, start: Start, **given: Path | None) -> None:
        """ConfigurationFault: the method's input is missing, or another input is given."""
        kinds = {Start.IMAGES: "data", Start.PAIRS: "pairs"}
        name = type(self.method).__name__
        for kind, option in kinds.items():
            if (start is kind) != (given[option] is not None):
                does = "starts" if start is kind else "does not start"
                cure = "give the folder that the stage wrote" if start is kind else "leave it out"
                got = given[option] or "none"
                raise ConfigurationFault(f"{name} {does} from {kind.value}, got --{option} {got}; {cure}")

    def check_told(self, start: Start, student: Any) -> None:
        """ConfigurationFault: a student takes w and gets none, or takes no w and gets a w that varies."""
        if self.guidance is not None and start is Start.PAIRS:
            raise ConfigurationFault(
                f"pairs have the w that they were drawn with, got Distil.guidance {self.guidance}; leave it out, and "
                "make pairs with @samplers.AtGuidance()"
            )
        if student.takes_w and self.guidance is None:
            raise ConfigurationFault("a student that takes w must get one, got no Distil.guidance; bind that")
        if self.guidance is not None and self.guidance.fixed is None and not student.takes_w:
            raise ConfigurationFault(
                f"a student must take w where it varies, got {self.guidance} for one that does not; bind takes_w = True"
            )

    def source(
        self,
        data: Path | None,
        pairs: Path | None,
        shape: tuple[int, ...],
        classes: int | None,
        conditions: Conditions,
        inputs: dict[str, Any],
    ) -> tuple[Source, dict[str, Any]]:
        """Returns the source of the batches, and the hashes of everything that the student is made from."""
        seed = self.training.seed
        # Imported here, so that a test can show that a run without data opens no data set.
        if data is not None:
            from boot_exp.data.images import Images

            images = Images.load(data)
            images.verify()
            made_for(data, (images.card.channels, images.card.height, images.card.width), shape)
            if classes not in (None, images.card.classes):
                raise DataFault(
                    f"{data} must hold images of the teacher's {classes} classes, got "
                    f"{images.card.classes or 'no labels'}; give the data set that the teacher was trained on"
                )
            return FromImages(images=images, seed=seed, classes=classes), {**inputs, "data": images.card.images_sha256}
        if pairs is not None:
            from boot_exp.data.stored_pairs import StoredPairs

            stored = StoredPairs.load(pairs)
            made_for(pairs, tuple(stored.card.shape), shape)
            if stored.card.inputs.get("teacher") != inputs["teacher"]:
                raise DataFault(f"{pairs} must come from the given teacher, got another's; make the pairs again")
            if stored.card.inputs.get("prompts") != inputs.get("prompts"):
                raise DataFault(f"{pairs} must be of the given prompts, got others; make the pairs again")
            made = FromPairs(pairs=stored, seed=seed, conditions=conditions)
            return made, {**inputs, "pairs": stored.card.sha256_of_pairs}
        return FromNoise(shape=shape, conditions=conditions), inputs


def features_seen(method: object) -> list[str]:
    """Returns what the parts of a method say as their `features`: the networks in whose features they compare."""
    return sorted({part.features for part in parts(method) if hasattr(part, "features")})


def made_for(folder: Path, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """DataFault: the shape of the images in a folder differs from the teacher's."""
    if shape != wanted:
        raise DataFault(f"{folder} must hold images of the teacher's shape {wanted}, got {shape}; give the suite's own")
