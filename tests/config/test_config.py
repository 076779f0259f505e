"""Configurations: every fault is found at once and before torch is imported; what is frozen is what gin builds."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch

import gin
from boot_exp.config import code, runs, runtime, signatures, source
from boot_exp.config.compile import Compiler
from boot_exp.config.fault_list import Faults, Spot
from boot_exp.config.frozen import Frozen, differences
from boot_exp.config.params import planned_images, read_params
from boot_exp.config.parse import parse
from boot_exp.config.scopes import ABLATIONS, NONE, ablations
from boot_exp.config.source import Definition
from boot_exp.teachers import text_unet
from evals.ground.faults import ConfigurationFault
from tests.house.alike import unlike
from tests.house.once import check_networks_once

ROOT = Path(__file__).parents[2]
PARAMS = read_params(ROOT / "params.yaml")
SUITES = [*PARAMS["suites"], runs.STUDY]
IMAGES = planned_images(ROOT / "plan.yaml")
BOOT = """
from __gin__ import dynamic_registration
include 'gin/methods/boot.gin'
include 'gin/parts/unet.gin'
include 'gin/parts/digits.gin'
from boot_exp.engine import averages
from boot_exp.stages import distil
from boot_exp.stages import sample
from boot_exp.engine import loop
from boot_exp.engine import rates
distil.Distil.method = %METHOD
loop.Training.images = 150_000
loop.Training.batch = 128
rates.CosineRate.peak = 3e-3
averages.Ema.half_life = 4_000
sample.Sample.n = 2000
"""
NO_SETTINGS: MappingProxyType[str, object] = MappingProxyType({})


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "gin").symlink_to(ROOT / "gin")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stages(leaf: Path, *bindings: str, **run: object) -> dict[str, Frozen]:
    """The frozen stages of a leaf; raises all of its faults."""
    faults = Faults()
    ((_, found),) = runs.compiled([replace(runs.named_run(leaf), **run)], NO_SETTINGS, faults, bindings)  # type: ignore[arg-type]
    faults.raise_if_any()
    return found


def faults_of(text: str) -> str:
    Path("leaf.gin").write_text(text)
    with pytest.raises(ConfigurationFault) as caught:
        stages(Path("leaf.gin"))
    return str(caught.value)


METHOD_LINE = "distil.Distil.method = %METHOD"
IMAGES_LINE = "loop.Training.images = 150_000"
IMPORT_LINE = "from boot_exp.engine import rates"
IMPORT_BOOT = "from boot_exp.methods import boot\n"
MUTATIONS = {
    "an unknown component": (
        METHOD_LINE,
        f"{IMPORT_BOOT}{METHOD_LINE}\nboot.Bot.delta = 0.1",
        ["no component Bot", "did you mean Boot?"],
    ),
    "an unknown parameter": (
        IMAGES_LINE,
        f"{IMAGES_LINE}\nloop.Training.btach = 1",
        ["no parameter btach", "did you mean batch?"],
    ),
    "a wrong type": (
        IMAGES_LINE,
        "loop.Training.images = '150_000'",
        ["loop.Training.images must be an int, got '150_000'"],
    ),
    "a wrong type in a sequence": (
        METHOD_LINE,
        f"from boot_exp.diffusion.nets import unet\n{METHOD_LINE}\nunet.UNet.multipliers = (1, 2.5)",
        ["unet.UNet.multipliers[1] must be an int, got 2.5; mend that entry"],
    ),
    "a wrong range in a long sequence": (
        METHOD_LINE,
        f"from boot_exp.diffusion.nets import unet\n{METHOD_LINE}\nunet.UNet.multipliers = {[1] * 998 + [-3, 1]}",
        ["unet.UNet.multipliers[998] must be >= 1, got -3; mend that entry"],
    ),
    "a long text in place of a sequence": (
        METHOD_LINE,
        f"from boot_exp.diffusion.nets import unet\n{METHOD_LINE}\nunet.UNet.multipliers = '{'1, ' * 999}'",
        ["unet.UNet.multipliers must be a sequence in brackets, got '1, 1", "... (2,999 characters)"],
    ),
    "a wrong range": (
        METHOD_LINE,
        f"{IMPORT_BOOT}{METHOD_LINE}\nboot.Boot.delta = 40.0",
        ["boot.Boot.delta is a step in t and must lie in (0, 1), got 40.0"],
    ),
    "a missing REQUIRED": (IMAGES_LINE, "", ["REQUIRED but bound nowhere: loop.Training.images"]),
    "what another file must bind": (
        IMAGES_LINE,
        "loop.Training.images = %gin.REQUIRED",
        ["REQUIRED but bound nowhere: loop.Training.images"],
    ),
    "a missing include": (
        METHOD_LINE,
        f"include 'gin/methods/bot.gin'\n{METHOD_LINE}",
        ["gin/methods/bot.gin cannot be read", "did you mean gin/methods/boot.gin"],
    ),
    "a circular include": (
        METHOD_LINE,
        f"include 'leaf.gin'\n{METHOD_LINE}",
        ["must not include itself, got leaf.gin -> leaf.gin"],
    ),
    "syntax": (IMAGES_LINE, "loop.Training.images = 150 000", ["syntax:", "loop.Training.images = 150 000", "^"]),
    "a bracket that is never closed": (IMAGES_LINE, "loop.Training.images = (1,", ["opened here and never closed"]),
    "the same binding twice": (
        IMAGES_LINE,
        f"{IMAGES_LINE}\n{IMAGES_LINE}",
        ["loop.Training.images is bound twice, first in line 12"],
    ),
    "an unused binding": (
        METHOD_LINE,
        f"from boot_exp.diffusion import times\n{METHOD_LINE}\ntimes.KarrasGrid.rho = 3.0",
        ["unused binding times.KarrasGrid.rho"],
    ),
    "an undefined macro": (
        METHOD_LINE,
        "distil.Distil.method = %METHD",
        ["macro %METHD is undefined", "did you mean METHOD?"],
    ),
    "another kind of component": (
        METHOD_LINE,
        "from boot_exp.diffusion import solvers\ndistil.Distil.method = @solvers.Ddim()",
        ["must be a Method, one of @boot.Boot()", "got @solvers.Ddim()"],
    ),
    "a component with the same methods that are called otherwise": (
        METHOD_LINE,
        f"from boot_exp.diffusion import solvers\n{IMPORT_BOOT}{METHOD_LINE}\nboot.Boot.step = @solvers.Ddim()",
        ["must be a SignalStep, one of @solvers.OnSignal(), @solvers.SignalEuler(), got @solvers.Ddim()"],
    ),
    "a class for an object": (
        METHOD_LINE,
        f"{IMPORT_BOOT}{METHOD_LINE.split(' = ')[0]} = @boot.Boot",
        ["with brackets: @boot.Boot()"],
    ),
    "an object for a class": (
        METHOD_LINE,
        f"{METHOD_LINE}\nloop.Training.optimizer = @averages.Ema()",
        ["without brackets: @averages.Ema"],
    ),
    "a component of a file that does not import it": (
        METHOD_LINE,
        f"{METHOD_LINE}\nboot.Boot.delta = 0.1",
        ["boot is not imported in this file; write: from boot_exp.methods import boot"],
    ),
    "a missing module": (
        IMPORT_LINE,
        "from boot_exp.engine import rate",
        ["there is no module boot_exp.engine.rate; did you mean rates"],
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_configuration_is_refused_with_its_place_and_cure(house: Path, mutation: str) -> None:
    old, new, words = MUTATIONS[mutation]
    assert BOOT.count(old) == 1
    message = faults_of(BOOT.replace(old, new))
    for word in words:
        assert word in message, message
    assert len(message) < 500 or "long" not in mutation
    named = [line for line in message.splitlines() if line.startswith(("leaf.gin:", "gin/"))]
    assert named and all(line.split(":")[1].isdigit() for line in named), "each fault names a file and a line"


def test_all_faults_are_reported_together_before_torch_is_imported(house: Path) -> None:
    text = BOOT
    together = ["an unknown parameter", "a missing include", "an undefined macro", "a missing module"]
    for mutation in together:
        old, new, _ = MUTATIONS[mutation]
        text = text.replace(old, new)
    Path("leaf.gin").write_text(text)
    script = (
        "import sys; sys.argv = ['boot-exp', 'lint', 'leaf.gin']\n"
        "from boot_exp.__main__ import main\n"
        "try: main()\n"
        "finally: print(*sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout.strip() == "", done.stdout + done.stderr
    for mutation in together:
        assert MUTATIONS[mutation][2][0] in done.stderr, done.stderr


# The last run of each suite and method (phases of one method differ in a number of steps), and each suite's teacher.
LAST = {
    (suite, run.student.method if run.student else run.name, run.ablation): run
    for suite in SUITES
    for run in runs.suite_runs(PARAMS, suite, Faults())
    if run.seed in (None, 0)
}
RUNS = {f"{suite}/{run.name}": replace(run, images=IMAGES.get(run.key)) for (suite, *_), run in LAST.items()}


def statements(file: Path) -> Iterator[str]:
    """Those of a suite's file, with those of the suites and parts that it includes in their place."""
    text = re.sub("^#.*\n", "", file.read_text(), flags=re.M)
    for statement in re.findall(r"^\S.*(?:\n[ \])].*)*", text, flags=re.M):
        included = re.match(r"include '(gin/(?:suites|parts)/.*)'", statement)
        yield from statements(Path(included[1])) if included else [statement]


