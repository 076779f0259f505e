"""A suite's own small classifier, whose features stand in for Inception's where images are unlike photographs."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from evals.features.extractors import Observation, check_weights
from evals.ground.faults import ConfigurationFault, DataFault, MissingResource, StateFault, reading
from evals.ground.fields import from_json
from evals.ground.files import read_json, replacing_folder, sha256_of, write_json
from evals.ground.threads import one_thread
from evals.images.arrays import load_array
from evals.images.reading import Fingerprint, Images

DIMENSIONS = 64
SMALLEST, LARGEST = 8, 32
AGAIN = "train it again"
WEIGHTS, CARD = "network.safetensors", "card.json"


class Classifier(nn.Module):
    """Images [B, C, H, W] in [-1, 1] -> features [B, 64] and logits [B, classes], for H and W from 8 to 32.

    Strided convolutions down to 4x4, a linear map to the features, a linear map to the classes. The features are
    standardised and taken BEFORE their nonlinearity: none is dead, and each has variance 1 over the training images.
    """

    def __init__(self, *, size: tuple[int, int], channels: int, classes: int) -> None:
        super().__init__()
        halvings = max(1, math.ceil(math.log2(max(size) / 4)))
        layers: list[nn.Module] = [nn.Conv2d(channels, 32, 3, padding=1), nn.SiLU()]
        for width in [32] + [DIMENSIONS] * (halvings - 1):
            layers += [nn.Conv2d(width, DIMENSIONS, 3, stride=2, padding=1), nn.SiLU()]
        layers += [nn.Conv2d(DIMENSIONS, DIMENSIONS, 3, padding=1), nn.SiLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        self.trunk = nn.Sequential(*layers)
        self.features = nn.Sequential(
            nn.Linear(DIMENSIONS * 16, DIMENSIONS), nn.BatchNorm1d(DIMENSIONS, affine=False, momentum=None)
        )
        self.head = nn.Sequential(OrderedDict(act=nn.SiLU(), logits=nn.Linear(DIMENSIONS, classes)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(self.trunk(x))
        return features, self.head(features)


@dataclass(frozen=True, kw_only=True)
class ExtractorCard:
    """The training of a network: on n images of a size (height, width), with accuracy on a held-out tenth."""

    name: str
    suite: str
    seed: int
    n: int
    updates: int
    held_out_accuracy: float
    size: list[int]
    channels: int
    classes: int
    images_sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainedExtractor:
    """A network and its card."""

    network: Classifier
    card: ExtractorCard

    def save(self, folder: Path) -> None:
        """Writes network.safetensors and card.json; the folder appears when both are written."""
        with replacing_folder(folder, holding=CARD) as partial:
            save_file(self.network.state_dict(), partial / WEIGHTS)
            write_json(partial / CARD, asdict(self.card))


def train(
    images: Images,
    labels: NDArray[np.integer[Any]],
    *,
    suite: str,
    seed: int = 0,
    updates: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
    name: str | None = None,
) -> TrainedExtractor:
    """Trains on nine tenths of images [N, H, W, C] with labels [N] in 0..K-1; the last tenth measures accuracy.

    name: of the network, in-domain-<suite> if None. An update sees 128 images; None are 600 updates, or four epochs if
    longer. `tell` hears (done, total) after each. The same on every run with one seed and one thread count, on a CPU.
    DataFault: shapes or labels that do not fit.
    """
    classes = _check(images, labels)
    n = len(images)
    updates = max(600, 4 * n // 128) if updates is None else updates
    if updates < 2:
        raise ConfigurationFault(f"an extractor needs at least 2 updates, got {updates}; train longer")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    held, kept = order[: n // 10], order[n // 10 :]
    x, y = torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))
    size, channels = (images.shape[1], images.shape[2]), images.shape[3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(size=size, channels=channels, classes=classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=updates)
    for done in range(1, updates + 1):
        batch = kept[torch.randint(len(kept), (128,), generator=generator)]
        _, logits = network(to_input(x[batch]))
        loss = F.cross_entropy(logits, y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        tell(done, updates)
    network.eval()
    _settle(network, x[kept])
    right = torch.cat([logits.argmax(1) for _, logits in _passes(network, x[held])]) == y[held]
    fingerprint = Fingerprint()
    fingerprint.add(images)
    card = ExtractorCard(
        name=f"in-domain-{suite}" if name is None else name,
        suite=suite,
        seed=seed,
        n=n,
        updates=updates,
        held_out_accuracy=round(float(right.double().mean()), 4),
        size=list(size),
        channels=channels,
        classes=classes,
        images_sha256=fingerprint.hexdigest(),
    )
    return TrainedExtractor(network=network, card=card)


def train_extractor(
    data: Path,
    out: Path,
    *,
    suite: str,
    seed: int = 0,
    updates: int | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
    name: str | None = None,
) -> TrainedExtractor:
    """Trains on the images.npy and labels.npy of a prepared data folder, and saves into the folder `out`."""
    images, labels = load_array(data / "images.npy"), load_array(data / "labels.npy")
    trained = train(images, labels, suite=suite, seed=seed, updates=updates, tell=tell, name=name)
    trained.save(out)
    return trained


class InDomain:
    """A trained classifier as an Extractor, named as its card says: its distance is not FID as published."""

    resize = "none"
    dimensions = DIMENSIONS

    def __init__(self, folder: Path | str) -> None:
        """Loads a folder written by Trained.save, without running code. MissingResource: none; StateFault: damaged."""
        folder = Path(folder)
        if not (folder / CARD).is_file() or not (folder / WEIGHTS).is_file():
            raise MissingResource(
                f"an extractor must be a folder with {WEIGHTS} and {CARD}, got {folder}; "
                "make one with: python -m evals train-extractor DATA --out FOLDER"
            )
        said = read_json(folder / CARD, cure="train it again", fault=StateFault)
        card = from_json(ExtractorCard, said, where=folder / CARD, cure="train it again", fault=StateFault)
        self.card, self.name = card, card.name
        with reading(folder, "must hold an extractor's card and weights that belong together", AGAIN, StateFault):
            self.shape = _shape(card)
            # Copied, because the arrays of load_file may be in a memory map, which ends the process if the file is cut.
            weights = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
            # Built without memory, until the file is known to have everything that the card claims.
            with torch.device("meta"):
                self._network = Classifier(size=self.shape[:2], channels=self.shape[2], classes=card.classes)
            for name, tensor in self._network.state_dict().items():
                if name in weights and weights[name].dtype != tensor.dtype:
                    raise ValueError(f"{weights[name].dtype} for {tensor.dtype} in {name}")
            self._network.load_state_dict(weights, assign=True)
            self._network.eval()
        check_weights(folder, weights, AGAIN)
        self.sha256 = sha256_of(folder / WEIGHTS)

    def __call__(self, images: Images) -> Observation:
        """DataFault: the images have another shape than the network was trained on."""
        if images.shape[1:] != self.shape:
            wanted, got = ("x".join(map(str, shape)) for shape in (self.shape, images.shape[1:]))
            raise DataFault(
                f"{self.name} sees images of {wanted} (HxWxC), got {got}; bring them to that size and kind first"
            )
        [(features, logits)] = _passes(self._network, torch.from_numpy(np.ascontiguousarray(images)), len(images))
        with one_thread():
            probabilities = logits.softmax(dim=1)
        return Observation(features=features.numpy(), probabilities=probabilities.numpy())


def _shape(card: ExtractorCard) -> tuple[int, int, int]:
    """Returns height, width and channels of a card. ValueError: no network of ours has them."""
    if len(card.size) != 2 or not all(SMALLEST <= side <= LARGEST for side in card.size):
        raise ValueError(f"a size of {card.size}")
    if card.channels not in (1, 3) or card.classes < 2:
        raise ValueError(f"{card.channels} channels and {card.classes} classes")
    return card.size[0], card.size[1], card.channels


def to_input(images: Tensor) -> Tensor:
    """Converts uint8 [B, H, W, C] to float32 [B, C, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def _passes(network: Classifier, images: Tensor, size: int = 1000) -> list[tuple[Tensor, Tensor]]:
    return [network(to_input(batch)) for batch in images.split(size)]


@torch.inference_mode()
def _settle(network: Classifier, images: Tensor) -> None:
    """Standardises the features over all training images, because running averages still include early training."""
    linear, norm = network.features
    assert isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None and norm.running_var is not None
    raw = torch.cat([linear(network.trunk(to_input(batch))) for batch in images.split(1000)])
    norm.running_mean.copy_(raw.mean(dim=0))
    norm.running_var.copy_(raw.var(dim=0))


def _check(images: Images, labels: NDArray[np.integer[Any]]) -> int:
    """Checks the data and returns the number of classes."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataFault(
            f"training images must be uint8 [N, H, W, 1 or 3], got {images.dtype} {list(images.shape)}; convert them"
        )
    if not all(SMALLEST <= side <= LARGEST for side in images.shape[1:3]):
        raise ConfigurationFault(
            f"an in-domain extractor sees images from {SMALLEST} to {LARGEST} pixels, got "
            f"{images.shape[1]}x{images.shape[2]}; use an Inception"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise DataFault(
            f"labels must be {len(images)} integers from 0, got {labels.dtype} {list(labels.shape)}; "
            "give one class for each image"
        )
    classes = int(labels.max(initial=0)) + 1
    if classes > max(len(images), 1):
        raise DataFault(f"labels must number classes from 0, got {classes - 1} among {len(images)}; renumber them")
    if len(images) < 20 or classes < 2:
        raise DataFault(
            f"an extractor needs at least 20 images of 2 classes, got {len(images)} of {classes}; add images"
        )
    return classes
