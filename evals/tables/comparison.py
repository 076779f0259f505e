"""All methods on one teacher: each score as mean and deviation over training seeds, each student at its whole cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.errors import DataFault
from evals.files import first_line, write_texts
from evals.pages.html import html
from evals.pages.markdown import page
from evals.pages.palette import on_paper
from evals.pages.plots import guidance_plot, nfe_plot
from evals.tables.conclusions import conclusions
from evals.tables.lineage import Family, Name, read_family
from evals.tables.names import TEACHER, method_of, solver_of, unguided
from evals.tables.study import METRICS, Run, check_samplers, over_seeds, read_run
from evals.tables.table import Record, as_json, check_protocol, headline, score_files, shared_facts
from evals.tables.text import comma_separated, leaves

SAID_OF_TRAINING = (
    *("stage", "starts_from", "seed", "images", "evaluations", "seconds", "parameters"),
    *("device", "commit", "inputs", "sha256"),
)
SOLVERS = [f"{TEACHER} {solver}" for solver in ("ddim", "heun", "dpmpp2m")]
"""The teacher's rows in their order; those of other solvers follow by name."""

Runs = Mapping[str, Sequence[Run]]
"""The scores of the teacher (one run) and of each student (one a seed)."""


def comparison(
    suite: str,
    *,
    students: Sequence[str],
    seeds: Sequence[int],
    scores: Path,
    models: Path,
    samples: Path,
    out_dir: Path,
    pairs: Path | None = None,
    learnt_from: Sequence[str] = (),
    reasons: Path | None = None,
) -> Record:
    """Compare a teacher's samplers and its students; write comparison.{json,csv,md,svg,html} and metrics.json.

    scores/teacher.json and scores/STUDENT/SEED.json are what `evaluate` wrote; the cost of a student is `Family.cost`,
    read from `models` and `pairs`, where students in `learnt_from` are parents and no rows; the gallery is of `samples`
    and the first seed; `reasons` is a file to append word for word. guidance.svg is added where samples were guided.
    DataFault: files are missing, or differ in what they must share; NumericalFault: a score is not finite.
    """
    family = read_family(models, [*students, *learnt_from], seeds, pairs)
    made = compared(suite, seeds, read_runs(scores, students, seeds), family)
    words = None if reasons is None else _text(reasons)
    texts = {
        "comparison.json": as_json(made),
        "comparison.csv": comma_separated([_flat(row, made["card"]) for row in made["rows"]]),
        "comparison.md": page(made, words),
        "comparison.svg": on_paper(nfe_plot(made)) + "\n",
        "comparison.html": html(made, samples, words),
        "metrics.json": as_json(metrics(made["rows"])),
    }
    if any(row["w"] is not None for row in made["rows"]):
        texts["guidance.svg"] = on_paper(guidance_plot(made)) + "\n"
    write_texts(out_dir, texts)
    return made


def read_runs(scores: Path, students: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Run]]:
    """The runs of the teacher and of each student, one a seed; raises as `comparison` does."""
    if not seeds or not students:
        raise DataFault(f"a comparison needs students and seeds, got {len(students)} and {len(seeds)}; name them")
    names = [f"{student}/{seed}" for student in students for seed in seeds]
    teacher, *files = score_files(scores, [TEACHER, *names])
    read = [read_run(path, int(path.stem)) for path in files]
    runs = {student: read[k * len(seeds) : (k + 1) * len(seeds)] for k, student in enumerate(students)}
    for student, several in runs.items():
        check_samplers([f"{student}/{seed}" for seed in seeds], several, "student")
    return {TEACHER: [read_run(teacher, None)], **runs}


def compared(suite: str, seeds: Sequence[int], runs: Runs, family: Family) -> Record:
    """All that the files show, as one JSON: {comparison, card, teacher, pairs, methods, rows, best, conclusions, ...}.

    A score or a cost is {mean, std, values}, of `over_seeds`, in the order of `seeds`; the teacher's are single.
    """
    records = [record for several in runs.values() for run in several for record in run.values()]
    check_protocol(records)
    if records[0]["suite"] != suite:
        raise DataFault(f"scores must be of the suite {suite}, got those of {records[0]['suite']}; name that suite")
    card = {**shared_facts(records), "training_seeds": list(seeds)}
    rows = [
        _row(folder, [run[sampler] for run in several], card, seeds, family)
        for folder, several in runs.items()
        for sampler in several[0]
    ]
    order = list(dict.fromkeys([*SOLVERS, *sorted(row["method"] for row in rows if row["folder"] == TEACHER)]))
    order += dict.fromkeys(method_of(student) for student in runs if student != TEACHER)
    rows.sort(key=lambda row: (order.index(row["method"]), row["nfe"], row["w"] or 0.0, row["sampler"]))
    _check_cells(rows)
    methods = [_method(name, runs, seeds, family) for name in order if any(row["method"] == name for row in rows)]
    return {
        "comparison": suite,
        "card": card,
        "methods": methods,
        "rows": rows,
        "best": best(rows),
        "conclusions": conclusions(rows, methods),
        "teacher": _training(family.teacher),
        "pairs": family.pairs,
        "training": [{"student": name, **_training(card)} for (name, _), card in family.students.items()],
    }


