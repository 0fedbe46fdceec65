"""HorizontalPodAutoscalers: what the pods of a target use comes in every 15 seconds, the target's new size goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from kfcore.api.codec import decode_json
from kfcore.api.meta import Manifest, untyped
from kfcore.api.resource import Resource
from kfcore.client.errors import ApiError, NotFound
from kfcore.client.interface import Client, Reader
from kfcore.clock import Clock
from kfcore.controller.controller import Request, Result
from kfcore.controller.events import EventRecorder
from kfcore_local.autoscaling.kinds import Autoscaler, ScaledPod
from kfcore_local.autoscaling.metrics import NoMetric, NotMeasured, Recommendation, recommend
from kfcore_local.autoscaling.pace import Pace
from kfcore_local.autoscaling.targets import find_resource
from kfcore_local.usage import Owner, Usage
from kfcore_local.workloads.status import timestamp, with_condition, write_status

SYNC_SECONDS = 15.0
UNKNOWN_SECONDS = 3.0
"""After which it is looked again when pods were not measured yet."""
READY_FOR_NEW_SCALE = ("ReadyForNewScale", "recommended size matches current size")


class Round(msgspec.Struct):
    """One look at an autoscaler: what it found so far."""

    autoscaler: Autoscaler
    now: datetime
    conditions: list[Manifest]
    metrics: list[Manifest] = msgspec.field(default_factory=list)
    current: int = 0
    desired: int = 0
    scaled: bool = False
    unmeasured: bool = False

    def say(self, type_: str, status: bool, reason: str, message: str) -> None:
        new = {"type": type_, "status": str(status), "reason": reason, "message": message}
        self.conditions = with_condition(self.conditions, {**new, "lastTransitionTime": timestamp(self.now)})


class AutoscalerReconciler:
    """`usage` is what containers were measured to use last."""

    def __init__(
        self,
        client: Client,
        reader: Reader,
        recorder: EventRecorder,
        clock: Clock,
        usage: Callable[[], Mapping[Owner, Usage]],
    ) -> None:
        self.client = client
        self.reader = reader
        self.recorder = recorder
        self.clock = clock
        self.usage = usage
        self._paces: dict[Request, Pace] = {}

    async def reconcile(self, request: Request) -> Result:
        try:
            autoscaler = await self.reader.get(Autoscaler, request.name, request.namespace)
        except NotFound:
            self._paces.pop(request, None)
            return Result()
        if autoscaler.metadata.deletion_timestamp is not None:
            return Result()
        round_ = Round(autoscaler, self.clock.now(), list(autoscaler.status.get("conditions") or []))
        await self._look(round_, self._pace(request, autoscaler))
        await write_status(self.client, autoscaler, _status(round_))
        return Result(UNKNOWN_SECONDS if round_.unmeasured else SYNC_SECONDS)

    def _pace(self, request: Request, autoscaler: Autoscaler) -> Pace:
        pace = self._paces.get(request)
        if pace is None or pace.uid != autoscaler.metadata.uid:
            pace = self._paces[request] = Pace(autoscaler.metadata.uid)
        return pace

    async def _look(self, round_: Round, pace: Pace) -> None:
        autoscaler = round_.autoscaler
        reference = autoscaler.spec.scale_target_ref
        try:
            target = await find_resource(self.client, reference.api_version, reference.kind)
            scale = await self._scale(target, autoscaler)
        except ApiError as error:
            message = f"the HPA controller was unable to get the target's current scale: {error}"
            round_.say("AbleToScale", False, "FailedGetScale", message)
            self.recorder.warning(autoscaler, "FailedGetScale", str(error))
            return
        round_.say("AbleToScale", True, "SucceededGetScale", "the HPA controller was able to get the target's scale")
        round_.current = round_.desired = int((scale.get("spec") or {}).get("replicas") or 0)
        if round_.current == 0:
            message = "scaling is disabled since the replica count of the target is zero"
            round_.say("ScalingActive", False, "ScalingDisabled", message)
            return
        why = await self._decide(round_, pace, (scale.get("status") or {}).get("selector") or "")
        if round_.desired == round_.current:
            return
        await self._resize(round_, target)
        pace.note(round_.desired - round_.current, self.clock.monotonic())
        message = f"the HPA controller was able to update the target scale to {round_.desired}"
        round_.say("AbleToScale", True, "SucceededRescale", message)
        self.recorder.normal(autoscaler, "SuccessfulRescale", f"New size: {round_.desired}; reason: {why}")

    async def _decide(self, round_: Round, pace: Pace, selector: str) -> str:
        """Set `desired`; what for."""
        spec, now = round_.autoscaler.spec, self.clock.monotonic()
        if not spec.min_replicas <= round_.current <= spec.max_replicas:
            bound = spec.min_replicas if round_.current < spec.min_replicas else spec.max_replicas
            side = "below Spec.MinReplicas" if bound == spec.min_replicas else "above Spec.MaxReplicas"
            round_.desired = bound
            return f"Current number of replicas {side}"
        best = await self._recommended(round_, selector)
        if best is None:
            return ""
        wanted = pace.stabilized(round_.autoscaler, round_.current, best.replicas, now)
        if wanted != best.replicas:
            message = "recent recommendations were higher than current one, applying the highest recent recommendation"
            if wanted < best.replicas:
                message = (
                    "recent recommendations were lower than current one, applying the lowest recent recommendation"
                )
            reason = "ScaleDownStabilized" if wanted > best.replicas else "ScaleUpStabilized"
            round_.say("AbleToScale", True, reason, message)
        else:
            round_.say("AbleToScale", True, *READY_FOR_NEW_SCALE)
        paced = pace.limited(round_.autoscaler, round_.current, wanted, now)
        round_.desired = min(max(paced, spec.min_replicas), spec.max_replicas)
        self._say_limits(round_, wanted)
        return best.why

    def _say_limits(self, round_: Round, wanted: int) -> None:
        spec = round_.autoscaler.spec
        if wanted > spec.max_replicas:
            message = "the desired replica count is more than the maximum replica count"
            round_.say("ScalingLimited", True, "TooManyReplicas", message)
        elif wanted < spec.min_replicas:
            message = "the desired replica count is less than the minimum replica count"
            round_.say("ScalingLimited", True, "TooFewReplicas", message)
        elif round_.desired != wanted:
            reason = "ScaleUpLimit" if wanted > round_.desired else "ScaleDownLimit"
            message = "the desired replica count is changing faster than the maximum scale rate"
            round_.say("ScalingLimited", True, reason, message)
        else:
            message = "the desired count is within the acceptable range"
            round_.say("ScalingLimited", False, "DesiredWithinRange", message)

    async def _recommended(self, round_: Round, selector: str) -> Recommendation | None:
        """The highest of what the metrics ask for. One that cannot be had keeps the others from removing pods."""
        autoscaler = round_.autoscaler
        if not selector:
            message = "the HPA target's scale is missing a selector"
            round_.say("ScalingActive", False, "InvalidSelector", message)
            self.recorder.warning(autoscaler, "SelectorRequired", message)
            return None
        pods = await self.reader.list(ScaledPod, autoscaler.namespace, label_selector=selector)
        found: list[Recommendation] = []
        missing: NoMetric | None = None
        for metric in autoscaler.spec.metrics:
            try:
                found.append(recommend(metric, round_.current, pods, self.usage()))
            except NoMetric as error:
                missing = missing or error
        round_.metrics = [recommendation.current for recommendation in found]
        best = max(found, key=lambda recommendation: recommendation.replicas, default=None)
        if missing is not None and (best is None or best.replicas < round_.current):
            message = f"the HPA was unable to compute the replica count: {missing}"
            round_.say("ScalingActive", False, missing.reason, message)
            self.recorder.warning(autoscaler, missing.reason, str(missing))
            round_.unmeasured = isinstance(missing, NotMeasured)
            return None
        if best is not None:
            what = best.why.rpartition(" ")[0].rpartition(" ")[0]
            message = f"the HPA was able to successfully calculate a replica count from {what}"
            round_.say("ScalingActive", True, "ValidMetricFound", message)
        return best

    async def _scale(self, target: Resource, autoscaler: Autoscaler) -> Manifest:
        name = autoscaler.spec.scale_target_ref.name
        answer = await self.client.subresource("GET", untyped(target), name, autoscaler.namespace, "scale")
        scale: Manifest = decode_json(answer)
        return scale

    async def _resize(self, round_: Round, target: Resource) -> None:
        autoscaler = round_.autoscaler
        name = autoscaler.spec.scale_target_ref.name
        body = {"spec": {"replicas": round_.desired}}
        await self.client.patch(untyped(target), name, autoscaler.namespace, body, subresource="scale")
        round_.scaled = True


def _status(round_: Round) -> Manifest:
    before = round_.autoscaler.status
    status: Manifest = {
        "currentMetrics": round_.metrics or None,
        "conditions": round_.conditions,
        "currentReplicas": round_.current,
        "desiredReplicas": round_.desired,
    }
    if round_.scaled or "lastScaleTime" in before:
        status["lastScaleTime"] = timestamp(round_.now) if round_.scaled else before["lastScaleTime"]
    return status
