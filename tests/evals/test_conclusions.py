"""Laws of the conclusions: verdicts and words follow from the numbers."""

import pytest

from evals.tables.conclusions import BOOT_AND_DDIM_10, BOOT_AND_DDIM_50, PublishedClaim, conclusions, finding
from tests.house.comparison_house import line


def around(mean: float, std: float | None) -> list[float]:
    """FIDs of that mean and sample deviation; one, where there is none."""
    return [mean] if std is None else [mean - std, mean, mean + std]


@pytest.mark.parametrize(
    ("published", "ours", "theirs", "verdict", "words"),
    [
        (BOOT_AND_DDIM_10, (1.2, 0.1), (1.5, None), "agrees", ["better, ratio 0.800", "where 0.200 and more is"]),
        (BOOT_AND_DDIM_10, (1.8, 0.1), (1.5, None), "differs", ["worse, ratio 1.20", "0.300 apart"]),
        (BOOT_AND_DDIM_50, (1.8, 0.1), (1.5, None), "agrees", ["worse, ratio 1.20"]),
        (BOOT_AND_DDIM_50, (1.2, 0.1), (1.5, None), "differs", ["better, ratio 0.800"]),
        (BOOT_AND_DDIM_10, (1.31, 0.1), (1.5, None), "level", ["0.190 apart, where less than 0.200 is level"]),
        (BOOT_AND_DDIM_10, (1.2, 0.09), (1.5, 0.15), "level", ["where less than 0.350 is level"]),
        (BOOT_AND_DDIM_10, (1.49, None), (1.5, None), "level", ["where less than 0.0194 is level"]),
        (BOOT_AND_DDIM_10, (1.5, None), (1.5, None), "level", ["equal, ratio 1.00"]),
        (BOOT_AND_DDIM_10, (1.2, None), (1.5, None), "agrees", ["where 0.0156 and more is a difference"]),
        (BOOT_AND_DDIM_10, (1.2, 0.0), (1.5, 0.0), "agrees", ["where 0.0156 and more is a difference"]),
    ],
)
def test_verdict_and_words_follow_from_the_numbers(
    published: PublishedClaim,
    ours: tuple[float, float | None],
    theirs: tuple[float, float | None],
    verdict: str,
    words: list[str],
) -> None:
    found = finding(published, line("boot", around(*ours)), line("teacher ddim", around(*theirs), data=None))
    assert found.verdict == verdict
    for part in words:
        assert part in found.here
    assert found.difference == pytest.approx(ours[0] - theirs[0], abs=1e-12)
    assert ("is level" in found.here) == (verdict == "level")


def test_the_literature_says_what_was_published() -> None:
    assert "16.3 beside 18.3" in BOOT_AND_DDIM_10.words and "better, ratio 0.891" in BOOT_AND_DDIM_10.words
    assert "16.3 beside 13.7" in BOOT_AND_DDIM_50.words and "worse, ratio 1.19" in BOOT_AND_DDIM_50.words


def test_data_is_judged_by_the_best_with_it_and_the_best_without() -> None:
    a, b, c, d = (
        line(name, around(fid, 0.05), data=name in "ab") for name, fid in zip("abcd", (2.0, 1.5, 1.9, 1.7), strict=True)
    )
    [found] = conclusions([a, b, c, d])
    assert (found.first, found.second, found.verdict) == ("b at NFE 1", "d at NFE 1", "agrees")
    [found] = conclusions([a, c, d])
    assert (found.first, found.second, found.verdict) == ("a at NFE 1", "d at NFE 1", "differs")
    guided = line("c", around(0.1, 0.1), w=2.0)
    assert conclusions([a, b, c, d, guided]) == conclusions([a, b, c, d]), "guided lines are no part of it"
    assert conclusions([a, b]) == [], "nothing is said of what is not there"
