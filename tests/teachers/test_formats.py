"""Networks of others, read from their files, give what their own code gives; what is not theirs is refused."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import boot_exp.teachers
from boot_exp.diffusion.conditions import NOTHING, Condition
from boot_exp.diffusion.denoisers import Networked
from boot_exp.diffusion.levels import Level, noise, over
from boot_exp.diffusion.predictions import FromV
from boot_exp.diffusion.schedules import Clamped, KarrasTime, LinearTable, SquaredCosineTable
from boot_exp.methods.students import ConsistencyStudent, DenoisingStudent, SignalStudent
from boot_exp.teachers import PublishedNetwork
from boot_exp.teachers.consistency_models import ConsistencyModels
from boot_exp.teachers.edm import Edm
from boot_exp.teachers.guided_diffusion import GuidedDiffusion
from evals.ground.faults import StateFault
from tests.house import made_teachers as made
from tests.house.formats import (
    CONFIG,
    SCHEDULES,
    asked,
    diffusers,
    edm,
    every,
    filled,
    guided_diffusion,
    write_diffusers,
)

FIXTURES = Path(__file__).parents[3] / "shared/fixtures/checkpoints"


def at_sigma(teacher: Networked, noisy: Tensor, sigmas: Tensor, label: Tensor | None) -> Tensor:
    """Their D(x; sigma), where noisy is their x: [B, C, H, W]."""
    schedule = teacher.schedule
    t = torch.tensor([schedule.time_of(float(sigma.double().log())) for sigma in sigmas], dtype=torch.float64)
    alpha = Level(lam=sigmas.double().log()).alpha
    return teacher(over(alpha, noisy) * noisy, t, Condition(label=label))


def close(ours: Tensor, theirs: Tensor, what: float = 1e-4) -> None:
    assert float((ours - theirs).abs().max() / theirs.std()) < what


def golden(ours: Tensor, name: str) -> None:
    said = made.GOLDEN[name]
    values = ours.double().flatten()
    few = values[:: len(values) // 24][:24]
    assert float((few - torch.tensor(said["values"], dtype=torch.float64)).abs().max()) < 1e-4 * said["deviation"]
    assert float(values.std()) == pytest.approx(said["deviation"], rel=1e-4)


@pytest.mark.parametrize("name", made.OPENAI)
def test_guided_diffusion_gives_what_openais_code_gives(tmp_path: Path, name: str) -> None:
    made.write_openai(tmp_path / "net.pt", made.OPENAI[name], out_channels=6)
    teacher = filled(guided_diffusion(name), tmp_path / "net.pt")
    t = torch.tensor(made.STEPS, dtype=torch.float64) / 999
    label = torch.tensor(made.LABELS) if teacher.classes else None
    x0 = teacher(made.image(), t, Condition(label=label))
    golden(noise(teacher.schedule(t), made.image(), x0), f"openai/{name}")


@pytest.mark.parametrize("name", made.EDM)
def test_edm_gives_what_nvidias_code_gives(tmp_path: Path, name: str) -> None:
    made.write_edm(tmp_path / "net.pkl", made.EDM[name])
    teacher = filled(edm(name), tmp_path / "net.pkl")
    sigmas = torch.tensor(made.GOLDEN[f"edm/{name}"]["sigmas"])
    label = torch.tensor(made.LABELS) if teacher.classes else None
    golden(at_sigma(teacher, made.image() * over(sigmas, made.image()), sigmas, label), f"edm/{name}")


def test_every_format_in_the_folder_is_under_the_laws(tmp_path: Path) -> None:
    """A format that others do not know of gives EXAMPLES in its test file: a function of a folder to write files in."""
    found = set()
    for module in pkgutil.iter_modules(boot_exp.teachers.__path__):
        for item in vars(importlib.import_module(f"boot_exp.teachers.{module.name}")).values():
            if isinstance(item, type) and issubclass(item, PublishedNetwork) and not inspect.isabstract(item):
                found.add(item)
    assert found and found == {type(teacher) for teacher, _ in every(tmp_path).values()}


def test_a_variance_beside_eps_is_dropped_whatever_the_network(tmp_path: Path) -> None:
    arguments = {**made.EDM["vp"], "precond": "iDDPMPrecond"}
    made.write_edm(tmp_path / "net.pkl", arguments)
    teacher = Edm(schedule=SCHEDULES["iDDPMPrecond"], **arguments)
    assert teacher.read(tmp_path / "net.pkl")["head.weight"].shape[0] == 3


def test_what_a_configuration_of_diffusers_leaves_out_is_its_default(tmp_path: Path) -> None:
    write_diffusers(tmp_path)
    path = tmp_path / "unet/config.json"
    said = json.loads(path.read_text())
    del said["attention_head_dim"]
    path.write_text(json.dumps(said))
    diffusers().read(tmp_path)
    other = diffusers(config={**CONFIG, "num_class_embeds": 5, "attention_head_dim": 32})
    with pytest.raises(StateFault, match=r"attention_head_dim = 8 \(configured: 32\)"):
        other.read(tmp_path)


@pytest.mark.parametrize("orders", [(True, False), (False, True)])
def test_another_width_is_said_in_either_order_of_attention(tmp_path: Path, orders: tuple[bool, bool]) -> None:
    made.write_openai(tmp_path / "net.pt", made.OPENAI["adm"])
    with pytest.raises(StateFault, match="bind what it was made with"):
        guided_diffusion("adm", model_channels=96, use_new_attention_order=orders[0]).read(tmp_path / "net.pt")


def test_a_tensor_of_a_pickle_cannot_be_given_another_size(tmp_path: Path) -> None:
    """torch's own state of a tensor would make it as large as a file says, of whatever lies in memory."""

    class Grown:
        def __reduce__(self) -> tuple[Any, ...]:
            storage = torch.ones(4).storage()
            rebuilt = (storage, 0, (4,), (1,), False, {})
            return torch._utils._rebuild_tensor_v2, rebuilt, (storage, 0, (10**6,), (1,))

    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"ema": Grown()}))
    with pytest.raises(StateFault, match="in place of a module"):
        edm("ddpmpp").read(tmp_path / "net.pkl")


