"""The elastic example, held: from `HOLD_FROM`'s epoch on it goes on to the next one only when there is a file `go` in
the directory that is its argument.

So what a test does to the job happens in the middle of the training, however slow the machine is.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import elastic_digits

HOLD_FROM = int(os.environ["HOLD_FROM"])
GO = Path(sys.argv[1], "go")


def hold(epoch: int) -> None:
    while epoch >= HOLD_FROM and not GO.exists():
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(elastic_digits.main(after_epoch=hold))
