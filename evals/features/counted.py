"""An extractor that counts what it has seen, for commands that say how far they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evals.features.extractors import Extractor, Observation
from evals.ground.ending import Progress
from evals.images.reading import Images, open_images


@dataclass(kw_only=True)
class Counted:
    """Images uint8 [B, H, W, C] -> Observation, as its extractor gives it; calls `tell` with (images so far, of all).

    total: asked once, with the first images, because files that cannot be read have been refused by then.
    """

    extractor: Extractor
    total: Callable[[], int]
    tell: Callable[[int, int], None]
    _done: int = 0
    _all: int | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Returns the extractor's name."""
        return self.extractor.name

    @property
    def sha256(self) -> str:
        """Returns the hash of the extractor's weights."""
        return self.extractor.sha256

    @property
    def resize(self) -> str:
        """Returns how an image is brought to the network's size."""
        return self.extractor.resize

    @property
    def dimensions(self) -> int:
        """Returns the number of features of an image."""
        return self.extractor.dimensions

    def __call__(self, images: Images) -> Observation:
        seen = self.extractor(images)
        self._all = self.total() if self._all is None else self._all
        self._done += len(images)
        self.tell(self._done, self._all)
        return seen


def counted(extractor: Extractor, title: str, paths: Callable[[], Sequence[Path]]) -> Extractor:
    """Returns the extractor, which then prints how many of all images of the paths it has seen."""
    return Counted(
        extractor=extractor,
        total=lambda: sum(open_images(path).n for path in paths()),
        tell=Progress(title, "images"),
    )
