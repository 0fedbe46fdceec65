"""Trains a small network on handwritten digits, data-parallel: the script that `digits-ddp.yaml` runs in every replica.

It knows nothing of kfcore. RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT come from the environment, as on a cluster.
The data are the 1,797 images of 8×8 pixels that scikit-learn ships.
"""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

EPOCHS = 20
BATCH_SIZE = 32
GOAL = 0.95


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Four fifths to train on, one fifth held out; the same split in every replica."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images, dtype=torch.float32)[order] / 16
    y = torch.tensor(labels)[order]
    held_out = len(x) // 5
    return TensorDataset(x[held_out:], y[held_out:]), TensorDataset(x[:held_out], y[:held_out])


def accuracy(model: nn.Module, data: TensorDataset, rank: int, world_size: int) -> float:
    """The share of `data` that `model` reads right; each replica reads its part, and they add up."""
    x, y = (tensor[rank::world_size] for tensor in data.tensors)
    with torch.no_grad():
        right = (model(x).argmax(dim=1) == y).sum()
    counts = torch.tensor([right.item(), len(y)], dtype=torch.float64)
    dist.all_reduce(counts)
    return float(counts[0] / counts[1])


def main() -> int:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    train, held_out = digits()
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(train, world_size, rank, seed=0)
    batches = DataLoader(train, batch_size=BATCH_SIZE, sampler=sampler)
    print(f"rank {rank} of {world_size} trains on {len(sampler)} of {len(train)} images")

    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    reached = 0.0
    for epoch in range(1, EPOCHS + 1):
        sampler.set_epoch(epoch)
        total = torch.zeros(1)
        for x, y in batches:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        dist.all_reduce(total)
        reached = accuracy(model, held_out, rank, world_size)
        if rank == 0 and epoch % 2 == 0:
            print(f"epoch={epoch} loss={total.item() / (len(batches) * world_size):.4f} accuracy={reached:.4f}")
    dist.destroy_process_group()
    if reached < GOAL:
        print(f"accuracy {reached:.4f} on held-out images is below {GOAL}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # gloo's threads outlive the model, and now and then abort an interpreter that takes itself apart
