"""What does not compare is refused in one line, and leaves nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evals.ground.faults import DataFault, NumericalFault
from evals.pages.gallery import check_names
from tests.house.comparison_house import PAIRS, STUDENTS, Student, house


def spoilt(at: tuple[str, int], **changes: Any) -> Callable[[str, int, dict[str, Any]], None]:
    """Records of one student and seed with changes; those of `card` to the card."""

    def change(student: str, seed: int, record: dict[str, Any]) -> None:
        if (student, seed) == at:
            record["card"] |= changes.get("card", {})
            record.update({key: value for key, value in changes.items() if key != "card"})

    return change


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        (spoilt(("boot", 1), n=7), DataFault, "must share their n, got"),
        (spoilt(("boot", 1), card={"extractor_sha256": "00"}), DataFault, "share their extractor_sha256"),
        (spoilt(("boot", 1), card={"training_seed": 2}), DataFault, "training seed in its name, got 2"),
        (spoilt(("boot", 1), sampler="two-jump"), DataFault, r"one student must .*\(boot/0\).*\(boot/1\)"),
        (spoilt(("boot", 1), nfe=2), DataFault, "boot one-jump must have one nfe in all seeds, got 1, 2, 1"),
        (spoilt(("boot", 1), fid=float("nan")), NumericalFault, "finite"),
        (spoilt(("boot", 1), agreement=float("inf")), NumericalFault, "agreement of boot one-jump must be finite"),
        (lambda student, seed, record: record.update(suite="other"), DataFault, "suite made, got those of other"),
    ],
)
def test_scores_that_do_not_compare_are_refused(
    tmp_path: Path, changes: Callable[..., object], kind: type[Exception], words: str
) -> None:
    built = house(tmp_path, changes=changes)
    with pytest.raises(kind, match=words) as fault:
        built.compare()
    assert "\n" not in str(fault.value) and not (tmp_path / "out").exists()


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    built = house(tmp_path)
    for name in ("teacher.json", "boot/1.json", "direct/2.json"):
        (tmp_path / "scores" / name).unlink()
    with pytest.raises(DataFault, match=r"got no teacher\.json, direct/2\.json, boot/1\.json; evaluate"):
        built.compare()
    for name in ("teacher", "stage/0", "boot/1"):
        (tmp_path / "models" / name / "card.json").unlink()
    (tmp_path / "pairs/card.json").unlink()
    with pytest.raises(DataFault, match=r"none of teacher, boot/1, stage/0, .*pairs; train"):
        built.compare()
    assert not (tmp_path / "out").exists()


def student(name: str, **changes: Any) -> dict[str, Student]:
    return STUDENTS | {name: replace(STUDENTS.get(name, STUDENTS["boot"]), **changes)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"students": student("boot", parent="stranger")},
            "boot/0 must have learnt from the teacher or",
        ),
        ({"students": student("boot", parent="boot")}, "boot/0 must have learnt from the teacher or"),
        ({"students": student("boot", starts_from="air")}, "one of noise, images, pairs or null, got 'air'"),
        ({"students": student("boot_1")}, r"got 2 of boot with NFE 1 and no weight \(boot one-jump, boot_1 one-jump\)"),
        (
            {"pairs": PAIRS | {"sha256_of_pairs": "00"}},
            "from the pairs given, got 9a9a9a9a9a beside 00;",
        ),
        ({"pairs": None}, "direct/0 must have learnt from the pairs given, .* beside None; give"),
        ({"pairs": {"n": 1}}, "pairs/card.json must say its evaluations"),
    ],
)
def test_lineages_that_do_not_close_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    built = house(tmp_path, **changes)
    with pytest.raises(DataFault, match=words) as fault:
        built.compare()
    assert "\n" not in str(fault.value) and not (tmp_path / "out").exists()


def test_a_training_card_is_of_the_seed_in_its_place(tmp_path: Path) -> None:
    built = house(tmp_path)
    card = json.loads((tmp_path / "models/boot/1/card.json").read_text())
    for changed, words in (({"seed": 2}, "seed in its name, got 2"), ({"sha256": {}}, r"say its sha256 of weights")):
        built.write("models/boot/1/card.json", card | changed)
        with pytest.raises(DataFault, match=words):
            built.compare()


def test_zips_of_unlike_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFault, match=r"must name images alike, got a\.png, \.\.\. and b\.png"):
        check_names(tmp_path, ["a.png"], ["b.png"], "boot")
    built = house(tmp_path)
    (tmp_path / "samples/guided_4/0/ddim-4-w2.zip").unlink()
    with pytest.raises(DataFault, match=r"ddim-4-w2\.zip"):
        built.compare()
    assert not (tmp_path / "out").exists()
