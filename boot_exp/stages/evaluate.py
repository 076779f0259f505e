"""Stage evaluate: the scores of every sampler's images against the suite's reference."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

import torch

from boot_exp.components import component
from boot_exp.processes import join
from boot_exp.stages.place import Place
from boot_exp.stages.reference import EXTRACTOR, STATISTICS
from evals.evaluate import Record, evaluate_folder
from evals.extractors import Extractor, Observation
from evals.images import Images
from evals.indomain import InDomain
from evals.kid import KernelDistance
from evals.reference import load_reference


@component
class Evaluate:
    """FID, precision, recall and diversity have no settings; kernel: those of KID."""

    kernel: KernelDistance = field(default_factory=KernelDistance)

    def run(self, place: Place, *, samples: Path, reference: Path) -> None:
        """Writes a list of records, one a sampler, each with the card that says how it was made."""

        processes = join(torch.device("cpu"))

        def share(batches: Iterator[Images], extractor: Extractor) -> Iterator[tuple[Images, Observation]]:
            return processes.in_turn(batches, extractor)

        def tell(record: Record) -> None:
            if not processes.main:
                return
            row = f"{record['method']} {record['sampler']}"
            line = f"{row}: {record['card']['extractor']} FID {record['fid']:.4g}, n {record['n']:,}"
            print(line, file=sys.stderr, flush=True)

        extractor = InDomain(reference / EXTRACTOR)
        out = place.out if processes.main else None
        evaluate_folder(samples, load_reference(reference / STATISTICS), extractor, out, tell, self.kernel, share)
