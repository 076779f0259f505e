"""python -m evals: scores of any images, and the tables and reports of a suite."""

import json
from pathlib import Path
from typing import Annotated

from evals.ground.ending import Progress, run, tell
from evals.ground.extras import starting
from evals.ground.faults import ConfigurationFault

with starting("error", "fid"):
    import numpy as np
    import typer

    from evals.features.counted import counted
    from evals.features.named import extractor_of
    from evals.pages.commands import captioned, comparison, gallery, leaderboard, study
    from evals.scores.scoring import Record

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ExtractorName = Annotated[
    str,
    typer.Option(
        "--extractor",
        help="torch-fidelity, clean-fid, dinov2-vit-l-14 (or s, b), or the folder of an in-domain network or a CLIP",
    ),
]
Weights = Annotated[str | None, typer.Option(help="Inception's or DINOv2's: a path, or their published URL")]
WeightsHash = Annotated[
    str | None, typer.Option("--weights-sha256", help="SHA-256 of weights other than the published ones")
]
Device = Annotated[str, typer.Option(help="the device of the network: cpu or cuda")]


@app.command()
def fid(
    samples: Annotated[Path, typer.Argument(help="images: a folder, .zip, .npy or .npz")],
    reference: Annotated[Path, typer.Argument(help="statistics (.npz: ours, EDM's, OpenAI's) or images")],
    extractor: ExtractorName = "torch-fidelity",
    weights: Weights = None,
    weights_sha256: WeightsHash = None,
    device: Device = "cpu",
    everything: Annotated[bool, typer.Option("--all", help="also KID, precision, recall and Inception Score")] = False,
) -> None:
    """Print the FID of SAMPLES against REFERENCE, with its card, as JSON."""
    from evals.images.reading import open_images
    from evals.scores.references import ReferenceStatistics, is_statistics, load_reference
    from evals.scores.scoring import evaluate
    from evals.scores.scoring import fid as fid_of
    from evals.tables.few_samples import with_warnings

    images = [samples] if is_statistics(reference) else [reference, samples]
    network = counted(extractor_of(extractor, weights, weights_sha256, device), "fid", lambda: images)
    if is_statistics(reference):
        against = load_reference(reference)
    else:
        against = ReferenceStatistics.of(open_images(reference), network, name=reference.stem)
    record = (evaluate if everything else fid_of)(samples, against, network)
    print(json.dumps(with_warnings(record), indent=2, sort_keys=True))


@app.command("clip-score")
def clip_score(
    samples: Annotated[Path, typer.Argument(help="images of the prompts, in turn: a folder, .zip, .npy or .npz")],
    prompts: Annotated[Path, typer.Argument(help="a text file with a prompt in each line")],
    model: Annotated[Path, typer.Option(help="the folder of a CLIPModel of transformers")],
) -> None:
    """Print the CLIP score of SAMPLES with PROMPTS, and the rank of each image's own prompt, as JSON."""
    from evals.scores.clip_scores import clip_scores_of

    print(json.dumps(clip_scores_of(samples, prompts, model), indent=2, sort_keys=True))


@app.command()
def cmmd(
    samples: Annotated[Path, typer.Argument(help="images: a folder, .zip, .npy or .npz")],
    reference: Annotated[Path, typer.Argument(help="real images, or an .npz of `reference` with the same CLIP")],
    model: Annotated[Path, typer.Option(help="the folder of a CLIPModel of transformers")],
    device: Device = "cpu",
) -> None:
    """Print CMMD of SAMPLES against REFERENCE, the distance of CLIP's embeddings, with its card, as JSON."""
    from evals.features.clip import Embeddings
    from evals.scores.cmmd import cmmd_of
    from evals.scores.references import is_statistics

    images = [samples] if is_statistics(reference) else [reference, samples]
    network = counted(Embeddings(model, device), "cmmd", lambda: images)
    print(json.dumps(cmmd_of(samples, reference, network), indent=2, sort_keys=True))


