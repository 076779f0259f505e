"""The engine finds what it is there to find: each kind of failure, planted, is reported."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.house.mutations import Format, cases, child

SCRIPT = """
import os, pickle, signal, subprocess, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from tests.house import mutations
from evals.ground.faults import DataFault
mutations.PATIENCE, mutations.SPARE = 1, 2**27
def read(data, folder):
    if data == b"a sound file, 1":
        return
    try:
        {harm}
    except Exception as error:
        raise DataFault("a fault; whatever is raised") from error
    {after}
sys.exit(mutations.run([mutations.Format(name="a", seeds=[b"a sound file, 1"], read=read)], Path(sys.argv[1]) / "case"))
"""


@pytest.mark.parametrize(
    ("harm", "after", "says"),
    [
        ("pass", "raise ValueError('no fault')", "ValueError: no fault"),
        ("pass", "raise DataFault('two', 'lines')", "a fault of several lines"),
        ("time.sleep(30)", "pass", "more than 1 seconds"),
        ("kept = bytearray(2**28)", "pass", "bytes taken"),
        ("subprocess.run(['true'])", "pass", 'it did ["subprocess.Popen'),
        ("os.system('true')", "pass", "os.system (b"),
        ("pickle.loads(pickle.dumps(Path))", "pass", "pickle.find_class ("),
        ("open('/etc/hostname').close()", "pass", "open /etc/hostname"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "pass", "ended with -11; the file is"),
    ],
)
def test_a_reader_that_does_what_it_must_not_is_found(harm: str, after: str, says: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), harm=harm, after=after))
    assert says in child(script, tmp_path, seconds=0.5)


def test_a_reader_that_raises_a_fault_passes_and_cases_depend_on_their_seed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), harm="raise ValueError", after="pass"))
    assert child(script, tmp_path, seconds=0.5) == ""
    kind = Format(name="a", seeds=[b'{"n": 1, "text": "word"}', b"123"], read=lambda data, folder: None)
    first, again, other = ([*islice(cases(kind, seed), 200)] for seed in (0, 0, 1))
    assert first == again != other and len(set(first)) > 150
