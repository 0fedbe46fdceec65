"""The cluster IPs and node ports of a server's services: each given to one service, until that gives it back."""

from __future__ import annotations

from functools import partial

from kfcore.api.meta import Manifest
from kfcore.apiserver.draws import Draws
from kfcore.apiserver.storage import Change, Collection, Stored

FIRST_NODE_PORT, LAST_NODE_PORT = 30000, 32767
_FIRST_IP, _IPS = 10, 1 << 16
_HEADLESS = "None"


class Addresses:
    """Knows what the services in `collection` have."""

    def __init__(self, collection: Collection, draws: Draws) -> None:
        self._collection = collection
        self._draws = draws
        self._next_ip = _FIRST_IP
        self._next_port = FIRST_NODE_PORT
        self._ips: dict[str, str] = {}
        self._ports: dict[tuple[int, str], str] = {}
        self._known = False
        collection.subscribers.append(self._changed)

    def forget(self) -> None:
        """Storage took back changes: look again at what is there."""
        self._known = False

    def ip(self) -> str:
        """A cluster IP that nobody has."""
        self._look()
        address = self._draws.draw(self._free_ip)
        return address if address not in self._ips else self._free_ip()

    def _free_ip(self) -> str:
        while True:
            number = self._next_ip
            self._next_ip = number + 1 if number + 2 < _IPS else _FIRST_IP
            address = f"10.96.{number >> 8 & 255}.{number & 255}"
            if address not in self._ips:
                return address

    def port(self, besides: set[int]) -> int:
        """A node port that nobody has."""
        self._look()
        taken = {port for port, _ in self._ports} | besides
        port = self._draws.draw(partial(self._free_port, taken))
        return port if port not in taken else self._free_port(taken)

    def _free_port(self, taken: set[int]) -> int:
        for _ in range(FIRST_NODE_PORT, LAST_NODE_PORT + 1):
            self._next_port = self._next_port + 1 if self._next_port < LAST_NODE_PORT else FIRST_NODE_PORT
            if self._next_port not in taken:
                break
        return self._next_port

    def ip_is_others(self, address: str, uid: str) -> bool:
        self._look()
        return self._ips.get(address, uid) != uid

    def port_is_others(self, port: int, protocol: str, uid: str) -> bool:
        self._look()
        return self._ports.get((port, protocol), uid) != uid

    def _look(self) -> None:
        if not self._known:
            self._known = True
            self._ips.clear()
            self._ports.clear()
            for stored in self._collection.select():
                self._take(stored)

    def _changed(self, change: Change) -> None:
        if not self._known:
            return
        if change.previous is not None:
            uid = change.previous.uid
            for address in _ips(change.previous.manifest):
                if self._ips.get(address) == uid:
                    del self._ips[address]
            for port in _ports(change.previous.manifest):
                if self._ports.get(port) == uid:
                    del self._ports[port]
        if change.type != "DELETED":
            self._take(change.current)

    def _take(self, stored: Stored) -> None:
        self._ips |= dict.fromkeys(_ips(stored.manifest), stored.uid)
        self._ports |= dict.fromkeys(_ports(stored.manifest), stored.uid)


def _ips(service: Manifest) -> list[str]:
    return [address for address in service["spec"].get("clusterIPs") or () if address != _HEADLESS]


def _ports(service: Manifest) -> list[tuple[int, str]]:
    ports = service["spec"].get("ports") or ()
    found = [(port["nodePort"], port.get("protocol", "TCP")) for port in ports if port.get("nodePort")]
    if health := service["spec"].get("healthCheckNodePort"):
        found.append((health, "TCP"))
    return found
