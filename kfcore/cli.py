"""The `kfcore` command: from arguments to the library, nothing more.

Modules are imported by the command that needs them, so that `kfcore --help` and a typing mistake answer at once.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from kfcore_local.cli import local

if TYPE_CHECKING:
    from kfcore.client.interface import Client
    from kfcore.controller.leader_election import LeaderElector
    from kfcore.plugins import OperatorOptions, PluginSet

app = typer.Typer(
    name="kfcore",
    help="Kubernetes operators in Python: the Kubeflow training jobs, and yours; on a cluster or on this machine.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(local, name="local")

BAD_INPUT = 2


def main() -> None:
    app()


@app.command(short_help="Serve every installed job kind on a cluster.")
def operator(
    kubeconfig: Annotated[
        Path | None, typer.Option(help="The cluster; without it $KUBECONFIG, the pod's own, or ~/.kube/config.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The context of the kubeconfig.")] = None,
    namespace: Annotated[list[str] | None, typer.Option(help="Serve only this namespace. Repeatable.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Serve only this kind (PyTorchJob). Repeatable.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="How many jobs of a kind are worked on at once.")] = 1,
    ttl_seconds: Annotated[
        int | None, typer.Option(min=0, help="Delete finished jobs after so long, unless they say when themselves.")
    ] = None,
    init_container_image: Annotated[
        str, typer.Option(help="The image of the container that waits for a PyTorchJob's master.")
    ] = "alpine:3.10",
    init_container_max_tries: Annotated[int, typer.Option(min=1, help="How often that container looks.")] = 100,
    leader_election_namespace: Annotated[
        str | None, typer.Option(help="Run as one of several: only the holder of a Lease in this namespace works.")
    ] = None,
    health_address: Annotated[str | None, typer.Option(help="Serve /healthz and /readyz on HOST:PORT.")] = None,
    metrics_address: Annotated[str | None, typer.Option(help="Serve /metrics on HOST:PORT.")] = None,
    log_format: Annotated[
        Literal["json", "console"] | None, typer.Option(help="Without it: console on a terminal, else json.")
    ] = None,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="The least to log.")] = "info",
) -> None:
    """Serve every installed job kind on a cluster, until interrupted.

    The CustomResourceDefinitions must be there: kfcore crds | kubectl apply --server-side -f -
    """
    from kfcore.controller.observability import configure_logging
    from kfcore.plugins import OperatorOptions, load_plugins

    configure_logging(log_level, log_format or ("console" if sys.stderr.isatty() else "json"))
    options = OperatorOptions(
        kinds=tuple(kind or ()),
        workers=workers,
        ttl_seconds=ttl_seconds,
        init_container_image=init_container_image,
        init_container_max_tries=init_container_max_tries,
    )
    plugins = load_plugins()
    for name, error in plugins.failures:
        typer.echo(f"plugin {name} could not be loaded: {error}", err=True)
    if not plugins.controllers:
        _refuse("no plugin is installed, so there is nothing to serve")
    asyncio.run(
        _serve(
            plugins, options, kubeconfig, context, namespace, leader_election_namespace, health_address, metrics_address
        )
    )


async def _serve(
    plugins: PluginSet,
    options: OperatorOptions,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: list[str] | None,
    lease_namespace: str | None,
    health_address: str | None,
    metrics_address: str | None,
) -> None:
    from kfcore.client.cluster import ClusterClient, ConfigurationError
    from kfcore.controller.manager import Manager

    try:
        client = await ClusterClient.connect(kubeconfig, context)
    except ConfigurationError as error:
        _refuse(str(error))
    async with client:
        try:
            manager = Manager(
                client,
                namespaces=namespaces,
                health_address=health_address,
                metrics_address=metrics_address,
                leader_election=_elector(client, lease_namespace) if lease_namespace else None,
            )
            plugins.setup(manager, options)
        except ValueError as error:  # an address or a kind that is none
            _refuse(str(error))
        manager.stop_on_signals()
        await manager.run()


def _elector(client: Client, namespace: str) -> LeaderElector:
    import os
    import socket

    from kfcore.clock import SystemClock
    from kfcore.controller.leader_election import LeaderElector

    identity = f"{socket.gethostname()}_{os.getpid()}"
    return LeaderElector(client, SystemClock(), name="kfcore-operator", namespace=namespace, identity=identity)


@app.command()
def plugins() -> None:
    """List the installed plugins and their kinds."""
    from kfcore.plugins import load_plugins

    found = load_plugins()
    width = max((len(name) for name, _ in [*found.controllers, *found.failures]), default=0)
    for name, controller in found.controllers:
        resource = controller.kind.resource
        typer.echo(f"{name:<{width}}  {resource.kind} ({resource.api_version})")
    for name, error in found.failures:
        typer.echo(f"{name:<{width}}  could not be loaded: {type(error).__name__}: {error}", err=True)
    if found.failures:
        raise typer.Exit(1)


@app.command(short_help="Print the CustomResourceDefinitions of all plugins.")
def crds() -> None:
    """Print the CustomResourceDefinitions of all installed plugins as YAML: kfcore crds | kubectl apply -f -"""
    import yaml

    from kfcore.api.crd import crd
    from kfcore.plugins import load_plugins

    found = load_plugins()
    for name, error in found.failures:
        typer.echo(f"plugin {name} could not be loaded: {error}", err=True)
    manifests = [crd(controller.kind) for _, controller in found.controllers]
    plain = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
    typer.echo(yaml.dump_all(manifests, Dumper=plain, sort_keys=False, explicit_start=True), nl=False)


@app.command()
def version() -> None:
    """Print kfcore's version."""
    from importlib.metadata import version as installed

    typer.echo(installed("kfcore"))


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(BAD_INPUT)
