"""The loop keeps its word: draws, averages, state, and going on after an interruption."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest  # type: ignore[import-untyped]
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG  # type: ignore[import-untyped]
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[import-untyped]
from torch import Tensor, nn

from boot_exp.engine import journal
from boot_exp.engine.averages import Ema, Tensors
from boot_exp.engine.checkpoints import load_weights, read_card, read_tensors, write_folder
from boot_exp.engine.journal import Journal, TimeParts
from boot_exp.engine.loop import Trained, Training, every, fit
from boot_exp.engine.objectives import Portion
from boot_exp.engine.processes import Processes
from boot_exp.engine.rates import CosineRate
from boot_exp.engine.seeds import PAIRS, SAMPLES, _words, generator, numbered, sample_noise
from boot_exp.engine.stopping import Stopped
from boot_exp.engine.terms import Term
from boot_exp.engine.watch import Finite
from boot_exp.engine.work import Work
from evals.ground.faults import ConfigurationFault, NumericalFault, StateFault


def test_sample_noise_is_the_same_in_every_batch() -> None:
    whole = sample_noise(7, torch.arange(10), (3, 5, 5))
    assert torch.equal(whole[3:6], sample_noise(7, torch.tensor([3, 4, 5]), (3, 5, 5)))
    assert torch.equal(whole.flip(0), sample_noise(7, numbered(range(9, -1, -1)), (3, 5, 5)))
    assert not torch.equal(whole, sample_noise(8, torch.arange(10), (3, 5, 5)))
    assert whole.flatten(1).unique(dim=0).shape[0] == 10


def test_words_are_those_that_splitmix64_is_known_by() -> None:
    """From the state 1234567, as others publish them; from any other, as written down with whole numbers."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [w % 2**64 for w in _words(1234567, torch.arange(5)).tolist()] == known

    counters = [0, 1, 63, 2**31, 2**32, 2**40 + 3]
    for key in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
        words = _words(key, torch.tensor(counters)).tolist()
        assert [w % 2**64 for w in words] == [word(key, k) for k in counters]


