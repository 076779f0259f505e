"""Stage reference: a suite's own feature network, and the statistics that its samples are compared with."""

from __future__ import annotations

from pathlib import Path

from boot_exp.components import Count, Natural, component
from boot_exp.stages.place import Place
from boot_exp.training.journal import Meter
from evals.files import replacing_folder
from evals.indomain import InDomain, train_extractor
from evals.reference import reference

EXTRACTOR, STATISTICS = "extractor", "statistics.npz"


@component
class Reference:
    """The seed of the feature network and its updates of 128 images; None are 600, or four epochs if longer."""

    seed: Natural = 0
    updates: Count | None = None

    def run(self, place: Place, *, data: Path) -> None:
        """Trains the network on a prepared data folder and writes extractor/ and statistics.npz."""
        with (
            replacing_folder(place.out, holding=STATISTICS) as partial,
            Meter(title=f"{place.suite} features") as meter,
        ):
            train_extractor(
                data,
                partial / EXTRACTOR,
                suite=place.suite,
                seed=self.seed,
                updates=self.updates,
                tell=lambda done, total: meter.update(128 * done, total=128 * total),
            )
            reference(data / "images.npy", InDomain(partial / EXTRACTOR), out=partial / STATISTICS)
