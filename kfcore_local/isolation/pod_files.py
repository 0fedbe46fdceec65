"""The files that a kubelet writes into every container: who the pod is, and how names are looked up. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kfcore_local.isolation.directory import DOMAIN
from kfcore_local.pods import DnsConfig, LocalPod

_LONGEST_HOSTNAME = 63
_NSSWITCH = Path("/etc/nsswitch.conf")
_LOOPBACK = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hostname(pod: LocalPod) -> str:
    """A pod's name may be longer than a host's."""
    return pod.spec.hostname or pod.name[:_LONGEST_HOSTNAME].rstrip("-.")


def files(pod: LocalPod, address: str, name_server: str, machine_searches: Sequence[str]) -> dict[str, str]:
    """Texts by path. `machine_searches` are the domains in which this machine looks for names."""
    return {
        "/etc/hostname": hostname(pod) + "\n",
        "/etc/hosts": _hosts(pod, address),
        "/etc/nsswitch.conf": _lookups(),
        "/etc/resolv.conf": _resolver(pod, name_server, machine_searches),
    }


def _hosts(pod: LocalPod, address: str) -> str:
    names = hostname(pod)
    if pod.spec.subdomain:
        names = f"{names}.{pod.spec.subdomain}.{pod.namespace}.svc.{DOMAIN}\t{names}"
    aliases = "".join(f"{alias.ip}\t{' '.join(alias.hostnames)}\n" for alias in pod.spec.host_aliases)
    more = f"\n# Entries added by HostAliases.\n{aliases}" if aliases else ""
    return f"# Kubernetes-managed hosts file.\n{_LOOPBACK}{address}\t{names}\n{more}"


def _resolver(pod: LocalPod, name_server: str, machine_searches: Sequence[str]) -> str:
    """By the pod's DNS policy. Whatever the policy, this machine's own servers are asked through ours."""
    servers, options = [name_server], ["ndots:5"]
    searches = [f"{pod.namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN, *machine_searches]
    if pod.spec.dns_policy == "Default":
        searches, options = list(machine_searches), []
    elif pod.spec.dns_policy == "None":
        servers, searches, options = [], [], []
    config = pod.spec.dns_config or DnsConfig()
    servers += [server for server in config.nameservers if server not in servers]
    searches += [search for search in config.searches if search not in searches]
    for option in config.options:
        name = str(option.get("name", ""))
        options = [kept for kept in options if kept.partition(":")[0] != name]
        options.append(f"{name}:{option['value']}" if option.get("value") not in (None, "") else name)
    lines = [f"nameserver {server}" for server in servers]
    lines += [f"search {' '.join(searches)}"] if searches else []
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def _lookups() -> str:
    """This machine's, but hosts from files and DNS alone: its other sources know nothing of pods."""
    try:
        lines = _NSSWITCH.read_text(errors="replace").splitlines()
    except OSError:
        lines = ["passwd: files", "group: files"]
    kept = [line for line in lines if not line.strip().startswith("hosts:")]
    return "\n".join([*kept, "hosts: files dns"]) + "\n"
