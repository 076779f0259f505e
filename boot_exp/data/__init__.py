"""Data sets: readers, transforms, the prepared folder, and the order in which training draws from it."""

from boot_exp.data.card import DatasetCard
from boot_exp.data.cifar10 import Cifar10
from boot_exp.data.dataset import Dataset, Example
from boot_exp.data.digits import Digits
from boot_exp.data.emoji import Emoji
from boot_exp.data.fashion_mnist import FashionMnist
from boot_exp.data.image_files import ImageFiles
from boot_exp.data.images import Images, draw
from boot_exp.data.lmdb import Lmdb
from boot_exp.data.npz import Npz
from boot_exp.data.prepare import prepare
from boot_exp.data.transforms import AverageDown, CentreCropResize, Pad, Transform

__all__ = [
    "AverageDown",
    "CentreCropResize",
    "Cifar10",
    "Dataset",
    "DatasetCard",
    "Digits",
    "Emoji",
    "Example",
    "FashionMnist",
    "ImageFiles",
    "Images",
    "Lmdb",
    "Npz",
    "Pad",
    "Transform",
    "draw",
    "prepare",
]
