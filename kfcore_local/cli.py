"""`kfcore local`: this machine as a cluster, from the command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

local = typer.Typer(
    help="This machine as a Kubernetes cluster: no container runtime, no daemon, nothing to install.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


GangScheduler = Annotated[
    str, typer.Option("--gang-scheduler-name", help="Schedule pods in groups: volcano, or another scheduler's name.")
]


class Part(StrEnum):
    """What `--without` can leave out."""

    KUBELET = "kubelet"
    SCHEDULER = "scheduler"
    CONTROLLERS = "controllers"
    OPERATOR = "operator"


@local.command()
def run(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="YAML manifests; - is standard input.")],
    gang_scheduler_name: GangScheduler = "",
) -> None:
    """Run the jobs in FILEs to their end, here: real processes, real logs.

    Exits with 0 when every job succeeded, 1 when one failed, 2 when a file is wrong, 130 when interrupted.
    """
    from kfcore_local.run import run_files

    raise typer.Exit(run_files(files, gang_scheduler_name))


@local.command()
def up(
    kubeconfig: Annotated[Path | None, typer.Option(help="Where to write the kubeconfig; removed at the end.")] = None,
    without: Annotated[list[Part] | None, typer.Option(help="Leave a part out. Repeatable.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    gang_scheduler_name: GangScheduler = "",
) -> None:
    """Serve the Kubernetes API on this machine until interrupted, for kubectl and any other client."""
    from kfcore_local.run import serve

    raise typer.Exit(serve(kubeconfig, frozenset(without or ()), port, gang_scheduler_name))