@app.command("train-extractor")
def train_extractor(
    data: Annotated[Path, typer.Argument(help="a folder with images.npy (uint8 [N, H, W, C]) and labels.npy")],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    suite: Annotated[str | None, typer.Option(help="the suite's name; default: the folder's")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    updates: Annotated[
        int | None, typer.Option(min=2, help="updates, of 128 images each; default: 600, or four epochs if longer")
    ] = None,
) -> None:
    """Train a suite's own feature network on its labelled images."""
    from evals.features.indomain import train_extractor as train

    progress = Progress(f"extractor of {suite or data.name}")
    card = train(data, out, suite=suite or data.name, seed=seed, updates=updates, tell=progress).card
    accuracy = card.held_out_accuracy
    tell(f"{card.name}: accuracy {accuracy:.3f} on a held-out tenth of {card.n:,} images, in {out}")


@app.command()
def reference(
    images: Annotated[Path, typer.Argument(help="images: a folder, .zip, .npy or .npz")],
    out: Annotated[Path, typer.Option(help="the .npz to write")],
    split: Annotated[str | None, typer.Option(help="part of the data set, as train; default: from card.json")] = None,
    name: Annotated[str | None, typer.Option(help="name of the data set; default: card.json's or the file's")] = None,
    extractor: ExtractorName = "torch-fidelity",
    weights: Weights = None,
    weights_sha256: WeightsHash = None,
    device: Device = "cpu",
) -> None:
    """Write the statistics and features of images, with which samples are compared."""
    from evals.scores.references import reference as make

    network = counted(
        extractor_of(extractor, weights, weights_sha256, device), f"reference of {images}", lambda: [images]
    )
    card = make(images, network, split=split, out=out, name=name).card
    tell(f"{card.reference} ({card.reference_split}): {card.reference_n:,} images, {card.extractor} features, in {out}")


@app.command()
def evaluate(
    samples: Annotated[Path, typer.Argument(help="a folder of <sampler>.zip, each with its <sampler>.json")],
    reference: Annotated[Path, typer.Argument(help="statistics: an .npz of `reference`, of EDM or of OpenAI")],
    out: Annotated[Path, typer.Option(help="the .json to write")],
    extractor: ExtractorName = "torch-fidelity",
    weights: Weights = None,
    weights_sha256: WeightsHash = None,
    device: Device = "cpu",
    protocol: Annotated[str | None, typer.Option(help="edm-50k, adm-50k, clean-50k or coco-30k")] = None,
    reference_sha256: Annotated[str | None, typer.Option(help="SHA-256 of the reference, for coco-30k")] = None,
    teacher: Annotated[Path | None, typer.Option(help="a folder of the teacher's samples, of the same noise")] = None,
) -> None:
    """Score every sampler's images, as one JSON list of records."""
    from evals.scores.coco import COCO, NAMED, coco_reference
    from evals.scores.references import load_reference
    from evals.scores.scoring import evaluate_folder

    taken = NAMED.get(protocol or "")
    wanted = extractor if taken is None else taken.extractor
    if protocol and (taken is None or extractor != wanted):
        raise ConfigurationFault(
            f"--protocol must be one of {', '.join(NAMED)} with its own extractor, got {protocol} and {extractor}; "
            f"give --extractor {wanted}, or another name"
        )
    of_coco = taken is COCO
    against = coco_reference(reference, reference_sha256, samples) if of_coco else load_reference(reference)
    network = extractor_of(extractor, weights, weights_sha256, device)
    network = counted(network, f"evaluate {samples}", lambda: sorted(samples.glob("*.zip")))

    def tell_row(record: Record) -> None:
        row = f"{record['method']} {record['sampler']}"
        tell(f"{row}: {record['card']['extractor']} FID {record['fid']:.4g}, n {record['n']:,}")

    evaluate_folder(samples, against, network, out, tell_row, protocol=taken, teacher=teacher)


@app.command()
def report(
    results: Annotated[
        list[str],
        typer.Argument(help="several of results/SUITE or results/SUITE@REVISION; with --reference, sets of images"),
    ],
    out: Annotated[Path, typer.Option(help="the .html to write")] = Path("report.html"),
    reference: Annotated[
        Path | None, typer.Option(help="score sets of images against it: images, statistics, or reference/SUITE")
    ] = None,
    split: Annotated[str | None, typer.Option(help="the part of its data set that the reference's images are")] = None,
    training: Annotated[
        Path | None, typer.Option(help="images that the model was trained on, if these are not the reference's")
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="the teacher's images of the same noise, image i of the noise of image i")
    ] = None,
    floor: Annotated[
        Path | None, typer.Option(help="real images that the reference has not: scores are also ratios to theirs")
    ] = None,
    extractor: Annotated[
        str | None, typer.Option(help="as of `fid`; default: the reference folder's own, or torch-fidelity")
    ] = None,
    weights: Weights = None,
    weights_sha256: WeightsHash = None,
    device: Device = "cpu",
) -> None:
    """Compare several results on one page; or score anyone's sets of images, with --reference, and show them."""
    if reference is None:
        from evals.pages.several import several

        tell(several(results, out))
        return
    from evals.pages.scored import scored_page
    from evals.scores.sets import images_to_see, own_extractor

    places = [Path(place) for place in results]
    network = extractor_of(extractor or own_extractor(reference), weights, weights_sha256, device)
    network = counted(network, "report", lambda: images_to_see(places, reference, training, teacher, floor))
    scored_page(places, reference, network, out, split=split, training=training, teacher=teacher, floor=floor)
    tell(f"{len(places)} sets of images scored in {out} and {out.with_suffix('.json').name}")


@app.command("beside-git")
def beside_git_(result: Annotated[str, typer.Argument(help="a folder such as results/digits")]) -> None:
    """Say how the scores of a result differ from those that git has of it."""
    from evals.tables.beside_git import beside_git

    if said := beside_git(result):
        print(said)


for command in (leaderboard, study, gallery, captioned, comparison):
    app.command()(command)


def main() -> None:
    """Runs a command. A Fault prints one line and ends with its exit code."""
    with np.errstate(all="ignore"):  # a result that is not finite is refused by its name, without numpy's warnings
        run(app, "error")


if __name__ == "__main__":
    main()
