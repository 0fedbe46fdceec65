"""The client of a real cluster: kubernetes-asyncio finds server and credentials, `HttpTransport` talks to it."""

from __future__ import annotations

import os
import ssl
from inspect import isawaitable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kfcore.client.errors import ConnectionFailed
from kfcore.client.http import Connection, HttpTransport
from kfcore.client.rest import RestClient
from kfcore.client.retry import DEFAULT_POLICY, RetryingTransport, RetryPolicy
from kfcore.client.throttle import Throttle, ThrottledTransport
from kfcore.client.transport import Transport
from kfcore.clock import Clock

# Watches keep their connections, so this bounds what a burst of requests may open beside them.
CONNECTIONS = 512


class ConfigurationError(Exception):
    """No usable way to a cluster was found; the message says where it was looked for."""


class ClusterClient(RestClient):
    """Make one with `connect` or `at`; it is an async context manager that closes its connections."""

    @classmethod
    async def connect(
        cls,
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        *,
        retry: RetryPolicy = DEFAULT_POLICY,
        throttle: Throttle | None = None,
        clock: Clock | None = None,
    ) -> Self:
        """To the cluster of a kubeconfig file and context (None: its current one).

        Without `kubeconfig`, the first of these that there is: `$KUBECONFIG`, the service account of the pod that this
        runs in, `~/.kube/config`. `throttle` limits the rate of requests (None: not at all, since servers share out
        their time themselves). Raises `ConfigurationError`.
        """
        where = Path(kubeconfig) if kubeconfig else _default_kubeconfig()

        async def renew() -> Connection:
            try:
                return await _open_configured(where, context)
            except ConfigurationError as error:  # it is being written just now, perhaps
                raise ConnectionFailed(
                    f"the server refused the credentials, and there are no others: {error}"
                ) from error

        transport: Transport = HttpTransport(await _open_configured(where, context), renew)
        if throttle:
            transport = ThrottledTransport(transport, throttle, clock=clock)
        return cls(RetryingTransport(transport, clock=clock, policy=retry))

    @classmethod
    async def at(
        cls,
        url: str,
        *,
        token: str | None = None,
        authority: bytes | None = None,
        retry: RetryPolicy = DEFAULT_POLICY,
        clock: Clock | None = None,
    ) -> Self:
        """To a server whose address and bearer token are known, without any configuration file.

        `url` is `http(s)://host:port`, or `unix:///path` for a socket of this machine. `authority` is the certificate
        (PEM) to trust an https server by; None: those that this machine trusts.
        """
        import aiohttp

        async def authorization() -> str | None:
            return f"Bearer {token}" if token else None

        connector: aiohttp.BaseConnector
        if url.startswith("unix://"):
            connector = aiohttp.UnixConnector(url.removeprefix("unix://"), limit=CONNECTIONS)
            url = "http://localhost"
        else:
            trusted = ssl.create_default_context(cadata=authority.decode()) if authority else True
            connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trusted)
        session = aiohttp.ClientSession(connector=connector)
        http = HttpTransport(Connection(session, url.rstrip("/"), authorization))
        return cls(RetryingTransport(http, clock=clock, policy=retry))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def _default_kubeconfig() -> Path | None:
    """None means: the service account of this pod."""
    if named := os.environ.get("KUBECONFIG"):
        return Path(named)
    return None if os.environ.get("KUBERNETES_SERVICE_HOST") else Path.home() / ".kube" / "config"


def _is_missing(kubeconfig: Path) -> bool:
    """As `$KUBECONFIG` it may be several, of which those are merged that there are."""
    return not any(os.path.exists(os.path.expanduser(path)) for path in str(kubeconfig).split(os.pathsep))


def environment_proxy(url: str) -> str | None:
    """The proxy to a server: by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` in either case, else the system's."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


async def _open_configured(kubeconfig: Path | None, context: str | None) -> Connection:
    import yaml
    from aiohttp import BasicAuth, ClientSession

    from kfcore.client.configuration import load_library

    config, library, rest = load_library()
    configuration = library.Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    source = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
    if kubeconfig and _is_missing(kubeconfig):
        raise ConfigurationError(f"cannot use {source}: no such file; KUBECONFIG names another")
    try:
        if kubeconfig is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(str(kubeconfig), context=context, client_configuration=configuration)
        # A session of our own over their connector: theirs asks the environment for a proxy and ~/.netrc for a password
        # at each request, in a thread each; the proxy is found once, and a password there is not for an API server.
        theirs = rest.RESTClientObject(configuration).pool_manager
    except (config.ConfigException, OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(f"cannot use {source}: {error}") from error
    except (AssertionError, AttributeError, LookupError, TypeError) as error:  # YAML of another shape
        raise ConfigurationError(f"cannot use {source}: this is no kubeconfig") from error
    session = ClientSession(connector=theirs.connector)
    theirs.detach()
    url = str(configuration.host).rstrip("/")

    async def authorization() -> str | None:
        key: str | None
        try:
            found = configuration.get_api_key_with_prefix("BearerToken")
            key = await found if isawaitable(found) else found  # older versions of the library do not wait
        except (config.ConfigException, OSError):
            # The file of the token is being replaced: the last one, while it holds.
            key = configuration.api_key.get("BearerToken")
        if key is None and configuration.username:
            return BasicAuth(configuration.username, configuration.password or "").encode()
        return key

    return Connection(
        session,
        url,
        authorization,
        proxy=configuration.proxy or environment_proxy(url),
        server_hostname=configuration.tls_server_name,
    )
