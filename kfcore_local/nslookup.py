"""An `nslookup` for pods of plain processes, first on their PATH: init containers of training jobs wait with it for
their master's name, which is in no DNS here, and many machines don't have the program.

Cluster names come from the hosts file that `network.py` keeps (KFCORE_HOSTS); an address is answered with itself, since
names in a container's arguments were rewritten to addresses; other names go to the system's resolver.
"""

import os
import re
import socket
import sys

_ADDRESS = re.compile(r"[0-9.]+$|[0-9a-fA-F:]*:[0-9a-fA-F:.]*$")


def cluster_address(name: str, namespace: str, hosts: str) -> str:
    """Empty when the name is none of the cluster's."""
    wanted = {name.rstrip("."), f"{name}.{namespace}"}
    try:
        with open(hosts, encoding="utf-8") as file:
            for line in file:
                address, *names = line.split()
                if wanted & set(names):
                    return address
    except OSError:
        pass
    return ""


def system_addresses(name: str) -> list[str]:
    try:
        return sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []


def main() -> int:
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not names:
        print("Usage: nslookup NAME", file=sys.stderr)
        return 1
    name = names[0]
    found = cluster_address(name, os.environ.get("KFCORE_NAMESPACE", "default"), os.environ.get("KFCORE_HOSTS", ""))
    addresses = [found] if found else [name] if _ADDRESS.match(name) else system_addresses(name)
    if not addresses:
        print(f"** server can't find {name}: NXDOMAIN")
        return 1
    for address in addresses:
        print(f"Name:\t{name}\nAddress: {address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
