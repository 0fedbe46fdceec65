"""What a pod's manifest says about asking and telling its containers: probes, lifecycle hooks, what each does."""

from __future__ import annotations

import msgspec

from kfcore.api.meta import Struct


class ExecAction(Struct, frozen=True):
    command: list[str] = []


class HttpHeader(Struct, frozen=True):
    name: str = ""
    value: str = ""


class HttpGetAction(Struct, frozen=True):
    path: str = "/"
    port: int | str = 0
    host: str = ""
    scheme: str = "HTTP"
    http_headers: list[HttpHeader] = []


class TcpSocketAction(Struct, frozen=True):
    port: int | str = 0
    host: str = ""


class GrpcAction(Struct, frozen=True):
    port: int = 0
    service: str = ""


class SleepAction(Struct, frozen=True):
    seconds: int = 0


class Handler(Struct, frozen=True):
    """One way to reach a container, of those that are set."""

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    grpc: GrpcAction | None = None
    sleep: SleepAction | None = None


class Probe(Handler, frozen=True):
    """Times are in seconds."""

    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Lifecycle(Struct, frozen=True):
    post_start: Handler | None = None
    pre_stop: Handler | None = None


class ContainerPort(Struct, frozen=True):
    name: str = ""
    container_port: int = 0
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"
