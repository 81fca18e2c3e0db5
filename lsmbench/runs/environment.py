"""What a run was computed with: versions, commit, hardware."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import lsmbench

PACKAGES = ("torch", "lightning", "torchmetrics", "numpy")


@cache
def describe() -> dict[str, Any]:
    """Versions, git commit of lsmbench's source if it is a checkout, and hardware, as plain values."""
    return {
        "lsmbench": lsmbench.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def peak_memory_mb(device: str) -> float:
    """Greatest memory so far: of the GPU's allocator, or of this process."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _commit() -> str | None:
    root = Path(lsmbench.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(
            ["git", "-C", root, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+changes" if dirty.stdout.strip() else "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