def test_consistency_models_is_edm_around_the_unet_of_guided_diffusion(tmp_path: Path) -> None:
    """The same weights read by both: F and eps are one network's, asked at two times."""
    arguments = {k: v for k, v in made.OPENAI["adm"].items() if k != "use_new_attention_order"}
    made.write_openai(tmp_path / "net.pt", arguments, flat_attention=False)
    teacher = filled(ConsistencyModels(schedule=KarrasTime(), **arguments), tmp_path / "net.pt")
    other = filled(guided_diffusion("adm"), tmp_path / "net.pt")
    sigmas, x, label = torch.tensor(made.SIGMAS), made.image(), torch.tensor(made.LABELS)
    spread = (sigmas**2 + 0.25).sqrt()
    output = other.net(x / over(spread, x), 250 * sigmas.log() / 999, label)
    expected = over(0.25 / spread**2, x) * x + over(sigmas / 2 / spread, x) * output
    close(at_sigma(teacher, x, sigmas, label), expected)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the checkpoints of ../shared/fixtures are not here")
@pytest.mark.parametrize(
    "name", ["adm_class_cond_learn_sigma", "cm_edm_uncond", "edm_ddpmpp_uncond", "edm_adm_class_cond"]
)
def test_the_checkpoints_of_their_own_code(name: str) -> None:
    arguments = json.loads((FIXTURES / f"{name}.json").read_text())
    arrays = {key: torch.from_numpy(value) for key, value in np.load(FIXTURES / f"{name}.io.npz").items()}
    for key in ("out_channels", "attention_type", "sigma_min", "sigma_max", "dropout", "augment_dim", "decoder_type"):
        arguments.pop(key, None)
    if name.startswith("adm"):
        teacher = filled(GuidedDiffusion(schedule=LinearTable(), **arguments), FIXTURES / f"{name}.pt")
        close(teacher.net(arrays["x"], arrays["timesteps"] / 999, arrays["y"]), arrays["out"][:, :3])
        return
    if name.startswith("cm"):
        teacher = filled(ConsistencyModels(schedule=KarrasTime(), **arguments), FIXTURES / f"{name}.pt")
    else:
        arguments["precond"] = arguments.pop("class_name")
        teacher = filled(Edm(schedule=KarrasTime(), **arguments), FIXTURES / f"{name}.pkl")
    label = arrays["labels"].argmax(1) if "labels" in arrays else None
    close(at_sigma(teacher, arrays["x"], arrays["sigma"], label), arrays["denoised"])


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_diffusers_gives_what_diffusers_gives(tmp_path: Path, safe: bool) -> None:
    theirs = write_diffusers(tmp_path, safe)
    teacher = filled(diffusers(), tmp_path)
    x, label, t = made.image(), torch.tensor(made.LABELS), torch.tensor(made.STEPS, dtype=torch.float64) / 999
    with torch.no_grad():
        expected = theirs(x, torch.tensor(made.STEPS), class_labels=label).sample
    close(noise(teacher.schedule(t), x, teacher(x, t, Condition(label=label))), expected)
    assert teacher(x, t).isfinite().all(), "no label at all is one of its own"


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_files_of_diffusers_from_before_attention_was_renamed_are_read(tmp_path: Path, safe: bool) -> None:
    """As diffusers reads them itself: https://github.com/huggingface/diffusers/pull/3387."""
    from safetensors.torch import save_file

    theirs = write_diffusers(tmp_path, safe)
    wanted = diffusers().read(tmp_path)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = theirs.state_dict()
    for now, then in old.items():
        state = {name.replace(f".{now}.", f".{then}."): value for name, value in state.items()}
    assert any(".query." in name for name in state) and any(".proj_attn." in name for name in state)
    if safe:
        save_file(state, tmp_path / "unet/diffusion_pytorch_model.safetensors")
    else:
        torch.save(state, tmp_path / "unet/diffusion_pytorch_model.bin")
    found = diffusers().read(tmp_path)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_state_dict_of_a_network_trained_in_parallel_is_read(tmp_path: Path) -> None:
    made.write_openai(tmp_path / "net.pt", made.OPENAI["adm"])
    wanted = guided_diffusion("adm").read(tmp_path / "net.pt")
    state = torch.load(tmp_path / "net.pt", weights_only=True)
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "net.pt")
    found = guided_diffusion("adm").read(tmp_path / "net.pt")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_students_of_every_format_start_as_their_teacher_and_can_take_w(tmp_path: Path) -> None:
    for name, (teacher, path) in every(tmp_path).items():
        filled(teacher, path)
        x, told = asked(teacher, w=(1.0, 4.0))
        t = torch.tensor([0.9, 0.5], dtype=torch.float64)
        last = torch.full_like(t, teacher.schedule.t_max)
        for kind in (SignalStudent, DenoisingStudent, ConsistencyStudent):
            sigma_data = {"sigma_data": 0.5} if kind is ConsistencyStudent else {}
            student = kind(teacher, takes_w=True, **sigma_data)
            at = last if kind is SignalStudent else t
            if kind is not ConsistencyStudent:
                torch.testing.assert_close(student(x, at, told), teacher(x, at, told), rtol=1e-4, atol=1e-4, msg=name)
            layers = [layer for layer in student.modules() if type(layer).__name__ == "AdaIN"]
            assert layers, name
            for layer in layers:
                nn.init.normal_(layer.to_scale_shift.weight, std=0.1)
            _, other = asked(teacher, w=(2.0, 1.5))
            assert not torch.allclose(student(x, at, told), student(x, at, other)), name
            student(x, at, told).square().mean().backward()
            used = [p.grad is not None for n, p in student.named_parameters() if "guidance" in n or "adain" in n]
            assert used and all(used), name


