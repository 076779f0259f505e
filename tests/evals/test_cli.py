"""python -m evals, from images to records, and its one-line answers with their exit codes."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from evals.__main__ import main
from evals.ground.ending import Progress
from evals.images.reading import Images
from evals.images.zips import write_zip
from tests.house.leaderboard import training

Digits = tuple[Images, np.ndarray]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["evals", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def test_from_images_to_records(run, digits: Digits, tmp_path: Path) -> None:
    images, labels = digits
    data, extractor, statistics = tmp_path / "digits", tmp_path / "extractor", tmp_path / "reference.npz"
    data.mkdir()
    np.save(data / "images.npy", images[:400])
    np.save(data / "labels.npy", labels[:400])
    code, _, err = run("train-extractor", data, "--out", extractor, "--updates", 5)
    assert code == 0 and "in-domain-digits: accuracy" in err
    code, _, err = run(
        "reference",
        data / "images.npy",
        "--extractor",
        extractor,
        "--split",
        "all",
        "--name",
        "digits",
        "--out",
        statistics,
    )
    assert code == 0 and "digits (all): 400 images" in err
    write_zip(tmp_path / "samples" / "a.zip", images[400:500])
    sample_card = {"suite": "digits", "method": "real", "sampler": "a", "nfe": 0, "n": 100, "seconds_per_image": 0.0}
    (tmp_path / "samples" / "a.json").write_text(json.dumps(sample_card | {"card": {"seeds": [0]}}))
    out = tmp_path / "metrics.json"
    code, _, err = run("evaluate", tmp_path / "samples", statistics, "--extractor", extractor, "--out", out)
    assert code == 0 and err.count("\n") == 1 and "in-domain-digits FID" in err
    [record] = json.loads(out.read_text())
    assert record["card"]["reference"] == "digits" and record["card"]["seeds"] == [0]
    for against in (statistics, data / "images.npy"):
        code, text, _ = run("fid", tmp_path / "samples" / "a.zip", against, "--extractor", extractor, "--all")
        printed = json.loads(text)
        assert code == 0 and printed["fid"] == pytest.approx(record["fid"], rel=1e-9)
        assert printed["recall"] == record["recall"]
    code, text, _ = run("fid", tmp_path / "samples" / "a.zip", statistics, "--extractor", extractor)
    assert json.loads(text).keys() == {"n", "fid", "fid_infinity", "standard_errors", "card", "warnings"}


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("missing samples", 3, "must exist"),
        ("too few", 3, "at least 2"),
        ("wrong dtype", 3, "uint8"),
        ("missing statistics", 3, "must exist"),
        ("other extractor", 4, "does not compare"),
        ("no weights", 69, "--weights"),
        ("wrong weights", 4, "SHA-256"),
        ("unknown extractor", 2, "torch-fidelity, clean-fid, dinov2-vit-s-14"),
        ("folder without extractor", 69, "train-extractor"),
        ("not finite", 5, "finite"),
        ("other dimension", 2, "64 and 3"),
    ],
)
def test_each_fault_is_one_line_and_a_code(
    case: str, code: int, words: str, run, extractor_folder: Path, digits: Digits, tmp_path: Path
) -> None:
    good, few, floats = (tmp_path / f"{name}.npy" for name in ("good", "few", "floats"))
    for path, array in ((good, digits[0][:8]), (few, digits[0][:1]), (floats, digits[0][:8] / 255)):
        np.save(path, array)
    card = {"reference": "digits", "extractor": "in-domain-digits", "extractor_sha256": "0" * 64}
    other, endless, small = (tmp_path / f"{name}.npz" for name in ("other", "endless", "small"))
    np.savez(other, mu=np.zeros(64), sigma=np.eye(64), card=json.dumps(card))
    np.savez(endless, mu=np.full(64, np.nan), sigma=np.eye(64))
    np.savez(small, mu=np.zeros(3), sigma=np.eye(3))
    ours = ("--extractor", extractor_folder)
    cases = {
        "missing samples": (tmp_path / "nowhere", good, *ours),
        "too few": (few, good, *ours),
        "wrong dtype": (floats, good, *ours),
        "missing statistics": (good, tmp_path / "nowhere.npz", *ours),
        "other extractor": (good, other, *ours),
        "no weights": (good, good),
        "wrong weights": (good, good, "--extractor", "clean-fid", "--weights", good),
        "unknown extractor": (good, good, "--extractor", "resnet"),
        "folder without extractor": (good, good, "--extractor", tmp_path),
        "not finite": (good, endless, *ours),
        "other dimension": (good, small, *ours),
    }
    got, out, err = run("fid", *cases[case])
    assert (got, out) == (code, ""), err
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err, err


def test_a_result_that_overflows_is_one_line_without_warnings_of_numpy(
    run, extractor_folder: Path, digits: Digits, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", digits[0][:60])
    ours = ("--extractor", extractor_folder)
    made = ("reference", tmp_path / "images.npy", "--split", "x", *ours, "--out", tmp_path / "r.npz")
    assert run(*made)[0] == 0
    parts = dict(np.load(tmp_path / "r.npz"))
    np.savez(tmp_path / "r.npz", **{**parts, "features": np.full_like(parts["features"], 3e38)})
    with warnings.catch_warnings(record=True, action="always") as said:
        code, out, err = run("fid", tmp_path / "images.npy", tmp_path / "r.npz", *ours, "--all")
    assert (code, out, err.count("\n")) == (5, "", 1) and "must be finite" in err
    assert not [str(each.message) for each in said if issubclass(each.category, RuntimeWarning)]


def test_a_reference_needs_a_split_and_takes_it_from_the_card_beside(
    run, extractor_folder: Path, digits: Digits, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", digits[0][:8])
    call = ("reference", tmp_path / "images.npy", "--extractor", extractor_folder, "--out", tmp_path / "r.npz")
    code, _, err = run(*call)
    assert code == 2 and "--split" in err and not (tmp_path / "r.npz").exists()
    (tmp_path / "card.json").write_text(json.dumps({"name": "digits", "split": "all"}))
    code, _, err = run(*call)
    assert code == 0 and "digits (all): 8 images" in err
    code, _, err = run(*call, "--split", "half", "--name", "mine")
    assert code == 0 and "mine (half): 8 images" in err


def test_a_leaderboard_ranks_the_methods_named(run, tmp_path: Path) -> None:
    """Scores of what is no longer wanted may lie beside; scores that are wanted and not there are named."""
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    for place, method in enumerate(("teacher", "boot", "gone")):
        write_zip(tmp_path / f"samples/{method}/a.zip", [image, image])
        card = {key: "x" for key in ("extractor", "reference", "reference_split", "resize", "selection")} | {
            "seeds": []
        }
        row = {"suite": "s", "method": method, "sampler": "a", "nfe": 1, "n": 2, "fid": 1.5 + place}
        for path, value in (
            (tmp_path / f"scores/{method}.json", [row | {"seconds_per_image": 1.0, "card": card}]),
            (tmp_path / f"models/{method}/card.json", training(method)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value))
    folders = [part for name in ("scores", "models", "samples") for part in (f"--{name}", tmp_path / name)]
    call = ("leaderboard", "--method", "teacher", "--method", "boot", *folders, "--out", tmp_path / "out")
    assert run(*call)[0] == 0
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == {
        "teacher": {"a": {"fid": 1.5}},
        "boot": {"a": {"fid": 2.5}},
    }
    assert "gone" not in (tmp_path / "out/report.html").read_text()
    code, _, err = run(*call, "--method", "new")
    assert code == 3 and err.count("\n") == 1 and "got no new.json; evaluate these first" in err
    assert run("leaderboard", *folders, "--out", tmp_path / "out")[0] == 2


def test_progress_is_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    progress = Progress("extractor of digits")
    for done in range(1, 31):
        now[0] += 1
        progress(done, 1000)
    lines = [f"extractor of digits: {done}/1,000 updates" for done in (10, 20, 30)]
    assert capsys.readouterr().err.splitlines() == lines


def test_scoring_says_how_far_it_is(
    run, digits: Digits, extractor_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Time passes between lines, so that every batch makes one."""
    monkeypatch.setattr("evals.__main__.Progress.PAUSE", 0.0)
    np.save(tmp_path / "images.npy", digits[0][:150])
    ours = ("--extractor", extractor_folder)
    against = tmp_path / "r.npz"
    _, _, err = run("reference", tmp_path / "images.npy", "--out", against, "--split", "all", *ours)
    lines = [line.partition(": ")[2] for line in err.splitlines()[:-1]]
    assert lines == [f"{done}/150 images" for done in (64, 128, 150)]
    _, _, err = run("fid", tmp_path / "images.npy", tmp_path / "images.npy", *ours)
    assert [line for line in err.splitlines() if line.endswith("/300 images")][-1] == "fid: 300/300 images"
    samples = tmp_path / "samples"
    for name in ("a", "b"):
        write_zip(samples / f"{name}.zip", digits[0][:100])
        row = {"suite": "s", "method": "m", "sampler": name, "nfe": 1, "n": 100, "seconds_per_image": 0.1}
        card = {"seeds": [0], "commit": "c"}
        (samples / f"{name}.json").write_text(json.dumps({**row, "card": card}))
    _, _, err = run("evaluate", samples, against, "--out", tmp_path / "scores.json", *ours)
    assert f"evaluate {samples}: 200/200 images" in err.splitlines()


