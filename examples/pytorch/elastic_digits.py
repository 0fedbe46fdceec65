"""Trains on handwritten digits with however many workers there are: what `elastic.yaml` runs under torchrun.

Workers may come, go and die. torchrun then stops all of them and starts them anew with the ranks that they have now,
and they go on from the last epoch's snapshot.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from digits_ddp import accuracy, digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

EPOCHS = int(os.environ.get("EPOCHS", "20"))
PAUSE = float(os.environ.get("PAUSE", "0"))
"""Seconds between epochs, to have time to watch."""
GOAL = 0.9


def pause(_epoch: int) -> None:
    time.sleep(PAUSE)


def main(after_epoch: Callable[[int], None] = pause) -> int:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    snapshot = Path(os.environ["SNAPSHOT"])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    first = 1
    if snapshot.exists():
        saved = torch.load(snapshot, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1
    print(f"rank {rank} of {world_size} trains from epoch {first} on, under torchrun {os.getppid()}", flush=True)
    train, held_out = digits()
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(train, world_size, rank, seed=0)
    batches = DataLoader(train, batch_size=32, sampler=sampler)
    replica = DistributedDataParallel(model)
    for epoch in range(first, EPOCHS + 1):
        sampler.set_epoch(epoch)
        for x, y in batches:
            loss = nn.functional.cross_entropy(replica(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            whole = snapshot.with_suffix(".new")
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, whole)
            whole.replace(snapshot)
            print(f"epoch={epoch} of {world_size} workers", flush=True)
        after_epoch(epoch)
    reached = accuracy(replica, held_out, rank, world_size)
    if rank == 0:
        print(f"accuracy={reached:.4f}", flush=True)
        snapshot.unlink(missing_ok=True)
    dist.destroy_process_group()
    return 0 if reached >= GOAL else 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # gloo's threads outlive the model, and now and then abort an interpreter that takes itself apart