def as_one_file(run: runs.Run) -> str:
    """A run as gin text: its files, with what holds for its kind and its method alone, and its line of params.yaml."""
    lines = ["from boot_exp.stages import distil", "from boot_exp.engine import loop"]
    methods = [path.stem for path in (ROOT / "gin/methods").glob("*.gin")]
    read, waiting = set(), [run.files[0]]
    while waiting:
        path = waiting.pop()
        read.add(path.stem)
        waiting += [Path(name) for name in re.findall(r"^include '(gin/methods/.*)'", path.read_text(), flags=re.M)]
    of_methods = [] if run.student is None else [f"include '{run.files[0]}'"]
    files = run.files if run.student is None else run.files[1:]
    for line in [*of_methods, *(line for file in files for line in statements(file))]:
        kind, _, rest = line.partition("/") if re.match("(teacher|student)/", line) else ("", "", line)
        if kind not in ("", "teacher" if run.student is None else "student"):
            continue
        scope, _, own = rest.partition("/")
        if run.student is None or scope not in methods:
            lines.append(rest)
        elif scope in read:
            lines.append(own)
    if run.student is not None:
        lines += [f"{name} = {value}" for name, value in run.student.macros.items()]
        lines += ["distil.Distil.teacher = %STUDENT"] * (run.student.teacher is not None)
        lines += [f"loop.Training.images = {run.images}"] * (run.images is not None)
    if run.ablation != NONE:
        text = (ROOT / ABLATIONS).read_text()
        lines += re.findall(r"^from (?!__gin__).*", text, flags=re.M)
        lines += re.findall(rf"^{run.ablation}/(.*)", text, flags=re.M)
    heads = [line for line in lines if line.startswith("from ")]
    lines = [line for line in lines if not line.startswith("from ")]
    return "\n".join([*dict.fromkeys(["from __gin__ import dynamic_registration", *heads]), *lines, ""])


