import zipfile

import pytest

from evals.errors import LONGEST, DataFault, StateFault, printable
from evals.files import reading

CAUSED = [ValueError("x"), RecursionError(), zipfile.BadZipFile("x"), MemoryError(), KeyError(1)]


@pytest.mark.parametrize("error", CAUSED)
def test_whatever_a_file_causes_is_one_fault_with_its_name(error):
    expected = pytest.raises(StateFault, match=r"a\.pt must be whole, got .*; fetch it again")
    with expected, reading("a.pt", "must be whole", "fetch it again", StateFault):
        raise error


@pytest.mark.parametrize("error", [NameError("x"), AssertionError("x"), DataFault("said already"), KeyboardInterrupt()])
def test_mistakes_of_the_program_and_faults_pass_through(error):
    with pytest.raises(type(error)) as caught, reading("a.pt", "must be whole", "fetch it again", StateFault):
        raise error
    assert caught.value is error


def test_a_message_shows_no_control_character_and_no_megabyte():
    message = str(DataFault("a.json must hold x, got \x1b[2J\udcff" + "y" * 1_000_000 + "; write it again"))
    assert message.startswith("a.json must hold x, got \\x1b[2J\\udcff") and message.endswith("; write it again")
    assert len(message) < LONGEST + 100
    assert printable("two\nlines, élan") == "two\nlines, élan"
