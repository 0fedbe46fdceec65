"""Measure every figure and print the table; exit code 1 when a budget is not kept."""

from __future__ import annotations

import asyncio
import os
import platform
import sys

from benchmarks import commands, jobs, library, local_cluster, notebooks, peer, pods, runtime, server
from benchmarks.figure import table
from kfcore.controller.observability import configure_logging


def main() -> int:
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors\n", flush=True)
    configure_logging("warning", "console")
    figures = [*commands.measure()]
    for part in (library, server, peer, runtime, jobs, notebooks, local_cluster, pods):
        figures += asyncio.run(part.measure())
    print(table(figures))
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
