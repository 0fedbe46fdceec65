"""JAX trains for real: the example, as processes on this machine that `jax.distributed` joins."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from local_run import EXAMPLES, KFCORE, local_run, needs, process_of

pytestmark = [pytest.mark.slow, needs("jax", "jax")]


def accuracy(summary: str) -> float:
    found = re.search(r"accuracy=([\d.]+)", summary)
    assert found is not None, summary
    return float(found[1])


def test_two_processes_train_one_network() -> None:
    lines = local_run("jax/digits-jax.yaml")
    assert "worker-0 │ process 0 of 2 trains, 2 devices in all" in lines
    assert "worker-1 │ process 1 of 2 trains, 2 devices in all" in lines
    assert accuracy(lines[-1]) >= 0.95


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
def test_a_process_killed_in_mid_training_takes_all_back_to_the_start_and_the_job_succeeds(tmp_path: Path) -> None:
    job = yaml.safe_load((EXAMPLES / "jax" / "digits-jax.yaml").read_text())
    job["metadata"] |= {"name": "again", "annotations": {"kfcore/restart-scope": "Job"}}
    worker = job["spec"]["jaxReplicaSpecs"]["Worker"]
    worker["restartPolicy"] = "OnFailure"
    worker["template"]["spec"]["terminationGracePeriodSeconds"] = 2
    worker["template"]["spec"]["containers"][0]["workingDir"] = str(EXAMPLES / "jax")
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(job))

    command = [KFCORE, "local", "run", str(tmp_path / "again.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        patience = threading.Timer(240, run.terminate)
        patience.start()
        lines = []
        for line in run.stdout:
            lines.append(line.rstrip())
            if "epoch=2 " in line and not any("Restarting" in earlier for earlier in lines):
                os.kill(process_of("again-worker-1", "digits_jax.py"), signal.SIGKILL)
        patience.cancel()
    assert run.returncode == 0, "\n".join(lines)
    assert any("Restarting" in line for line in lines)
    assert lines.count("worker-1 │ process 1 of 2 trains, 2 devices in all") == 2
    assert accuracy(lines[-1]) >= 0.95
