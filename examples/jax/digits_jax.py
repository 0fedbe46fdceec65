"""Trains a small network on handwritten digits, data-parallel: the script that `digits-jax.yaml` runs in every worker.

It knows nothing of kfcore. COORDINATOR_ADDRESS, COORDINATOR_PORT, NUM_PROCESSES and PROCESS_ID come from the
environment, as on a cluster. The data are the 1,797 images of 8×8 pixels that scikit-learn ships.
"""

from __future__ import annotations

import os
import sys
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

EPOCHS = 12
BATCH_SIZE = 64
LEARNING_RATE = 0.1
MOMENTUM = 0.9
GOAL = 0.95

Weights: TypeAlias = list[tuple[jax.Array, jax.Array]]


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four fifths to train on, one fifth held out; the same split in every process."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32), labels[order].astype(np.int32)
    held_out = len(x) // 5
    return x[held_out:], y[held_out:], x[:held_out], y[:held_out]


def first_weights() -> Weights:
    draw = np.random.default_rng(1)
    shapes = [(64, 128), (128, 10)]
    return [
        (jnp.asarray(draw.normal(0, 1 / 8, shape), jnp.float32), jnp.zeros(shape[1], jnp.float32)) for shape in shapes
    ]


def predict(weights: Weights, x: jax.Array) -> jax.Array:
    (hidden, hidden_bias), (output, output_bias) = weights
    return jax.nn.relu(x @ hidden + hidden_bias) @ output + output_bias


def loss_of(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(predict(weights, x)), y[:, None], axis=1))


@jax.jit
def step(weights: Weights, velocities: Weights, x: jax.Array, y: jax.Array) -> tuple[Weights, Weights, jax.Array]:
    """One step on a batch that is spread over all processes: jax adds the gradients up between them."""
    loss, gradients = jax.value_and_grad(loss_of)(weights, x, y)
    velocities = jax.tree.map(lambda velocity, gradient: MOMENTUM * velocity + gradient, velocities, gradients)
    weights = jax.tree.map(lambda weight, velocity: weight - LEARNING_RATE * velocity, weights, velocities)
    return weights, velocities, loss


def main() -> int:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator_address=f"{os.environ['COORDINATOR_ADDRESS']}:{os.environ['COORDINATOR_PORT']}",
        num_processes=int(os.environ["NUM_PROCESSES"]),
        process_id=int(os.environ["PROCESS_ID"]),
        cluster_detection_method="deactivate",  # nor ask the API server for what is said here
    )
    rank, processes = jax.process_index(), jax.process_count()
    print(f"process {rank} of {processes} trains, {jax.device_count()} devices in all", flush=True)

    mesh = Mesh(np.array(jax.devices()), ("batch",))
    by_batch = NamedSharding(mesh, PartitionSpec("batch"))
    x, y, held_out_x, held_out_y = digits()
    weights = multihost_utils.host_local_array_to_global_array(first_weights(), mesh, PartitionSpec())
    velocities = jax.tree.map(jnp.zeros_like, weights)
    share = BATCH_SIZE // processes

    reached = 0.0
    for epoch in range(1, EPOCHS + 1):
        order = np.random.default_rng(epoch).permutation(len(x))
        losses = []
        for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            mine = order[start + rank * share : start + (rank + 1) * share]
            batch = (jax.make_array_from_process_local_data(by_batch, part[mine]) for part in (x, y))
            weights, velocities, loss = step(weights, velocities, *batch)
            losses.append(float(loss))
        here = jax.tree.map(lambda weight: weight.addressable_data(0), weights)
        reached = float(np.mean(np.argmax(predict(here, held_out_x), axis=1) == held_out_y))
        if rank == 0 and epoch % 2 == 0:
            print(f"epoch={epoch} loss={np.mean(losses):.4f} accuracy={reached:.4f}", flush=True)
    jax.distributed.shutdown()
    if reached < GOAL:
        print(f"accuracy {reached:.4f} on held-out images is below {GOAL}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
