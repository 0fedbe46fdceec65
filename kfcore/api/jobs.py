"""What every job of many replicas shares: run policy, replica specs, conditions and replica statuses. A framework's job
is `class EchoJob(Job[EchoJobSpec], group=…, version=…, kind=…)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar, cast, get_args, get_origin

from pydantic import Field, ValidatorFunctionWrapHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from kfcore.api.job_rules import MULTIKUEUE, OUR_MANAGER, job_violations
from kfcore.api.meta import CEL, CRD_DEFAULT, CustomResource, Model, Time
from kfcore.api.pod_template import PodTemplate
from kfcore.api.validation import FieldError

Int32 = Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1, json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1, json_schema_extra={"format": "int64"})]
Bool = Annotated[bool, Field(strict=True)]
Quantity = Annotated[
    int | float | str,
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]

CleanPodPolicy = Literal["All", "Running", "None"]
RestartPolicy = Literal["Always", "OnFailure", "Never", "ExitCode"]


class SchedulingPolicy(Model):
    """How the pods of a job are scheduled together."""

    min_available: Int32 | None = Field(None, description="How many pods must fit before any starts.")
    queue: str | None = Field(
        None,
        description="The queue of the pod group.",
        json_schema_extra={
            CEL: [
                {"rule": "self == oldSelf", "message": "spec.runPolicy.schedulingPolicy.queue is immutable"},
            ]
        },
    )
    min_resources: dict[str, Quantity] | None = Field(None, description="The resources that must be free.")
    priority_class: str | None = Field(None, description="The priority class of the pod group.")
    schedule_timeout_seconds: Int32 | None = Field(None, description="How long the pod group may wait, in seconds.")


class RunPolicy(Model):
    """How a job as a whole runs, ends and is cleaned up."""

    clean_pod_policy: Literal["All", "Running", "None", ""] | None = Field(
        None, description="Which pods are deleted when the job has finished: All, Running or None (the default)."
    )
    ttl_seconds_after_finished: Int32 | None = Field(
        None, description="How long after its end the job itself is deleted, in seconds; never by default."
    )
    active_deadline_seconds: Int64 | None = Field(
        None, description="How long the job may run before it is failed, in seconds."
    )
    backoff_limit: Int32 | None = Field(None, description="How many restarts of replicas fail the job.")
    scheduling_policy: SchedulingPolicy | None = None
    suspend: Bool | None = Field(
        None,
        description="Whether the job's pods are deleted and none are made.",
        json_schema_extra={CRD_DEFAULT: False},
    )
    managed_by: str | None = Field(
        None,
        description="The controller that runs the job; this operator by default.",
        json_schema_extra={
            CEL: [
                {
                    "rule": f"self in ['{OUR_MANAGER}', '{MULTIKUEUE}']",
                    "message": f"managedBy must be {OUR_MANAGER} or {MULTIKUEUE}",
                },
                {"rule": "self == oldSelf", "message": "field is immutable"},
            ]
        },
    )


class ReplicaSpec(Model):
    """The replicas of one type."""

    replicas: Int32 | None = Field(None, description="How many replicas there are; 1 by default.")
    template: PodTemplate = Field(default_factory=PodTemplate, description="The pods to create.")
    restart_policy: Literal["Always", "OnFailure", "Never", "ExitCode", ""] | None = Field(
        None,
        description="What happens when a replica fails. ExitCode: codes from 128 on are tried again, others are final.",
    )


class JobSpec(Model):
    """Base of a job's spec. A subclass declares `replica_specs`, a mapping of replica type to spec, under its alias::

        replica_specs: dict[Literal["Worker"], ReplicaSpec] = Field(alias="echoReplicaSpecs")

    Keys are taken in any case, as users of Kubeflow write them.
    """

    run_policy: RunPolicy = Field(default_factory=RunPolicy)
    replica_specs: dict[Any, ReplicaSpec]

    @classmethod
    @cache
    def replicas_alias(cls) -> str:
        """The JSON name of `replica_specs`."""
        return cls.model_fields["replica_specs"].alias or "replicaSpecs"

    @classmethod
    @cache
    def replica_types(cls) -> tuple[str, ...]:
        """The replica types that the spec knows; empty when it takes any."""
        return _literal_keys(cls.model_fields["replica_specs"])

    @model_validator(mode="wrap")
    @classmethod
    def _normalise_replica_types(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        alias, known = cls.replicas_alias(), cls.replica_types()
        if not isinstance(value, dict) or not known or not isinstance(value.get(alias), dict):
            return handler(value)
        if all(key in known for key in value[alias]):
            return handler(value)
        canonical = {name.lower(): name for name in known}
        specs = {canonical.get(str(key).lower(), key): spec for key, spec in value[alias].items() if key not in known}
        specs = {key: spec for key, spec in value[alias].items() if key in known} | specs
        unknown = [key for key in specs if key not in known]
        spec = handler({**value, alias: {key: item for key, item in specs.items() if key in known}})
        if unknown:
            raise ValidationError.from_exception_data(
                cls.__name__, [_unknown_type(alias, key, known) for key in unknown]
            )
        return spec


def _unknown_type(alias: str, key: Any, known: tuple[str, ...]) -> InitErrorDetails:
    error = PydanticCustomError("replica_type", "expected one of {known}", {"known": ", ".join(known)})
    return InitErrorDetails(type=error, loc=(alias, str(key)), input=key)


def _literal_keys(field: FieldInfo) -> tuple[str, ...]:
    arguments = get_args(field.annotation)
    if arguments and get_origin(arguments[0]) is Literal:
        return get_args(arguments[0])
    return ()


class JobCondition(Model):
    """One thing that is or was true of a job."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_update_time: Time | None = None
    last_transition_time: Time | None = None


