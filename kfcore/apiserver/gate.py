"""What one request goes through before it is stored: webhooks may change its object, webhooks and policies refuse it.

`Objects` writes in one go, and webhooks take their time: a `Gate` that lacks a verdict raises `Unanswered`, the webhook
is asked, and the request is tried again from its start (`gatekeeper.py`). So what is stored is what was asked about, as
of now, whatever happened meanwhile.
"""

from __future__ import annotations

from typing import Any

from kfcore.api.codec import decode_json, encode_json
from kfcore.api.meta import Manifest
from kfcore.apiserver.admission_attributes import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    AdmissionAttributes,
    write_options,
)
from kfcore.apiserver.admission_matching import CONFIGURATIONS
from kfcore.apiserver.admission_review import CallFailed, Verdict
from kfcore.apiserver.authorization import user_of
from kfcore.apiserver.policies import POLICY_KINDS, Policies
from kfcore.apiserver.request import Request
from kfcore.apiserver.routes import Route
from kfcore.apiserver.storage import Key, Stored
from kfcore.apiserver.webhook_dispatch import Hook, Question, Webhooks


class Unanswered(Exception):
    """Some webhook has still to be asked."""

    def __init__(self, questions: list[Question]) -> None:
        self.questions = questions
        super().__init__(f"{len(questions)} questions to webhooks")


class Gate:
    """One request's. Keeps the verdicts over its tries; `drawn` is what the server made up for it. Of a
    collection that it deletes, `chosen` is what goes, and `done` what has gone.
    """

    def __init__(
        self,
        route: Route,
        request: Request,
        webhooks: Webhooks,
        hooks: tuple[list[Hook], list[Hook]],
        policies: Policies,
    ) -> None:
        """`hooks` are those that change objects, and those that only judge them."""
        self._route = route
        self._request = request
        self._webhooks = webhooks
        resource = route.kind.resource
        configures = resource.group == CONFIGURATIONS
        self._mutating, self._validating = ([], []) if configures else hooks
        self._policies = None if configures and resource.plural in POLICY_KINDS else policies
        self._known: dict[tuple[str, int, bytes], Verdict | CallFailed] = {}
        self._warnings: dict[str, None] = {}
        self.drawn: list[object] = []
        self.chosen: list[Stored] | None = None
        self.done: set[Key] = set()

    # ── webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """A try of the request begins."""
        self._warnings.clear()

    @property
    def warnings(self) -> list[str]:
        return list(self._warnings)

    def warn(self, warning: str) -> None:
        self._warnings[warning] = None

    def learn(self, question: Question, verdict: Verdict | CallFailed) -> None:
        self._known[question.key] = verdict

    def verdicts(self, questions: list[Question]) -> list[Verdict | CallFailed]:
        """Raises Unanswered."""
        if missing := [question for question in questions if question.key not in self._known]:
            raise Unanswered(missing)
        return [self._known[question.key] for question in questions]

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def mutate(self, manifest: Manifest, before: Manifest | None = None, *, unnamed: bool = False) -> Manifest | None:
        """A copy of the object as webhooks want it; None where they leave it. `unnamed`: its name was made up."""
        if not self._mutating:
            return None
        metadata = dict(manifest["metadata"])
        name = metadata.pop("name", "") if unnamed else ""
        shown = {**manifest, "metadata": metadata}
        wanted = self._webhooks.mutate(self._mutating, self._written(shown, before), self).object
        if wanted is shown or wanted is None:
            return None
        made: Manifest = decode_json(encode_json(wanted))
        if name:
            made["metadata"].setdefault("name", name)
        return made

    def validate(self, manifest: Manifest, before: Manifest | None = None) -> None:
        """Raises the refusal of an object."""
        self._judge(self._written(manifest, before))

    def post(self, body: Manifest) -> Manifest:
        """The body of a request that stores nothing under its own name, as webhooks want it. Raises a refusal."""
        metadata = body.get("metadata")
        body = {**body, "metadata": metadata if isinstance(metadata, dict) else {}}
        body = self.mutate(body) or body
        self.validate(body)
        return body

    def delete(self, before: Manifest, options: Manifest, *, dry_run: bool) -> None:
        """Raises the refusal to delete an object."""
        metadata = before["metadata"]
        self._pass(
            self._attributes(
                DELETE,
                name=metadata["name"],
                namespace=metadata.get("namespace") or self._namespace,
                old=before,
                options=options,
                dry_run=dry_run,
            )
        )

    def connect(self, options: Manifest) -> None:
        """Raises the refusal of an exec, an attach, a port-forward or a proxied request."""
        self._pass(self._attributes(CONNECT, name=self._route.name, object=options))

    def _pass(self, attributes: AdmissionAttributes) -> None:
        self._webhooks.mutate(self._mutating, attributes, self)
        self._judge(attributes)

    def _judge(self, attributes: AdmissionAttributes) -> None:
        if self._policies is not None:
            self._policies.validate(attributes, self.warn)
        self._webhooks.validate(self._validating, attributes, self)

    @property
    def _namespace(self) -> str:
        """A Namespace is in itself."""
        route = self._route
        return route.name if route.kind.storage == "namespaces" else route.namespace

    def _written(self, manifest: Manifest, before: Manifest | None) -> AdmissionAttributes:
        query = self._request.query
        return self._attributes(
            CREATE if before is None else UPDATE,
            name=self._route.name or manifest["metadata"].get("name", ""),
            object=manifest,
            old=before,
            options=write_options("Create" if before is None else "Update", query),
            dry_run=bool(query.get("dryRun")),
        )

    def _attributes(self, operation: str, **what: Any) -> AdmissionAttributes:
        what = {"namespace": self._namespace, **what}
        return AdmissionAttributes(
            operation, self._route.kind, user_of(self._request), subresource=self._route.subresource, **what
        )
