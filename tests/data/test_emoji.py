"""Emoji: the list is read as Unicode writes it, and each picture has its name and its subgroup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import features

from boot_exp.data.emoji import Emoji
from evals.ground.faults import DataFault, MissingResource

LIST = """\
# group: Smileys & Emotion
# subgroup: face-smiling
1F600                  ; fully-qualified     # 😀 E1.0 grinning face
263A FE0F              ; fully-qualified     # ☺️ E0.6 smiling face
263A                   ; unqualified         # ☺ E0.6 smiling face
# subgroup: hand-fingers-open
1F44B                  ; fully-qualified     # 👋 E0.6 waving hand
1F44B 1F3FB            ; fully-qualified     # 👋🏻 E1.0 waving hand: light skin tone
1F3FB                  ; component           # 🏻 E1.0 light skin tone
# subgroup: keycap
0023 FE0F 20E3         ; fully-qualified     # #️⃣ E0.6 keycap: #
"""


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "emoji-test.txt"
    path.write_text(LIST, encoding="utf-8")
    return path


def test_the_list_gives_names_and_subgroups_in_its_order(names: Path) -> None:
    listed = Emoji(names=str(names)).listed()
    assert [(one.text, one.name, one.subgroup) for one in listed] == [
        ("😀", "grinning face", 0),
        ("☺️", "smiling face", 0),
        ("👋", "waving hand", 1),
        ("#️⃣", "keycap: #", 2),
    ]
    assert Emoji(names=str(names), skin_tones=True).captions()[3] == "waving hand: light skin tone"


@pytest.mark.skipif(not Path(Emoji.font).exists(), reason="needs Debian's package fonts-noto-color-emoji")
@pytest.mark.parametrize("side", [16, 33])
def test_pictures_are_whole_in_colour_and_on_white(names: Path, side: int) -> None:
    dataset = Emoji(names=str(names), side=side, skin_tones=True)
    examples = [*dataset.examples()]
    assert [one.name for one in examples] == dataset.captions()
    for one in examples:
        assert one.image.shape == (side, side, 3) and one.image.dtype == np.uint8
        assert (one.image[0, 0] > 240).all() and (one.image < 250).mean() > 0.2
        assert np.ptp(one.image.astype(int), axis=2).max() > 20, "in colour"
    assert len({one.image.tobytes() for one in examples}) == len(examples)
    again = [*dataset.examples()]
    assert all(np.array_equal(one.image, two.image) for one, two in zip(examples, again, strict=True))


def test_files_and_libraries_that_are_missing_are_refused_with_what_to_install(
    names: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingResource, match=r"nowhere\.txt, which is not there; run: apt-get install fonts-noto-"):
        Emoji(names="nowhere.txt").captions()
    with pytest.raises(MissingResource, match=r"nowhere\.ttf, which is not there; run: apt-get install fonts-noto-"):
        next(Emoji(names=str(names), font="nowhere.ttf").examples())
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(MissingResource, match="raqm, which this Pillow lacks; run: pip install"):
        next(Emoji(names=str(names), font=str(names)).examples())


@pytest.mark.skipif(not features.check("raqm"), reason="needs raqm")
def test_a_file_that_is_no_font_is_refused(names: Path) -> None:
    with pytest.raises(DataFault, match="must be a font with colour pictures of 109 pixels"):
        next(Emoji(names=str(names), font=str(names)).examples())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"nothing\n", "must list emoji that are fully qualified, got none"),
        (LIST.encode() + LIST.encode(), "must give each emoji a name of its own, got one twice"),
        (b"\xff\xfe", "must be Unicode's emoji-test.txt, in UTF-8"),
    ],
)
def test_a_list_that_is_none_is_refused(names: Path, text: bytes, said: str) -> None:
    names.write_bytes(text)
    with pytest.raises(DataFault, match=said):
        Emoji(names=str(names)).captions()
