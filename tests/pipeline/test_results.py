"""The results that are kept in git say what the README says of them."""

import json
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results/digits"


def test_boot_at_one_evaluation_beats_ddim_at_ten() -> None:
    records = json.loads((RESULTS / "leaderboard.json").read_text())
    fid = {(record["method"], record["sampler"]): record["fid"] for record in records}
    assert fid["boot", "one-jump"] < fid["teacher", "ddim-10"]
    assert {sampler for method, sampler in fid if method == "teacher"} >= {
        f"ddim-{steps}" for steps in (1, 2, 4, 8, 10, 16, 32, 50)
    }
    cards = [record["card"] for record in records]
    assert all(card["seeds"] == [0] and card["selection"] == "single" for card in cards)
    assert all(not card["commit"].endswith("+") for card in cards), "results are of committed code"
