"""`JobController`: one job of many replicas, from what its spec asks to pods, services and a status. A framework
overrides few methods of the abstract interface; `reconcile_job` is the flow that calls them, and knows no framework.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, cast, get_args, get_origin

import structlog

from kfcore.api.core import Pod, Service
from kfcore.api.job_rules import OUR_MANAGER, container_violations
from kfcore.api.jobs import Job, ReplicaSpec
from kfcore.api.meta import Object
from kfcore.api.pod_template import PodTemplate
from kfcore.api.validation import FieldError
from kfcore.client.errors import InvalidObject, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.client.selectors import LabelSelector
from kfcore.clock import Clock, SystemClock
from kfcore.controller.controller import Request, Result
from kfcore.controller.events import EventRecorder
from kfcore.controller.permissions import READ, Permission, on
from kfcore.jobs import lifecycle
from kfcore.jobs.expectations import Expectations
from kfcore.jobs.gang import (
    ANOTHER_SCHEDULER,
    PodGroups,
    PriorityClass,
    SchedulerPluginsPodGroup,
    VolcanoPodGroup,
    gang_scheduler,
)
from kfcore.jobs.lost_nodes import Node
from kfcore.jobs.manifests import add_default_port, pod_manifest, service_manifest, service_ports
from kfcore.jobs.metrics import JobMetrics
from kfcore.jobs.naming import JOB_ROLE, index_of, job_labels, of_type, replica_labels, replica_name
from kfcore.jobs.options import OperatorOptions
from kfcore.jobs.owned import OwnedObjects
from kfcore.jobs.refusing import refuse, refuse_unreadable
from kfcore.jobs.replicas import Replicas, observe
from kfcore.jobs.restarting import recreated_uids
from kfcore.jobs.status import CREATED, StatusUpdate
from kfcore.jobs.status_writer import StatusWriter
from kfcore.jobs.troubles import Troubles

if TYPE_CHECKING:
    from kfcore.controller.manager import Manager

log = structlog.get_logger(__name__)

JobT = TypeVar("JobT", bound=Job[Any])

GATHER_SECONDS = 0.05
"""How long changes of a job's pods are gathered for: they come in groups, and each group is one look at the job."""
RESTART_POLICY_OVERWRITTEN = "Restart policy in pod template will be overwritten by restart policy in replica spec"