def test_a_score_of_few_samples_carries_its_warning(
    run, digits: Digits, extractor_folder: Path, tmp_path: Path
) -> None:
    for name, low in (("a", 0), ("b", 500)):
        np.save(tmp_path / f"{name}.npy", digits[0][low : low + 500])
    command = ("fid", tmp_path / "a.npy", tmp_path / "b.npy", "--extractor", extractor_folder, "--all")
    printed = json.loads(run(*command)[1])
    assert printed["kid_std"] is None and printed["kid_mean"] is not None
    few, whole = printed["warnings"]
    assert few.startswith("Few samples: 500.") and whole.startswith("KID is of all 500 samples")


@pytest.mark.parametrize("missing", ["images.npy", "labels.npy"])
def test_training_without_data_leaves_nothing(missing: str, run, digits: Digits, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", digits[0])
    np.save(tmp_path / "labels.npy", digits[1])
    (tmp_path / missing).write_bytes(b"")
    code, _, err = run("train-extractor", tmp_path, "--out", tmp_path / "out")
    assert code == 3 and missing in err and not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(run, extractor_folder: Path, digits: Digits, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", digits[0][:8])
    out = tmp_path / "good.npy" / "reference.npz"
    code, _, err = run(
        "reference", tmp_path / "good.npy", "--extractor", extractor_folder, "--split", "x", "--out", out
    )
    assert code == 74 and "must be writable" in err
