"""Trains a small network on handwritten digits, data-parallel: the script that `digits-mirrored.yaml` runs everywhere.

It knows nothing of kfcore: MultiWorkerMirroredStrategy finds the other workers in TF_CONFIG, as on a cluster.
The data are the 1,797 images of 8×8 pixels that scikit-learn ships.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

EPOCHS = 10
BATCH_SIZE = 128
LEARNING_RATE = 0.2
MOMENTUM = 0.9
GOAL = 0.95


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Four fifths to train on, one fifth held out; the same split in every worker."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    held_out = len(x) // 5
    return x[held_out:], y[held_out:], x[:held_out], y[:held_out]


class Network(tf.Module):
    """Two layers, and gradient descent with momentum; every worker holds a mirrored copy."""

    def __init__(self) -> None:
        super().__init__()
        draw = tf.random.Generator.from_seed(0)
        self.hidden = tf.Variable(draw.normal([64, 128], stddev=0.15))
        self.hidden_bias = tf.Variable(tf.zeros([128]))
        self.output = tf.Variable(draw.normal([128, 10], stddev=0.1))
        self.output_bias = tf.Variable(tf.zeros([10]))
        self.velocities = [tf.Variable(tf.zeros_like(v)) for v in self.weights]

    @property
    def weights(self) -> list[tf.Variable]:
        return [self.hidden, self.hidden_bias, self.output, self.output_bias]

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x @ self.hidden + self.hidden_bias) @ self.output + self.output_bias

    def step(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """One step on this worker's part of the batch; the gradients are averaged over all workers."""
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, self(x))
            loss = tf.reduce_mean(losses)
        replicas = tf.distribute.get_replica_context()
        gradients = replicas.all_reduce(tf.distribute.ReduceOp.MEAN, tape.gradient(loss, self.weights))
        for weight, velocity, gradient in zip(self.weights, self.velocities, gradients, strict=True):
            velocity.assign(MOMENTUM * velocity + gradient)
            weight.assign_sub(LEARNING_RATE * velocity)
        return loss


def main() -> int:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    resolver = strategy.cluster_resolver
    workers = len(resolver.cluster_spec().as_dict().get("worker", [])) or 1
    print(f"worker {resolver.task_id} of {workers} trains, {strategy.num_replicas_in_sync} in step", flush=True)

    x, y, held_out_x, held_out_y = digits()
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=0).batch(BATCH_SIZE, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    with strategy.scope():
        network = Network()
    distributed = strategy.experimental_distribute_dataset(batches.with_options(options))

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        loss = strategy.run(network.step, args=(x, y))
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, loss, axis=None)

    reached = 0.0
    for epoch in range(1, EPOCHS + 1):
        losses = [float(step(x, y)) for x, y in distributed]
        reached = float(np.mean(np.argmax(network(held_out_x), axis=1) == held_out_y))
        if resolver.task_id == 0 and epoch % 2 == 0:
            print(f"epoch={epoch} loss={np.mean(losses):.4f} accuracy={reached:.4f}", flush=True)
    if reached < GOAL:
        print(f"accuracy {reached:.4f} on held-out images is below {GOAL}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
