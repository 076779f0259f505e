"""Stage evaluate: scores the images of every sampler against the suite's reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

import torch

from boot_exp.config.components import component
from boot_exp.engine.processes import join
from boot_exp.stages.place import Place
from boot_exp.stages.reference import EXTRACTOR, STATISTICS
from evals.features.extractors import Extractor, Observation
from evals.features.indomain import InDomain
from evals.ground.ending import tell
from evals.images.reading import Images
from evals.scores.kid import KernelDistance
from evals.scores.protocols import Standard
from evals.scores.references import load_reference
from evals.scores.scoring import Record, evaluate_folder


@component
class Evaluate:
    """The settings of the scores. kernel: of KID; FID, precision, recall and diversity have none.

    protocol: how FID is computed. None: in the features of the suite's own network, with as many samples as there are.
    """

    kernel: KernelDistance = field(default_factory=KernelDistance)
    protocol: Standard | None = None

    def run(self, place: Place, *, samples: Path, reference: Path) -> None:
        """Writes a list of records, one per sampler, each with a card of its provenance."""
        # From here on each of several processes has its own GPU, on which its Inception runs.
        processes = join(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

        def share(batches: Iterator[Images], extractor: Extractor) -> Iterator[tuple[Images, Observation]]:
            return processes.in_turn(batches, extractor)

        def tell_row(record: Record) -> None:
            if not processes.main:
                return
            row = f"{record['method']} {record['sampler']}"
            line = f"{row}: {record['card']['extractor']} FID {record['fid']:.4g}, n {record['n']:,}"
            tell(line)

        extractor = InDomain(reference / EXTRACTOR) if self.protocol is None else self.protocol.extractor()
        out = place.out if processes.main else None
        against, taken = (
            load_reference(reference / STATISTICS),
            None if self.protocol is None else self.protocol.protocol,
        )
        evaluate_folder(samples, against, extractor, out, tell_row, self.kernel, share, taken)
