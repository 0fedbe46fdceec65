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


HELD = """
import sys, time
from pathlib import Path

sys.path.insert(0, {examples!r})
import digits_jax

train, steps = digits_jax.step, 0


def step(*arguments):
    global steps
    steps += 1
    while steps > 2 * 22 and not Path({go!r}).exists():  # two epochs
        time.sleep(0.05)
    return train(*arguments)


digits_jax.step = step
sys.exit(digits_jax.main())
"""
"""The example, which goes no further than two epochs before the test lets it."""


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
def test_a_process_killed_in_mid_training_takes_all_back_to_the_start_and_the_job_succeeds(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "held.py").write_text(HELD.format(examples=str(EXAMPLES / "jax"), go=str(shared / "go")))
    job = yaml.safe_load((EXAMPLES / "jax" / "digits-jax.yaml").read_text())
    job["metadata"] |= {"name": "again", "annotations": {"kfcore/restart-scope": "Job"}}
    worker = job["spec"]["jaxReplicaSpecs"]["Worker"]
    worker["restartPolicy"] = "OnFailure"
    pod = worker["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 2
    pod["volumes"] = [{"name": "shared", "hostPath": {"path": str(shared)}}]
    pod["containers"][0] |= {
        "command": ["python", str(shared / "held.py")],
        "volumeMounts": [{"name": "shared", "mountPath": str(shared)}],
    }
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(job))

    trains = "worker-1 │ process 1 of 2 trains, 2 devices in all"
    command = [KFCORE, "local", "run", str(tmp_path / "again.yaml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        patience = threading.Timer(480, run.terminate)
        patience.start()
        lines, killed = list[str](), False
        try:
            for line in run.stdout:
                lines.append(line.rstrip())
                if "epoch=2 " in line and not killed:
                    os.kill(process_of("again-worker-1", str(shared / "held.py")), signal.SIGKILL)
                    killed = True
                if lines.count(trains) == 2:
                    (shared / "go").touch()
        except BaseException:
            run.terminate()
            raise
        finally:
            patience.cancel()
    assert run.returncode == 0, "\n".join(lines)
    assert any("Restarting" in line for line in lines)
    assert lines.count(trains) == 2
    assert accuracy(lines[-1]) >= 0.95
