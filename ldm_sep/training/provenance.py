"""How a checkpoint came to be: the command, the hardware and the commit of this process."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import torch

from ldm_sep.checkpoint.manifest import Provenance
from ldm_sep.device import usable_cores


def provenance(device: torch.device | None = None) -> Provenance:
    """Command, hardware and commit of this process, which works on ``device`` (None: the CPU)."""
    on_gpu = device is not None and device.type == "cuda"
    cores = usable_cores()
    name = torch.cuda.get_device_name(device) if on_gpu else f"{cores} CPU core{'s' * (cores > 1)}"
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    processes = os.environ.get("WORLD_SIZE", "1")
    program = ["ldm-sep"] if processes == "1" else ["torchrun", "--nproc-per-node", processes, "-m", "--", "ldm_sep"]
    # Paths of the machine are no part of the recipe: only their last name is kept.
    words = [*program, *(_portable(word) for word in sys.argv[1:])]
    return Provenance(command=shlex.join(words), hardware=name, commit=commit)


def _portable(word: str) -> str:
    option, equals, path = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + (Path(path).name if path.startswith(("/", "..")) else path)
