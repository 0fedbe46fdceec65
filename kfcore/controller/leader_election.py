"""One active manager of several, by a Lease that the active one keeps renewing.

Clocks of different machines are never compared: a candidate counts, on its own clock, how long it has not seen the
Lease change. A leader that cannot renew stops before anyone else can believe that it has.
"""

from __future__ import annotations

import math
import random
import socket
import uuid
from collections.abc import Callable
from datetime import UTC

import msgspec
import structlog

from kfcore.api.core import Lease
from kfcore.api.meta import Manifest
from kfcore.client.errors import AlreadyExists, ApiError, Conflict, ConnectionFailed, NotFound
from kfcore.client.interface import Client
from kfcore.clock import Clock

log = structlog.get_logger(__name__)


class LeadershipLost(Exception):
    """The Lease could not be renewed in time, or somebody else has it: stop acting at once."""


class LeaseTiming(msgspec.Struct, frozen=True):
    """In seconds: others wait `duration` for a silent leader; it gives up itself after `renew_deadline`; both try every
    `retry_period`.
    """

    duration: int = 15
    renew_deadline: float = 10
    retry_period: float = 2

    def __post_init__(self) -> None:
        if not self.duration > self.renew_deadline > self.retry_period > 0:
            raise ValueError(
                f"lease timing {self}: expected duration > renew_deadline > retry_period > 0, so that a leader stops "
                "before another one starts"
            )


DEFAULT_TIMING = LeaseTiming()


class LeaderElector:
    """`acquire`, then `keep` until it raises, then `release`.

    `identity` must differ between processes, those of other machines too (None: the host's name and something random).
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        name: str,
        namespace: str,
        identity: str | None = None,
        timing: LeaseTiming = DEFAULT_TIMING,
        on_change: Callable[[bool], None] = lambda is_leader: None,
    ) -> None:
        self.identity = identity or f"{socket.gethostname()}_{uuid.uuid4()}"
        self.name = name
        self.is_leader = False
        self._client = client
        self._clock = clock
        self.namespace = namespace
        self._timing = timing
        self._on_change = on_change
        self._observed: tuple[str, str] | None = None
        self._observed_at = 0.0
        self._duration = timing.duration
        self._renewed_at = 0.0

    async def acquire(self) -> None:
        """Wait until this process is the leader."""
        log.info("leader_election.waiting", lease=f"{self.namespace}/{self.name}", identity=self.identity)
        while not await self._try():
            await self._clock.sleep(self._timing.retry_period * random.uniform(1.0, 1.2))
        self._set(True)
        log.info("leader_election.acquired", lease=f"{self.namespace}/{self.name}", identity=self.identity)

    async def keep(self) -> None:
        """Renew for ever. Raises `LeadershipLost`."""
        while True:
            await self._clock.sleep(self._timing.retry_period)
            if await self._try(until=self._renewed_at + self._timing.renew_deadline):
                continue
            if self._observed and self._observed[0] not in ("", self.identity):
                self._lose(f"{self._observed[0]} has the lease")
            if self._clock.monotonic() - self._renewed_at >= self._timing.renew_deadline:
                self._lose(f"it could not be renewed for {self._timing.renew_deadline:g} seconds")

    async def release(self) -> None:
        """Let the next one start without waiting. Call it once nothing acts any more."""
        if not self.is_leader:
            return
        self._set(False)
        try:
            async with self._clock.timeout(self._patience):
                lease = await self._client.get(Lease, self.name, self.namespace)
                if lease.spec.holder_identity == self.identity:
                    await self._write({"holderIdentity": "", "leaseDurationSeconds": 1}, lease)
        except (ApiError, ConnectionFailed, TimeoutError) as error:
            log.warning("leader_election.release_failed", error=f"{type(error).__name__}: {error}")

    def _lose(self, why: str) -> None:
        self._set(False)
        raise LeadershipLost(f"lease {self.namespace}/{self.name} is lost: {why}")

    def _set(self, is_leader: bool) -> None:
        self.is_leader = is_leader
        self._on_change(is_leader)

    @property
    def _patience(self) -> float:
        """Seconds to wait for an answer: a connection that is dead must not take all the time that there is."""
        return self._timing.renew_deadline / 2

    async def _try(self, until: float = math.inf) -> bool:
        """One attempt to get or to renew the lease; whether this process has it now. Gives up at `until`."""
        started = self._clock.monotonic()
        try:
            async with self._clock.timeout(max(min(self._patience, until - started), 0.001)):
                got = await self._get_or_renew()
        except (AlreadyExists, Conflict):
            return False  # somebody else was faster
        except (ApiError, ConnectionFailed, TimeoutError) as error:
            log.warning("leader_election.failed", error=f"{type(error).__name__}: {error}")
            return False
        if got:
            self._renewed_at = started  # others count from when the server saw it, which is not before this
        return got

    async def _get_or_renew(self) -> bool:
        now = _micro_time(self._clock)
        try:
            lease = await self._client.get(Lease, self.name, self.namespace)
        except NotFound:
            if self._is_another_s():
                return False  # deleted, and its leader does not know yet
            spec = self._spec(now) | {"acquireTime": now, "leaseTransitions": 0}
            await self._client.create(Lease, {"metadata": {"name": self.name}, "spec": spec}, self.namespace)
            self._observed = (self.identity, "")
            return True
        holder = lease.spec.holder_identity
        seen = (holder, lease.metadata.resource_version)
        if seen != self._observed:
            self._observed, self._observed_at = seen, self._clock.monotonic()
        if holder == self.identity:
            await self._write(self._spec(now), lease)
            return True
        self._duration = max(lease.spec.lease_duration_seconds, 1)
        if self._is_another_s():
            return False
        spec = self._spec(now) | {"acquireTime": now, "leaseTransitions": lease.spec.lease_transitions + 1}
        await self._write(spec, lease)
        self._observed = (self.identity, "")
        return True

    def _is_another_s(self) -> bool:
        """Whether the holder that was seen last may still think that it leads."""
        if self._observed is None or self._observed[0] in ("", self.identity):
            return False
        return self._clock.monotonic() - self._observed_at < self._duration

    def _spec(self, now: str) -> Manifest:
        return {"holderIdentity": self.identity, "leaseDurationSeconds": self._timing.duration, "renewTime": now}

    async def _write(self, spec: Manifest, lease: Lease) -> None:
        """Change the lease, unless somebody else has since it was read."""
        body = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        await self._client.patch(Lease, self.name, self.namespace, body)


def _micro_time(clock: Clock) -> str:
    return clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
