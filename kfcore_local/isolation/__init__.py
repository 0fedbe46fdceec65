"""Pods with namespaces of their own, made without root: who runs what, and where.

    kubelet (this machine's network)                        hub (a user namespace of its own)
      hub_client.py  ── requests, file descriptors ──▶        hub.py        forks a supervisor for every container
      network.py     names, cluster IPs, the way out          links.py      a bridge, and a link to it for each pod
      dns.py proxy.py                                         rootfs.py     overlays over this machine's files
      sandboxes.py   what a container's root has              syscalls.py   what Python's `os` has not

The hub is the first process of a PID namespace, so that whatever pods run dies with it, and it dies with the kubelet.
It imports its own column and `supervisor.py` only, and those import built-in modules only: to be small, and quick.
"""
