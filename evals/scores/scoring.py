"""Scores samples against a reference; each record has a card with its provenance."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.features.extractors import Extractor
from evals.ground.faults import DataFault
from evals.ground.fields import check_finite
from evals.ground.files import write_json
from evals.images.reading import open_images
from evals.images.samples import read_samples_card
from evals.scores.equal_noise import FineSolve, KeptSolves
from evals.scores.fid import fid_of
from evals.scores.floor import ratios
from evals.scores.frechet import frechet_distance
from evals.scores.jackknife import RULE, Estimate
from evals.scores.kid import STANDARD, KernelDistance
from evals.scores.manifold import COVERAGE_NEIGHBOURS, NEIGHBOURS, manifold, nearest
from evals.scores.memorisation import memorised
from evals.scores.mind import MIND
from evals.scores.moments import Features
from evals.scores.one_pass import Seen, Share, one_by_one, see
from evals.scores.pairwise import Within, pairwise_distance
from evals.scores.protocols import ScoreProtocol
from evals.scores.references import ReferenceStatistics
from evals.scores.spaces import RATIOS, Space, mean_ratio

CURE = "look at the samples, the reference and the extractor's features"
EVALUATOR = "boot_exp evals 2"
"""Raised whenever a change could move a number."""

Record = dict[str, Any]
OF_FEATURES = (
    *("kid_mean", "kid_std", "precision", "recall", "density", "coverage", "diversity", "mind"),
    *RATIOS.values(),
)
"""The scores that need the features of all samples and of all reference images."""


def fid(samples_path: Path, reference: ReferenceStatistics, extractor: Extractor) -> Record:
    """{n, fid, fid_infinity, standard_errors, card} of a folder, zip or array of images.

    fid_infinity: FID extrapolated to infinitely many samples (arXiv 1911.07023), by the line in 1/n through the FID of
    all and the mean FID of their halves. Faults: those of reading and of `reference.check`.
    """
    reference.check(extractor)
    images = open_images(samples_path)
    reference.check_size(images)
    return _fid(see(images, extractor), reference, extractor)


def evaluate(
    samples_path: Path,
    reference: ReferenceStatistics,
    extractor: Extractor,
    kernel: KernelDistance = STANDARD,
    *,
    classes: int | None = None,
    share: Share = one_by_one,
    protocol: ScoreProtocol | None = None,
    training: ReferenceStatistics | None = None,
    teacher: FineSolve | None = None,
    spaces: Sequence[Space] = (),
) -> Record:
    """Extends `fid`'s record by OF_FEATURES, score and memorised, and standard_errors by those of these scores.

    Diversity is the mean distance between the features of two samples, divided by that of the reference: 1 means as
    spread as the data, 0 that all samples are equal. fdr and mind_ratio are FID and MIND over those of real images
    (`floor.ratios`). OF_FEATURES and memorised are None if there were too many features to keep or if third-party
    statistics lack them; diversity is None if all images of the reference are equal, and a ratio if there are fewer
    samples than held-out images; the score is None for an extractor without classes. `memorised` is of `training`, or
    of the reference if that is None. Of a `teacher` the record has the distances of `FineSolve.compare`. If samples
    were requested of `classes` in turn (image i of class i mod `classes`), the record has their agreement: the share
    whose most probable class is the requested one, None like the score. Under a protocol the FID is the mean over its
    blocks of samples, with fid_std, fid_min and fid_blocks, and the card has the FID's label. Standard errors are by
    `jackknife`; a score of few samples has none. With further spaces the record has the scores in each, by the
    network's name, and fdr_mean, the mean of FDr over all. DataFault: the extractor has another number of classes;
    NumericalFault: a score is not finite.
    """
    reference.check(extractor)
    images = open_images(samples_path)
    reference.check_size(images)
    block = protocol.n if protocol is not None and protocol.taken(images.n) else None
    seen = see(images, extractor, classes, share, block)
    record = _fid(seen, reference, extractor)
    if protocol is not None:
        record["card"]["protocol"] = protocol.called(seen.n)
    if seen.blocks:
        each = [frechet_distance(part.gaussian(), reference.gaussian) for part in seen.blocks]
        record |= {
            "fid": statistics.fmean(each),
            "fid_std": statistics.stdev(each) if len(each) > 1 else None,
            "fid_min": min(each),
            "fid_blocks": each,
        }
    found: dict[str, Estimate | None] = {"score": seen.score}
    if classes is not None:
        found["agreement"] = seen.agreement
    record |= dict.fromkeys((*OF_FEATURES, *found))
    if seen.features is not None and reference.features is not None:
        of_features, errors, card = _of_features(seen.features, reference, reference.features, kernel)
        record |= of_features
        record["standard_errors"] |= errors
        record["card"] |= card
    _add(record, found)
    training = reference if training is None else training
    record["memorised"] = None
    if seen.features is not None and training.features is not None:
        copies = memorised(seen.features, training.features, training.others)
        record["memorised"], record["card"]["memorised"] = copies.share, copies.card(training.card.named)
    if teacher is not None and seen.features is not None:
        scores, record["card"]["equal_noise"] = teacher.compare(images, seen.features)
        record |= scores
    if spaces:
        record["spaces"] = {space.extractor.name: space.scores(images, share) for space in spaces}
        record["card"]["spaces"] = {space.extractor.name: space.said() for space in spaces}
        record["fdr_mean"] = mean_ratio(record["fdr"], record["spaces"])
    check_finite(record, CURE)
    return record


def evaluate_folder(
    samples_dir: Path,
    reference: ReferenceStatistics,
    extractor: Extractor,
    out_json: Path | None,
    tell: Callable[[Record], None] = lambda record: None,
    kernel: KernelDistance = STANDARD,
    share: Share = one_by_one,
    protocol: ScoreProtocol | None = None,
    teacher: Path | None = None,
    spaces: Sequence[Space] = (),
) -> list[Record]:
    """Evaluates each <sampler>.zip with the <sampler>.json beside it; may write the records as one JSON list.

    A record is the samples' own card (suite, method, sampler, nfe, n, seconds_per_image, card) with the scores, and
    both cards merged. The samples' card may have `classes`, of `evaluate`, and `w`, the guidance weight (null: none).
    `tell` receives each record as it is made; `share` decides who extracts features; `teacher`: a folder of the
    teacher's samples, of which each sampler is compared with the best kept. DataFault: no zips, a zip without
    a card or a card without a zip, a field that is missing or of another kind, or another number of images than in the
    card.
    """
    zips, cards = ({path.stem: path for path in samples_dir.glob(f"*.{kind}")} for kind in ("zip", "json"))
    if not zips:
        raise DataFault(f"{samples_dir} must hold <sampler>.zip files, got none; sample first")
    for stem in sorted(zips.keys() ^ cards.keys()):
        have, lack = ("zip", "json") if stem in zips else ("json", "zip")
        raise DataFault(f"{samples_dir / stem}.{have} needs {stem}.{lack} beside it, which is missing; sample again")
    claims = {stem: read_samples_card(path) for stem, path in sorted(cards.items())}
    records = []
    solves = None if teacher is None else KeptSolves(teacher, extractor, share)
    for stem, claim in claims.items():
        # A protocol's network has classes of its own, which differ from the samples'.
        asked = claim.classes if protocol is None else None
        scores = evaluate(
            zips[stem],
            reference,
            extractor,
            kernel,
            classes=asked,
            share=share,
            protocol=protocol,
            teacher=None if solves is None else solves.of(claim),
            spaces=spaces,
        )
        if scores["n"] != claim.n:
            raise DataFault(f"{zips[stem]} must hold the {claim.n} images of its card, got {scores['n']}; sample again")
        record = {**claim.facts, **scores, "card": {**claim.card, **scores["card"]}}
        check_finite(record, CURE)
        tell(record)
        records.append(record)
    if out_json is not None:
        write_json(out_json, records)
    return records


def _fid(seen: Seen, reference: ReferenceStatistics, extractor: Extractor) -> Record:
    card = reference.card.said() | {
        "extractor": extractor.name,
        "extractor_sha256": extractor.sha256,
        "resize": extractor.resize,
        "samples_sha256": seen.sha256,
        "selection": "single",
        "evaluator": EVALUATOR,
    }
    if seen.notes:
        card["samples_notes"] = dict(sorted(seen.notes.items()))
    found = fid_of(seen.moments, seen.groups, reference.gaussian)
    record = {"n": seen.n, "fid_infinity": found.infinity, "standard_errors": {}, "card": card}
    if found.infinity is not None:
        card |= {"standard_errors": RULE, "extrapolation": f"line in 1/n, n {seen.n // 2:,} and {seen.n:,}"}
    _add(record, {"fid": found.distance})
    return record


def _of_features(
    samples: Features, against: ReferenceStatistics, reference: Features, kernel: KernelDistance
) -> tuple[Record, dict[str, float], Record]:
    """Returns the scores of OF_FEATURES, their standard errors, and what the card says of them."""
    reference_nearest = nearest(reference) if against.nearest is None else against.nearest
    spread = against.pairwise_distance
    spread = pairwise_distance(reference) if spread is None else spread
    within = Within.of(samples, NEIGHBOURS)
    kid, deviation = kernel.estimate(samples, reference)
    found: dict[str, Estimate | None] = {
        "kid_mean": kid,
        **vars(manifold(samples, reference, reference_nearest, within)),
        "diversity": within.distance.over(spread) if spread > 0 else None,
        "mind": MIND(samples, reference),
    }
    record: Record = {"standard_errors": {}, "kid_std": deviation}
    _add(record, found)
    if isinstance(against.card.floor, dict):
        for name, (ratio, error) in ratios(samples, reference, against.card.floor).items():
            record[RATIOS[name]] = ratio
            record["standard_errors"] |= {} if error is None else {RATIOS[name]: error}
    n, m = len(samples), len(reference)
    card = {
        "kid": f"{kernel.subsets} subsets of {min(kernel.subset_size, n, m)}, seed {kernel.seed}",
        "neighbours": NEIGHBOURS,
        "density_and_coverage": f"{COVERAGE_NEIGHBOURS} neighbours, {n:,} samples, {m:,} real images",
        "mind": f"{MIND.projections:,} projections, {min(n, m):,} features each, seed {MIND.seed}",
        "reference_pairwise_distance": spread,
    }
    return record, record.pop("standard_errors"), card


def _add(record: Record, found: Mapping[str, Estimate | None]) -> None:
    """Adds scores to a record, and their standard errors if they have one."""
    record |= {name: one.value for name, one in found.items() if one is not None}
    errors = {name: one.error for name, one in found.items() if one is not None and one.error is not None}
    record["standard_errors"] |= errors
