"""`kfcore local`: this machine as a cluster, from the command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kfcore_local.isolation.mode import Isolation
from kfcore_local.start_up import import_ahead

local = typer.Typer(
    help="This machine as a Kubernetes cluster: no container runtime, no daemon, nothing to install.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


GangScheduler = Annotated[
    str, typer.Option("--gang-scheduler-name", help="Schedule pods in groups: volcano, or another scheduler's name.")
]


Images = Annotated[
    list[str] | None,
    typer.Option("--image", metavar="NAME=COMMAND", help="What images of this name run; or NAME=VENV. Repeatable."),
]
GatewayPort = Annotated[
    int, typer.Option("--gateway-port", min=0, max=65535, help="Port of services in a browser; 0 takes a free one.")
]
Isolated = Annotated[
    Isolation,
    typer.Option(help="Whether pods have namespaces of their own: auto where this machine permits it, pod, or none."),
]
Name = Annotated[str | None, typer.Option("--name", help="The cluster's name, where several run.")]


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
    image: Images = None,
    gateway_port: GatewayPort = 0,
    isolation: Isolated = Isolation.AUTO,
) -> None:
    """Run the jobs in FILEs to their end, and serve Notebooks until interrupted: real processes, real logs.

    Exits with 0 when every job succeeded, 1 when one failed, 2 when a file is wrong, 130 when interrupted.
    """
    import_ahead()
    from kfcore_local.run import run_files

    raise typer.Exit(run_files(files, gang_scheduler_name, image or (), gateway_port, isolation))


@local.command()
def up(
    name: Name = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Keep everything in this directory, and go on from it.")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Where to write the kubeconfig; removed at the end.")] = None,
    merge_kubeconfig: Annotated[
        bool, typer.Option("--merge-kubeconfig", help="Add a context to your own kubeconfig; taken out at the end.")
    ] = False,
    without: Annotated[list[Part] | None, typer.Option(help="Leave a part out. Repeatable.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    gang_scheduler_name: GangScheduler = "",
    image: Images = None,
    gateway_port: GatewayPort = 0,
    isolation: Isolated = Isolation.AUTO,
) -> None:
    """Serve the Kubernetes API on this machine until interrupted, for kubectl and any other client."""
    kubeconfig, data_dir = _absolute(kubeconfig), _absolute(data_dir)
    if detach:
        from kfcore_local.background import start

        options = [f"--port={port}", f"--gang-scheduler-name={gang_scheduler_name}"]
        options += [f"--without={part}" for part in without or ()]
        options += [f"--data-dir={data_dir}"] if data_dir else []
        options += [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
        options += [f"--image={entry}" for entry in image or ()]
        options += [f"--gateway-port={gateway_port}", f"--isolation={isolation}"]
        options += ["--merge-kubeconfig"] if merge_kubeconfig else []
        raise typer.Exit(start(name, options))
    import_ahead()
    from kfcore_local.run import Up, serve

    left_out = frozenset(part.value for part in without or ())
    raise typer.Exit(
        serve(
            Up(
                name,
                kubeconfig,
                merge_kubeconfig,
                data_dir,
                left_out,
                port,
                gang_scheduler_name,
                tuple(image or ()),
                gateway_port,
                isolation,
            )
        )
    )


@local.command()
def status(name: Name = None) -> None:
    """Show the clusters that run. Exits with 1 when none does."""
    from kfcore_local import background

    raise typer.Exit(background.status(name))


@local.command()
def logs(
    name: Name = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the cluster ends.")] = False,
) -> None:
    """Show the log of a cluster in the background: its controllers' and kubelet's, not that of its pods."""
    from kfcore_local import background

    raise typer.Exit(background.logs(name, follow))


@local.command()
def stop(
    name: Name = None,
    every: Annotated[bool, typer.Option("--all", help="All clusters.")] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds until it is killed.")] = 60.0,
) -> None:
    """End a cluster, and everything that it runs."""
    from kfcore_local import background

    if name is not None and every:
        raise typer.BadParameter("give --name or --all, not both")
    raise typer.Exit(background.stop(name, every=every, timeout=timeout))


@local.command()
def reset(
    data_dir: Annotated[Path, typer.Option(help="The directory that was given to `up --data-dir`.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove every object that a cluster kept, and the logs of its pods. The cluster must have ended."""
    from kfcore_local import background

    raise typer.Exit(background.reset(data_dir.expanduser().absolute(), agreed=yes))


def _absolute(path: Path | None) -> Path | None:
    return path.expanduser().absolute() if path else None