class ReplicaStatus(Model):
    """How many replicas of a type run, succeeded and failed; zeros are left out on the wire."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0
    selector: str = ""
    label_selector: Any = None


class Restarts(Model):
    """What the operator itself recreated of one replica type: a restart count that survives the pods."""

    count: int = Field(0, description="Pods recreated.")
    rounds: int = Field(0, description="Times at which pods were recreated; the delay grows with it.")
    last_time: Time | None = Field(None, description="When the last round began.")
    pods: list[str] = Field(default_factory=list, description="The uids that the last round counted.")


class JobStatus(Model):
    """What the operator observed of a job."""

    conditions: list[JobCondition] = Field(default_factory=list)
    replica_statuses: dict[str, ReplicaStatus] = Field(default_factory=dict)
    start_time: Time | None = None
    completion_time: Time | None = None
    last_reconcile_time: Time | None = None
    restarts: dict[str, Restarts] = Field(
        default_factory=dict, description="Pods that the operator recreated, by replica type."
    )
    completed_indexes: dict[str, list[int]] = Field(
        default_factory=dict, description="Replicas that succeeded and are not created again, by replica type."
    )

    def condition(self, type: str) -> JobCondition | None:
        return next((condition for condition in self.conditions if condition.type == type), None)

    def is_true(self, type: str) -> bool:
        return any(condition.type == type and condition.status == "True" for condition in self.conditions)

    @property
    def finished(self) -> bool:
        return self.is_true("Succeeded") or self.is_true("Failed")


SpecT = TypeVar("SpecT", bound=JobSpec)


class Job(CustomResource, Generic[SpecT]):
    """Base of a job kind; the class arguments are those of `CustomResource`, and `scales`: the replica type whose
    number `kubectl scale` and an autoscaler change.
    """

    # The container that the framework runs in, which every replica must have; empty where no rule asks for one.
    container_name: ClassVar[str] = ""

    spec: SpecT
    status: JobStatus = Field(default_factory=JobStatus)

    @classmethod
    def __pydantic_init_subclass__(cls, *, scales: str = "", **kwargs: Any) -> None:
        if scales:
            kwargs["subresources"] = kwargs.get("subresources", frozenset({"status"})) | {"scale"}
            spec = cast("type[JobSpec]", cls.model_fields["spec"].annotation)
            status = f".status.replicaStatuses.{scales}"
            cls.scale_paths = {
                "specReplicasPath": f".spec.{spec.replicas_alias()}.{scales}.replicas",
                "statusReplicasPath": f"{status}.active",
                "labelSelectorPath": f"{status}.selector",
            }
        super().__pydantic_init_subclass__(**kwargs)

    def rule_violations(self) -> Iterable[FieldError]:
        """What the job breaks of its kind's rules; a kind adds its own to these."""
        return job_violations(self)

    def copy_for_defaults(self) -> Self:
        """A job whose spec can be completed without touching this one; templates are shared until they are copied."""
        spec = self.spec
        replica_specs = {name: replica.model_copy() for name, replica in spec.replica_specs.items()}
        update = {"run_policy": spec.run_policy.model_copy(), "replica_specs": replica_specs}
        return self.model_copy(update={"spec": spec.model_copy(update=update)})
