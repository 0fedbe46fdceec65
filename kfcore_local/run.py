"""`kfcore local run` and `kfcore local up`: a `LocalCluster` around the jobs of some files, or around nothing but time.

Each returns the exit code of its command. Signals are handled here, and only here.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kfcore_local.errors import ErrorStream
from kfcore_local.isolation.mode import Isolation
from kfcore_local.manifests import BadInput, Document, read_files
from kfcore_local.troubles import CannotStart, explain

if TYPE_CHECKING:
    from kfcore.api.meta import CustomResource, Manifest
    from kfcore_local.cluster import LocalCluster
    from kfcore_local.images import ImageMap
    from kfcore_local.validation import KnownKinds

SUCCEEDED, FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

_errors = ErrorStream()


def run_files(
    files: Sequence[str],
    gang_scheduler_name: str = "",
    images: Sequence[str] = (),
    gateway_port: int = 0,
    isolation: Isolation = Isolation.AUTO,
) -> int:
    """Run the jobs of `files` to their end: 0 when all succeeded, 1 when one failed, 2 bad input, 130 interrupted. What
    never ends, such as a Notebook, is served until interrupted; where there is nothing else, that is its success.
    """
    try:
        documents = read_files(files)
        image_map = _image_map(images)
    except BadInput as error:
        return _refuse(error)
    _quiet_logs()
    return _until_interrupted(
        lambda: _run(documents, gang_scheduler_name, image_map, gateway_port, isolation),
        "stopping",
        interrupted=INTERRUPTED,
    )


class Up(msgspec.Struct, frozen=True):
    """What `kfcore local up` was asked for. `name` None: the first that is free."""

    name: str | None = None
    kubeconfig: Path | None = None
    merge: bool = False
    data_dir: Path | None = None
    without: frozenset[str] = frozenset()
    port: int = 0
    gang_scheduler_name: str = ""
    images: tuple[str, ...] = ()
    gateway_port: int = 0
    isolation: Isolation = Isolation.AUTO


def serve(asked: Up) -> int:
    """Serve the API until interrupted, which is how it is meant to end: 0. 2 when something asked for is not to be
    had: a name, file, port or data directory that is taken.
    """
    _quiet_logs()
    return _until_interrupted(lambda: _serve(asked), "stopping", interrupted=SUCCEEDED)


async def _run(
    documents: Sequence[Document],
    gang_scheduler_name: str,
    images: ImageMap,
    gateway_port: int,
    isolation: Isolation,
) -> int:
    from kfcore.api.jobs import Job
    from kfcore.apiserver.catalogue import builtin_kinds
    from kfcore.plugins import OperatorOptions, load_plugins
    from kfcore_local.apply import apply
    from kfcore_local.cluster import LocalCluster
    from kfcore_local.console import DIM, Console
    from kfcore_local.follow import Follower
    from kfcore_local.live import live_view
    from kfcore_local.progress import JobKey
    from kfcore_local.serving import ServerWatch
    from kfcore_local.summary import summarize
    from kfcore_local.validation import KnownKinds, validate

    plugins = load_plugins()
    options = OperatorOptions(gang_scheduler_name=gang_scheduler_name)
    for name, error in plugins.failures:
        _tell(f"plugin {name} could not be loaded: {error}")
    kinds = [controller.kind for _, controller in plugins.controllers]
    known = KnownKinds(
        {(kind.resource.api_version, kind.resource.kind): kind for kind in kinds},
        [(kind.resource.api_version, kind.resource.kind) for kind in builtin_kinds()],
    )
    try:
        validate(documents, known)
        serves_only = not any(_ends(document, known, Job) for document in documents)
        async with LocalCluster(
            plugins=plugins, options=options, images=images, gateway_port=gateway_port, isolation=isolation
        ) as cluster:
            await apply(cluster.client, documents)
            console = Console(sys.stdout)
            console.say(f"kubectl --kubeconfig {shlex.quote(str(cluster.kubeconfig))} get pods", DIM)
            if cluster.note:
                console.say(cluster.note, DIM)
            jobs: dict[JobKey, Manifest] = {}
            servers: dict[JobKey, Manifest] = {}
            for document in documents:
                if resource := known.resource(document):
                    kept = jobs if _ends(document, known, Job) else servers
                    kept[JobKey(resource, document.namespace, document.name)] = document.manifest
            assert cluster.gateway is not None
            watch = ServerWatch(cluster.client, cluster.gateway, console)
            async with asyncio.TaskGroup() as group:
                for resource in {key.resource for key in servers}:
                    group.create_task(watch.run(resource, servers))
                follower = Follower(cluster.client, cluster.logs, console, cluster.clock)
                async with live_view(console, _errors, follower, cluster.containers, cluster.clock):
                    outcomes = await follower.follow(jobs) if jobs else []
                summarize(console, outcomes)
    except asyncio.CancelledError:
        if serves_only:
            return SUCCEEDED
        raise
    except BadInput as error:
        return _refuse(error)
    except CannotStart as error:
        _tell(str(error))
        return BAD_INPUT
    except BrokenPipeError:
        raise
    except OSError as error:
        _tell(explain(error))
        return BAD_INPUT
    return SUCCEEDED if all(outcome.succeeded for outcome in outcomes) else FAILED


def _ends(document: Document, known: KnownKinds, job: type[CustomResource]) -> bool:
    """Whether the document is a job: something with an end of its own."""
    kind = known.jobs.get((document.api_version, document.kind))
    return kind is not None and issubclass(kind, job)


def _image_map(options: Sequence[str]) -> ImageMap:
    from kfcore_local.images import ImageMap

    try:
        return ImageMap.parse(options)
    except ValueError as error:
        raise BadInput([str(error)]) from error


async def _serve(asked: Up) -> int:
    from kfcore.apiserver.database import DataDirectoryError
    from kfcore.plugins import OperatorOptions
    from kfcore_local import instances, kubeconfigs
    from kfcore_local.cluster import LocalCluster

    options = OperatorOptions(gang_scheduler_name=asked.gang_scheduler_name)
    try:
        images = _image_map(asked.images)
        with ExitStack() as stack:
            name, directory = stack.enter_context(instances.claimed(asked.name))
            cluster = LocalCluster(
                without=asked.without,
                kubeconfig=asked.kubeconfig or directory / "kubeconfig",
                port=asked.port,
                options=options,
                data_dir=asked.data_dir,
                images=images,
                gateway_port=asked.gateway_port,
                isolation=asked.isolation,
            )
            async with cluster:
                context = ""
                if asked.merge:
                    context = name if name == instances.DEFAULT_NAME else f"{instances.DEFAULT_NAME}-{name}"
                    file = kubeconfigs.users_kubeconfig()
                    kubeconfigs.merge(file, context, cluster.kubeconfig)
                    stack.callback(kubeconfigs.unmerge, file, context, cluster.token)
                data_dir = str(asked.data_dir or "")
                link = cluster.gateway.link("/") if cluster.gateway is not None else ""
                facts = (name, os.getpid(), cluster.url, cluster.token, str(cluster.kubeconfig), data_dir, context)
                instances.enter(instances.Instance(*facts, link, cluster.note), directory)
                stop = f"`kfcore local stop --name {name}`" if instances.is_logged(directory) else "Ctrl-C"
                _announce(cluster, asked, context, stop)
                await asyncio.Event().wait()
    except BadInput as error:
        return _refuse(error)
    except (CannotStart, DataDirectoryError, instances.InstanceError, kubeconfigs.MergeRefused) as error:
        _tell(str(error))
        return BAD_INPUT
    except BrokenPipeError:
        raise
    except OSError as error:
        _tell(explain(error))
        return BAD_INPUT
    return SUCCEEDED


def _announce(cluster: LocalCluster, asked: Up, context: str, stop: str) -> None:
    for name, error in cluster.plugins.failures:
        _tell(f"plugin {name} could not be loaded: {error}")
    left_out = f" (without {', '.join(sorted(asked.without))})" if asked.without else ""
    print(f"Kubernetes API on this machine: {cluster.url}{left_out}")
    print(f"kubeconfig: {cluster.kubeconfig}")
    if cluster.gateway is not None:
        print(f"services in a browser: {cluster.gateway.link('/')}")
    if cluster.note:
        print(cluster.note)
    print()
    if context:
        print(f"  kubectl --context {context} get pytorchjobs,pods\n")
    else:
        print(f"  export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
        print("  kubectl get pytorchjobs,pods\n")
    print(f"{stop} ends it, and everything that it runs.", flush=True)


def _until_interrupted(main: Callable[[], Coroutine[Any, Any, int]], ending: str, *, interrupted: int) -> int:
    """Run `main` to its end, or until SIGINT, SIGTERM or SIGHUP: the first ends it in order, a second at once.

    Whatever it started dies with it in every case; the supervisors of the containers see to that.
    """

    async def supervised() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        asked = False

        def ask(number: signal.Signals) -> None:
            nonlocal asked
            if asked:
                os._exit(128 + number)
            asked = True
            _tell(f"\n{number.name}: {ending}; once more to end at once")
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, ask, number)
        try:
            return await main()
        except asyncio.CancelledError:
            if not asked:
                raise
            return interrupted

    try:
        return asyncio.run(supervised())
    except* BrokenPipeError:
        # Whoever read our output has gone. Point it elsewhere, so that Python's own last flush is quiet too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _refuse(error: BadInput) -> int:
    _tell("\n".join(error.problems))
    return BAD_INPUT


def _tell(text: str) -> None:
    print(text, file=_errors, flush=True)


def _quiet_logs() -> None:
    """Of the operator's own log, what goes wrong; the rest is on the screen already, in words for a user."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(_errors),  # type: ignore[arg-type] # all that it uses is there
    )
