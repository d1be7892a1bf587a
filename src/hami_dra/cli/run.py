"""`hami run`: a program under a share of a GPU of this host, without Kubernetes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import click

from hami_dra import native_files
from hami_dra.model import ledger, names, quantity
from hami_dra.model.device import CORES, MEMORY
from hami_dra.model.errors import DriverError, UserError
from hami_dra.model.share import Share

SHARES_IN_CONTAINER = Path("/run/hami/shares")
_NOT_THERE = 127
"""Exit code of `env` for a program that it does not find."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--sim",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Put the simulated driver in front, with the GPUs of FILE.",
)
@click.option("--gpu", default="0", show_default=True, metavar="INDEX|UUID", help="The card to share.")
@click.option(
    "--memory", metavar="QUANTITY", help="Memory of the share, e.g. 10Gi (default: the whole card)."
)
@click.option(
    "--cores", type=click.IntRange(0, 100), default=0, show_default=True, help="Percent of the card."
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(sim: Path | None, gpu: str, memory: str | None, cores: int, command: tuple[str, ...]) -> None:
    """Run COMMAND under the limiter on this host; its exit code is passed on.

    \b
    Examples:
      hami run --memory 10Gi -- python train.py
      hami run --sim gpus.yaml --memory 10Gi -- nvidia-smi
    """
    if SHARES_IN_CONTAINER.exists():
        raise UserError(
            "this container has a share already, which holds whatever else is asked for",
            where=str(SHARES_IN_CONTAINER),
            fix=f"Start {command[0]} by itself",
        )
    environment = dict(os.environ) | (_simulated(sim) if sim else {})
    card, size = _card(gpu, environment)
    amount = size if memory is None else _bytes(memory)
    if amount is None:
        raise UserError(
            "the driver does not tell the card's memory", where="--memory", fix="Write, say, 10Gi"
        )
    if size is not None and amount > size:
        raise UserError(
            f"the card has {quantity.format_bytes(size)}", where=f"--memory {memory}", fix="Ask for less"
        )
    share = Share(
        share_id=str(uuid.uuid4()),
        request=names.REQUEST,
        pool="",
        device="",
        uuid=card,
        consumed={MEMORY: amount, CORES: cores},
    )
    sys.exit(_run_under(share, environment, command))


def _run_under(share: Share, environment: dict[str, str], command: tuple[str, ...]) -> int:
    """Run COMMAND with a share folder of its own, which goes away with it."""
    with tempfile.TemporaryDirectory(prefix="hami-run-", dir=os.environ.get("XDG_RUNTIME_DIR")) as folder:
        shares = Path(folder) / "shares"  # as a node has it, so that `hami top --here` finds it
        own = shares / share.share_id
        own.mkdir(parents=True)
        (own / "limits").write_text(share.limits())
        (own / "ledger").write_bytes(bytes(ledger.SIZE))
        preload = [str(native_files.find("libvgpu.so")), environment.get("LD_PRELOAD", "")]
        environment = environment | {
            "HAMI_SHARES_DIR": str(shares),
            "LD_PRELOAD": ":".join(filter(None, preload)),
            "CUDA_VISIBLE_DEVICES": share.uuid,
        }
        try:
            process = subprocess.Popen(command, env=environment)
        except OSError as problem:
            raise UserError(f"cannot be started: {problem.strerror}", where=command[0]) from problem
        code = _await(process)
    return code if code >= 0 else 128 - code


def _await(process: subprocess.Popen[bytes]) -> int:
    """The exit code of PROCESS, which gets the signals that are sent to us; what ends it is its own affair.

    Not that of Ctrl-C, which the terminal gives to the program as well: a second one would break off what the
    program does about the first.
    """
    awaited = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    while process.poll() is None:
        came = signal.sigwaitinfo(awaited)
        of_the_kernel = came.si_code > 0
        if not of_the_kernel:
            process.send_signal(came.si_signo)
    return process.returncode


def _simulated(file: Path) -> dict[str, str]:
    folder = native_files.find("sim/libnvidia-ml.so.1").parent
    libraries = [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        "HAMI_SIM_FILE": str(file.resolve()),
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        "PATH": f"{folder}:{os.environ.get('PATH', '')}",
    }


def _card(gpu: str, environment: dict[str, str]) -> tuple[str, int | None]:
    """UUID of the card, and its memory in bytes where the driver that COMMAND will see tells it."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        # Looked up in the changed PATH, which subprocess itself does not search.
        pipes: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace"}
        done = subprocess.run(["env", *query], env=environment, check=False, **pipes)
    except OSError as problem:
        raise DriverError(f"nvidia-smi cannot be run: {problem}") from problem
    if done.returncode == _NOT_THERE:
        raise DriverError("there is no nvidia-smi: install NVIDIA's driver, or give --sim a file of GPUs")
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DriverError(said[0] if said else "nvidia-smi failed; is a driver installed?")
    cards = [
        [field.strip() for field in line.split(",")] for line in done.stdout.splitlines() if line.strip()
    ]
    for index, card, mib in cards:
        if gpu.lower() in (index, card.lower()):
            return card, int(mib) * names.MIB if mib.isdigit() else None
    known = ", ".join(f"{index} ({card})" for index, card, _ in cards)
    raise UserError(f"there is no such GPU; this host has {known}", where=f"--gpu {gpu}")


def _bytes(text: str) -> int:
    try:
        value = quantity.parse_int(text)
    except ValueError as problem:
        raise UserError(str(problem), where="--memory") from problem
    if value < names.MIB:
        raise UserError(f"{text} is less than 1Mi", where="--memory", fix="Write, say, 10Gi")
    return value
