"""`kfcore local run` and `kfcore local up`: a `LocalCluster` around the jobs of some files, or around nothing but time.

Each returns the exit code of its command. Signals are handled here, and only here.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any

from kfcore_local.manifests import BadInput, Document, read_files

SUCCEEDED, FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141


def run_files(files: Sequence[str], gang_scheduler_name: str = "") -> int:
    """Run the jobs of `files` to their end: 0 when all succeeded, 1 when one failed, 2 bad input, 130 interrupted."""
    try:
        documents = read_files(files)
    except BadInput as error:
        return _refuse(error)
    _quiet_logs()
    return _until_interrupted(
        lambda: _run(documents, gang_scheduler_name), "stopping the jobs", interrupted=INTERRUPTED
    )


def serve(kubeconfig: Path | None, without: Collection[str], port: int, gang_scheduler_name: str = "") -> int:
    """Serve the API until interrupted, which is how it is meant to end: 0. 2 when the file or the port is taken."""
    _quiet_logs()
    path = kubeconfig.expanduser().absolute() if kubeconfig else None
    return _until_interrupted(
        lambda: _serve(path, without, port, gang_scheduler_name), "stopping", interrupted=SUCCEEDED
    )


async def _run(documents: Sequence[Document], gang_scheduler_name: str) -> int:
    from kfcore.apiserver.catalogue import builtin_kinds
    from kfcore.plugins import OperatorOptions, load_plugins
    from kfcore_local.apply import apply
    from kfcore_local.cluster import LocalCluster
    from kfcore_local.console import DIM, Console
    from kfcore_local.follow import Follower, JobKey
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
        async with LocalCluster(plugins=plugins, options=options) as cluster:
            await apply(cluster.client, documents)
            console = Console(sys.stdout)
            console.say(f"kubectl --kubeconfig {shlex.quote(str(cluster.kubeconfig))} get pods", DIM)
            jobs = {
                JobKey(resource, document.namespace, document.name): document.manifest
                for document in documents
                if (resource := known.resource(document))
            }
            follower = Follower(cluster.client, cluster.logs, console, cluster.clock)
            outcomes = await follower.follow(jobs)
            summarize(console, outcomes)
    except BadInput as error:
        return _refuse(error)
    return SUCCEEDED if all(outcome.succeeded for outcome in outcomes) else FAILED


async def _serve(kubeconfig: Path | None, without: Collection[str], port: int, gang_scheduler_name: str) -> int:
    from kfcore.plugins import OperatorOptions
    from kfcore_local.cluster import KubeconfigInTheWay, LocalCluster, default_kubeconfig

    path = kubeconfig or default_kubeconfig(f"kubeconfig-{os.getpid()}")
    options = OperatorOptions(gang_scheduler_name=gang_scheduler_name)
    try:
        async with LocalCluster(without=without, kubeconfig=path, port=port, options=options) as cluster:
            for name, error in cluster.plugins.failures:
                _tell(f"plugin {name} could not be loaded: {error}")
            left_out = f" (without {', '.join(sorted(without))})" if without else ""
            print(f"Kubernetes API on this machine: {cluster.url}{left_out}")
            print(f"kubeconfig: {cluster.kubeconfig}\n")
            print(f"  export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
            print("  kubectl get pytorchjobs,pods\n")
            print("Ctrl-C ends it, and everything that it runs.", flush=True)
            await asyncio.Event().wait()
    except (KubeconfigInTheWay, OSError) as error:
        _tell(str(error))
        return BAD_INPUT
    return SUCCEEDED


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
    print(text, file=sys.stderr, flush=True)


def _quiet_logs() -> None:
    """Of the operator's own log, what goes wrong; the rest is on the screen already, in words for a user."""
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
