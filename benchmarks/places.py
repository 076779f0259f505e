"""Lists every run, folder and binding that the benchmarks name."""

from __future__ import annotations

from pathlib import Path

PLAIN = "compute.Compute.channels_last = False"
BFLOAT16 = "compute.Compute.bfloat16 = True"
TF32 = "compute.Compute.tf32 = True"
COMPILE = "compute.Compute.compile = True"

RUN = "fashion_mnist_conditional"
"""The suite of the real run on a GPU, and of what settings gain there."""
REHEARSED = "digits_conditional"
"""The suite whose leaves are timed in a rehearsal."""
LARGER = "fashion_mnist_conditional"
"""A suite of 32x32 images, whose network is not too small for what surrounds its calls."""
NETWORKS = ("cifar10", "ffhq_64", "imagenet_64_edm", "lsun_bedroom_256")
"""Suites whose networks are those of papers, each with a leaf of BOOT."""
TEXT = "stable_diffusion_1_5"
"""A suite of text to image."""
TEXT_SMALL = [  # a network for one core, and text of the published size
    "compute.Compute.bfloat16 = False",
    "loop.Training.batch = 4",
    "loop.Training.microbatch = None",
    "sample.Sample.batch = 4",
    "stable_diffusion.StableDiffusion.checkpointing = False",
    "stable_diffusion.StableDiffusion.config = {'sample_size': 16, 'layers_per_block': 1, 'attention_head_dim': 8, "
    "'cross_attention_dim': 768, 'block_out_channels': (64, 128), 'down_block_types': ('CrossAttnDownBlock2D', "
    "'DownBlock2D'), 'up_block_types': ('UpBlock2D', 'CrossAttnUpBlock2D')}",
]
STUDENTS = {"boot": 0.22, "boot_guided": 0.18, "direct": 0.12, "consistency": 0.13}
"""The students of the real run, each with its share of the seconds in which networks are trained."""
TEACHER, PAIRS = 0.30, 0.05
"""Those of their teacher and of its pairs."""

PAIRS_CALLS = 10
"""Of the teacher, for one of its pairs."""
GIVEN = {"direct": {"pairs": "pairs"}, "consistency": {"data": "data"}}
"""What a student starts from beside noise: the option, and the folder."""

WHOLE = [TF32, BFLOAT16, "loop.Training.batch = 128"]  # many small steps, because few images are trained in a minute
DATA = "fashion_mnist.FashionMnist.root = {!r}"
IMAGES = "loop.Training.images = {}"
PAIRS_MADE = "pairs.Pairs.n = {}"
ROWS = [  # those of the teacher's samplers that are informative within a minute
    "ddim/samplers.Sweep.steps = (1, 4, 10)",
    "heun/samplers.Sweep.steps = (2,)",
    "dpm/samplers.Sweep.steps = (4, 10)",
    "guided/samplers.Sweep.steps = (4,)",
    "samplers.GuidanceSweep.w = (1, 3)",
]
SMALL = [  # for the teacher and every student, in a rehearsal on a CPU, where bfloat16 may take fifty times as long
    "unet.UNet.channels = 8",
    "unet.UNet.blocks = 1",
    "unet.UNet.head_channels = 16",
    "embeddings.Sinusoidal.dimensions = 8",
    "loop.Training.batch = 16",
    "sample.Sample.n = 12",
    "sample.Sample.batch = 12",
]
SMALL_REFERENCE = ["reference.Reference.updates = 2"]


def leaf(suite: str, name: str) -> Path:
    """Returns a run of a suite, in the form that boot-exp's commands take."""
    return Path(suite, name)
