"""Stage teacher: trains a diffusion model on the prepared images, or imports a published one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from boot_exp.config.components import Share, component
from boot_exp.data import DatasetCard, Images
from boot_exp.data.captions import read_captions
from boot_exp.diffusion.conditions import ByClass, Prompts
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.samplers import Sampler
from boot_exp.diffusion.times import Times, UniformTimes
from boot_exp.diffusion.weights import SnrPlusOne, Weight
from boot_exp.engine.cards import Imported, ModelCard, Taught
from boot_exp.engine.checkpoints import write_folder
from boot_exp.engine.compute import Compute
from boot_exp.engine.loop import Training
from boot_exp.engine.processes import join
from boot_exp.methods.denoising import CaptionedImages, Denoising, LabelledImages
from boot_exp.stages.place import Place, provenance
from boot_exp.stages.trained import PREVIEWS, conditions_of, train_and_write
from boot_exp.teachers import OfTheHub, PublishedNetwork
from boot_exp.teachers.prompted import ByNumber
from evals.features.published import located
from evals.ground.ending import tell
from evals.ground.faults import ConfigurationFault, DataFault, StateFault
from evals.ground.files import sha256_of


@component
class Teacher:
    """The network to train, its loss, the length of training, and the sampler of previews.

    label_dropout: the share of labels that a network with classes is trained without; it has no effect on others.
    """

    teacher: Networked
    training: Training
    preview: Sampler
    weight: Weight = field(default_factory=SnrPlusOne)
    times: Times = field(default_factory=UniformTimes)
    label_dropout: Share = 0.1
    compute: Compute = field(default_factory=Compute)

    def run(self, place: Place, *, data: Path | None = None) -> None:
        """Trains on a prepared data folder and writes weights.safetensors and card.json."""
        if data is None:
            raise ConfigurationFault("a teacher must be trained on images, got no --data; give the folder of the data")
        images = Images.load(data)
        images.verify()
        card, classes, where = images.card, self.teacher.classes, self.compute.find()
        check_fits(self.teacher, card, data)
        processes = join(where)
        objective = Denoising(
            examples=LabelledImages(images=images, classes=classes),
            seed=self.training.seed,
            weight=self.weight,
            times=self.times,
            dropout=self.label_dropout,
        )
        train_and_write(
            place,
            model=self.compute.put(self.teacher, processes.device),
            objective=objective,
            training=self.training,
            preview=self.preview,
            condition=ByClass(classes=classes).of(self.training.seed, torch.arange(PREVIEWS, device=processes.device)),
            shape=(card.channels, card.height, card.width),
            inputs={"data": card.images_sha256},
            classes=classes,
            kind=Taught(label_dropout=None if classes is None else self.label_dropout),
            compute=self.compute,
            processes=processes,
        )


@component
class TextTeacher:
    """A network that takes text, trained on images with captions; those of held-out prompts are left out.

    prompts: how the text of the stage `prompts` is read. text_dropout: the share of texts that the negative prompt
    takes the place of.
    """

    teacher: Networked
    prompts: Prompts
    training: Training
    preview: Sampler
    weight: Weight = field(default_factory=SnrPlusOne)
    times: Times = field(default_factory=UniformTimes)
    text_dropout: Share = 0.1
    compute: Compute = field(default_factory=Compute)

    def run(self, place: Place, *, data: Path | None = None, prompts: Path | None = None) -> None:
        """Trains on a prepared data folder with captions and writes weights.safetensors and card.json."""
        if data is None or prompts is None:
            raise ConfigurationFault(
                f"a text-to-image teacher must be trained on images and their prompts, got --data {data or 'none'} and "
                f"--prompts {prompts or 'none'}; give both folders"
            )
        images = Images.load(data)
        images.verify()
        card, seed, processes = images.card, self.training.seed, join(self.compute.find())
        check_fits(self.teacher, card, data)
        where = processes.device
        conditions, told = conditions_of(
            self.teacher, where, classes=None, seed=seed, prompts=self.prompts, folder=prompts
        )
        if not isinstance(conditions, ByNumber):
            raise ConfigurationFault(
                f"a teacher must be told the text of its images by number, got {self.prompts}; bind StoredText or "
                "TextAtEveryStep"
            )
        captions = read_captions(data, images_sha256=card.images_sha256)
        pictures, numbers = matched(captions, conditions.training, data)
        objective = Denoising(
            examples=CaptionedImages(
                images=images,
                pictures=pictures,
                numbers=numbers,
                told=conditions.told,
                negative=conditions.without,
            ),
            seed=seed,
            weight=self.weight,
            times=self.times,
            dropout=self.text_dropout,
        )
        train_and_write(
            place,
            model=self.compute.put(self.teacher, where),
            objective=objective,
            training=self.training,
            preview=self.preview,
            condition=conditions.of(seed, torch.arange(PREVIEWS, device=where)),
            shape=(card.channels, card.height, card.width),
            inputs={"data": card.images_sha256, **told},
            classes=None,
            kind=Taught(label_dropout=self.text_dropout),
            compute=self.compute,
            processes=processes,
        )


def matched(
    captions: Sequence[str], training: Sequence[str], data: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the images whose captions are among the prompts to train on, and the number of each one's prompt: [N].

    DataFault: there are none.
    """
    number = {text: index for index, text in enumerate(training)}
    found = [(index, number[text]) for index, text in enumerate(captions) if text in number]
    if not found:
        raise DataFault(
            f"{data} must hold images of the prompts that a teacher is trained on, got none whose caption is one of "
            f"these {len(training):,}; make the prompts of its captions.txt"
        )
    pictures, numbers = np.array(found, np.int64).T
    return pictures, numbers