def few_layers(patch: pytest.MonkeyPatch) -> None:
    """Builds a text-to-image network small, with all that its configuration says beside it."""
    build = text_unet.unet_of

    def small(kind: Any, config: Mapping[str, Any], who: str) -> Any:
        made = build(kind, text_unet.reduced(config), who)
        made.configured = config
        return made

    patch.setattr(text_unet, "unet_of", small)


@pytest.mark.parametrize("name", RUNS)
def test_what_is_frozen_is_what_gin_builds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part by part, with gin's own reading of the same files, for each stage; what is called later is called, too."""
    monkeypatch.chdir(ROOT)
    run = replace(RUNS[name], seed=None)
    faults = Faults()
    ((_, found),) = runs.compiled([run], NO_SETTINGS, faults)
    faults.raise_if_any()
    assert found
    leaf = tmp_path / "leaf.gin"
    leaf.write_text(as_one_file(run))
    check_networks_once(monkeypatch)
    few_layers(monkeypatch)
    gin.clear_config(clear_constants=True)
    with torch.device("meta"):
        gin.parse_config_files_and_bindings([str(leaf)], [], print_includes_and_imports=False)
    for stage, frozen in found.items():
        frozen.write(tmp_path / f"{stage}.json")
        again = Frozen.read(tmp_path / f"{stage}.json")
        assert again.text() == frozen.text()
        with torch.device("meta"):  # networks of hundreds of millions of weights are compared by their words
            built = runtime.build(again)
            module = importlib.import_module(f"boot_exp.stages.{stage}")
            direct = gin.get_configurable(getattr(module, frozen.root.split(".")[-1]))()
            assert not unlike(built, direct)
            if stage == "distil":
                assert not unlike(built.student(built.teacher), direct.student(direct.teacher))
            if hasattr(built, "training"):
                weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
                assert not unlike(built.training.optimizer(weights[:1]), direct.training.optimizer(weights[1:]))


