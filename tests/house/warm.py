"""Starts commands of a made house in a tenth of the time: forked from a process that has imported their libraries.

`warmed` puts programs named boot-exp, dvc and python before the real ones. Each asks a server, which knows nothing of
boot_exp or evals, to fork; the child has the command's own arguments, folder, environment and streams, imports the
house's own code and runs it to its end. A command that is killed, or whose process is looked at, is to be real.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LIBRARIES = [
    *("torch", "torch._dynamo", "torch.utils.tensorboard", "tensorboard.plugins.hparams.summary_v2", "accelerate"),
    *(
        "safetensors.torch",
        "scipy.linalg",
        "matplotlib.figure",
        "matplotlib.backends.backend_svg",
        "jinja2",
        "markdown",
    ),
    *("typer", "rich.progress", "ruamel.yaml", "psutil", "gin.config_parser", "annotated_types", "PIL.Image"),
    *("sklearn.datasets", "threadpoolctl", "dvc.cli", "dvc.cli.parser", "dvc.repo", "dvc.repo.reproduce", "dvc.schema"),
    *("dvc.commands.repro", "dvc.commands.status", "dvc.commands.experiments.run", "dvc.repo.experiments", "dvc.lock"),
    *("dvc.stage.run", "dvc.analytics", "dvc.daemon", "pytest"),
]
CLIENT = """#!{python} -IS
import array, json, os, socket, sys
name = os.path.basename(sys.argv[0])
if name == "python" and sys.argv[1:3] not in (["-m", "evals"], ["-m", "pytest"]):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({place!r})
    streams = array.array("i", [0, 1, 2])
    server.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    text = json.dumps([name, sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    server.sendall(len(text).to_bytes(8, "big") + text)
    code = server.recv(1)
os._exit(code[0] if code else 1)
"""


@contextmanager
def warmed(folder: Path) -> Iterator[Path]:
    """The folder with the programs, while the block runs: what PATH is to begin with."""
    place, waits = folder / "socket", hasattr(os, "pidfd_open")
    for name in ("boot-exp", "dvc", "python"):
        real = f'#!/bin/sh\nexec "{Path(sys.executable).parent}/{name}" "$@"\n'
        (folder / name).write_text(CLIENT.format(python=sys.executable, place=str(place)) if waits else real)
        (folder / name).chmod(0o755)
    if not waits:  # not Linux
        yield folder
        return
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    server = subprocess.Popen([sys.executable, __file__, str(place)], env=kept, cwd=folder, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 600
        while not place.exists():
            assert server.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        yield folder
    finally:
        server.kill()
        server.wait()


def serve(place: str) -> None:
    """Imports the libraries, then forks for each that asks."""
    for name in LIBRARIES:
        with suppress(ImportError):
            __import__(name)
    assert not any(name.partition(".")[0] in ("boot_exp", "evals", "tests") for name in sys.modules)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{place}.new")
        server.listen(8)
        os.rename(f"{place}.new", place)
        while True:
            asked, _ = server.accept()
            with asked:
                if os.fork() == 0:
                    server.close()
                    attend(asked)
            with suppress(ChildProcessError):  # their processor time counts as this server's
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def attend(asked: socket.socket) -> None:
    """Forks the command, tells its end, and ends it if whoever asked has gone."""
    _, told, _, _ = asked.recvmsg(1, socket.CMSG_LEN(3 * array.array("i").itemsize))
    streams = array.array("i", told[0][2])
    with asked.makefile("rb") as file:
        command = json.loads(file.read(int.from_bytes(file.read(8), "big")))
    child = os.fork()
    if child == 0:
        asked.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        run(*command)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    ready, _, _ = select.select([ended, asked], [], [])
    if ended not in ready:
        os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):
        asked.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def run(name: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Is the command from here on; ends the process."""
    code: Any = 1
    try:
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        # A program's own path, as an interpreter makes it: first the current folder (python -m), then PYTHONPATH.
        first = [folder] if name == "python" else []
        sys.path = [*first, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *sys.path[1:]]
        sys.argv = [name, *arguments]
        for number, stream in enumerate(("stdin", "stdout", "stderr")):
            opened = open(number, "r" if number == 0 else "w", buffering=1, closefd=False)  # noqa: SIM115
            setattr(sys, stream, opened)
            setattr(sys, f"__{stream}__", opened)
        if name == "dvc":
            from dvc.cli import main

            code = main()
        else:
            module = "boot_exp" if name == "boot-exp" else arguments[1]
            if name == "python":
                del sys.argv[1:3]
            code = runpy.run_module(module, run_name="__main__", alter_sys=True) and 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    serve(sys.argv[1])