def word(key: int, k: int) -> int:
    """The k-th word of SplitMix64."""
    z = (key + (k + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def test_sample_noise_is_what_box_and_muller_make_of_the_words() -> None:
    """Of each word two numbers: all cosines of a sample, then its sines, of which an odd size leaves the last."""
    key = int(np.random.SeedSequence(3, spawn_key=(SAMPLES, 2)).generate_state(1, np.uint64)[0])
    for i in (0, 7):
        words = [divmod(word(key, 14 * i + k), 2**32) for k in range(14)]
        radii = [math.sqrt(-2 * math.log((high + 0.5) / 2**32)) for high, _ in words]
        angles = [low / 2**32 * math.tau for _, low in words]
        normal = [r * f(a) for f in (math.cos, math.sin) for r, a in zip(radii, angles, strict=True)]
        drawn = sample_noise(3, torch.tensor([i]), (3, 3, 3), draw=2)
        assert torch.allclose(drawn.flatten(), torch.tensor(normal[:27]), rtol=1e-6, atol=1e-7)


def test_each_draw_and_purpose_of_a_sample_has_noise_of_its_own() -> None:
    """The k-th more noise of sample i is neither what it starts from, nor another's, whatever the batch."""
    six = torch.arange(6)
    draws = [sample_noise(7, six, (1, 4, 4), draw=draw) for draw in range(4)]
    pairs = sample_noise(7, six, (1, 4, 4), purpose=PAIRS)
    assert torch.cat([*draws, pairs]).flatten(1).unique(dim=0).shape[0] == 5 * 6
    assert torch.equal(draws[0], sample_noise(7, six, (1, 4, 4)))
    assert torch.equal(draws[2][3:5], sample_noise(7, six[3:5], (1, 4, 4), draw=2))


@pytest.mark.parametrize("seed", range(4))
def test_sample_noise_is_standard_normal(seed: int) -> None:
    """Also that no place of an image tells of another, or of the next image: pairs of them are drawn of one word."""
    draws = sample_noise(seed, torch.arange(4000), (1, 5, 5)).flatten(1)
    assert float(kstest(draws.flatten().numpy(), "norm").pvalue) > 1e-4
    n, flat = draws.numel(), draws.double()
    assert abs(float((flat**4).mean()) - 3) < 4 * (96 / n) ** 0.5
    for some in (flat, flat.square(), flat.abs()):
        centred = (some - some.mean(0)) / some.std(0)
        within = (centred.T @ centred / len(draws)).fill_diagonal_(0)
        after = centred[1:].T @ centred[:-1] / len(draws)
        assert float(within.abs().max()) < 5.5 / len(draws) ** 0.5
        assert float(after.abs().max()) < 5.5 / len(draws) ** 0.5


def test_generators_of_different_paths_differ() -> None:
    firsts = {float(torch.rand((), generator=generator(*path))) for path in [(0, 1), (1, 0), (0, 0, 1), (0, 2), (1,)]}
    assert len(firsts) == 5


@pytest.mark.parametrize("images", [10, 1_000, 100_000])
def test_ema_halves_after_a_half_life(images: int) -> None:
    ema = Ema(half_life=64 * 20, ramp=1e9)
    model, zero = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0)
        for parameter in zero.parameters():
            parameter.fill_(1)
    for step in range(20):
        ema.update(Tensors.of(zero), Tensors.of(model), images=images + 64 * step, batch=64)
    assert float(zero.weight.detach()) == pytest.approx(0.5, rel=1e-5)


def test_ema_ramps_up_with_the_images_seen() -> None:
    ema = Ema(half_life=1000, ramp=0.1)
    assert ema.decay(0, 10) == 0
    assert ema.decay(1000, 10) == pytest.approx(0.5 ** (10 / 100))
    assert ema.decay(10**6, 10) == pytest.approx(0.5 ** (10 / 1000))


def test_rates() -> None:
    assert CosineRate(peak=2.0, warmup=0.5)(0.25) == pytest.approx((1 + 0.5**0.5) / 2)
    cosine = CosineRate(peak=2.0, warmup=0.0)
    assert [cosine(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([2, 1, 0])


@pytest.mark.parametrize("interval", [1, 7, 100])
def test_every_happens_once_an_interval(interval: int) -> None:
    seen = list(range(0, 1001, 20))
    happened = sum(every(interval, a, b) for a, b in zip(seen[:-1], seen[1:], strict=True))
    assert happened == min(len(seen) - 1, 1000 // interval)


def test_by_time_splits_the_range() -> None:
    terms = [
        {"a": Term(value=torch.tensor([1.0, 5.0]), t=torch.tensor([0.1, 1.0]))},
        {"a": Term(value=torch.tensor([3.0]), t=torch.tensor([0.2]))},
    ]
    parts = TimeParts.of(terms, ["a"], torch.device("cpu"))
    assert parts.means() == {"a/t0-0.25": 2.0, "a/t0.75-1": 5.0}


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


class Noisy:
    """A loss whose value depends on the draws, so that a repeated or skipped draw would show."""

    def __init__(self, *, stop_at: int = -1, broken: Container[int] = (), watch: list[Tensor] | None = None) -> None:
        self.stop_at, self.broken, self.watch = stop_at, broken, watch

    self_teaching = None
    companion = None

    def evaluations(self, batch: int) -> int:
        return 2 * batch

    def loss(self, model: nn.Module, portion: Portion, *, self_teacher: nn.Module | None) -> dict[str, Term]:
        seen, batch, generator = portion.seen, portion.size, portion.generator
        if seen == self.stop_at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGTERM)
        target = torch.randn((batch, 3), generator=generator)
        value = (model.weight - target).square().mean(1)
        if self.watch is not None:
            self.watch.append(model.weight.detach().clone())  # type: ignore[operator]
        if seen in self.broken:
            value = value * torch.nan
        return {"line": Term(value=value, t=torch.rand(batch, generator=generator))}


def train(folder: Path, objective: Noisy, not_finite: int = 10, **more: Any) -> tuple[Trained, Line]:
    model = Line()
    training = Training(
        images=100,
        batch=8,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
        rate=CosineRate(peak=0.1),
        ema=Ema(half_life=20),
        save_every=24,
        log_every=16,
        not_finite=not_finite,
        **more,
    )
    trained = fit(
        training,
        model,
        objective,
        title="line",
        work=Work(folder=folder / "work"),
        logs=folder / "logs",
        config="",
        settings={"rate.peak": 0.1, "ema": "Ema"},
        preview=lambda average: torch.zeros(4, 1, 2, 2),
        processes=Processes(device=torch.device("cpu")),
    )
    return trained, model


def test_progress_is_shown_between_two_log_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "SECONDS_BETWEEN_LINES", 0)
    train(tmp_path, Noisy())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("line: ")]
    assert [line.split()[1] for line in lines] == [f"{min(8 * step, 100)}/100" for step in range(1, 14)]
    loss = [line.partition("left")[2].strip() for line in lines]
    assert loss[0] == "" and loss[1].startswith("line ") and loss[2] == loss[1] != loss[3], "the last that is known"


@pytest.mark.parametrize("stop_at", [0, 8, 40, 88, 96])
def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, stop_at: int) -> None:
    whole, model = train(tmp_path / "whole", Noisy())
    with pytest.raises(Stopped, match=f"after {min(stop_at + 8, 100)} images"):
        train(tmp_path / "cut", Noisy(stop_at=stop_at))
    rest, again = train(tmp_path / "cut", Noisy())
    assert torch.equal(model.weight, again.weight)
    assert torch.equal(whole.average.weight, rest.average.weight)  # type: ignore[arg-type]
    assert (whole.images, whole.evaluations) == (rest.images, rest.evaluations) == (100, 200)