ROOM = """
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Lamp:
    watts: int
    colours: tuple[str, ...] = ("white",)
    cable: list[int] = field(default_factory=lambda: [1, 2])


@dataclass
class Desk:
    lamp: Lamp
    height: float = 0.75


class Room:
    def __init__(self, *, desk: Desk, others: list[Desk], named: dict[str, Lamp], later: Callable[..., Desk],
                 last: Callable[..., Desk], unused: Lamp | None = None) -> None:
        self.desk, self.others, self.named, self.unused = desk, others, named, unused
        self.later, self.last = later, last
"""
ROOM_GIN = """
from __gin__ import dynamic_registration
import furnished as room
room.Room.desk = @room.Desk()
room.Room.others = [@room.Desk(), @high/room.Desk(), @high/bright/room.Desk()]
room.Room.named = {'@one': @room.Lamp(), 'two': %LAMP}
room.Room.later = @room.Desk
room.Room.last = @high/bright/room.Desk
LAMP = @room.Lamp()
room.Desk.lamp = @room.Lamp()
high/room.Desk.height = 1.1
room.Lamp.watts = 40
high/bright/room.Lamp.watts = 100
bright/room.Lamp.watts = 60
high/room.Lamp.colours = ('@red', '=green', 'blue')
"""


def test_scopes_calls_and_sharing_are_gins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference without a scope keeps the scope around it; every reference, and every call later, is a new object."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "furnished.py").write_text(ROOM)
    faults = Faults()
    compiler = Compiler(list(parse(ROOM_GIN, "room.gin", faults)), faults)
    root = Definition("furnished", "Room")
    nodes: dict[tuple[str, Definition], dict[str, object]] = {}
    compiler.visit(root, "", Spot("room.gin"), nodes, called=True)
    faults.raise_if_any()
    found = compiler.freeze("suite", "name", root, nodes)
    found.write(tmp_path / "room.json")
    built = runtime.build(Frozen.read(tmp_path / "room.json"))
    gin.clear_config(clear_constants=True)
    gin.parse_config(ROOM_GIN)
    direct = gin.get_configurable(importlib.import_module("furnished").Room)()
    assert not unlike(built, direct)
    for name in ("later", "last"):
        for arguments in ((), (built.desk.lamp,)):
            for named in ({}, {"height": 2.0}):
                made, other = (getattr(room, name)(*arguments, **named) for room in (built, direct))
                assert not unlike(made, other)
    assert built.last().lamp.watts == 100 and built.last().height == 1.1 and built.later().lamp.watts == 40
    assert built.later().lamp is not built.later().lamp and built.desk.lamp is not built.others[0].lamp
    assert unlike(built, runtime.build(replace(found, root="furnished.Desk")))
    direct.others[0].lamp = direct.desk.lamp
    assert unlike(built, direct)


@pytest.mark.parametrize(
    ("name", "words"),
    [("boundary_share", r"boot\.Boot\.boundary_share = 0\.125"), ("amsgrad", r"optim\.Adam\.amsgrad = False")],
)
def test_a_value_that_is_used_and_not_recorded_is_an_error(house: Path, name: str, words: str) -> None:
    """Also where the component is only called later."""
    frozen = stages(Path("digits_conditional/boot"), "Training.images = 4")["distil"]
    cut = tuple(replace(c, values={k: v for k, v in c.values.items() if k != name}) for c in frozen.components)
    assert cut != frozen.components
    with pytest.raises(ConfigurationFault, match=f"used what its frozen file does not record: {words}"):
        runtime.build(replace(frozen, components=cut)).training.optimizer([torch.nn.Parameter(torch.zeros(1))])


def test_a_part_is_built_without_the_others(house: Path) -> None:
    frozen = stages(Path("digits/boot"))["distil"]
    broken = replace(frozen, components=tuple(c for c in frozen.components if c.name != "UNet"))
    with pytest.raises(ConfigurationFault, match=r"must have unet\.UNet, got none"):
        runtime.build(broken)
    whole, parts = runtime.build(frozen), runtime.Parts(broken)
    assert not unlike(parts.method, whole.method) and parts.guidance is None
    with pytest.raises(AttributeError, match="got none"):
        _ = parts.methods


