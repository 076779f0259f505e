"""The commands that write the tables and pages of a suite."""

from pathlib import Path
from typing import Annotated

import typer

Settings = Annotated[Path | None, typer.Option(help="a list of settings that are not as in git")]
Training = Annotated[Path | None, typer.Option(help="a folder of prepared data, to show what is nearest to samples")]
Profiles = Annotated[Path | None, typer.Option(help="the suite's folder of profiles, or any file if it has none")]
Walks = Annotated[Path | None, typer.Option(help="the suite's folder of walks, or any file if it has none")]


def leaderboard(
    out: Annotated[Path, typer.Option(help="the folder to write")],
    method: Annotated[list[str], typer.Option(help="a method to rank, from SCORES/METHOD.json; may be repeated")],
    scores: Annotated[Path, typer.Option(help="a folder of `evaluate`'s .json files")],
    models: Annotated[Path, typer.Option(help="a folder of models, each with the card.json of its training")],
    samples: Annotated[Path, typer.Option(help="a folder of each model's samples")],
    settings: Settings = None,
    training: Training = None,
    profiles: Profiles = None,
    walks: Walks = None,
) -> None:
    """Rank every row of a suite's methods, and write the report."""
    from evals.pages.results import leaderboard as write

    write(scores, models, samples, method, out, settings, training, profiles, walks)


def study(
    name: Annotated[str, typer.Argument(help="the study's name")],
    ablation: Annotated[list[str], typer.Option(help="an ablation, the control first; may be repeated")],
    seed: Annotated[list[int], typer.Option(help="a training seed of every ablation; may be repeated")],
    scores: Annotated[Path, typer.Option(help="a folder of `evaluate`'s files, ABLATION/SEED.json")],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    samples: Annotated[Path | None, typer.Option(help="their samples, ABLATION/SEED, for the page to show")] = None,
    settings: Settings = None,
) -> None:
    """Compare ablations over training seeds: mean and deviation of FID, recall and diversity."""
    from evals.pages.results import study as write

    write(name, scores, ablation, seed, out, samples=samples, settings=settings)


def gallery(
    out: Annotated[Path, typer.Option(help="the folder to write")],
    samples: Annotated[Path, typer.Option(help="a suite's folder of samples")],
    prompts: Annotated[Path, typer.Option(help="the suite's folder of prompts")],
) -> None:
    """Show a text-to-image suite: the same prompts and noise by its teacher and its students."""
    from evals.pages.prompted import prompted_gallery

    prompted_gallery(samples, prompts, out)


def captioned(
    out: Annotated[Path, typer.Option(help="the folder to write")],
    method: Annotated[list[str], typer.Option(help="a method to rank, from SCORES/METHOD.json; may be repeated")],
    scores: Annotated[Path, typer.Option(help="a folder of `evaluate`'s .json files")],
    models: Annotated[Path, typer.Option(help="a folder of models, each with the card.json of its training")],
    samples: Annotated[Path, typer.Option(help="a folder of each model's samples")],
    prompts: Annotated[Path, typer.Option(help="the suite's folder of prompts")],
    prompt_scores: Annotated[Path, typer.Option(help="a folder of scores by prompt")],
    walks: Annotated[Path, typer.Option(help="a folder of walks of each student")],
    settings: Settings = None,
    training: Training = None,
) -> None:
    """Rank a suite whose images have captions; show prompts beside pictures, and the rank of the right image."""
    from evals.pages.captioned import captioned_page
    from evals.pages.results import leaderboard as write

    write(scores, models, samples, method, out, settings, training)
    captioned_page(samples, prompts, scores, prompt_scores, out, walks=walks)


def comparison(
    suite: Annotated[str, typer.Argument(help="the suite's name")],
    student: Annotated[list[str], typer.Option(help="NAME, or NAME_N for the phase of N steps; may be repeated")],
    seed: Annotated[list[int], typer.Option(help="a training seed of every student; may be repeated")],
    scores: Annotated[Path, typer.Option(help="a folder with teacher.json and STUDENT/SEED.json of `evaluate`")],
    models: Annotated[Path, typer.Option(help="a folder of the teacher and STUDENT/SEED, each with its card.json")],
    samples: Annotated[Path, typer.Option(help="a folder of their samples")],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    pairs: Annotated[Path | None, typer.Option(help="the folder of the teacher's pairs, with its card.json")] = None,
    learnt_from: Annotated[list[str] | None, typer.Option(help="one that only teaches others; may be repeated")] = None,
    reasons: Annotated[Path | None, typer.Option(help="why results differ: a text, or a folder with SUITE.md")] = None,
    settings: Settings = None,
    profiles: Profiles = None,
    walks: Walks = None,
) -> None:
    """Compare all methods on one teacher over training seeds: scores by NFE, costs, and the literature's findings."""
    from evals.pages.results import comparison as write

    write(
        suite,
        students=student,
        seeds=seed,
        scores=scores,
        models=models,
        samples=samples,
        out=out,
        pairs=pairs,
        learnt_from=learnt_from or (),
        reasons=reasons,
        settings=settings,
        profiles=profiles,
        walks=walks,
    )
