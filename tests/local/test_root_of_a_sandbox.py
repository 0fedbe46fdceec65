"""Root of a sandbox that knows no other users, and no more namespaces: pods run as it, whomever they ask for."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from patience import PATIENCE

SCRIPT = """
from kfcore_local.container_command import may_become
print(may_become(0, 0), may_become(65534, 65534))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_root_that_knows_no_other_users_can_become_none() -> None:
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", SCRIPT]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if "unshare" in ended.stderr:
        pytest.skip(f"no user namespaces here: {ended.stderr.strip()}")
    assert ended.stdout.split() == ["True", "False"], ended.stderr
