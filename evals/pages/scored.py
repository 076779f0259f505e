"""One HTML page of anyone's images: several sets, scored against one reference, with their cards and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.features.extractors import Extractor
from evals.ground.faults import DataFault
from evals.ground.fields import as_json
from evals.ground.files import replacing
from evals.images.reading import open_images
from evals.pages.cards import NAMES, PageCard, facts_of, grouped
from evals.pages.columns import SHARES
from evals.pages.frame import Mark, anchors, rendered
from evals.pages.gallery import Shown, Strip
from evals.pages.nearest import Pairs, pairs_of, strip_of
from evals.pages.nearness import distance_words, memorised_words
from evals.pages.palette import SERIES
from evals.scores.references import ReferenceCard
from evals.scores.scoring import Record
from evals.scores.sets import Against, every_scored
from evals.tables.checks import check_columns
from evals.tables.few_samples import with_warnings
from evals.tables.row import FID_NAMES, shared
from evals.tables.several import short_names
from evals.tables.text import MISSING, Column, around, count, figures, leaves, numbers, share_around, spoken

COLUMNS = 16
"""Images of each set that the page shows."""


def scored_page(
    places: Sequence[Path],
    reference: Path,
    extractor: Extractor,
    out: Path,
    *,
    split: str | None = None,
    training: Path | None = None,
    teacher: Path | None = None,
    floor: Path | None = None,
) -> None:
    """Scores sets of images against one reference; writes the page `out` and its records as JSON beside it.

    places: folders, zips, .npy or .npz of images; facts of their making are read from NAME.json beside NAME.zip or a
    folder NAME, if it is there. reference: statistics, images, or a folder with statistics.npz, as a suite's is.
    split: the part of its data set that images of a reference are. training: of the same kinds, what may be memorised;
    None: the reference. teacher: images by the teacher, image i from the noise of image i of every set. floor: real
    images that the reference has not, scored as a set too. DataFault: a set is given twice, the floor is the reference
    itself, and what `evaluate` refuses.
    """
    places = [*places, *([] if floor is None else [floor])]
    if len({*places}) < len(places):
        raise DataFault(f"sets of images must differ, got {', '.join(map(str, places))}; name each once")
    against = Against.of(reference, extractor, split=split, training=training, teacher=teacher)
    of = dict(zip(short_names([str(place) for place in places]), places, strict=True))
    held_out = None if floor is None else next(reversed(of))
    records = {name: with_warnings(one) for name, one in every_scored(of, against, extractor, held_out).items()}
    page = scored_html(records, of, against)
    for path, text in ((out, page), (out.with_suffix(".json"), as_json(list(records.values())))):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def scored_html(records: Mapping[str, Record], places: Mapping[str, Path], against: Against) -> str:
    """Returns the page of records by name; places: of their images."""
    names, first = list(records), next(iter(records.values()))
    cards, pictures = anchors("card", names), anchors("images", names)
    marks = [
        Mark(colour=f"series-{place % SERIES}", card=card, picture=picture)
        for place, (card, picture) in enumerate(zip(cards, pictures, strict=True))
    ]
    strips = [
        first_strip(places[name], name, f"{records[name]['n']:,} images", mark.colour)
        for name, mark in zip(names, marks, strict=True)
    ]
    card = against.reference.card
    if against.images is not None:
        strips.append(first_strip(against.images, card.reference, "the reference", ""))
    fid = fid_name(first)
    return rendered(
        "scored.html.j2",
        names=names,
        reference=card.reference,
        explained=explained(fid, first, card, None if against.teacher is None else against.teacher.images.path.name),
        notices=notices(records),
        columns=score_columns(records, fid),
        marks=marks,
        strips=strips,
        ids={places[name]: picture for name, picture in zip(names, pictures, strict=True)},
        pairs=[] if against.training_images is None else every_pair(records, places, against.training_images),
        checks=check_columns(records),
        shared=facts_of(shared([dict(leaves(record["card"])) for record in records.values()])),
        cards=[card_of_set(name, records[name], mark, fid) for name, mark in zip(names, marks, strict=True)],
    )


def fid_name(record: Record) -> str:
    """Returns what a FID in these features is called."""
    extractor = record["card"]["extractor"]
    return FID_NAMES.get(extractor, f"FID ({extractor})")


def explained(fid: str, record: Record, card: ReferenceCard, teacher: str | None) -> list[str]:
    """Returns the sentences before the table."""
    extractor, memory = record["card"]["extractor"], memorised_words(record["card"].get("memorised"))
    words = [
        f"{fid} is the Fréchet distance between the images of a row and the reference, {card.reference}: "
        f"{count(card.reference_n)} images, split {card.reference_split or 'not said'}. Lower is better. Precision and "
        "recall are shares from 0 to 1: how many of the images lie among the real ones, and how many of the real ones "
        "among the images."
    ]
    words += [memory] if memory else []
    floor = record["card"].get("floor")
    if isinstance(floor, dict) and record.get("fdr") is not None:
        words.append(
            f"FDr is the {fid} of a row over that of real images ({floor['of']}), from equal numbers of images: 1 is "
            "what real images are expected to have."
        )
    if teacher is not None:
        words.append(f"{distance_words(teacher)} In pixels it is the root of the mean square, of values from 0 to 1.")
    if extractor not in FID_NAMES:
        words.append(
            f"The features come from {extractor}, not from Inception, so the numbers compare the rows of this page "
            "with each other and with nothing published elsewhere."
        )
    return words


def notices(records: Mapping[str, Record]) -> list[str]:
    """Returns what must be known before a score is read: few or unequal numbers, a set that is the reference itself."""
    words = list(dict.fromkeys(one for record in records.values() for one in record.get("warnings", ())))
    if len({record["n"] for record in records.values()}) > 1:
        words.append("The sets have different numbers of images, so their scores do not compare: FID falls with n.")
    for name, record in records.items():
        if record["card"]["samples_sha256"] == record["card"]["reference_sha256"]:
            words.append(f"{name} is the reference itself, image by image.")
    return words


def score_columns(records: Mapping[str, Record], fid: str) -> list[Column]:
    """Returns a row for each set with every number of its record; scores that no set has are left out."""
    several = list(records.values())
    rest = dict.fromkeys(key for one in several for key, value in one.items() if type(value) in (int, float))

    def written(key: str) -> list[str]:
        errors = [one.get("standard_errors", {}).get(key) for one in several]
        form = share_around if key in SHARES else around
        return [form(one.get(key), error) for one, error in zip(several, errors, strict=True)]

    words = {
        "number": [count(one["n"]) for one in several],
        fid: written("fid"),
        "KID × 10³": [around(one["kid_mean"], one["kid_std"], scale=1e3) for one in several],
        **{NAMES.get(key, spoken(key)): written(key) for key in rest if key not in ("n", "fid", "kid_mean", "kid_std")},
    }
    return [
        Column(heading="images", cells=list(records)),
        *(numbers(heading, cells) for heading, cells in words.items() if {*cells} != {MISSING}),
    ]


def card_of_set(name: str, record: Record, mark: Mark, fid: str) -> PageCard:
    """Returns the card of a set in words."""
    card = record["card"]
    scores = {key: value for key, value in record.items() if key not in ("card", "warnings")}
    return PageCard(
        id=mark.card,
        title=name,
        colour=mark.colour,
        words=f"{record['n']:,} images. {fid} {figures(record['fid'])}, against {card['reference']} "
        f"({card['reference_split'] or 'split not said'}).",
        groups=grouped(scores, card),
    )


def first_strip(path: Path, title: str, note: str, colour: str) -> Strip:
    """Returns the first images of a set side by side, not larger than a page needs."""
    return strip_of(next(open_images(path).batches(COLUMNS)), Shown(path=path, title=title, note=note, colour=colour))


def every_pair(records: Mapping[str, Record], places: Mapping[str, Path], training: Path) -> list[Pairs]:
    """Returns the pictures of the nearest pairs of every set, by features and by pixels."""
    return [
        pairs_of(name, places[name], record["card"][key], training, by)
        for name, record in records.items()
        for by, key in (("features", "memorised"), ("pixels", "memorised_pixels"))
        if key in record["card"]
    ]