def test_a_run_stopped_in_its_last_step_repeats_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Mapping[str, str | float], Mapping[str, float]]] = []
    monkeypatch.setattr(Journal, "results", lambda self, figures, images: told.append((self.settings, figures)))
    train(tmp_path / "whole", Noisy())
    found = Work(folder=tmp_path / "whole" / "work").latest()
    assert found is not None and found[0]["images"] == 100, "a result that cannot be written must not cost a training"
    with pytest.raises(Stopped, match="after 100 images"):
        train(tmp_path / "cut", Noisy(stop_at=96))
    assert len(told) == 1
    train(tmp_path / "cut", Noisy(broken={96}))
    assert [settings for settings, _ in told] == [{"rate.peak": 0.1, "ema": "Ema"}] * 2
    whole, rest = (figures for _, figures in told)
    assert whole.keys() == rest.keys() == {"line", "seconds"}
    assert whole["line"] == rest["line"]


def test_a_run_is_one_row_of_tensorboards_table_however_often_it_is_trained(tmp_path: Path) -> None:
    """With its settings, and its figures as metrics of the same folder."""
    for _ in range(2):
        train(tmp_path, Noisy())
        Work(folder=tmp_path / "work").clear()
    assert [path.is_file() for path in (tmp_path / "logs").iterdir()] == [True]
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert {"hparam/line", "hparam/seconds"} <= {*events.Tags()["scalars"]}
    (start,) = (
        HParamsPluginData.FromString(content).session_start_info.hparams
        for tag, content in events.PluginTagToContent("hparams").items()
        if tag == SESSION_START_INFO_TAG
    )
    assert {name: value.number_value or value.string_value for name, value in start.items()} == {
        "rate.peak": 0.1,
        "ema": "Ema",
    }


def test_pictures_of_a_log_have_gaps(tmp_path: Path) -> None:
    with closing(Journal(tmp_path, resumed_at=0, config="", settings={})) as journal:
        journal.grid("white", torch.ones(9, 1, 2, 2), 5)
    (picture,) = EventAccumulator(str(tmp_path)).Reload().Images("white")
    with Image.open(BytesIO(picture.encoded_image_string)) as opened:
        pixels = np.array(opened)
    side = len(pixels) // 3
    assert (pixels[[0, side - 1, side, -1]] == 127).all() and (pixels[1 : side - 1, 1 : side - 1] == 255).all()


