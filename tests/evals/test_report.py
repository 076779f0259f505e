"""Laws of the report: one file, no network, the same bytes, and the gallery shows what the zips hold."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from evals.ground.faults import DataFault
from evals.pages.palette import DARK, LIGHT, STAND_INS, in_page
from evals.pages.picture import pictured
from evals.pages.plots import leaderboard_plot, solvers_of
from evals.pages.results import leaderboard
from evals.tables.row import Row, row_of
from tests.house.markup import assert_nothing_is_fetched, assert_tags_are_balanced
from tests.house.report_house import ROWS, house, images_of, record, report, write_zip

FROM_CHEAP_TO_DEAR = [
    "boot one-jump",
    "teacher ddim-1",
    "teacher ddim-10",
    "teacher heun-5",
    "teacher heun-16",
]


def rows_of(*records: dict[str, Any]) -> list[Row]:
    return [row_of(one, Path("nowhere")) for one in records]


def page_of(folder: Path, **changes: Any) -> str:
    _, out = house(folder, **changes)
    report(folder)
    return out.read_text(encoding="utf-8")


def test_nothing_is_fetched(tmp_path: Path) -> None:
    assert_nothing_is_fetched(page_of(tmp_path))


def test_a_report_of_other_settings_begins_with_them(tmp_path: Path) -> None:
    card = {**record("boot", "one-jump")["card"], "commit": "c0ffee"}
    plain = page_of(tmp_path, card=card)
    assert "Settings: as in git." in plain and "Not as in git" not in plain
    value = {"run": "boot", "stages": "distil", "setting": "boot.Boot.delta", "git": "0.08", "here": "0.05"}
    (tmp_path / "settings.json").write_text(json.dumps([value]))
    names = ["teacher", "boot"]
    leaderboard(
        *(tmp_path / name for name in ("scores", "models", "samples")),
        names,
        tmp_path / "o",
        tmp_path / "settings.json",
    )
    page = (tmp_path / "o/report.html").read_text()
    assert_tags_are_balanced(page)
    head = page[: page.index(">Leaderboard</h2>")]
    assert "<strong>Not as in git." in head and all(f">{text}</td>" in head for text in value.values())
    assert "as in git." not in page.replace("Not as in git.", "")


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, hash_seed: str) -> None:
    house(tmp_path)
    report(tmp_path)
    folders = [part for name in ("scores", "models", "samples") for part in (f"--{name}", str(tmp_path / name))]
    methods = ["--method", "teacher", "--method", "boot", "--out", str(tmp_path / "again")]
    command = [sys.executable, "-m", "evals", "leaderboard", *folders, *methods]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": hash_seed})
    for path in (tmp_path / "results").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gallery_shows_the_first_images_of_every_zip_in_order(tmp_path: Path, channels: int) -> None:
    page = page_of(tmp_path, channels=channels)
    strips = re.findall(r'alt="The first 16 samples of ([^"]*)" src="data:image/png;base64,([^"]*)"', page)
    assert [name for name, _ in strips] == FROM_CHEAP_TO_DEAR
    for name, data in strips:
        method, sampler = name.split()
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).reshape(4, 16 * 4, channels)
        for index, image in enumerate(images_of(method, sampler, channels)[:16]):
            np.testing.assert_array_equal(strip[:, 4 * index : 4 * index + 4], image)


def test_the_gallery_names_seed_and_indices(tmp_path: Path) -> None:
    page = " ".join(page_of(tmp_path).split())
    assert "Samples 0 to 15 of every row, unselected. Seeds: noise 7." in page
    indices = re.search(r'class="indices[^"]*">(.*?)</div>', page)
    assert indices and re.findall(r"<span>(\d+)</span>", indices[1]) == [str(i) for i in range(16)]


def test_the_samples_of_a_training_seed_lie_in_its_folder(tmp_path: Path) -> None:
    card = record("boot", "one-jump")["card"] | {"training_seed": 3}
    samples, out = house(tmp_path, card=card)
    (samples / "boot").rename(samples / "held")
    (samples / "boot").mkdir()
    (samples / "held").rename(samples / "boot" / "3")
    report(tmp_path)
    assert "The first 16 samples of boot one-jump" in out.read_text()


def test_fewer_images_than_columns_are_all_shown(tmp_path: Path) -> None:
    samples, out = house(tmp_path)
    for method, sampler in ROWS:
        write_zip(samples / method / f"{sampler}.zip", images_of(method, sampler, 1)[:3])
    report(tmp_path)
    assert "Samples 0 to\n2 of every row" in out.read_text()


def _removed(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def _without_images(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "none")


def _named_otherwise(path: Path) -> None:
    write_zip(path, images_of("boot", "one-jump", 1), "sample-{:06}.png")


def _damaged(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("000000.png", b"\x89PNG\r\n\x1a\n cut short")


def _of_two_sizes(path: Path) -> None:
    write_zip(path, images_of("boot", "one-jump", 1))
    with zipfile.ZipFile(path, "a") as archive:
        png = io.BytesIO()
        Image.new("L", (5, 4)).save(png, "PNG")
        archive.writestr("000000a.png", png.getvalue())


@pytest.mark.parametrize("spoil", [_removed, _cut, _without_images, _named_otherwise, _damaged, _of_two_sizes])
def test_a_bad_zip_is_one_line_and_leaves_nothing(tmp_path: Path, spoil: Any) -> None:
    samples, out = house(tmp_path)
    spoil(samples / "teacher" / "ddim-10.zip")
    with pytest.raises(DataFault) as fault:
        report(tmp_path)
    assert "\n" not in str(fault.value)
    assert not out.parent.exists()


def test_the_page_holds_every_row_every_card_and_the_cost(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "FID\n(in-domain-digits)</th>" in page
    for fid in ("741.2", "6.537", "8.120", "1.710", "5.214"):
        assert f">{fid}<" in page
    assert page.count("<details ") == len(ROWS)
    assert ">512,000<" in page and ">321<" in page
    # A card's precision is of its arithmetic, a row's is a score: neither may hide the other.
    assert page.count("<dt>precision</dt><dd>0.875</dd>") == len(ROWS)
    assert page.count("<dt>arithmetic</dt><dd>float32</dd>") == len(ROWS) + 1


@pytest.mark.parametrize(
    ("extractor", "warns"), [("in-domain-digits", True), ("inception-v3-compat", False), ("inception-v3-clean", False)]
)
def test_a_foreign_extractor_is_never_taken_for_inception(tmp_path: Path, extractor: str, warns: bool) -> None:
    card = record("boot", "one-jump")["card"] | {"extractor": extractor}
    assert ("not from Inception" in page_of(tmp_path, card=card)) is warns


def test_names_are_escaped(tmp_path: Path) -> None:
    page = page_of(tmp_path, suite="<b>&")
    assert "<b>" not in page and "&lt;b&gt;&amp;" in page


def test_tags_are_balanced(tmp_path: Path) -> None:
    assert_tags_are_balanced(page_of(tmp_path))


def test_families_part_by_method_and_solver_and_the_points_come_last() -> None:
    families = solvers_of(rows_of(*(record(*row) for row in ROWS)))
    assert [(f.name, [row.nfe for row in f.rows]) for f in families] == [
        ("teacher ddim", [1, 10]),
        ("teacher heun", [10, 32]),
        ("boot one-jump", [1]),
    ]
    assert [f.series for f in families] == [0, 1, 2]


def test_the_plot_speaks_in_the_page_s_colours_and_knows_no_date() -> None:
    svg = in_page(leaderboard_plot(solvers_of(rows_of(*(record(*row) for row in ROWS))), "FID (in-domain-digits)"))
    texts = [node.text for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    for label in ("teacher ddim", "teacher heun", "boot one-jump", "FID (in-domain-digits)", "1", "10", "32"):
        assert texts.count(label) >= 1
    assert not any(stand_in in svg for stand_in in STAND_INS.values())
    assert "var(--ink)" in svg and "var(--series-2)" in svg
    assert "dc:date" not in svg


def test_every_colour_is_defined_for_light_and_for_dark(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert LIGHT.keys() == DARK.keys() and len(set(STAND_INS.values())) == len(LIGHT)
    for name in LIGHT:
        assert re.findall(rf"--{name}: (#[0-9a-f]{{6}});", page) == [LIGHT[name], DARK[name]]


def test_training_seeds_of_one_sampler_are_points_and_no_curve() -> None:
    seeded = [record("boot", "one-jump", fid=fid) for fid in (5.0, 6.0, 7.0)]
    [family] = solvers_of(rows_of(*seeded))
    assert family.point and not solvers_of(rows_of(record("teacher", "ddim-1"), record("teacher", "ddim-10")))[0].point
    assert leaderboard_plot([family], "FID").count("stroke-dasharray") == len(seeded)


def test_a_single_row_is_drawn() -> None:
    assert "boot one-jump" in leaderboard_plot(solvers_of(rows_of(record("boot", "one-jump"))), "FID")


def test_a_fid_of_nothing_does_not_spoil_the_plot_of_the_others() -> None:
    rows = [record("boot", "one-jump", fid=0.0), record("teacher", "ddim-1"), record("teacher", "ddim-10")]
    assert "teacher ddim" in leaderboard_plot(solvers_of(rows_of(*rows)), "FID")


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_has_the_teachers_ddim_and_the_students_of_one_evaluation(channels: int, tmp_path: Path) -> None:
    house(tmp_path, channels)
    report(tmp_path)
    first = np.asarray(Image.open(tmp_path / "results/gallery.png"))
    rows = [images_of(*row, channels) for row in (("teacher", "ddim-1"), ("boot", "one-jump"))]
    assert [row.name for row in pictured(rows_of(*(record(*row) for row in ROWS)))] == FROM_CHEAP_TO_DEAR[1::-1]
    for number, images in enumerate(rows):
        strip = np.concatenate(list(images[:16]), axis=1).repeat(10, axis=0).repeat(10, axis=1)
        top = 6 + number * 46
        assert np.array_equal(first[top : top + 40, -646:-6], np.broadcast_to(strip, (40, 640, 3)))
    assert first.shape[0] == 2 * 46 + 6
    assert not pictured(rows_of(record("teacher", "heun-16")))
