"""The TFJob example that needs no TensorFlow runs as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "tensorflow" / "single.yaml"
KFCORE = str(Path(sys.executable).with_name("kfcore"))


def test_a_job_of_one_replica_runs_to_its_end_without_tf_config() -> None:
    ended = subprocess.run([KFCORE, "local", "run", str(EXAMPLE)], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "worker-0 │ TF_CONFIG is not set" in ended.stdout.splitlines()
    assert ended.stdout.rstrip().endswith("step=100 slope=1.9832")