@component
class PublishedTeacher:
    """A published teacher: the network of the configuration, with weights from a file in their authors' format.

    source: a file or folder; an http(s) address of a file, which requires sha256; or, for diffusers, a model of the hub
    and its revision. url: where the authors keep the file; printed if it is missing. sha256: of the file, compared
    before it is opened; for weights in shards, the hash of the output of `sha256sum` for the index and the shards.
    """

    alone: ClassVar[bool] = True

    teacher: PublishedNetwork
    source: str
    url: str | None = None
    sha256: str | None = None
    revision: str | None = None

    def run(self, place: Place, *, data: Path | None = None) -> None:
        """Reads the weights and writes weights.safetensors and card.json. If data is given, it must fit the network."""
        network, teacher = self.teacher.net, self.teacher
        if data is not None:
            check_fits(teacher, Images.load(data).card, data)
        if teacher.shape is None:
            raise ConfigurationFault("a published teacher must have a shape, got none; bind its size (image_size, ...)")
        path, found = self.located()
        if self.sha256 is None:
            said = f"{self.source} has the SHA-256 {found}; bind PublishedTeacher.sha256 to compare it"
            tell(said)
        network.load_state_dict(teacher.read(path))
        for note in teacher.notes:
            tell(note)
        card = ModelCard(
            suite=place.suite,
            stage=place.name,
            shape=teacher.shape,
            classes=teacher.classes,
            images=None,
            seconds=None,
            evaluations=None,
            architecture=str(teacher),
            parameters=sum(parameter.numel() for parameter in teacher.parameters()),
            seed=None,
            ema={"rule": "as published"},
            inputs={"checkpoint": found},
            config=place.config,
            made_by=provenance(torch.device("cpu")),
            kind=Imported(label_dropout=teacher.label_dropout, source=self.source, notes=teacher.notes),
        )
        write_folder(place.out, {"weights": teacher.state_dict()}, card.json())

    def located(self) -> tuple[Path, str]:
        """Returns the path of the file or folder, and the hash of the weights.

        MissingResource: it is not there; StateFault: it has another hash.
        """
        if not isinstance(self.teacher, OfTheHub):
            return located(self.source, self.sha256, "a teacher's weights", self.url)
        folder = Path(self.source)
        folder = folder if folder.exists() else self.teacher.fetch(self.source, self.revision)
        first, *shards = self.teacher.weights(folder)
        if not shards:
            return folder, located(str(first), self.sha256, "a teacher's weights", self.url)[1]
        hashes = "".join(f"{sha256_of(file)}  {file.name}\n" for file in (first, *shards))
        found = hashlib.sha256(hashes.encode()).hexdigest()
        if self.sha256 is not None and found != self.sha256.lower():
            raise StateFault(
                f"a teacher's weights must have the SHA-256 {self.sha256} over those of their {1 + len(shards)} files, "
                f"got {found} ({folder}); fetch them again"
            )
        return folder, found


def check_fits(teacher: Networked, card: DatasetCard, data: Path) -> None:
    """ConfigurationFault: the network is for other images than those of the data folder."""
    if teacher.classes not in (None, card.classes):
        raise ConfigurationFault(
            f"a network's classes must be as many as {data} has, {card.classes}, got {teacher.classes}; bind that "
            "number (classes, num_classes, label_dim), or give the data set that it was trained on"
        )
    shape = (card.channels, card.height, card.width)
    if teacher.shape not in (None, shape):
        raise ConfigurationFault(
            f"the network's images must be those of {data}, {shape}, got {teacher.shape}; bind the network's size "
            "(shape, image_size, img_resolution, sample_size), or transform the images"
        )
