"""JAX trains for real: the example, as processes on this machine that `jax.distributed` joins."""

from __future__ import annotations

import re

import pytest
from local_run import local_run, needs

pytestmark = [pytest.mark.slow, needs("jax", "jax")]


def test_two_processes_train_one_network() -> None:
    lines = local_run("jax/digits-jax.yaml")
    assert "worker-0 │ process 0 of 2 trains, 2 devices in all" in lines
    assert "worker-1 │ process 1 of 2 trains, 2 devices in all" in lines
    accuracy = re.search(r"accuracy=([\d.]+)", lines[-1])
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.95