class Attack:
    """Runs something where it is unpickled in earnest."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        import os

        return os.system, (f"touch {self.path}",)


class ByBuild:
    """The same by way of an object's state."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Attack, (self.path,), {"path": Attack(self.path)}


def in_a_storage(path: Path) -> Any:
    """The same within the bytes of a tensor's storage, where a pickle lies in the pickle."""

    class Stored:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch.storage._load_from_bytes, (pickle.dumps(Attack(path)),)

    return Stored()


def in_a_torch_storage(path: Path) -> Any:
    """The same, written by torch.save in its old format."""
    import io

    class Stored:
        def __reduce__(self) -> tuple[Any, ...]:
            data = io.BytesIO()
            torch.save({"x": Attack(path)}, data, _use_new_zipfile_serialization=False)
            return torch.storage._load_from_bytes, (data.getvalue(),)

    return Stored()


def by_a_function_of_ours(path: Path) -> Any:
    """What the reader itself may call is given another body."""

    class Changed:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_parameter, (torch.ones(2), False, {}), ({}, {"_make": Attack(path)})

    return Changed()


@pytest.mark.parametrize(
    "attack", [Attack, ByBuild, in_a_storage, in_a_torch_storage, by_a_function_of_ours, lambda path: eval]
)
@pytest.mark.parametrize("place", ["whole", "ema", "beside", "state"])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(
    tmp_path: Path, attack: Callable[[Path], Any], place: str
) -> None:
    ran, path = tmp_path / "ran", tmp_path / "net.pkl"
    evil = attack(ran)
    with made.names_of_persistence():
        state = made.Persistent("EDMPrecond", _modules={"model": evil})
        what = {"whole": evil, "ema": {"ema": evil}, "beside": {"ema": 1, "loss_fn": evil}, "state": {"ema": state}}
        path.write_bytes(pickle.dumps(what[place]))
    with pytest.raises(StateFault) as caught:
        edm("ddpmpp").read(path)
    assert not ran.exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize("within", [False, True], ids=["itself", "within a storage"])
