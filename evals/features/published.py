"""Published weights: their addresses, and the check of a file. Imports no torch, so that it can refuse at once."""

from dataclasses import dataclass
from pathlib import Path

from evals.ground.faults import ConfigurationFault, MissingResource, StateFault, first_line
from evals.ground.files import sha256_of


@dataclass(frozen=True, kw_only=True)
class Published:
    """A file of weights that its authors published: its address, its SHA-256, what it is, and gin's class for it."""

    url: str
    sha256: str
    what: str = "Inception's weights"
    component: str = "Standard"

    @property
    def file_name(self) -> str:
        """Returns the last part of the address."""
        return self.url.rsplit("/", 1)[-1]

    def verify(self, weights: Path | str | None, sha256: str | None = None) -> tuple[Path, str]:
        """Returns the path and SHA-256 of `weights`, a path or an http(s) URL, after comparing the hash.

        `sha256` replaces the published hash if another file is used on purpose. MissingResource: no weights were given,
        or they are missing; StateFault: the file has another hash.
        """
        expected = (sha256 or self.sha256).lower()
        if weights is None or not str(weights):
            raise MissingResource(f"{self.what} are needed and none were given; {self._cure()}")
        if str(weights).startswith(("http://", "https://")):
            return download(str(weights), expected), expected
        path = Path(weights)
        if not path.is_file():
            raise MissingResource(f"{self.what} must be a file, got {path}, which is not there; {self._cure()}")
        found = sha256_of(path)
        if found != expected:
            raise StateFault(
                f"weights must have the SHA-256 {expected}, got {found} ({path}); fetch {self.url} again, "
                f"or state the hash of another file (--weights-sha256, in gin {self.component}.weights_sha256)"
            )
        return path, found

    def _cure(self) -> str:
        return (
            f"fetch {self.url} (SHA-256 {self.sha256}) to weights/{self.file_name} and give that path (--weights, in "
            f"gin {self.component}.weights), or the URL itself to have it downloaded"
        )


def download(url: str, sha256: str) -> Path:
    """Returns the path of the file of that hash from that address; downloads it if it is missing.

    StateFault: it has another hash; MissingResource: it cannot be downloaded.
    """
    import torch.hub  # imported late, because a refusal above must not wait for seconds of import

    # The hash is part of the name, so a file in this place is never taken for another of the same name.
    path = Path(torch.hub.get_dir()) / "checkpoints" / f"{sha256[:16]}-{url.rsplit('/', 1)[-1]}"
    if not path.is_file() or sha256_of(path) != sha256:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=sha256)
        except RuntimeError as error:  # torch.hub's message for a different hash; it has removed the file
            raise StateFault(f"{url} must have the SHA-256 {sha256}, got another; {first_line(error)}") from error
        except (OSError, ValueError) as error:
            raise MissingResource(
                f"{url} could not be fetched ({first_line(error)}); fetch it elsewhere and give its path instead"
            ) from error
    return path


def located(source: str, sha256: str | None, what: str, url: str | None = None) -> tuple[Path, str]:
    """Returns the path of a file that a configuration names by path or http(s) address, and its SHA-256.

    url: the address where its authors keep it, for the message. ConfigurationFault: an address without a hash;
    MissingResource: it is missing, or cannot be downloaded; StateFault: it has another hash.
    """
    if source.startswith(("http://", "https://")):
        if sha256 is None:
            raise ConfigurationFault(
                f"{what} of the net must have a hash, got none for {source}; bind its sha256, or fetch it first"
            )
        return download(source, sha256.lower()), sha256.lower()
    path = Path(source)
    if not path.is_file():
        there, cure = "not there", f"fetch {url or 'it'} to that place"
        if path.is_dir():
            there, cure = "a folder", "name the file in it"
        raise MissingResource(f"{what} must be a file, got {path}, which is {there}; {cure}")
    found = sha256_of(path)
    if sha256 is not None and found != sha256.lower():
        raise StateFault(f"{what} must have the SHA-256 {sha256}, got {found} ({path}); fetch {url or 'it'} again")
    return path, found


# Both digests were compared with several independent projects that check them; the first eight digits of the
# first stand in its own name.
TORCH_FIDELITY = Published(
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
CLEAN_FID = Published(
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
)

_META = "https://dl.fbaipublicfiles.com/dinov2"
# Each digest was found in several independent projects that check it.
DINOV2 = {
    f"dinov2-vit-{size}-14": Published(
        url=f"{_META}/dinov2_vit{size}14/dinov2_vit{size}14_pretrain.pth",
        sha256=sha256,
        what="DINOv2's weights",
        component="DinoV2Space",
    )
    for size, sha256 in {
        "s": "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        "b": "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        "l": "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    }.items()
}