def test_a_component_that_a_frozen_file_refers_to_and_lacks_is_an_error(house: Path) -> None:
    frozen = stages(Path("digits/boot"))["distil"]
    cut = tuple(c for c in frozen.components if c.name != "Dpmpp2S")
    with pytest.raises(ConfigurationFault, match=r"must have solvers\.Dpmpp2S, got none; resolve it again"):
        runtime.build(replace(frozen, components=cut))


def test_precedence_is_files_ablation_bindings_overrides(house: Path) -> None:
    (house / "gin").unlink()
    shutil.copytree(ROOT / "gin", house / "gin")
    Path("gin/more.gin").write_text("Boot.beta = 1.0\nBoot.delta = 0.01\nTraining.clip = 2.0\nCosineRate.peak = 1e-3\n")
    said: dict[str, object] = {"files": ["gin/more.gin"]}
    leaf = replace(runs.named_run(Path("digits/boot")), ablation="large_delta")

    def settings() -> dict[str, object]:
        faults = Faults()
        ((_, found),) = runs.compiled([leaf], said, faults)
        faults.raise_if_any()
        return found["distil"].settings()

    assert settings()["boot.Boot.beta"] == 1.0 and settings()["boot.Boot.delta"] == 0.2
    said["bindings"] = {"Boot": {"delta": 0.3, "beta": None}, "boot": {"Boot": {"boundary_share": 0.5}}}
    assert settings()["boot.Boot.delta"] == 0.3 and settings()["boot.Boot.beta"] == 1.0
    assert settings()["boot.Boot.boundary_share"] == 0.5
    said["overrides"] = ["boot.Boot.delta = 0.4", "Boot.times = @ProgressiveTimes()"]
    assert settings()["boot.Boot.delta"] == 0.4
    assert settings()["boot.Boot.times"] == "@times.ProgressiveTimes()" and settings()["times.ProgressiveTimes.window"]


def test_a_scope_holds_where_it_is_written_and_below(house: Path) -> None:
    settings = stages(Path("digits/teacher"))["sample"].settings()
    assert settings["ddim/samplers.Sweep.steps"] != settings["heun/samplers.Sweep.steps"]
    assert settings["heun/solvers.Heun.coordinate"] == "@solvers.SignalRatio()"


def test_components_are_read_as_python_makes_them() -> None:
    """The static signature of every component is what inspect says of it: names, and which have defaults."""
    seen = 0
    for definition in source.index():
        if not isinstance(definition.node, source.ast.ClassDef) or signatures.is_protocol(definition):
            continue
        made = getattr(importlib.import_module(definition.module), definition.name)
        if issubclass(made, BaseException | Enum) or not inspect.signature(made).parameters:
            continue
        parameters = inspect.signature(made).parameters
        static = signatures.signature(definition).parameters
        assert list(static) == [n for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD], definition
        for name, parameter in parameters.items():
            assert (static[name].default is None) == (parameter.default is parameter.empty), (definition, name)
        seen += 1
    assert seen > 40


BASE = """
LIMIT = 3

def helper(x):
    return inner(x)

def inner(x):
    return x + 1

def stranger(x):
    return x

class Thing:
    \"\"\"A thing.\"\"\"

    def __init__(self, *, size: int = LIMIT) -> None:
        self.size = helper(size)
"""


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        ("A thing.", "Another thing.", False),
        ("def stranger(x):\n    return x", "def stranger(x):\n    return 2 * x", False),
        ("    return x + 1", "    # why\n    return x + 1", False),
        ("return x + 1", "return x + 2", True),
        ("LIMIT = 3", "LIMIT = 4", True),
        ("self.size = helper(size)", "self.size = helper(2 * size)", True),
    ],
)
def test_a_hash_moves_with_the_code_that_a_component_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, moves: bool
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    assert BASE.count(old) == 1
    for text in (BASE, BASE.replace(old, new)):
        (tmp_path / "made_here.py").write_text(text)
        for cached in (source.read, source._find, source.lookup, code.uses, code.sha256, code._code):
            cached.cache_clear()
        definition = source.lookup("made_here", "Thing")
        assert definition is not None and source.is_project("made_here")
        before = ast.dump(definition.node)
        hashes.append(code.sha256(definition))
        assert ast.dump(definition.node) == before, "what is hashed is a copy"
    assert (hashes[0] != hashes[1]) == moves


def test_what_differs_is_said_value_by_value(house: Path) -> None:
    leaf = Path("digits/boot")
    a, b = stages(leaf)["distil"], stages(leaf, ablation="no_boundary")["distil"]
    assert list(differences(a, b)) == ["- boot.Boot.beta = 8.0", "+ boot.Boot.beta = 0.0"]
    assert not list(differences(a, a))


