"""TensorFlow trains for real: the examples, as processes on this machine that know nothing but TF_CONFIG."""

from __future__ import annotations

import re

import pytest
from local_run import local_run, needs

pytestmark = [pytest.mark.slow, needs("tensorflow", "tensorflow")]


def test_two_workers_train_one_network_in_step() -> None:
    lines = local_run("tensorflow/digits-mirrored.yaml")
    assert "worker-0 │ worker 0 of 2 trains, 2 in step" in lines
    assert "worker-1 │ worker 1 of 2 trains, 2 in step" in lines
    accuracy = re.search(r"accuracy=([\d.]+)", lines[-1])
    assert accuracy is not None
    assert float(accuracy[1]) >= 0.95


def test_a_chief_trains_with_workers_and_a_parameter_server_that_end_with_it() -> None:
    lines = local_run("tensorflow/parameter-server.yaml")
    assert {"worker-0 │ worker 0 serves", "worker-1 │ worker 1 serves", "ps-0     │ ps 0 serves"} <= set(lines)
    assert "chief-0  │ chief trains, slopes live on /job:ps/replica:0/task:0/device:CPU:0" in lines
    assert any(line.startswith("chief-0  │ fitted ") for line in lines)
    assert "plane: Succeeded" in lines[-1]
