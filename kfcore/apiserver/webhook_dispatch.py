"""Which webhooks a request is put to, in which order, and what comes of their verdicts: a changed object, warnings, or
a refusal. Calling them is someone else's: `Asked` gives a verdict that is there, or asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec
import structlog

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_attributes import AdmissionAttributes
from kfcore.apiserver.admission_cel import CONDITION, conditions_hold, evaluate
from kfcore.apiserver.admission_matching import CONFIGURATIONS, Matching
from kfcore.apiserver.admission_review import VERSIONS, CallFailed, Verdict, denial, internal
from kfcore.apiserver.admission_values import condition_values
from kfcore.apiserver.cel import EvaluationError
from kfcore.apiserver.conversion import converted
from kfcore.apiserver.kinds import ServedKind
from kfcore.apiserver.patch import PatchFailed, patched
from kfcore.apiserver.storage import Collection
from kfcore.client.errors import ApiError, BadRequest, Forbidden, InternalError, error_from_status

log = structlog.get_logger(__name__)

MUTATING = f"mutatingwebhookconfigurations.{CONFIGURATIONS}"
VALIDATING = f"validatingwebhookconfigurations.{CONFIGURATIONS}"


class Hook(msgspec.Struct, frozen=True):
    """One webhook of a configuration. `key` tells it from every other."""

    key: str
    spec: Manifest

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def version(self) -> str:
        """The first of its versions of AdmissionReview that this server knows."""
        return next(str(version) for version in self.spec["admissionReviewVersions"] if version in VERSIONS)

    @property
    def fails_closed(self) -> bool:
        return bool(self.spec.get("failurePolicy", "Fail") == "Fail")


class Question(msgspec.Struct, frozen=True):
    """What a webhook is asked. `key` is the same for what need not be asked again."""

    hook: Hook
    request: Manifest
    mutating: bool
    key: tuple[str, int, bytes]


class Asked(Protocol):
    """One request's conversation with webhooks."""

    def verdicts(self, questions: list[Question]) -> list[Verdict | CallFailed]:
        """The verdicts, where all are known; otherwise it does not return, and the request is tried again."""

    def warn(self, warning: str) -> None: ...


def hooks_of(collection: Collection, kind: str) -> list[Hook]:
    """The webhooks of all configurations, by the name of these."""
    return [
        Hook(f"{kind}/{stored.key[1]}/{index}/{stored.version}", spec)
        for stored in collection.select()
        for index, spec in enumerate(stored.manifest.get("webhooks") or ())
    ]


