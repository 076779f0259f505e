"""Laws of tables as text: digits, decimal points, bold."""

import pytest

from evals.tables.text import Column, around, figures, markdown, numbers


def test_a_bar_in_a_name_does_not_break_the_table() -> None:
    assert "| a\\|b" in markdown([Column(heading="method", cells=["a|b"])])


@pytest.mark.parametrize("exponent", range(-6, 7))
def test_figures_round_to_four_digits_and_no_exponent(exponent: int) -> None:
    for mantissa in (1.0, 1.23456, 9.9994, 9.9996, 5.55555):
        value = mantissa * 10.0**exponent
        text = figures(value).replace(",", "")
        assert float(text) == pytest.approx(float(f"{value:.3e}"), rel=1e-12)
        assert "e" not in text
        if exponent < 3:
            assert len(text.replace(".", "").lstrip("0")) == 4
    assert figures(0.0) == "0.000"


def test_a_deviation_gives_the_mean_its_digits() -> None:
    assert around(1.23456, 0.0437) == "1.235 ± 0.044"
    assert around(237.3, 39.2) == "237 ± 39"
    assert around(0.0123456, 0.0005, scale=1e3) == "12.35 ± 0.50"
    assert around(1.23456, 0.0) == "1.235 ± 0", "no digit of a mean is lost where nothing varies"
    assert around(1.23456, None) == "1.235" and around(None, None) == "–"


def test_the_best_rows_are_bold_and_the_others_keep_their_place() -> None:
    column = numbers("x", ["1.75 ± 0.18", "102", "–"], best=[1])
    assert column.even() == ["x".rjust(17), *("    1.75 ± 0.18  ", "**102**          ", "    –            ")]
    assert [cell.find(mark) for cell, mark in zip(column.even()[1:], (".", "*", "–"), strict=True)] == [5, 0, 4]


def test_what_a_cell_lacks_is_the_end_of_the_longest() -> None:
    column = numbers("x", ["2.324 ± 0.045", "95.50", "–"])
    whole = [cell.rstrip() + rest for cell, rest in zip(column.cells, column.lacking(), strict=True)]
    assert column.lacking()[0] == "" and len(set(map(len, whole))) == 1
    assert column.lacking()[1] == "4 ± 0.045"


def test_decimal_points_stand_below_each_other() -> None:
    cells = numbers("x", [figures(10.0**k) for k in range(-3, 4)] + ["–", "12"]).cells
    assert len({cell.index(".") for cell in cells if "." in cell}) == 1
    assert len({len(cell) for cell in cells}) == 1
    assert numbers("x", ["1.75 ± 0.18", "102 ± 10"]).cells == ["  1.75 ± 0.18", "102 ± 10     "]