class JobController(Generic[JobT]):
    """Base of a job kind's controller::

        class EchoJobController(JobController[EchoJob]):
            container_name, port = "echo", 9000

            def set_cluster_spec(self, job, template, replica_type, index):
                template.set_env("ECHO_PEERS", ",".join(self.hosts(job, "Worker")))

    `reader` is where it reads (a cache; by default the client), `recorder` where its events go, `metrics` where it
    counts.
    """

    kind: ClassVar[type[Job[Any]]]
    container_name: ClassVar[str]
    """The container that the framework runs in."""
    port: ClassVar[int]
    port_name: ClassVar[str] = ""
    """`<kind>-port` in lower case, unless set."""
    operator_name: ClassVar[str] = ""
    """`<kind>-controller` in lower case, unless set: a label of what the job owns, and the source of its events."""
    default_restart_policy: ClassVar[str] = "Never"
    owned_kinds: ClassVar[tuple[type[Object], ...]] = (Pod, Service)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in getattr(cls, "__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            if isinstance(origin, type) and issubclass(origin, JobController) and isinstance(arguments[0], type):
                cls.kind = arguments[0]
        if kind := getattr(cls, "kind", None):
            name = kind.resource.kind.lower()
            cls.port_name = cls.port_name or f"{name}-port"
            cls.operator_name = cls.operator_name or f"{name}-controller"

    @classmethod
    def permissions(cls) -> tuple[Permission, ...]:
        """What the controller needs leave for; `kfcore rbac` makes the operator's role of it."""
        return (
            on(cls.kind, *READ, "delete"),
            on(cls.kind, "patch", subresource="status"),
            on(cls.kind, "update", subresource="finalizers"),  # it owns with blockOwnerDeletion
            *(on(kind, *READ, "create", "delete", "patch") for kind in cls.owned_kinds),
            *(on(kind, *READ, "create", "delete", "patch") for kind in (VolcanoPodGroup, SchedulerPluginsPodGroup)),
            on(PriorityClass, "get"),
            on(Node, "get"),
        )

    @classmethod
    def setup(cls, manager: Manager, options: OperatorOptions) -> Self:
        """Run this controller in a manager, over its cache."""
        recorder = manager.recorder(cls.operator_name)
        controller = cls(
            manager.client,
            reader=manager.cache,
            recorder=recorder,
            clock=manager.clock,
            options=options,
            metrics=manager.metrics.source(JobMetrics),
        )
        owned = cls.owned_kinds
        if controller.pod_groups is not None:
            owned = (*owned, controller.pod_groups.scheduler.kind)
        manager.add_controller(
            controller,
            cls.kind,
            owns=owned,
            workers=options.workers_for(cls.kind.resource.kind),
            name=cls.operator_name,
            predicate=controller.statuses.is_news,
            gather_seconds=GATHER_SECONDS,
        )
        return controller

    def __init__(
        self,
        client: Client,
        *,
        reader: Reader | None = None,
        recorder: EventRecorder | None = None,
        clock: Clock | None = None,
        options: OperatorOptions | None = None,
        metrics: JobMetrics | None = None,
    ) -> None:
        self.client = client
        self.reader: Reader = reader or client
        self.clock = clock or getattr(client, "clock", None) or SystemClock()
        self.recorder = recorder or EventRecorder(client, self.operator_name, self.clock)
        self.options = options or OperatorOptions()
        self.metrics = metrics or JobMetrics()
        self.statuses: StatusWriter[JobT] = StatusWriter(
            client, self.recorder, self.clock, self.metrics, self.container_name
        )
        gang = gang_scheduler(self.options.gang_scheduler_name)
        self.pod_groups = None if gang is None else PodGroups(gang, client, self.reader, self.recorder)
        self._expectations = Expectations() if self.reader is not client else None
        self._troubles = Troubles()

    # ── What a framework says ────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def set_cluster_spec(self, job: JobT, template: PodTemplate, replica_type: str, index: int) -> None:
        """Tell one replica of its peers: change `template`, the pod about to be created."""

    def update_job_status(self, job: JobT, replicas: Mapping[str, Replicas], status: StatusUpdate) -> None:
        """Say when the job succeeded (`status.succeed`), by how its replicas fare. By default: when all did.

        Running, restarting and failing are settled after this, by `is_running` and the restart policies.
        """
        wanted = [group for group in replicas.values() if group.wanted]
        if wanted and all(group.all_succeeded for group in wanted):
            status.succeed(self.succeeded_message(job))

    def is_running(self, job: JobT, replicas: Mapping[str, Replicas]) -> bool:
        """Whether enough replicas run to call the job running."""
        return any(group.active for group in replicas.values())

    def tolerates_failure(self, job: JobT, replica_type: str) -> bool:
        """Whether the job goes on without replicas of a type that failed for good."""
        return False

    def min_available(self, job: JobT) -> int:
        """How many pods must fit before any starts, where pods are scheduled as a gang and the job does not say."""
        return sum(1 if spec.replicas is None else spec.replicas for spec in job.spec.replica_specs.values())

    def is_master(self, job: JobT, replica_type: str, index: int) -> bool:
        """Whether a replica's pod carries the role `master`, whose log stands for the job's."""
        return index == 0 and replica_type == next(iter(job.spec.replica_specs), None)

    def set_defaults(self, job: JobT) -> None:
        """Complete `job`, a copy of what the API server has; nothing of this is written back."""
        for spec in job.spec.replica_specs.values():
            if spec.replicas is None:
                spec.replicas = 1
            if not spec.restart_policy:
                spec.restart_policy = cast("Any", self.default_restart_policy)

    def violations(self, job: JobT) -> Iterable[FieldError]:
        """Why a job cannot be run; the first is told in its Failed condition."""
        yield from job.rule_violations()
        yield from container_violations(job, self.container_name)

    async def reconcile_dependents(self, job: JobT, *, wanted: bool) -> None:
        """Keep what a framework has beside pods and services; `wanted` is false for suspended and finished jobs."""

    def running_message(self, job: JobT) -> str:
        """The message of the condition Running."""
        return f"{job.resource.kind} {job.key} is running."

    def succeeded_message(self, job: JobT) -> str:
        """The message of the condition Succeeded."""
        return f"{job.resource.kind} {job.key} successfully completed."

    def restarting_message(self, job: JobT, replica_type: str, failed: int, *, running: bool) -> str:
        """The message of the condition Restarting. `running`: the replicas that matter are at work all the same."""
        if running:
            return f"{job.resource.kind} {job.name} is restarting because {failed} {replica_type} replica(s) failed."
        return f"job {job.name} is restarting because {replica_type} replica(s) failed."

    def failed_message(self, job: JobT, replica_type: str, failed: int) -> str:
        """The message of the condition Failed, when `failed` replicas of a type failed for good."""
        return f"{job.resource.kind} {job.name} is failed because {failed} {replica_type} replica(s) failed."

    # ── What a framework may ask ─────────────────────────────────────────────────────────────────────────────────────

    def hosts(self, job: JobT, replica_type: str) -> list[str]:
        """The host names of a type's replicas, by index: the names of their services."""
        spec = job.spec.replica_specs.get(replica_type)
        count = 0 if spec is None else 1 if spec.replicas is None else spec.replicas
        return [replica_name(job.name, replica_type, index) for index in range(count)]

    def port_of(self, job: JobT, replica_type: str) -> int:
        """The port that a type's replicas listen on: the one named `port_name`, else the framework's own."""
        template = job.spec.replica_specs[replica_type].template
        return template.port(self.container_name, self.port_name) or self.port

    # ── The flow ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def reconcile(self, request: Request) -> Result:
        """Bring one job closer to what its spec asks."""
        try:
            job = cast("JobT", await self.reader.get(self.kind, request.name, request.namespace))
        except NotFound:
            self._forget(request.key)
            return Result()
        except InvalidObject as invalid:
            return await refuse_unreadable(self, invalid)
        return await self.reconcile_job(self.statuses.newest(job))

    async def reconcile_job(self, job: JobT) -> Result:
        """The flow that every framework shares."""
        if job.spec.run_policy.managed_by not in (None, OUR_MANAGER) or job.metadata.deletion_timestamp is not None:
            self._forget(job.key)
            return Result()
        pods = await self.get_pods_for_job(job)
        services = await self.get_services_for_job(job)
        if self._expectations is not None:
            wait = self._expectations.pending(job, [*pods, *services], self.clock.monotonic())
            if wait:
                return Result(requeue_after=wait)
        read, job = job, job.copy_for_defaults()
        status = StatusUpdate(job.resource.kind, read.status, self.clock.now())
        owned = OwnedObjects(self.client, self.recorder, job, self.clock.monotonic, self._expectations)
        work = lifecycle.Pass(read=read, job=job, pods=pods, services=services, status=status, owned=owned)
        try:
            return await self._reconcile(work)
        finally:
            owned.announce()

    async def _reconcile(self, work: lifecycle.Pass[JobT]) -> Result:
        job, status = work.job, work.status
        if not status.finished:
            status.set(CREATED, f"{status.kind} {job.name} is created.")
            if error := next(iter(self.violations(job)), None):
                return await refuse(self, work, error)
        if status.finished:
            self._troubles.forget(job.key)
            return await lifecycle.finished(self, work)
        self.set_defaults(job)
        self._tell_troubles(work)
        if job.spec.run_policy.suspend:
            return await lifecycle.suspended(self, work)
        return await lifecycle.active(self, work)

    async def get_pods_for_job(self, job: JobT) -> Sequence[Pod]:
        """The pods that carry the job's labels and are controlled by this very job."""
        return await self.reader.list_owned(Pod, job, label_selector=self._selector(job))

    async def get_services_for_job(self, job: JobT) -> Sequence[Service]:
        """The services that carry the job's labels and are controlled by this very job."""
        return await self.reader.list_owned(Service, job, label_selector=self._selector(job))

    async def reconcile_pods(self, job: JobT, replicas: Replicas, owned: OwnedObjects) -> None:
        """Create the pods of one type that are missing, delete those beyond the wanted number."""
        if replicas.surplus:
            await owned.delete(replicas.surplus)
        if missing := replicas.missing:
            if replicas.spec.template.raw.get("spec", {}).get("restartPolicy"):
                self.recorder.warning(job, "SetPodTemplateRestartPolicy", RESTART_POLICY_OVERWRITTEN)
            if self.pod_groups is not None and self.pod_groups.is_overruled(replicas.spec):
                self.recorder.warning(job, "SetPodTemplateSchedulerName", ANOTHER_SCHEDULER)
            await owned.create(Pod, [self.pod_for(job, replicas.type, index) for index in missing])

    async def reconcile_services(
        self, job: JobT, replicas: Replicas, services: Iterable[Service], owned: OwnedObjects
    ) -> None:
        """Create the services of one type that are missing, delete those beyond the wanted number."""
        existing = {
            index_of(service.metadata.labels): service for service in services if of_type(service, replicas.type)
        }
        if surplus := [svc for index, svc in existing.items() if index is not None and index >= replicas.wanted]:
            await owned.delete(surplus)
        if missing := [index for index in range(replicas.wanted) if index not in existing]:
            ports = service_ports(replicas.spec, self.container_name, self.port_name, self.port)
            await owned.create(
                Service,
                [
                    service_manifest(job, replicas.type, index, ports, self.labels(job, replicas.type, index))
                    for index in missing
                ],
            )

    def pod_for(self, job: JobT, replica_type: str, index: int) -> dict[str, Any]:
        """The manifest of one replica's pod."""
        spec: ReplicaSpec = job.spec.replica_specs[replica_type]
        template = spec.template.copy()
        add_default_port(template, self.container_name, self.port_name, self.port)
        labels = self.labels(job, replica_type, index)
        if self.is_master(job, replica_type, index):
            labels[JOB_ROLE] = "master"
        self.set_cluster_spec(job, template, replica_type, index)
        pod = pod_manifest(job, replica_type, index, spec, template, labels)
        if self.pod_groups is not None:
            self.pod_groups.mark(job, pod, replica_type)
        return pod

    def labels(self, job: JobT, replica_type: str, index: int) -> dict[str, str]:
        """The labels of one replica's pod and service; the service selects the pod by them."""
        return replica_labels(job.name, self.operator_name, replica_type, index)

    def observe(self, work: lifecycle.Pass[JobT]) -> dict[str, Replicas]:
        """Every type's replicas as they are now."""
        recreated = recreated_uids(work.status)
        return {
            name: observe(name, spec, work.pods, work.status.completed_indexes.get(name, ()), recreated)
            for name, spec in work.job.spec.replica_specs.items()
        }

    def _selector(self, job: JobT) -> LabelSelector:
        return LabelSelector.from_labels(job_labels(job.name, self.operator_name))

    def _tell_troubles(self, work: lifecycle.Pass[JobT]) -> None:
        """Record what newly keeps pods from working."""
        for reason, message in self._troubles.news(work.job.key, work.pods):
            self.recorder.warning(work.job, reason, message)

    def _forget(self, key: str) -> None:
        self._troubles.forget(key)
        self.statuses.forget(key)
        if self._expectations is not None:
            self._expectations.forget(key)