class Webhooks:
    def __init__(self, matching: Matching) -> None:
        self._matching = matching

    def mutate(self, hooks: list[Hook], attributes: AdmissionAttributes, asked: Asked) -> AdmissionAttributes:
        """The attributes with the object as the webhooks want it: one after another, and those that wish it once more
        when others changed the object after them. Raises the refusal of one that denies, or fails.
        """
        again: list[str] = []
        due: set[str] = set()
        for turn in (0, 1):
            for hook in hooks:
                if turn and hook.key not in due:
                    continue
                kind = self._wants(hook, attributes)
                if kind is None:
                    continue
                mutated = self._mutated(hook, kind, attributes, asked, turn)
                if mutated is not None:
                    attributes = mutated
                    due.update(key for key in again if key != hook.key)
                if not turn and hook.spec.get("reinvocationPolicy") == "IfNeeded":
                    again.append(hook.key)
            if not due:
                break
        return attributes

    def _mutated(
        self, hook: Hook, kind: ServedKind, attributes: AdmissionAttributes, asked: Asked, turn: int
    ) -> AdmissionAttributes | None:
        """What one webhook makes of the object; None when it leaves it as it is."""
        _check_dry_run(hook, attributes)
        question = _question(hook, kind, attributes, turn, mutating=True)
        verdict = asked.verdicts([question])[0]
        patch = _accepted(hook, verdict, asked)
        if not patch:
            return None
        if attributes.object is None:
            why = "attempted to modify the object, which is not supported for this operation"
            why = f'admission webhook "{hook.name}" {why}'
            raise InternalError(status=internal(why))
        assert isinstance(verdict, Verdict)
        if verdict.patch_type != "JSONPatch":
            failure = CallFailed(f'unsupported patch type "{verdict.patch_type}"')
            return None if _accepted(hook, failure, asked) is None else attributes
        shown = decode_json(encode_json(question.request["object"]))
        before = encode_json(shown)
        try:
            made = patched(shown, decode_json(encode_json(patch)))  # a copy: the next try needs it as it is
        except PatchFailed as error:
            raise InternalError(status=internal(_unfit(error))) from error
        if not isinstance(made, dict) or not isinstance(made.get("metadata"), dict):
            raise InternalError(status=internal(f'admission webhook "{hook.name}" left no object'))
        if encode_json(made) == before:
            return None
        return attributes.with_object(converted(kind, attributes.kind, made) if kind is not attributes.kind else made)

    def validate(self, hooks: list[Hook], attributes: AdmissionAttributes, asked: Asked) -> None:
        """Raises the refusal of the first that denies, or fails."""
        wanting: list[tuple[Hook, Question]] = []
        for hook in hooks:
            if (kind := self._wants(hook, attributes)) is not None:
                _check_dry_run(hook, attributes)
                wanting.append((hook, _question(hook, kind, attributes, 0, mutating=False)))
        if not wanting:
            return
        verdicts = asked.verdicts([question for _, question in wanting])
        refusals = list(_refusals(zip((hook for hook, _ in wanting), verdicts, strict=True), asked))
        if refusals:
            raise refusals[0]

    def _wants(self, hook: Hook, attributes: AdmissionAttributes) -> ServedKind | None:
        """As which version of its kind the webhook is asked about the object; None: it is not."""
        kind = self._matching.matches(hook.spec, attributes)
        conditions = hook.spec.get("matchConditions")
        if kind is None or not conditions:
            return kind
        values = condition_values(attributes.as_of(kind), attributes.request(kind))
        try:
            holds = conditions_hold(
                conditions, lambda text: evaluate(text, CONDITION, values, "bool"), fails=hook.fails_closed
            )
        except EvaluationError as error:
            message, details = attributes.forbids(str(error))
            raise Forbidden(message, details=details) from error
        return kind if holds else None


def _unfit(error: PatchFailed) -> str:
    """Why an operation of a webhook's patch cannot be followed, in the words of the real server's library."""
    path = error.operation.get("path")
    match error.operation.get("op"):
        case "test":
            return f"testing value {path} failed: {error}"
        case "replace":
            return f"replace operation does not apply: doc is missing key: {path}: missing value"
        case "add" | "remove" | "move" | "copy" as op:
            return f'{op} operation does not apply: doc is missing path: "{path}": missing value'
        case op:
            return f"Unexpected kind: {op}"


def _question(hook: Hook, kind: ServedKind, attributes: AdmissionAttributes, turn: int, *, mutating: bool) -> Question:
    request = attributes.request(kind)
    return Question(hook, request, mutating, (hook.key, turn, encode_json(request)))


def _check_dry_run(hook: Hook, attributes: AdmissionAttributes) -> None:
    if attributes.dry_run and hook.spec.get("sideEffects") not in ("None", "NoneOnDryRun"):
        raise BadRequest(f'admission webhook "{hook.name}" does not support dry run')


def _accepted(hook: Hook, verdict: Verdict | CallFailed, asked: Asked) -> list[Manifest] | None:
    """The patch of an accepting webhook; None where one fails that may. Raises the refusal."""
    if isinstance(verdict, CallFailed):
        why = f'failed calling webhook "{hook.name}": {verdict}'
        if hook.fails_closed:
            raise error_from_status(internal(why))
        log.warning("webhook.failed_open", webhook=hook.name, error=str(verdict))
        return None
    for warning in verdict.warnings:
        asked.warn(warning)
    if not verdict.allowed:
        raise denial(hook.name, verdict.status)
    return verdict.patch


def _refusals(answers: Iterator[tuple[Hook, Verdict | CallFailed]], asked: Asked) -> Iterator[ApiError]:
    for hook, verdict in answers:
        try:
            _accepted(hook, verdict, asked)
        except ApiError as refusal:
            yield refusal
