"""What a benchmark says about the machine, and how it takes times and prints tables."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe_machine(packages: Sequence[str]) -> dict[str, Any]:
    """Processor, memory, system and the versions of ``packages``; no name and no path of the machine."""
    return {
        "processor": _first_value("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "packages": {name: found for name in packages if (found := _version(name))},
    }


@contextmanager
def timed(into: dict[str, Any], name: str = "") -> Iterator[None]:
    """Add the wall and CPU seconds of the block to ``into``, as ``[name_]wall_s`` and ``[name_]cpu_s``.

    CPU seconds are of this process and of the children that it has waited for.
    """
    prefix = f"{name}_" if name else ""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        into[f"{prefix}wall_s"] = round(time.perf_counter() - wall, 3)
        into[f"{prefix}cpu_s"] = round(_cpu_seconds() - cpu, 3)


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> str:
    """Rows as aligned text; the columns are those of the first row, in its order."""
    columns = list(rows[0]) if rows else []
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*([f"\n{title}"] if title else []), *(line.rstrip() for line in lines)])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cpu_seconds() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _first_value(path: str, name: str) -> str:
    if not Path(path).is_file():
        return ""
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _memory_gb() -> float | None:
    found = _first_value("/proc/meminfo", "MemTotal").split()
    return round(int(found[0]) / 2**20, 1) if found else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
