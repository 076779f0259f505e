"""Stage evaluate: scores the images of every sampler against the suite's reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import field
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from boot_exp.config.components import component
from boot_exp.engine.checkpoints import CARD, read_card
from boot_exp.engine.processes import join
from boot_exp.stages.place import Place, digest_of
from boot_exp.stages.reference import EXTRACTOR, SECOND, STATISTICS
from evals.features.extractors import Extractor, Observation
from evals.features.indomain import InDomain
from evals.ground.ending import tell
from evals.ground.faults import ConfigurationFault, StateFault, writing
from evals.images.reading import Images
from evals.scores.kid import KernelDistance
from evals.scores.protocols import DinoV2Space, Standard
from evals.scores.references import load_reference
from evals.scores.scoring import Record, evaluate_folder
from evals.scores.spaces import Space


@component
class Evaluate:
    """The settings of the scores. kernel: of KID; FID, precision, recall and diversity have none.

    protocol: how FID is computed. None: in the features of the suite's own network, with as many samples as there are.
    second: a second space beside a protocol's; the suite's own reference has one.
    """

    kernel: KernelDistance = field(default_factory=KernelDistance)
    protocol: Standard | None = None
    second: DinoV2Space | None = None

    def run(self, place: Place, *, samples: Path, reference: Path, teacher: Path | None = None) -> None:
        """Writes a list of records, one per sampler, each with a card of its provenance.

        teacher: the folder of the teacher's samples, of which each sampler is compared with the best kept.
        """
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
        spaces = self._spaces(reference / SECOND)
        records = evaluate_folder(
            samples, against, extractor, out, tell_row, self.kernel, share, taken, teacher, spaces=spaces
        )
        if processes.main:
            log_scores(place.out, records)

    def _spaces(self, folder: Path) -> list[Space]:
        """Returns the second space, if there is one. ConfigurationFault: the reference lacks the one that is bound."""
        if (self.protocol is None or self.second is not None) and (folder / STATISTICS).is_file():
            extractor = InDomain(folder / EXTRACTOR) if self.second is None else self.second.extractor()
            return [Space(extractor=extractor, reference=load_reference(folder / STATISTICS))]
        if self.second is not None:
            raise ConfigurationFault(
                f"a second space needs a reference in its features, got none for {self.second.name}; bind "
                "InceptionReference.second too, or PublishedReference.second"
            )
        return []


def log_scores(out: Path, records: Sequence[Record]) -> None:
    """Adds FID and recall to the log of the training that they are of, as metrics of TensorBoard's table of runs.

    out: scores/RUN.json. The log is found by the card of models/RUN; where there is none, nothing is added.
    """
    model = Path("models", *out.with_suffix("").parts[1:])
    if out.parts[:1] != ("scores",) or not (model / CARD).is_file():
        return
    with suppress(StateFault):  # of a card that is damaged; scores do not depend on it
        digest = digest_of(str(read_card(model).get("config")))
        for folder in Path("logs", *model.parts[1:]).glob(f"*{digest}"):
            with writing(folder), closing(SummaryWriter(str(folder))) as writer:
                for record in records:
                    for score in ("fid", "recall"):
                        if record.get(score) is not None:
                            writer.add_scalar(f"hparam/{score} {record['sampler']}", record[score], 0)
