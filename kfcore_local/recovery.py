"""What a kubelet makes of pods that an earlier one ran: their processes are gone, as after a reboot of the machine. The
statuses that were written come in; records that say so, and whether anything is to be started again, go out. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from kfcore.api.meta import Manifest
from kfcore_local.pod_status import ContainerRecord
from kfcore_local.pods import EarlierContainer, LocalPod

LOST_CODE = 137
LOST_REASON = "ContainerStatusUnknown"
LOST_MESSAGE = "kfcore ended while the container was running"


def take_up(pod: LocalPod, init: Sequence[ContainerRecord], main: Sequence[ContainerRecord], now: str) -> bool:
    """Put what `pod.status` tells into fresh records. Whether the pod goes on: its policy starts what is not done.

    A pod that goes on begins with its init containers again: nothing says that what they did is still there. Of a
    policy Never that lost a container, the pod has failed and nothing is started.
    """
    earlier = {status.name: status for status in pod.status.init_container_statuses}
    lost_init = [remember(record, earlier.get(record.container.name), now) for record in init]
    earlier = {status.name: status for status in pod.status.container_statuses}
    lost_main = [remember(record, earlier.get(record.container.name), now) for record in main]
    policy, records = pod.spec.restart_policy, (*init, *main)
    if any(
        lost and not record.restarts(policy) for lost, record in zip((*lost_init, *lost_main), records, strict=True)
    ):
        return False
    if main and not any("terminated" not in record.state or record.restarts(policy) for record in main):
        return False
    for record in init:
        if "terminated" in record.state:
            record.last_state = record.state
        record.state = {"waiting": {"reason": "PodInitializing"}}
    return True


def remember(record: ContainerRecord, earlier: EarlierContainer | None, now: str) -> bool:
    """Put into a fresh record what was written of its container: whether that ran when kfcore ended."""
    if earlier is None:
        return False
    record.restart_count = earlier.restart_count
    record.container_id = earlier.container_id
    record.last_state = earlier.last_state
    running: Manifest | None = earlier.state.get("running")
    if running is None:
        record.state = earlier.state or record.state
        return False
    lost = {"exitCode": LOST_CODE, "reason": LOST_REASON, "message": LOST_MESSAGE}
    times = {"startedAt": running.get("startedAt") or now, "finishedAt": now}
    record.state = {"terminated": {**lost, **times, "containerID": earlier.container_id}}
    return True