def test_a_pickle_that_would_exhaust_the_stack_is_refused(tmp_path: Path, within: bool) -> None:
    """A dict whose key is a tuple in a tuple in a tuple ...: to hash it ends the process, where it is let."""
    deep = pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + 300_000 * pickle.TUPLE1
    deep += pickle.NONE + pickle.SETITEM + pickle.STOP
    if within:
        around = (0x1950A86A20F9469CFC6C, 1001, {}, [])  # what torch.save writes before and after what is saved
        *before, after = (pickle.dumps(part, 2) for part in around)
        stored = b"".join([*before, deep, after])
        call = pickle.GLOBAL + b"torch.storage\n_load_from_bytes\n" + pickle.BINBYTES
        call += len(stored).to_bytes(4, "little") + stored + pickle.TUPLE1 + pickle.REDUCE
        deep = pickle.PROTO + b"\x03" + call + pickle.STOP
    (tmp_path / "net.pkl").write_bytes(deep)
    with pytest.raises(StateFault, match="must be a snapshot of EDM"):
        edm("ddpmpp").read(tmp_path / "net.pkl")


def test_source_in_a_snapshot_is_not_run(tmp_path: Path) -> None:
    """Every object that made_teachers writes carries source that would end the process."""
    made.write_edm(tmp_path / "net.pkl", made.EDM["ddpmpp"])
    assert b"raise SystemExit" in (tmp_path / "net.pkl").read_bytes()
    edm("ddpmpp").read(tmp_path / "net.pkl")