@pytest.mark.parametrize("ablation", sorted(ablations(Faults())))
def test_an_ablation_is_short_and_changes_the_distillation_alone(house: Path, ablation: str) -> None:
    assert len(ablations(Faults())[ablation]) <= 4
    given = Path("digits_conditional/boot"), "Training.images = 4"
    plain, ablated = stages(*given), stages(*given, ablation=ablation)
    assert plain["distil"].text() != ablated["distil"].text()
    assert plain["evaluate"].text() == ablated["evaluate"].text()


def test_faults_of_params_are_reported_together_with_their_lines(house: Path) -> None:
    params = (ROOT / "params.yaml").read_text()
    for old, new in (
        ("ablation: none", "ablation: no_boundry"),
        ("delta: null", "delta: 40.0"),
        ("subsets: null", "subsets: null, substs: 3"),
        ("overrides: []", "overrides: ['ddim/samplers.Sweep.step = (1, 2)']"),
    ):
        assert params.count(old) == 1
        params = params.replace(old, new)
    Path("params.yaml").write_text(params)
    read = read_params()
    faults = Faults()
    runs.compiled(runs.suite_runs(read, "digits", faults), read["gin"], faults)
    with pytest.raises(ConfigurationFault) as caught:
        faults.raise_if_any()
    for words in (
        "params.yaml, ablation: gin/ablations.gin has no ablation no_boundry; did you mean no_boundary",
        "gin.bindings.Boot.delta:1: boot.Boot.delta is a step in t and must lie in (0, 1), got 40.0",
        "KernelDistance has no parameter substs; did you mean subset",
        "gin.overrides:1: samplers.Sweep has no parameter step; did you mean steps?",
    ):
        assert words in str(caught.value), str(caught.value)
    Path("params.yaml").write_text(params.replace("  overrides:", "  overides:"))
    with pytest.raises(ConfigurationFault, match="gin has no part overides; did you mean overrides"):
        read_params()


def test_a_suite_may_replace_a_component_that_its_method_binds(house: Path) -> None:
    """What the method's file binds of the replaced component is no fault; what the suite's binds after it is one."""
    (house / "gin").unlink()
    shutil.copytree(ROOT / "gin", house / "gin")
    imports = "from boot_exp.engine import loop\nfrom boot_exp.engine import optimizers\nfrom torch import optim\n"
    file = house / "gin/suites/trained/replacing.gin"
    file.write_text(
        f"from __gin__ import dynamic_registration\ninclude 'gin/suites/trained/digits_conditional.gin'\n{imports}"
        "loop.Training.optimizer = @optimizers.Soap\n"
    )
    frozen = stages(Path("replacing/boot"), "Training.images = 4")["distil"]
    names = {component.name for component in frozen.components}
    assert "Soap" in names and "Adam" not in names
    file.write_text(file.read_text() + "optim.Adam.eps = 1e-6\n")
    with pytest.raises(ConfigurationFault, match=r"replacing\.gin:7: unused binding optim\.Adam\.eps"):
        stages(Path("replacing/boot"), "Training.images = 4")


def test_an_override_that_applies_to_nothing_is_an_error(house: Path) -> None:
    """One that reaches a single leaf of several is none."""
    leaves = [runs.named_run(Path("digits", name)) for name in ("teacher", "boot")]
    faults = Faults()
    runs.compiled(leaves, {"bindings": {"Boot": {"delta": 0.1}}}, faults)
    faults.raise_if_any()
    runs.compiled(leaves, {"bindings": {"KarrasGrid": {"rho": 3.0}}}, faults)
    with pytest.raises(ConfigurationFault, match=r"unused binding KarrasGrid\.rho"):
        faults.raise_if_any()


