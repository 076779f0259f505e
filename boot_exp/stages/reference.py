"""Stage reference: computes what samples are compared with, in features of the suite's own network or of Inception."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from boot_exp.config.components import Count, Natural, component
from boot_exp.engine.journal import Meter
from boot_exp.stages.place import Place
from evals.features.indomain import InDomain, train_extractor
from evals.features.published import located
from evals.ground.faults import ConfigurationFault, DataFault
from evals.ground.files import replacing_folder
from evals.scores.protocols import DinoV2Space, Standard
from evals.scores.references import load_reference, reference

EXTRACTOR, STATISTICS = "extractor", "statistics.npz"
SECOND = "second"
"""The folder of the second space: another network, with the same two."""


@component
class Reference:
    """Statistics in features of the suite's own network, and of a second one, trained alike from the next seed.

    updates: of 128 images, for each; None: 600, or four epochs if more.
    """

    alone: ClassVar[bool] = True

    seed: Natural = 0
    updates: Count | None = None

    def run(self, place: Place, *, data: Path | None = None) -> None:
        """Trains both networks on a prepared data folder; writes extractor/ and statistics.npz, and both in second/."""
        data = labelled(needed(data))
        with (
            replacing_folder(place.out, holding=STATISTICS) as partial,
            Meter(title=f"{place.suite} features") as meter,
        ):
            name = f"in-domain-{place.suite}"
            self._space(data, partial, name, 0, meter, place.suite)
            self._space(data, partial / SECOND, f"{name}-second", 1, meter, place.suite)

    def _space(self, data: Path, folder: Path, name: str, number: int, meter: Meter, suite: str) -> None:
        """Trains one of the two networks, and computes the statistics in its features."""

        def tell(done: int, total: int) -> None:
            meter.update(128 * (number * total + done), total=256 * total)

        seed = self.seed + number
        train_extractor(data, folder / EXTRACTOR, suite=suite, seed=seed, updates=self.updates, tell=tell, name=name)
        reference(data / "images.npy", InDomain(folder / EXTRACTOR), out=folder / STATISTICS)


@component
class InceptionReference:
    """Statistics of a suite's own images in the features of a protocol, and in those of a second space."""

    alone: ClassVar[bool] = True

    protocol: Standard
    second: DinoV2Space | None = None

    def run(self, place: Place, *, data: Path | None = None) -> None:
        """Writes statistics.npz for a prepared data folder, and with a second space second/statistics.npz."""
        data = needed(data)
        if self.second is not None:
            self.second.located()  # a missing file is to be named before an hour of Inception
        with replacing_folder(place.out, holding=STATISTICS) as partial:
            reference(data / "images.npy", self.protocol.extractor(), out=partial / STATISTICS)
            if self.second is not None:
                (partial / SECOND).mkdir()
                reference(data / "images.npy", self.second.extractor(), out=partial / SECOND / STATISTICS)


@component
class PublishedReference:
    """Published statistics: EDM's or OpenAI's npz, from a path or an http(s) address.

    name: of the data set and of who computed them; split: the part of the data set. url: the address where the authors
    keep the file. sha256: of the file; required for an address. second: of the same images in the features of a second
    space, an .npz that `python -m evals reference` wrote.
    """

    alone: ClassVar[bool] = True

    source: str
    name: str
    split: str
    url: str | None = None
    sha256: str | None = None
    second: str | None = None

    def run(self, place: Place, *, data: Path | None = None) -> None:
        """Writes statistics.npz, and those of the second space into second/.

        DataFault: a file holds no statistics; and the faults of `located`.
        """
        path, found = self.located()
        read = load_reference(path)
        card = replace(read.card, reference=self.name, reference_split=self.split, reference_sha256=found)
        other = None if self.second is None else load_reference(located(self.second, None, "reference statistics")[0])
        with replacing_folder(place.out, holding=STATISTICS) as partial:
            replace(read, card=card).save(partial / STATISTICS)
            if other is not None:
                (partial / SECOND).mkdir()
                other.save(partial / SECOND / STATISTICS)

    def located(self) -> tuple[Path, str]:
        """Returns the file's path and hash. MissingResource: it does not exist; StateFault: it has another hash."""
        return located(self.source, self.sha256, "reference statistics", self.url)


def labelled(data: Path) -> Path:
    """Returns the data folder. DataFault: its images have no labels, on which a network of their own is trained."""
    if (data / "images.npy").exists() and not (data / "labels.npy").exists():
        raise DataFault(
            f"an in-domain reference must be of images with labels, got none in {data}; include gin/parts/edm_50k.gin "
            "and bind reference.InceptionReference instead of gin/parts/in_domain.gin, as docs/images.md does, or put "
            "the images of each class into a folder of its own"
        )
    return data


def needed(data: Path | None) -> Path:
    """Returns the data folder. ConfigurationFault: none was given."""
    if data is None:
        raise ConfigurationFault("this reference is computed from images, got no --data; give the folder of the data")
    return data