@pytest.mark.parametrize("kind", ["gd.pt", "diffusion_pytorch_model.bin"])
def test_a_state_dict_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    ran = tmp_path / "ran"
    teacher: Any = guided_diffusion("adm")
    path = tmp_path / kind
    if kind.endswith("bin"):
        write_diffusers(tmp_path, safe=False)
        teacher, path = diffusers(), tmp_path / "unet" / kind
    torch.save({"time_embed.0.weight": Attack(ran)}, path)
    with pytest.raises(StateFault, match="must be a state dict"):
        teacher.read(path if kind.endswith("pt") else tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_files_cut_short_are_refused(tmp_path: Path, share: float) -> None:
    for name, (teacher, path) in every(tmp_path).items():
        file = path / "unet/diffusion_pytorch_model.safetensors" if path.is_dir() else path
        data = file.read_bytes()
        file.write_bytes(data[: int(share * len(data))])
        with pytest.raises(StateFault) as caught:
            teacher.read(path)
        assert "\n" not in str(caught.value), name


WRONG: list[tuple[Callable[[], Any], str, str]] = [
    (
        lambda: guided_diffusion("adm", model_channels=64),
        "gd.pt",
        "time_embed.0.weight is 128x32 in the file and 256x64",
    ),
    (lambda: guided_diffusion("adm", num_classes=None), "gd.pt", r"label_emb.weight \(5x128\) is in the file alone"),
    (lambda: guided_diffusion("adm", num_res_blocks=2), "gd.pt", "bind what it was made with"),
    (lambda: edm("adm", num_blocks=2), "adm.pkl", r"num_blocks = 1 \(configured: 2\)"),
    (lambda: edm("adm", sigma_data=1.0), "adm.pkl", r"sigma_data = 0.5 \(configured: 1.0\)"),
    (lambda: edm("adm", precond="VEPrecond"), "adm.pkl", r"class_name = EDMPrecond \(configured: VEPrecond\)"),
    (lambda: edm("ncsnpp", resample_filter=(1, 1)), "ncsnpp.pkl", "resample_filter"),
    (lambda: diffusers(schedule=LinearTable(beta_last=0.03)), "diffusers", r"beta_end = 0.02 \(configured: 0.03\)"),
    (lambda: diffusers(prediction=FromV()), "diffusers", r"prediction_type = epsilon \(configured: v_prediction\)"),
    (
        lambda: diffusers(config={**CONFIG, "num_class_embeds": 5, "layers_per_block": 2}),
        "diffusers",
        r"layers_per_block = 1 \(configured: 2\)",
    ),
    (lambda: edm("adm"), "gd.pt", "got what torch.save writes; OpenAI's formats are read by GuidedDiffusion"),
    (lambda: guided_diffusion("adm"), "adm.pkl", "must be a state dict.*edm.Edm reads it"),
]


@pytest.mark.parametrize("resolutions", [(8, 16), (16, 8), (16, 8, 3)])
def test_resolutions_of_attention_may_be_listed_in_any_order(tmp_path: Path, resolutions: tuple[int, ...]) -> None:
    made.write_edm(tmp_path / "net.pkl", made.EDM["adm"])
    found = edm("adm", attn_resolutions=resolutions).read(tmp_path / "net.pkl")
    assert found.keys() == edm("adm").read(tmp_path / "net.pkl").keys()


def test_the_constants_of_iddpm_are_those_of_the_schedule(tmp_path: Path) -> None:
    """M, C_1 and C_2 are the steps, the cap and the offset of the table; another M is another time in the network."""
    said = {"M": 500, "C_1": 0.01, "C_2": 0.02}
    made.write_edm(tmp_path / "net.pkl", made.EDM["iddpm"], **said)
    table = SquaredCosineTable(steps=500, cap=0.99, offset=0.02)
    teacher = edm("iddpm", schedule=Clamped(schedule=table, lam_min=-5.0, lam_max=5.0))
    assert teacher.read(tmp_path / "net.pkl") and teacher.net.time[0].scale == 499
    with pytest.raises(StateFault, match=r"C_1 = 0.01 \(configured: 0.001.*M = 500 \(configured: 1000"):
        edm("iddpm").read(tmp_path / "net.pkl")


def test_a_snapshot_that_no_gin_file_can_describe_is_refused_with_the_reason(tmp_path: Path) -> None:
    for kind, said in (("ddpmpp", {"decoder_type": "skip"}), ("vp", {"M": 500})):
        made.write_edm(tmp_path / "net.pkl", made.EDM[kind], **said)
        with pytest.raises(StateFault, match=f"networks with another {next(iter(said))} are not read"):
            edm(kind).read(tmp_path / "net.pkl")
    made.write_edm(tmp_path / "net.pkl", made.EDM["ddpmpp"])
    snapshot = (tmp_path / "net.pkl").read_bytes()
    assert snapshot.count(b"_init_args\x94)") == 1
    (tmp_path / "net.pkl").write_bytes(snapshot.replace(b"_init_args\x94)", b"_init_args\x94K\x10"))  # for () now 16
    with pytest.raises(StateFault, match="a EDMPrecond whose arguments have no names"):
        edm("ddpmpp").read(tmp_path / "net.pkl")


def test_a_network_within_others_is_compared_by_its_own_names(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "ema": {"time_embed.0.weight": torch.zeros(2)}}, tmp_path / "net.pt")
    with pytest.raises(StateFault, match=r"time_embed\.0\.weight is 2 in the file and 128x32 in the configuration"):
        guided_diffusion("adm").read(tmp_path / "net.pt")


