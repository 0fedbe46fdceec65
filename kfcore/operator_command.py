"""`kfcore operator`: from flags and environment variables to a manager that serves the installed plugins.

The flags are the training operator's where it has one, so that its Deployment's arguments go on working; what they are
called elsewhere, and what has no meaning here, is `kfcore.operator_arguments`.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from kfcore.operator_arguments import NOTES

if TYPE_CHECKING:
    from kfcore.client.interface import Client
    from kfcore.client.throttle import Throttle
    from kfcore.controller.leader_election import LeaderElector
    from kfcore.controller.manager import Manager
    from kfcore.plugins import OperatorOptions, PluginSet

BAD_INPUT = 2
# The training operator's, so that it and kfcore are never active at once.
LEASE = "1ca428e5.training-operator.kubeflow.org"
OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def operator(
    context_of_command: typer.Context,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            envvar="KFCORE_KUBECONFIG",
            help="The cluster; without it $KUBECONFIG, the pod's own, or ~/.kube/config.",
        ),
    ] = None,
    context: Annotated[
        str | None, typer.Option(envvar="KFCORE_CONTEXT", help="The context of the kubeconfig; without it its current.")
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            envvar=["KFCORE_NAMESPACE", "KUBEFLOW_NAMESPACE"],
            help="Serve only this namespace. Repeatable, or separated by commas; without it all.",
        ),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--enable-scheme",
            "--kind",
            envvar="KFCORE_ENABLE_SCHEME",
            help="Serve only this kind (PyTorchJob, in any case). Repeatable, or separated by commas; without it all "
            "that are installed.",
        ),
    ] = None,
    workers: Annotated[
        list[str] | None,
        typer.Option(
            "--controller-threads",
            "--workers",
            metavar="N|KIND=N",
            envvar="KFCORE_WORKERS",
            help="How many jobs of a kind are worked on at once, of every kind (4) or of one (TFJob=8). Repeatable, "
            "or separated by commas. Default: 1",
        ),
    ] = None,
    ttl_seconds: Annotated[
        int | None,
        typer.Option(
            min=0,
            envvar="KFCORE_TTL_SECONDS",
            help="Delete finished jobs after so many seconds, unless they say when themselves.",
        ),
    ] = None,
    gang_scheduler_name: Annotated[
        str,
        typer.Option(
            envvar="KFCORE_GANG_SCHEDULER_NAME",
            help="Schedule the pods of a job all at once: volcano, or the name of a scheduler with the coscheduling of "
            "scheduler-plugins. Without it off.",
        ),
    ] = "",
    force_delete_seconds: Annotated[
        float | None,
        typer.Option(
            min=0,
            envvar="KFCORE_FORCE_DELETE_SECONDS",
            help="Remove pods that should have ended so many seconds ago on a node that is lost; without it never.",
        ),
    ] = None,
    init_container_image: Annotated[
        str,
        typer.Option(
            "--pytorch-init-container-image",
            "--init-container-image",
            envvar="KFCORE_INIT_CONTAINER_IMAGE",
            help="The image of the container that waits for a PyTorchJob's master.",
        ),
    ] = "alpine:3.10",
    init_container_max_tries: Annotated[
        int,
        typer.Option(
            "--pytorch-init-container-max-tries",
            "--init-container-max-tries",
            min=1,
            envvar="KFCORE_INIT_CONTAINER_MAX_TRIES",
            help="How often that container looks.",
        ),
    ] = 100,
    init_container_template_file: Annotated[
        Path | None,
        typer.Option(
            "--pytorch-init-container-template-file",
            exists=True,
            dir_okay=False,
            envvar="KFCORE_INIT_CONTAINER_TEMPLATE_FILE",
            help="A YAML list of containers to use in place of that container.",
        ),
    ] = None,
    leader_elect: Annotated[
        bool | None,
        typer.Option(
            "--leader-elect/--no-leader-elect",
            envvar="KFCORE_LEADER_ELECT",
            help="Run as one of several: only the holder of a Lease works. Without either: if that Lease's namespace "
            "is given.",
        ),
    ] = None,
    leader_election_id: Annotated[
        str, typer.Option(envvar="KFCORE_LEADER_ELECTION_ID", help="The name of that Lease.")
    ] = LEASE,
    leader_election_namespace: Annotated[
        str | None,
        typer.Option(
            envvar="KFCORE_LEADER_ELECTION_NAMESPACE",
            help="The namespace of that Lease; without it the pod's own.",
        ),
    ] = None,
    health_address: Annotated[
        str,
        typer.Option(
            "--health-probe-bind-address",
            "--health-address",
            metavar="HOST:PORT",
            envvar="KFCORE_HEALTH_PROBE_BIND_ADDRESS",
            help="Serve /healthz and /readyz there; 0 for nowhere.",
        ),
    ] = ":8081",
    metrics_address: Annotated[
        str,
        typer.Option(
            "--metrics-bind-address",
            "--metrics-address",
            metavar="HOST:PORT",
            envvar="KFCORE_METRICS_BIND_ADDRESS",
            help="Serve /metrics there; 0 for nowhere.",
        ),
    ] = ":8080",
    metrics_cert_path: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            envvar="KFCORE_METRICS_CERT_PATH",
            help="A directory with tls.crt and tls.key: metrics are served over TLS, and to those only whose bearer "
            "token the API server lets get /metrics.",
        ),
    ] = None,
    kube_api_qps: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="KFCORE_KUBE_API_QPS",
            help="Send at most so many requests a second; 0 for as many as the server takes.",
        ),
    ] = 0.0,
    kube_api_burst: Annotated[
        int,
        typer.Option(min=1, envvar="KFCORE_KUBE_API_BURST", help="How many requests may go at once under that limit."),
    ] = 30,
    log_format: Annotated[
        Literal["json", "console"] | None,
        typer.Option(
            "--log-format",
            "--zap-encoder",
            envvar="KFCORE_LOG_FORMAT",
            help="Without it: console on a terminal, else json.",
        ),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option("--log-level", "--zap-log-level", envvar="KFCORE_LOG_LEVEL", help="The least to log."),
    ] = "info",
) -> None:
    """Serve every installed job kind on a cluster, until interrupted.

    The CustomResourceDefinitions must be there: kfcore crds | kubectl apply --server-side -f -
    """
    import structlog

    from kfcore.controller.observability import configure_logging
    from kfcore.plugins import OperatorOptions, load_plugins

    configure_logging(log_level, log_format or ("console" if sys.stderr.isatty() else "json"))
    for flag, why in context_of_command.meta.get(NOTES, ()):
        structlog.get_logger(__name__).warning("operator.flag_without_effect", flag=flag, why=why)
    everywhere, by_kind = _workers(_words(workers))
    options = OperatorOptions(
        kinds=tuple(_words(kind)),
        workers=everywhere,
        workers_by_kind=by_kind,
        ttl_seconds=ttl_seconds,
        gang_scheduler_name=gang_scheduler_name,
        force_delete_seconds=force_delete_seconds,
        init_container_image=init_container_image,
        init_container_max_tries=init_container_max_tries,
        init_container_template_file=init_container_template_file,
    )
    lease = None
    if leader_elect if leader_elect is not None else leader_election_namespace:
        lease = leader_election_namespace or _own_namespace(), leader_election_id
    process = Process(
        kubeconfig=kubeconfig,
        context=context,
        namespaces=_words(namespace) or None,
        lease=lease,
        health_address=_address(health_address),
        metrics_address=_address(metrics_address),
        metrics_cert_path=metrics_cert_path,
        qps=kube_api_qps,
        burst=kube_api_burst,
    )
    plugins = load_plugins()
    for name, error in plugins.failures:
        typer.echo(f"plugin {name} could not be loaded: {error}", err=True)
    if not plugins.controllers:
        _refuse("no plugin is installed, so there is nothing to serve")
    asyncio.run(process.serve(plugins, options))


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What is the process's own, whatever it serves. `lease` is a namespace and a name."""

    kubeconfig: Path | None
    context: str | None
    namespaces: list[str] | None
    lease: tuple[str, str] | None
    health_address: str | None
    metrics_address: str | None
    metrics_cert_path: Path | None
    qps: float
    burst: int

    async def serve(self, plugins: PluginSet, options: OperatorOptions) -> None:
        from kfcore.client.cluster import ClusterClient, ConfigurationError

        try:
            client = await ClusterClient.connect(self.kubeconfig, self.context, throttle=self._throttle())
        except ConfigurationError as error:
            _refuse(str(error))
        async with client:
            try:
                manager = self._manager(client)
                plugins.setup(manager, options)
            except (ValueError, OSError) as error:  # an address, a certificate or a kind that is none
                _refuse(str(error))
            manager.stop_on_signals()
            await _run(manager)

    def _throttle(self) -> Throttle | None:
        from kfcore.client.throttle import Throttle

        return Throttle(self.qps, self.burst) if self.qps else None

    def _manager(self, client: Client) -> Manager:
        from kfcore.controller.manager import Manager
        from kfcore.controller.metrics_access import Certificate

        return Manager(
            client,
            namespaces=self.namespaces,
            health_address=self.health_address,
            metrics_address=self.metrics_address,
            metrics_certificate=Certificate.of_directory(self.metrics_cert_path) if self.metrics_cert_path else None,
            leader_election=_elector(client, *self.lease) if self.lease else None,
        )


