"""Stage verify_teacher: what a published teacher scores here, beside what its authors report."""

from __future__ import annotations

from dataclasses import replace

from boot_exp.components import Count, Positive, component
from boot_exp.stages.evaluate import Evaluate
from boot_exp.stages.place import Place
from boot_exp.stages.reference import PublishedReference
from boot_exp.stages.sample import Sample
from boot_exp.stages.teacher import PublishedTeacher
from evals.errors import MissingResource
from evals.files import write_json
from evals.leaderboard import Record, fid_name, read_records


@component
class VerifyTeacher:
    """The stages to run, and the published score: its fid with nfe network evaluations, and where that is written."""

    teacher: PublishedTeacher
    reference: PublishedReference
    sample: Sample
    evaluate: Evaluate
    fid: Positive
    nfe: Count
    source: str

    def run(self, place: Place) -> None:
        """Writes teacher/, reference/, samples/ and scores.json into the folder; what is whole there is kept."""
        teacher, reference, samples = (self.part(place, name) for name in ("teacher", "reference", "samples"))
        made = (teacher.out / "card.json").is_file()
        self.check_there(made)
        if not made:
            self.teacher.run(teacher)
        self.reference.run(reference)
        self.sample.run(samples, model=teacher.out)
        scores = self.part(place, "scores.json")
        self.evaluate.run(scores, samples=samples.out, reference=reference.out)
        rows = read_records(scores.out)
        reported = {"fid": self.fid, "nfe": self.nfe, "source": self.source}
        write_json(place.out / "verified.json", {"reported": reported, "measured": rows})
        for line in self.lines(rows):
            print(line)

    def check_there(self, made: bool) -> None:
        """MissingResource: what has to be fetched is not there, all of it said at once. made: the teacher is."""
        protocol = self.evaluate.protocol
        missing = []
        for part in (None if made else self.teacher, self.reference, protocol):
            try:
                if part is not None:
                    part.located()
            except MissingResource as fault:
                missing.append(str(fault))
        if missing:
            raise MissingResource("; also ".join(missing))

    @staticmethod
    def part(place: Place, name: str) -> Place:
        """The place of one of its stages."""
        return replace(place, out=place.out / name)

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
