"""What training draws: batches in [-1, 1], and an order that is a function of the seed and the images seen."""

from pathlib import Path

import numpy as np
import pytest
import torch

from boot_exp.data import Images, draw, prepare
from tests.house.made_data import Made, made


def test_every_pixel_value_goes_to_its_place_and_back(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    prepare(Made(images=[ramp, ramp.T.reshape(16, 16, 1)], labels=[0, 4]), (), tmp_path)
    x0, label = Images.load(tmp_path).batch([0])
    assert x0.dtype == torch.float32 and x0.shape == (1, 1, 16, 16) and x0.is_contiguous()
    assert x0.min() == -1 and x0.max() == 1
    np.testing.assert_allclose(x0.flatten().double(), np.linspace(-1, 1, 256), atol=1e-7)
    np.testing.assert_array_equal(((x0 + 1) * 127.5).round().to(torch.uint8)[0, 0], ramp[..., 0])
    assert label is not None and label.dtype == torch.int64 and label.tolist() == [0]


def test_a_batch_is_the_images_at_its_indices(tmp_path: Path) -> None:
    dataset = made(n=9, height=3, width=5, channels=3)
    prepare(dataset, (), tmp_path)
    images = Images.load(tmp_path)
    order = [4, 0, 4, 8]
    x0, label = images.batch(order)
    assert x0.shape == (4, 3, 3, 5) and label is not None
    assert label.tolist() == [dataset.labels[i] for i in order]
    for one, index in zip(x0, order, strict=True):
        alone, _ = images.batch([index])
        assert torch.equal(one, alone[0])
        np.testing.assert_array_equal(
            ((one + 1) * 127.5).round().permute(1, 2, 0).numpy().astype(np.uint8), dataset.images[index]
        )


def test_without_labels_there_are_none(tmp_path: Path) -> None:
    prepare(made(labelled=False), (), tmp_path)
    assert Images.load(tmp_path).batch([1, 2])[1] is None


def test_a_batch_may_be_written_to_and_the_file_stays(tmp_path: Path) -> None:
    prepare(made(), (), tmp_path)
    images = Images.load(tmp_path)
    x0, label = images.batch([0, 1])
    assert label is not None
    x0.zero_()
    label.add_(100)
    images.verify()


@pytest.mark.parametrize("n", [2, 7, 16])
@pytest.mark.parametrize("batch", [1, 3, 16, 40])
def test_each_epoch_holds_every_index_once(n: int, batch: int) -> None:
    steps = -(-5 * n // batch)
    drawn = np.concatenate([draw(n=n, images_seen=k * batch, batch=batch, seed=3) for k in range(steps)])
    assert drawn.dtype == np.int64 and len(drawn) == steps * batch
    for epoch in range(5):
        assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


@pytest.mark.parametrize("start", [0, 1, 6, 7, 8, 20, 1_000_003])
def test_going_on_from_anywhere_is_going_on(start: int) -> None:
    long = draw(n=7, images_seen=start, batch=30, seed=1)
    for cut in range(1, 30):
        rest = draw(n=7, images_seen=start + cut, batch=30 - cut, seed=1)
        np.testing.assert_array_equal(long, np.concatenate([long[:cut], rest]))


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_processes_share_one_order(processes: int) -> None:
    each = 12 // processes
    parts = [draw(n=10, images_seen=8 + rank * each, batch=each, seed=5) for rank in range(processes)]
    np.testing.assert_array_equal(np.concatenate(parts), draw(n=10, images_seen=8, batch=12, seed=5))


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(draw(n=50, images_seen=50 * e, batch=50, seed=s)) for e in range(4) for s in range(4)}
    assert len(orders) == 16


def test_the_first_of_an_epoch_is_any_index_alike() -> None:
    first = [int(draw(n=8, images_seen=8 * epoch, batch=1, seed=0)[0]) for epoch in range(1600)]
    # 200 expected of each; five standard deviations of a binomial are 66.
    assert np.all(np.abs(np.bincount(first, minlength=8) - 200) < 66)


def test_images_draw_from_their_own_number(tmp_path: Path) -> None:
    prepare(made(n=7), (), tmp_path)
    drawn = Images.load(tmp_path).draw(images_seen=3, batch=9, seed=2)
    np.testing.assert_array_equal(drawn, draw(n=7, images_seen=3, batch=9, seed=2))
