"""What a user can get wrong, and the exit code that says so to a script."""

from typing import ClassVar


class Fault(Exception):
    """A fault that the user can mend: one line that says the thing, the rule, the value and the cure."""

    exit_code: ClassVar[int] = 1


class ConfigurationFault(Fault):
    """A name, an argument or a binding is wrong."""

    exit_code = 2


class DataFault(Fault):
    """An image or a data set is missing, damaged, or not of the kind it must be."""

    exit_code = 3


class StateFault(Fault):
    """A checkpoint or a stored state is damaged, or belongs to something else."""

    exit_code = 4


class NumericalFault(Fault):
    """A loss or a statistic is not finite."""

    exit_code = 5


class MissingResource(Fault):
    """A file that must be fetched first is not there, or a machine's memory does not suffice."""

    exit_code = 69


class OutputFault(Fault):
    """A result cannot be written: the disk is full or gone, or may not be written to."""

    exit_code = 74
