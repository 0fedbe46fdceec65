"""The `kfcore` command: from arguments to the library, nothing more.

Modules are imported by the command that needs them, so that `kfcore --help` and a typing mistake answer at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from kfcore.operator_arguments import OperatorCommand
from kfcore.operator_command import operator
from kfcore_local.cli import local

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


def main() -> None:
    app()


app.command(cls=OperatorCommand, short_help="Serve every installed job kind on a cluster.")(operator)


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


@app.command(short_help="Print the ServiceAccount and the roles that the operator needs.")
def rbac(
    namespace: Annotated[str, typer.Option(help="The namespace that the operator runs in.")] = "kfcore-system",
) -> None:
    """Print the least roles for an operator of all installed plugins as YAML: kfcore rbac | kubectl apply -f -"""
    import yaml

    from kfcore.deployment import operator_rbac
    from kfcore.plugins import load_plugins

    found = load_plugins()
    for name, error in found.failures:
        typer.echo(f"plugin {name} could not be loaded: {error}", err=True)
    manifests = operator_rbac([controller for _, controller in found.controllers], namespace=namespace)
    plain = type("Plain", (yaml.SafeDumper,), {"ignore_aliases": lambda self, data: True})
    typer.echo(yaml.dump_all(manifests, Dumper=plain, sort_keys=False, explicit_start=True), nl=False)


@app.command()
def version() -> None:
    """Print kfcore's version."""
    from importlib.metadata import version as installed

    typer.echo(installed("kfcore"))