def test_every_logger_that_is_bound_gets_what_tensorboard_gets(tmp_path: Path) -> None:
    heard = Heard()
    train(tmp_path, Noisy(), loggers=[heard], preview_every=100)
    assert heard.opened == [(tmp_path / "logs", {"rate.peak": 0.1, "ema": "Ema"}, "")]
    mine = curves(tmp_path)
    mine.pop("hparam/line")
    assert {name: [images for images, _ in points] for name, points in mine.items()} == {
        name: points for name, points in heard.points.items() if name in mine
    }
    assert heard.pictures == [("samples", 100)] and {*heard.figures} == {"line", "seconds"} and heard.closed == 1


class Heard:
    """A logger, and the log that it opens, which keep what they are told."""

    def __init__(self) -> None:
        self.opened: list[Any] = []
        self.points: dict[str, list[int]] = {}
        self.pictures: list[tuple[str, int]] = []
        self.figures: dict[str, float] = {}
        self.closed = 0

    def __call__(self, *given: Any) -> Heard:
        self.opened.append(given)
        return self

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        for name in values:
            self.points.setdefault(name, []).append(images)

    def picture(self, name: str, picture: Any, images: int) -> None:
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 1
        self.pictures.append((name, images))

    def results(self, figures: Mapping[str, float]) -> None:
        self.figures |= figures

    def close(self) -> None:
        self.closed += 1


def test_where_the_average_is_kept_changes_no_bit(tmp_path: Path) -> None:
    """Also where a run is stopped and resumed."""
    here, _ = train(tmp_path / "here", Noisy())
    with pytest.raises(Stopped):
        train(tmp_path / "there", Noisy(stop_at=40), average_on_cpu=True)
    there, _ = train(tmp_path / "there", Noisy(), average_on_cpu=True)
    assert torch.equal(here.average.weight, there.average.weight)  # type: ignore[arg-type]


def test_an_average_on_the_cpu_is_refused_where_weights_are_sharded(tmp_path: Path) -> None:
    training = Training(
        images=8, batch=8, optimizer=torch.optim.Adam, rate=CosineRate(peak=0.1), ema=Ema(half_life=20), microbatch=4
    )
    training = replace(training, average_on_cpu=True)
    training.check_shared(Processes(device=torch.device("cpu")))
    with pytest.raises(ConfigurationFault, match="each process holds whole, got weights sharded over 2 processes"):
        training.check_shared(Processes(device=torch.device("cpu"), count=2, sharded=True, index=1))


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "logs")).Reload()
    tags = [
        tag for tag in events.Tags()["scalars"] if tag not in ("images_per_second", "memory_peak", "hparam/seconds")
    ]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@pytest.mark.parametrize("stop_at", [8, 56, 96])
def test_the_curves_of_a_stopped_run_have_no_gap(tmp_path: Path, stop_at: int) -> None:
    train(tmp_path / "whole", Noisy())
    with pytest.raises(Stopped):
        train(tmp_path / "cut", Noisy(stop_at=stop_at))
    train(tmp_path / "cut", Noisy())
    assert curves(tmp_path / "cut") == curves(tmp_path / "whole") != {}


@pytest.mark.parametrize("broken", [{0}, {8}, {16, 24, 32}, {96}])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path: Path, broken: set[int]) -> None:
    """As if the step had been left out: what it would have changed is the same before and after it."""
    weights: list[Tensor] = []
    trained, model = train(tmp_path, Noisy(broken=broken, watch=weights))
    assert trained.skipped == len(broken) and torch.isfinite(model.weight).all()
    weights.append(model.weight.detach())
    for step, (before, after) in enumerate(pairwise(weights)):
        assert torch.equal(before, after) == (step == 0 or 8 * step in broken), "the rate of the first step is zero"
    assert curves(tmp_path)["skipped_steps"][-1][1] == len(broken)


