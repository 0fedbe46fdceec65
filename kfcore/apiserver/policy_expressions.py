"""One run of a policy's expressions over a request: variables, conditions, validations, and what a broken one says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_cel import POLICY, WITH_PARAMS, conditions_hold, evaluate
from kfcore.apiserver.cel import EvaluationError

_MESSAGE_LIMIT = 5120
_NO_KEY = re.compile(r"no such key: (\w+)$")


class Decision(msgspec.Struct, frozen=True):
    """Against a request. `reason` is that of the Status."""

    message: str
    reason: str = "Invalid"


class PolicyRun:
    def __init__(self, policy: Manifest, values: Manifest) -> None:
        """`values` are what the expressions are about, but for the policy's own variables."""
        self._policy = policy
        self._names = WITH_PARAMS if policy.get("paramKind") else POLICY
        self._variables: Manifest = {}
        self._values = {**values, "variables": self._variables}
        self._broken: dict[str, str] = {}

    def decisions(self) -> Iterator[Decision]:
        fails = self._policy.get("failurePolicy", "Fail") == "Fail"
        try:
            self._set_variables()
            conditions = self._policy.get("matchConditions") or ()
            if not conditions_hold(conditions, lambda text: self._value(text, "bool"), fails=fails):
                return
        except EvaluationError as error:
            yield Decision(str(error))
            return
        for validation in self._policy.get("validations") or ():
            try:
                holds = self._value(validation["expression"], "bool")
            except EvaluationError as error:
                if fails:
                    yield Decision(str(error))
                continue
            if holds is not True:
                yield Decision(self._message(validation), validation.get("reason") or "Invalid")
        for annotation in self._policy.get("auditAnnotations") or ():
            try:
                self._value(annotation["valueExpression"], "")
            except EvaluationError as error:
                if fails:
                    yield Decision(str(error))

    def _set_variables(self) -> None:
        """One that has no value is missed only by who asks for it."""
        for variable in self._policy.get("variables") or ():
            name = variable["name"]
            try:
                self._variables[name] = self._value(variable["expression"], "")
            except EvaluationError as error:
                self._broken[name] = str(error).partition(" resulted in error: ")[2] or str(error)

    def _value(self, text: str, result: str) -> Any:
        """Raises EvaluationError."""
        try:
            return evaluate(text, self._names, self._values, result)
        except EvaluationError as error:
            missed = _NO_KEY.search(str(error))
            if missed is None or missed[1] not in self._broken:
                raise
            why = f'composited variable "{missed[1]}" fails to evaluate: {self._broken[missed[1]]}'
            raise EvaluationError(f"expression '{text}' resulted in error: {why}") from error

    def _message(self, validation: Manifest) -> str:
        """What a broken validation says: its expression's text if that has one fit to print, else its message, else
        itself.
        """
        if text := validation.get("messageExpression"):
            try:
                said = self._value(text, "string")
            except EvaluationError:
                said = ""
            said = said.strip() if isinstance(said, str) else ""
            if said and "\n" not in said and len(said.encode()) <= _MESSAGE_LIMIT:
                return said
        message = (validation.get("message") or "").strip()
        return message or f"failed expression: {validation['expression'].strip()}"
