"""Stage verify_teacher: what a published teacher scores here, beside what its authors report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boot_exp.components import Count, Positive, component
from boot_exp.processes import join
from boot_exp.stages.evaluate import Evaluate
from boot_exp.stages.place import Place
from boot_exp.stages.reference import STATISTICS, PublishedReference
from boot_exp.stages.sample import Sample
from boot_exp.stages.teacher import PublishedTeacher
from boot_exp.training.checkpoints import read_card
from evals.errors import ConfigurationFault, DataFault, MissingResource
from evals.files import read_json, write_json
from evals.leaderboard import Record, fid_name, read_records
from evals.reference import load_reference


@component
class VerifyTeacher:
    """The stages to run, and the published score: its fid with nfe network evaluations, and where that is written.

    reference: None where it is a folder that was taken of images, and is given.
    """

    teacher: PublishedTeacher
    reference: PublishedReference | None
    sample: Sample
    evaluate: Evaluate
    fid: Positive
    nfe: Count
    source: str

    def run(self, place: Place, *, reference: Path | None = None) -> None:
        """Writes teacher/, reference/, samples/ and scores.json into the folder; what is of this teacher is kept.

        reference: a folder of the stage of that name. MissingResource: something is to be fetched; DataFault: the
        statistics are of other features than the protocol's. Both are known before a sample is drawn.
        """
        if (self.reference is None) == (reference is None):
            raise ConfigurationFault(
                "a teacher must be verified against one reference, got "
                + ("none; give --reference" if reference is None else f"--reference {reference} beside the leaf's own")
                + ", or bind VerifyTeacher.reference"
            )
        teacher, samples, scores = (self.part(place, name) for name in ("teacher", "samples", "scores.json"))
        against = self.part(place, "reference").out if reference is None else reference
        processes = join(self.sample.compute.find())
        with processes.main_first():
            if processes.main:
                self.prepare(teacher, replace(place, out=against))
        if not processes.any(processes.main and self.drawn(samples.out, teacher.out)):
            self.sample.run(samples, model=teacher.out)
        self.evaluate.run(scores, samples=samples.out, reference=against)
        if processes.main:
            rows = read_records(scores.out)
            reported = {"fid": self.fid, "nfe": self.nfe, "source": self.source}
            write_json(place.out / "verified.json", {"reported": reported, "measured": rows})
            print("\n".join(self.lines(rows)))

    @staticmethod
    def part(place: Place, name: str) -> Place:
        """The place of one of its stages."""
        return replace(place, out=place.out / name)

    def prepare(self, teacher: Place, against: Place) -> None:
        """Imports the teacher, if it is not there yet, and the reference; the faults of `run`."""
        protocol = self.evaluate.protocol
        missing, checkpoint = [], ""
        for part in (self.teacher, self.reference, protocol):
            try:
                if part is not None:
                    checkpoint = checkpoint or part.located()[1]
            except MissingResource as fault:
                missing.append(str(fault))
        if missing:
            raise MissingResource("; also ".join(missing))
        if self.reference is not None:
            self.reference.run(against)
        found = load_reference(against.out / STATISTICS).gaussian.mean.shape
        if protocol is not None and found != (protocol.protocol.features,):
            raise DataFault(
                f"statistics must be of the {protocol.protocol.features} features of {protocol.name}, got those of "
                f"{found[0]}; give the reference that goes with it"
            )
        if not self.imported(teacher.out, checkpoint):
            self.teacher.run(teacher)

    def imported(self, folder: Path, checkpoint: str) -> bool:
        """Whether a folder holds this network with the weights of a file of that hash."""
        if not (folder / "card.json").is_file():
            return False
        card = read_card(folder)
        return (card["inputs"], card["architecture"]) == ({"checkpoint": checkpoint}, str(self.teacher.teacher))

    def drawn(self, samples: Path, teacher: Path) -> bool:
        """Whether a folder holds what this stage samples of a teacher."""
        weights = read_card(teacher)["sha256"]["weights.safetensors"]
        for sampler in self.sample.each:
            archive, record = (samples / f"{sampler.name}.{kind}" for kind in ("zip", "json"))
            if not (archive.is_file() and record.is_file()):
                return False
            said = read_json(record)
            made = {"n": said["n"], **{key: said["card"].get(key) for key in ("seeds", "solver", "weights_sha256")}}
            wanted = {"n": self.sample.n, "seeds": [self.sample.seed], "solver": repr(sampler)}
            labels = said["card"].get("labels") in (None, repr(self.sample.labels))
            if not labels or made != {**wanted, "weights_sha256": weights}:
                return False
        return True

    def lines(self, rows: list[Record]) -> list[str]:
        """What was measured beside what was reported, a line each, with how it was made."""
        lines = [f"reported: FID {self.fid:g} with {self.nfe} evaluations ({self.source})"]
        for row in rows:
            card = row["card"]
            several = f", least of {len(row['fid_blocks'])} {row['fid_min']:.4g}" if row.get("fid_blocks") else ""
            lines.append(
                f"measured: {fid_name(card)} {row['fid']:.4g}{several} with {row['nfe']} evaluations "
                f"({row['sampler']}, n {row['n']:,}, protocol {card.get('protocol') or 'none'}, reference "
                f"{card['reference']})"
            )
        return lines