def test_too_many_in_a_row_stop_the_run_with_what_reproduces_it(tmp_path: Path) -> None:
    broken = set(range(40, 1000, 8))
    with pytest.raises(NumericalFault, match=r"'line': nan.* in 3 steps in a row.*after 56 images, seed 0"):
        train(tmp_path, Noisy(broken=broken), not_finite=3)
    found = Work(folder=tmp_path / "work").latest()
    assert found is not None and found[0]["images"] == 64 and found[0]["skipped"] == 3
    train(tmp_path / "whole", Noisy(broken={40, 48, 56}))
    train(tmp_path, Noisy(), not_finite=3)
    assert torch.equal(
        *(read_tensors(tmp_path / name / "work" / "images-000000000100", "model")["weight"] for name in (".", "whole"))
    )


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_skipped_on_the_device_is_the_step_skipped_here(fused: bool) -> None:
    """The way of a GPU, which reads nothing back, against that of a CPU, which looks first."""
    ends = []
    for wait in (True, False):
        model, average = Line(), Line()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
        finite, ema = Finite(optimizer, wait=wait), Ema(half_life=3, ramp=1e9)
        for step in range(9):
            optimizer.zero_grad()
            (model.weight - torch.randn(3, generator=generator(0, step))).square().sum().backward()
            assert model.weight.grad is not None
            if step in (0, 4, 5):
                model.weight.grad.fill_(torch.nan)
            taken = finite.step(torch.stack([model.weight.grad.norm()]))
            if taken is not False:
                ema.update(Tensors.of(average), Tensors.of(model), images=step + 1, batch=1, taken=taken)
        assert finite.in_a_row(look=True) == 2 and int(finite.total) == 3
        ends.append((model.weight.detach(), average.weight.detach()))
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def checkpoint(folder: Path, images: int) -> Work:
    work = Work(folder=folder)
    work.save(images, {"model": {"weight": torch.full((3,), float(images))}}, {"seconds": 1.0})
    return work


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_the_last_checkpoints_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    for images in (10, 20, 30):
        work = checkpoint(tmp_path, images)
    found = work.latest()
    assert found is not None and found[0]["images"] == 30
    assert len(work.checkpoints()) == 2


def test_a_damaged_checkpoint_is_set_aside_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint(tmp_path, 10)
    work = checkpoint(tmp_path, 20)
    flip(work.checkpoints()[-1] / "model.safetensors")
    found = work.latest()
    assert found is not None and found[0]["images"] == 10
    assert "set aside" in capsys.readouterr().err
    flip(work.checkpoints()[-1] / "model.safetensors")
    with pytest.raises(StateFault, match="every checkpoint"):
        work.latest()
    with pytest.raises(StateFault, match="every checkpoint"):
        work.latest()


def test_no_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    assert Work(folder=tmp_path / "none").latest() is None


def test_weights_are_verified_and_fit_their_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_folder(folder, {"weights": {"weight": torch.ones(3)}}, {"shape": [1, 2, 2]})
    model = Line()
    assert load_weights(model, folder)["shape"] == [1, 2, 2]
    assert torch.equal(model.weight.detach(), torch.ones(3))
    with pytest.raises(StateFault, match=r"another architecture.*weight \(3 stored, 2x3 in the model\)"):
        load_weights(nn.Linear(3, 2, bias=False), folder)
    flip(folder / "weights.safetensors")
    with pytest.raises(StateFault, match="missing or damaged"):
        load_weights(model, folder)


@pytest.mark.parametrize("content", [None, "", "{"])
def test_a_folder_without_a_valid_card_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "card.json").write_text(content)
    with pytest.raises(StateFault, match="card"):
        read_card(tmp_path)


def test_no_partial_result_is_left(tmp_path: Path) -> None:
    """A tensor that cannot be stored fails the write; the folder that was there stays as it was."""
    folder = tmp_path / "model"
    write_folder(folder, {"weights": {"weight": torch.ones(3)}}, {})
    with pytest.raises(AttributeError):
        write_folder(folder, {"weights": {"weight": "no tensor"}}, {})  # type: ignore[dict-item]
    assert torch.equal(read_tensors(folder, "weights")["weight"], torch.ones(3))
    assert json.loads((folder / "card.json").read_text())["sha256"]