def test_an_override_of_a_stage_makes_no_stage_of_another_leaf(house: Path) -> None:
    (house / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    asked = runs.suite_runs(read_params(), "digits", Faults())
    for bindings in (
        {"Distil": {"guidance": None}},
        {"Teacher": {"label_dropout": 0.2}},
        {"Reference": {"updates": 10}},
    ):
        faults = Faults()
        plain, bound = (runs.compiled(asked, said, faults) for said in ({}, {"both": bindings}))
        faults.raise_if_any()
        assert [stages.keys() for _, stages in plain] == [stages.keys() for _, stages in bound]


@pytest.mark.parametrize("binding", ["Boot.times = @SignalStudent()", "Clamped.schedule = @Schedule()"])
def test_what_is_called_otherwise_or_cannot_be_made_is_refused(house: Path, binding: str) -> None:
    with pytest.raises(ConfigurationFault, match="must be a"):
        stages(Path("digits/boot"), binding)


def test_every_function_that_a_stage_uses_is_in_its_hash() -> None:
    """Also what a package re-exports under the name of its module."""
    root = source.lookup("boot_exp.stages.data", "Data")
    assert root is not None
    reached, waiting = {root}, [root]
    while waiting:
        new = code.uses(waiting.pop()) - reached
        reached |= new
        waiting += new
    assert {"boot_exp.data.prepare.prepare", "boot_exp.data.checks.checked"} <= set(map(str, reached)), reached


def test_moving_a_components_file_leaves_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does moving what it uses. Other code, of it or of what it uses, is another hash."""
    monkeypatch.syspath_prepend(tmp_path)

    def hashed(package: str, rate: str = "2 * x", used: str = "x + 1") -> str:
        (tmp_path / package / "room").mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
        (tmp_path / package / "room/used.py").write_text(f"def more(x: float) -> float:\n    return {used}\n")
        (tmp_path / package / "rate.py").write_text(
            f"class Rate:\n    def __call__(self, x: float) -> float:\n        from {package}.room.used import more\n\n"
            f"        return more({rate})\n"
        )
        found = source.lookup(f"{package}.rate", "Rate")
        assert found is not None
        assert Definition(f"{package}.room.used", "more") in code.uses(found)
        return code.sha256(found)

    here = hashed("here")
    assert here == hashed("there")
    assert len({here, hashed("other", rate="3 * x"), hashed("another", used="x + 2")}) == 3


def test_a_file_frozen_from_other_code_is_refused(house: Path) -> None:
    frozen = stages(Path("digits/boot"))["distil"]
    other = tuple(replace(c, sha256="0" * 16) if c.name == "Boot" else c for c in frozen.components)
    with pytest.raises(ConfigurationFault, match=r"frozen from other code .*Boot differs; resolve it again"):
        runtime.build(replace(frozen, components=other))


def test_two_modules_of_one_name_are_told_apart(house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/loop.py").write_text(
        "class Flat:\n    def __init__(self, *, peak: float) -> None:\n        self.peak = peak\n\n"
        "    def __call__(self, progress: float) -> float:\n        return self.peak\n"
    )
    (tmp_path / "mine/__init__.py").write_text("")
    text = BOOT.replace("rates.CosineRate.peak = 3e-3", "mine.Flat.peak = 1e-3\nloop.Training.rate = @mine.Flat()")
    text = text.replace("from boot_exp.engine import rates", "from mine import loop as mine")
    Path("leaf.gin").write_text(text)
    frozen = stages(Path("leaf.gin"))["distil"]
    frozen.write(tmp_path / "distil.json")
    assert Frozen.read(tmp_path / "distil.json").text() == frozen.text()
    assert "mine_loop.Flat.peak" in frozen.settings() and "boot_exp_engine_loop.Training.rate" in frozen.settings()
    assert runtime.build(frozen).training.rate.peak == 1e-3


PARTS = [
    ("gin:", "gin: 3\nother:"),
    ("students: [boot], seeds: [0]}", "students: boot, seeds: [0]}"),
    ("students: [boot], seeds: [0]}", "students: [3], seeds: [0]}"),
    ("students: [boot], seeds: [0]}", "students: [boot], seeds: [zero]}"),
    ("students: [boot], seeds: [0]}", "students: [boot], seeds: [0, 0]}"),
    ("students: [boot], seeds: [0]}", "students: [boot], seeds: [null]}"),
    ("students: [boot], seeds: [0]}", "students: [boott], seeds: [0]}"),
    ("calls: 400_000}", "calls: many}"),
    ("calls: 400_000}", "cals: 400_000}"),
    ("files: []", "files: gin/more.gin"),
    ("overrides: []", "overrides: 'a = 1'"),
    ("study:", "studdy:"),
    ("  suite: digits", "  suite: digitts"),
    ("  digits: {students", "  study: {students"),
    ("# This file lists", "{[]: 1}\n# This file lists"),
]


@pytest.mark.parametrize(("old", "new"), PARTS)
def test_params_of_another_form_are_refused(house: Path, old: str, new: str) -> None:
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigurationFault, match=r"must|no part|names a list"):
        read_params()


SHADOW = """
from collections import OrderedDict as Thing
class Thing(Thing):
    def __init__(self, *, size: int = A) -> None:
        self.size = size
A = B
B = A
"""


def test_installed_packages_are_libraries_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any site-packages, behind links, put there by pip --target; what its user works on is the project's."""
    for folder, package in {
        "cluster/lib/python3/site-packages": "made_site",
        "usr/lib/python3/dist-packages": "made_dist",
        "target": "made_target",
        "work": "made_work",
        "edited": "made_edited",
    }.items():
        (tmp_path / folder / package).mkdir(parents=True)
        (tmp_path / folder / package / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path / folder)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/made_link").symlink_to(tmp_path / "cluster/lib/python3/site-packages/made_site")
    monkeypatch.syspath_prepend(tmp_path / "links")
    for folder, package, where in (("target", "made_target", "{}"), ("edited", "made_edited", '{"editable": true}')):
        about = tmp_path / folder / f"{package}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (about / "RECORD").write_text(f"{package}/__init__.py,,\n")
        (about / "direct_url.json").write_text(f'{{"dir_info": {where}}}')
    source._distributions.cache_clear()
    for library in ("made_site", "made_dist", "made_target", "made_link", "torch", "ast"):
        assert not source.is_project(library), library
    for own in ("made_work", "made_edited", "boot_exp.diffusion.levels"):
        assert source.is_project(own), own
    source._distributions.cache_clear()


def test_code_that_refers_to_itself_or_is_deep_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "made_shadow.py").write_text(SHADOW)
    (tmp_path / "made_deep.py").write_text(f"def total(x):\n    return {' + '.join(['x'] * 900)}\n")
    for index in range(1_500):
        (tmp_path / f"made_chain{index}.py").write_text(f"from made_chain{index + 1} import End\n")
    (tmp_path / "made_chain1500.py").write_text("class End: ...\n")
    shadow = source.lookup("made_shadow", "Thing")
    assert shadow is not None and signatures.bases(shadow) == (shadow,)
    default = signatures.signature(shadow).parameters["size"].default
    assert default is not None
    with pytest.raises(ValueError, match="defined by itself"):
        source.constant("made_shadow", default)
    deep = source.lookup("made_deep", "total")
    assert deep is not None and len(code.sha256(deep)) == 16
    assert source.lookup("made_chain0", "End") == source.Definition("made_chain1500", "End")