def best(rows: Sequence[Record]) -> dict[str, list[str]]:
    """{NFE: the students' methods of the least mean FID}, without guidance.

    A row is plain that has no w, or is a student's at w = 1: the conditional model. A teacher's at w = 1 is dearer than
    its own without.
    """
    groups: dict[int, list[Record]] = {}
    for row in rows:
        if row["folder"] != TEACHER and row["plain"]:
            groups.setdefault(row["nfe"], []).append(row)
    least = {nfe: min(row["fid"]["mean"] for row in group) for nfe, group in groups.items()}
    return {
        str(nfe): [row["method"] for row in groups[nfe] if row["fid"]["mean"] == least[nfe]] for nfe in sorted(groups)
    }


def metrics(rows: Sequence[Record]) -> Record:
    """{method: {NFE, or NFE-wWEIGHT: headline}}, the teacher's by sampler, for `dvc metrics diff`."""
    nested: dict[str, Record] = {}
    for row in rows:
        teacher = row["folder"] == TEACHER
        weight = "" if row["w"] is None else f"-w{row['w']:g}"
        key = row["sampler"] if teacher else f"{row['nfe']}{weight}"
        scores = headline({metric: row[metric]["mean"] for metric in METRICS})
        nested.setdefault(TEACHER if teacher else row["method"], {})[key] = scores
    return nested


def _row(folder: str, records: Sequence[Record], card: Record, seeds: Sequence[int], family: Family) -> Record:
    first = records[0]
    for field in ("nfe", "w", "classes"):
        if len({record.get(field) for record in records}) > 1:
            got = ", ".join(str(record.get(field)) for record in records)
            raise DataFault(f"{folder} {first['sampler']} must have one {field} in all seeds, got {got}; sample alike")
    teacher, base = folder == TEACHER, unguided(first["sampler"])
    alone = [{k: v for k, v in leaves(record["card"]) if k not in card or card[k] != v} for record in records]
    own = [record["card"].get("training_seed") for record in records] if teacher else seeds
    return {
        "method": f"{TEACHER} {solver_of(base)}" if teacher else method_of(folder),
        "folder": folder,
        "sampler": first["sampler"],
        "base": base,
        "nfe": first["nfe"],
        "w": first.get("w"),
        "plain": first.get("w") is None or (first["w"] == 1 and not teacher),
        "classes": first.get("classes"),
        **{metric: over_seeds([record.get(metric) for record in records]) for metric in METRICS},
        "cost": None if teacher else _cost([[(folder, seed)] for seed in seeds], family),
        "runs": [{"seed": seed, **rest} for seed, rest in zip(own, alone, strict=True)],
    }


def _method(name: str, runs: Runs, seeds: Sequence[int], family: Family) -> Record:
    phases = [student for student in runs if student != TEACHER and method_of(student) == name]
    lines = [line for student in phases for line in family.lineage((student, seeds[0]))]
    return {
        "method": name,
        "students": phases,
        "trained": sorted({student for student, _ in lines}),
        "cost": _cost([[(phase, seed) for phase in phases] for seed in seeds], family) if phases else None,
    }


def _cost(needed: Sequence[Sequence[Name]], family: Family) -> Record:
    costs = [family.cost(names) for names in needed]
    return {
        "data_needed": any(cost.data for cost in costs),
        "images": over_seeds([cost.images for cost in costs]),
        "evaluations": over_seeds([cost.evaluations for cost in costs]),
        "seconds": over_seeds([cost.seconds for cost in costs]),
        "disk": over_seeds([cost.disk for cost in costs]),
    }


def _check_cells(rows: Sequence[Record]) -> None:
    cells = Counter((row["method"], row["nfe"], row["w"]) for row in rows)
    (method, nfe, w), times = cells.most_common(1)[0]
    if times > 1:
        which = [f"{row['folder']} {row['sampler']}" for row in rows if (row["method"], row["nfe"]) == (method, nfe)]
        weight = "no weight" if w is None else f"w {w:g}"
        raise DataFault(
            f"a method must have one row of an NFE and a weight, got {times} of {method} with NFE {nfe} and {weight} "
            f"({', '.join(which)}); keep one"
        )


def _training(card: Mapping[str, Any]) -> Record:
    return {key: card[key] for key in SAID_OF_TRAINING if key in card}


def _flat(row: Record, card: Record) -> Record:
    return {key: value for key, value in row.items() if key != "runs"} | {"card": card}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise DataFault(f"{path} must be a readable text, got {first_line(error)}; write it again") from error
