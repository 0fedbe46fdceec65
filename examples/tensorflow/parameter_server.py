"""Fits a plane to noisy points with a chief, workers and a parameter server: the script that `parameter-server.yaml`
runs in every replica.

The replicas take their parts from TF_CONFIG: the chief hands steps to the workers, which read and change the variables
that the parameter server holds. Workers and servers serve for ever; the job is over when its chief is.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

STEPS = 300
BATCH_SIZE = 64
LEARNING_RATE = 0.1
SLOPES, OFFSET = [3.0, -2.0], 0.5
CLOSE = 0.05


def serve(resolver: tf.distribute.cluster_resolver.TFConfigClusterResolver) -> None:
    """Be a worker or a parameter server until the job is cleaned up."""
    server = tf.distribute.Server(
        resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id, protocol="grpc", start=True
    )
    print(f"{resolver.task_type} {resolver.task_id} serves", flush=True)
    server.join()


def coordinate(resolver: tf.distribute.cluster_resolver.TFConfigClusterResolver) -> int:
    """Be the chief: keep every worker busy until the plane fits."""
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        slopes = tf.Variable(tf.zeros([2, 1]))
        offset = tf.Variable(tf.zeros([]))
    print(f"chief trains, slopes live on {slopes.device}", flush=True)

    @tf.function
    def step() -> tf.Tensor:
        x = tf.random.normal([BATCH_SIZE, 2])
        y = x @ tf.constant(SLOPES, shape=[2, 1]) + OFFSET + tf.random.normal([BATCH_SIZE, 1], stddev=0.1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((x @ slopes + offset - y) ** 2)
        for variable, gradient in zip((slopes, offset), tape.gradient(loss, [slopes, offset]), strict=True):
            variable.assign_sub(LEARNING_RATE * gradient)
        return loss

    for first in range(0, STEPS, 100):
        losses = [coordinator.schedule(step) for _ in range(100)]
        coordinator.join()
        print(f"step={first + 100} loss={float(losses[-1].fetch()):.5f}", flush=True)

    fitted = [*slopes.numpy()[:, 0], float(offset.numpy())]
    print("fitted " + " ".join(f"{value:.3f}" for value in fitted), flush=True)
    if any(abs(value - true) > CLOSE for value, true in zip(fitted, [*SLOPES, OFFSET], strict=True)):
        print(f"that is not {SLOPES} and {OFFSET}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if resolver.task_type == "chief":
        return coordinate(resolver)
    serve(resolver)
    return 0


if __name__ == "__main__":
    sys.exit(main())
