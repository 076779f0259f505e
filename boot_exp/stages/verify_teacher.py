"""Stage verify_teacher: scores a published teacher and compares the score with the one that its authors report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boot_exp.config.components import Count, Positive, component
from boot_exp.engine.cards import Model
from boot_exp.engine.checkpoints import read_card
from boot_exp.engine.processes import join
from boot_exp.stages.evaluate import Evaluate
from boot_exp.stages.place import Place
from boot_exp.stages.reference import STATISTICS, PublishedReference
from boot_exp.stages.sample import Sample
from boot_exp.stages.teacher import PublishedTeacher
from evals.ground.faults import ConfigurationFault, DataFault, MissingResource, printable
from evals.ground.files import read_json, write_json
from evals.scores.references import load_reference
from evals.tables.row import Row, read_rows


@component
class VerifyTeacher:
    """The stages to run, and the published score: its FID with nfe network evaluations, and the source of that number.

    reference: None if a folder with the reference is given instead.
    """

    teacher: PublishedTeacher
    reference: PublishedReference | None
    sample: Sample
    evaluate: Evaluate
    fid: Positive
    nfe: Count
    source: str

    def run(self, place: Place, *, reference: Path | None = None) -> None:
        """Writes teacher/, reference/, samples/ and scores.json into the folder; samples made alike are kept.

        reference: a folder of the stage of that name. MissingResource: something is to be fetched; DataFault: the
        statistics are of other features than the protocol's. Both are known before a sample is drawn.
        """
        if (self.reference is None) == (reference is None):
            got = "none; give --reference, or bind VerifyTeacher.reference"
            if reference is not None:
                got = f"--reference {reference} beside the leaf's; leave it out, or bind VerifyTeacher.reference = None"
            raise ConfigurationFault(f"a teacher must be verified against one reference, got {got}")
        teacher, samples, scores = (self.part(place, name) for name in ("teacher", "samples", "scores.json"))
        against = self.part(place, "reference").out if reference is None else reference
        processes = join(self.sample.compute.find())
        with processes.main_first():
            if processes.main:
                self.prepare(teacher, replace(place, out=against))
        made = place.out / "samples.json"
        alike = {"config": place.config, "weights": Model.of(read_card(teacher.out), teacher.out).weights}
        if not processes.any(processes.main and made.is_file() and read_json(made) == alike):
            self.sample.run(samples, model=teacher.out)
            if processes.main:
                write_json(made, alike)
        self.evaluate.run(scores, samples=samples.out, reference=against)
        if processes.main:
            rows = read_rows(scores.out)
            reported = {"fid": self.fid, "nfe": self.nfe, "source": self.source}
            write_json(place.out / "verified.json", {"reported": reported, "measured": [row.facts for row in rows]})
            print("\n".join(map(printable, self.lines(rows))))

    @staticmethod
    def part(place: Place, name: str) -> Place:
        """Returns the place of one of its stages."""
        return replace(place, out=place.out / name)

    def prepare(self, teacher: Place, against: Place) -> None:
        """Imports the teacher and the reference. Raises the faults of `run`."""
        protocol = self.evaluate.protocol
        missing = []
        for part in (self.teacher, self.reference, protocol):
            try:
                if part is not None:
                    part.located()
            except MissingResource as fault:
                missing.append(str(fault))
        if missing:
            raise MissingResource("; also ".join(missing))
        if self.reference is not None:
            self.reference.run(against)
        features = len(load_reference(against.out / STATISTICS).gaussian.mean)
        if protocol is not None and features != protocol.kind.dimensions:
            raise DataFault(
                f"statistics must be of the {protocol.kind.dimensions} features of {protocol.name}, got those of "
                f"{features}; give the reference that goes with it"
            )
        self.teacher.run(teacher)

    def lines(self, rows: list[Row]) -> list[str]:
        """Yields lines with the measured and the reported score, and the provenance of the measurement."""
        lines = [f"reported: FID {self.fid:g} with {self.nfe} evaluations ({self.source})"]
        for row in rows:
            several = "" if row.fid_blocks is None else f", least of {len(row.fid_blocks)} {row.fid_min:.4g}"
            lines.append(
                f"measured: {row.card.fid_name} {row.fid:.4g}{several} with {row.nfe} evaluations "
                f"({row.sampler}, n {row.n:,}, protocol {row.card.protocol or 'none'}, reference "
                f"{row.card.reference})"
            )
        return lines
