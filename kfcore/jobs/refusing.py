"""Jobs that cannot be run: failed once, with a condition and one event that say why, and never tried again. The API
server refuses them itself by the CRD's rules; what an older CRD let in comes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kfcore.api.jobs import JobStatus
from kfcore.api.meta import Unstructured
from kfcore.api.validation import FieldError, field_errors
from kfcore.client.errors import InvalidObject
from kfcore.controller.controller import Result
from kfcore.jobs.status import StatusUpdate

if TYPE_CHECKING:
    from kfcore.jobs.controller import JobController
    from kfcore.jobs.lifecycle import Pass


async def refuse(controller: JobController[Any], work: Pass[Any], error: FieldError) -> Result:
    """Fail a job that breaks a rule of its kind."""
    _fail(work.status, error)
    await controller.statuses.write(work)
    return Result()


async def refuse_unreadable(controller: JobController[Any], invalid: InvalidObject) -> Result:
    """Fail a job that cannot be read as its kind."""
    obj: Unstructured = invalid.object
    try:
        old = JobStatus.model_validate(obj.raw.get("status") or {})
    except ValueError:
        old = JobStatus()
    status = StatusUpdate(obj.resource.kind, old, controller.clock.now())
    _fail(status, _first_error(invalid))
    if patch := status.patch():
        # Read back as it is: it still cannot be read as its kind.
        await controller.client.patch(type(obj), obj.name, obj.namespace, {"status": patch}, subresource="status")
        for event in status.announcements:
            controller.recorder.warning(obj, event.reason, event.message)
    return Result()


def _fail(status: StatusUpdate, error: FieldError | str) -> None:
    message = f"{status.kind} failed validation because {error}"
    status.fail(message, event="Warning", reason=f"{status.kind}FailedValidation")


def _first_error(invalid: InvalidObject) -> str:
    if isinstance(invalid.error, ValidationError):
        return str(field_errors(invalid.error)[0])
    return str(invalid.error)
