"""What a model is conditioned on, and how training draws the guidance weight."""

from __future__ import annotations

import pytest
import torch

from boot_exp.diffusion.conditions import (
    NOTHING,
    ByClass,
    Condition,
    DrawnLabels,
    FixedGuidance,
    LabelsInTurn,
    UniformGuidance,
)
from boot_exp.engine.seeds import generator

BOTH = Condition(label=torch.arange(6), w=torch.arange(6) / 2)
ALL = Condition(
    text=torch.randn(6, 3, 4),
    pooled=torch.randn(6, 5),
    mask=torch.arange(18).view(6, 3) % 2 == 0,
    low=torch.randn(6, 3, 2, 2),
    low_time=torch.arange(6.0),
    **BOTH.given,
)


def alike(a: Condition, b: Condition) -> bool:
    return a.given.keys() == b.given.keys() and all(
        torch.equal(value, b.given[name]) for name, value in a.given.items()
    )


@pytest.mark.parametrize(
    "condition",
    [ALL, BOTH, Condition(label=BOTH.label), Condition(w=BOTH.w), NOTHING],
    ids=["all", "both", "label", "w", "none"],
)
@pytest.mark.parametrize("cut", [0, 2, 6])
def test_a_cut_condition_put_together_is_itself(condition: Condition, cut: int) -> None:
    assert alike(condition[:cut].and_then(condition[cut:]), condition)
    if condition.w is not None:
        part = condition[1:3].w
        assert part is not None and part.tolist() == [0.5, 1.0]


def test_classes_come_in_turn_whatever_the_batch() -> None:
    conditions = ByClass(classes=10)
    whole = conditions.of(0, torch.arange(25))
    parts = conditions.of(0, torch.arange(7)).and_then(conditions.of(0, torch.arange(7, 25)))
    assert alike(whole, parts) and whole.label is not None and whole.label.dtype == torch.int64
    assert whole.label[:20].bincount().tolist() == [2] * 10 and int(whole.label[24]) == 4
    assert ByClass(classes=None).of(0, torch.arange(25)) is NOTHING


def test_drawn_labels_are_uniform_and_the_same_whatever_the_batch() -> None:
    """Counts of ten classes among 20,000 have a chi-square of nine degrees, below 33.7 but once in 10,000."""
    labels = DrawnLabels()
    whole = labels(3, torch.arange(20_000), 10)
    assert torch.equal(whole[7:50], labels(3, torch.arange(7, 50), 10)) and whole.dtype == torch.int64
    counts = whole.bincount(minlength=10).double()
    assert len(counts) == 10 and float(((counts - 2000) ** 2 / 2000).sum()) < 33.7
    assert not torch.equal(whole, labels(4, torch.arange(20_000), 10)), "another seed, other labels"
    assert not torch.equal(whole[:9_999], whole[1:10_000]), "not in turn"
    assert torch.equal(LabelsInTurn()(3, torch.arange(7, 50), 10), torch.arange(7, 50) % 10)


def test_fixed_guidance_is_one_w_and_draws_nothing() -> None:
    source = generator(0)
    before = source.get_state()
    assert FixedGuidance(w=2.5)(source, 4).tolist() == [2.5] * 4
    assert torch.equal(source.get_state(), before)


def test_uniform_guidance_fills_its_range() -> None:
    """Kolmogorov's distance to the uniform distribution is below its one-in-a-million value for this many draws."""
    drawn = UniformGuidance(low=0.5, high=4.5)(generator(1), 20_000)
    assert drawn.shape == (20_000,) and drawn.dtype == torch.float32
    assert float(drawn.min()) >= 0.5 and float(drawn.max()) <= 4.5
    expected = 0.5 + 4 * (torch.arange(20_000) + 0.5) / 20_000
    assert float((drawn.sort().values - expected).abs().max()) / 4 < 2.7 / 20_000**0.5
    assert torch.equal(drawn, UniformGuidance(low=0.5, high=4.5)(generator(1), 20_000))


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0)])
def test_a_range_without_width_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match=f"UniformGuidance needs low < high, got low={low}, high={high}"):
        UniformGuidance(low=low, high=high)
