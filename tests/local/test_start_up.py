"""The imports of `kfcore local`, begun early."""

from __future__ import annotations

import subprocess
import sys

from patience import PATIENCE

PROGRAM = """
from kfcore_local.start_up import import_ahead

import_ahead()
import aiohttp.web
import rich.console
import structlog

structlog.get_logger().info("plugin.loaded", console=rich.console.Console().__class__.__name__)
"""


def test_what_is_imported_early_is_whole_for_everyone_after() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "console=Console" in done.stdout


ENDS_AT_ONCE = """
import atexit, sys
from kfcore_local.start_up import import_ahead

import_ahead()
atexit.register(lambda: print(hasattr(sys.modules.get("aiohttp.web"), "run_app")))
sys.exit(2)
"""


def test_a_command_that_ends_at_once_does_not_crash_in_the_middle_of_an_import() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS_AT_ONCE], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, "True\n"), done.stderr