@pytest.fixture(scope="module")
def all_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a file of every format; only read it."""
    folder = tmp_path_factory.mktemp("all_files")
    every(folder)
    return folder


@pytest.mark.parametrize(("teacher", "file", "said"), WRONG)
def test_another_network_than_the_configurations_is_refused(
    all_files: Path, teacher: Callable[[], Any], file: str, said: str
) -> None:
    with pytest.raises(StateFault, match=said) as caught:
        teacher().read(all_files / file)
    assert "\n" not in str(caught.value)


def test_a_schedule_that_a_network_was_not_trained_with_is_refused() -> None:
    with pytest.raises(ValueError, match="the schedule of VPPrecond must be LinearBeta, got KarrasTime"):
        Edm(schedule=KarrasTime(), **made.EDM["vp"])
    with pytest.raises(ValueError, match="must be a table of betas"):
        diffusers(schedule=KarrasTime())


def test_a_variance_exploding_trajectory_is_the_same_in_our_variables(tmp_path: Path) -> None:
    """Karras et al.'s algorithm 1, written out in x and sigma, against our Heun on their grid."""
    from boot_exp.diffusion.solvers import Heun

    made.write_edm(tmp_path / "net.pkl", made.EDM["ncsnpp"])
    teacher = filled(edm("ncsnpp"), tmp_path / "net.pkl").double()
    schedule, label = teacher.schedule, torch.tensor(made.LABELS)
    times = torch.linspace(1, 0, 9, dtype=torch.float64)
    sigmas = schedule(times).lam.exp()
    eps = made.image().double()

    def slope(x: Tensor, sigma: Tensor) -> Tensor:
        t = torch.full((2,), schedule.time_of(float(sigma.log())), dtype=torch.float64)
        return (x - teacher(x * Level(lam=sigma.log()).alpha, t, Condition(label=label))) / sigma

    x = eps * sigmas[0]
    for here, there in zip(sigmas[:-1], sigmas[1:], strict=True):
        first = slope(x, here)
        euler = x + (there - here) * first
        x = x + (there - here) * (first + slope(euler, there)) / 2
    start = eps * schedule(times[:1]).sigma
    ours = Heun().solve(teacher, start, times, Condition(label=label)) / schedule(times[-1:]).alpha
    assert float((ours - x).abs().max() / x.std()) < 1e-6
    assert NOTHING.label is None