def test_a_module_with_a_syntax_error_is_a_fault_with_its_line(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(house)
    (house / "made_wrong.py").write_text("x = 1\ndef (:\n")
    assert "made_wrong.py:2 must be Python, got invalid syntax" in faults_of(
        BOOT + "\nimport made_wrong\nmade_wrong.X.y = 1\n"
    )


FROZEN = {
    "brackets": lambda text: "[" * 100_000,
    "no stage": lambda text: text.replace('"stage"', '"stag"'),
    "a list": lambda text: "[]",
    "a root that is a number": lambda text: text.replace('"root": "distil.Distil"', '"root": 1'),
    "a root that is not there": lambda text: text.replace('"root": "distil.Distil"', '"root": "distil.X"'),
    "a name that is a number": lambda text: text.replace('"name": "boot"', '"name": 1'),
    "a hash that is a list": lambda text: text.replace('"sha256": "', '"sha256": [], "x": "', 1),
    "a component of a line of code": lambda text: text.replace('"Distil"', '"Distil = 1\\nimport os"'),
    "a module of a path": lambda text: text.replace("boot_exp.methods.boot", "../boot"),
    "a value twice": lambda text: text.replace('"delta"', '"delta": 1, "delta"'),
    "NaN": lambda text: text.replace('"delta": ', '"other": NaN, "delta": '),
    "a value too deep": lambda text: text.replace('"delta": ', f'"deep": {"[" * 900}{"]" * 900}, "delta": '),
}


@pytest.mark.parametrize("damage", FROZEN)
def test_a_frozen_file_that_is_not_as_written_is_refused(house: Path, damage: str) -> None:
    stages(Path("digits/boot"))["distil"].write(Path("distil.json"))
    text = Path("distil.json").read_text()
    Path("distil.json").write_text(FROZEN[damage](text))
    assert Path("distil.json").read_text() != text
    with pytest.raises(ConfigurationFault, match=r"distil\.json must be a frozen configuration, got .*; resolve it"):
        Frozen.read(Path("distil.json"))
