"""Takes a request through its `Gate`: tries it, asks the webhooks whose verdicts it lacks, and tries it again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from kfcore.apiserver import webhook_client
from kfcore.apiserver.admission_matching import Matching
from kfcore.apiserver.admission_review import CallFailed, Verdict, read_review, review
from kfcore.apiserver.admission_values import answered_by
from kfcore.apiserver.authorization import Authorizer
from kfcore.apiserver.gate import Gate, Unanswered
from kfcore.apiserver.objects import Objects
from kfcore.apiserver.policies import BINDINGS, POLICIES, Policies
from kfcore.apiserver.request import Request, Response
from kfcore.apiserver.routes import Route
from kfcore.apiserver.status import error_response
from kfcore.apiserver.storage import Change
from kfcore.apiserver.webhook_client import ConnectService
from kfcore.apiserver.webhook_dispatch import MUTATING, VALIDATING, Hook, Question, Webhooks, hooks_of
from kfcore.client.errors import ApiError, ServerTimeout

_REQUEST_SECONDS = 60


class Gatekeeper:
    """Knows who is to be asked. `active`: whether anybody is, which is what every request looks at first."""

    def __init__(self, objects: Objects, authorizer: Callable[[], Authorizer], connect: ConnectService) -> None:
        self._objects = objects
        self._authorizer = authorizer
        self._connect = connect
        matching = Matching(objects.kinds, objects.storage)
        self._webhooks = Webhooks(matching)
        self._policies = Policies(objects, matching)
        self._collections = [objects.storage.collection(name) for name in (MUTATING, VALIDATING, POLICIES, BINDINGS)]
        self._hooks: tuple[list[Hook], list[Hook]] | None = None
        self.active = False
        for collection in self._collections:
            collection.subscribers.append(self._changed)

    def _changed(self, change: Change) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Look again at who there is."""
        self._hooks = None
        self.active = any(map(len, self._collections))

    def gate(self, route: Route, request: Request) -> Gate:
        if self._hooks is None:
            mutating, validating = self._collections[:2]
            self._hooks = hooks_of(mutating, "mutating"), hooks_of(validating, "validating")
        return Gate(route, request, self._webhooks, self._hooks, self._policies)

    async def take(self, route: Route, request: Request, act: Callable[[Gate], Response]) -> Response:
        """The answer of `act`, which writes nothing before its gate lets it, and may be called many times."""
        gate = self.gate(route, request)
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                while True:
                    try:
                        return self._try(gate, act)
                    except Unanswered as unanswered:
                        await self._ask(gate, unanswered.questions)
        except TimeoutError as error:
            why = "Timeout: request did not complete within requested timeout - context deadline exceeded"
            raise ServerTimeout(why) from error

    async def admit(self, route: Route, request: Request, demand: Callable[[Gate], None]) -> list[str]:
        """For what takes longer than a write: the warnings, once `demand` is met. Raises its refusal."""
        refused: list[ApiError] = []

        def act(gate: Gate) -> Response:
            try:
                demand(gate)
            except ApiError as refusal:
                refused.append(refusal)
            return Response(200, {}, b"")

        answer = await self.take(route, request, act)
        if refused:
            raise refused[0]
        return [answer.headers["warning"]] if "warning" in answer.headers else []

    def _try(self, gate: Gate, act: Callable[[Gate], Response]) -> Response:
        gate.begin()
        try:
            with self._objects.draws.repeating(gate.drawn), answered_by(self._authorizer()):
                answer = act(gate)
        except ApiError as error:
            answer = error_response(error)
        if gate.warnings:
            told = [answer.headers["warning"]] if "warning" in answer.headers else []
            answer.headers["warning"] = ", ".join([*told, *(f"299 - {json.dumps(text)}" for text in gate.warnings)])
        return answer

    async def _ask(self, gate: Gate, questions: list[Question]) -> None:
        verdicts = await asyncio.gather(*map(self._verdict, questions))
        for question, verdict in zip(questions, verdicts, strict=True):
            gate.learn(question, verdict)

    async def _verdict(self, question: Question) -> Verdict | CallFailed:
        hook, uid = question.hook, self._objects.new_uid()
        body = review(hook.version, uid, question.request)
        try:
            answer = await webhook_client.call(
                hook.spec["clientConfig"], body, hook.spec.get("timeoutSeconds", 10), self._connect
            )
            return read_review(answer, hook.version, uid, mutating=question.mutating)
        except CallFailed as failure:
            return failure