async def _run(manager: Manager) -> None:
    from kfcore.cache.cache import CacheNotSynced
    from kfcore.controller.http_server import CannotListen
    from kfcore.controller.leader_election import LeadershipLost

    try:
        await manager.run()
    except (CacheNotSynced, LeadershipLost, CannotListen) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _elector(client: Client, namespace: str, name: str) -> LeaderElector:
    from kfcore.clock import SystemClock
    from kfcore.controller.leader_election import LeaderElector

    return LeaderElector(client, SystemClock(), name=name, namespace=namespace)


def _own_namespace() -> str:
    try:
        return OWN_NAMESPACE.read_text().strip()
    except OSError:
        _refuse("--leader-elect needs --leader-election-namespace: this does not run in a pod, whose namespace it took")


def _words(values: list[str] | None) -> list[str]:
    """Repeated options and comma-separated ones, as one list."""
    return [word.strip() for value in values or () for word in value.split(",") if word.strip()]


def _workers(words: list[str]) -> tuple[int, dict[str, int]]:
    """The workers of every kind, and of single ones."""
    everywhere, by_kind = 1, {}
    for word in words:
        name, equals, number = word.rpartition("=")
        if not number.isdecimal() or int(number) < 1 or (equals and not name):
            _refuse(f"--controller-threads {word!r}: expected a number of at least 1, or KIND=N such as TFJob=8")
        if name:
            by_kind[name.lower()] = int(number)
        else:
            everywhere = int(number)
    return everywhere, by_kind


def _address(text: str) -> str | None:
    return None if text in ("", "0") else text


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(BAD_INPUT)
