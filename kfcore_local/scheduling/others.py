"""The pods that have a place already, as one sees them that looks for its own. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from kfcore_local.scheduling.kinds import SchedulableNode
from kfcore_local.scheduling.resources import Placed
from kfcore_local.scheduling.terms import NamespaceLabels


class Others(msgspec.Struct, frozen=True):
    """`anybody_repels`: whether there may be such as do not want others near them."""

    nodes: Mapping[str, SchedulableNode]
    placed: Sequence[Placed]
    namespace_labels: NamespaceLabels
    anybody_repels: bool

    def without(self, uids: Collection[str]) -> Others:
        left = [placed for placed in self.placed if placed.pod.metadata.uid not in uids]
        return msgspec.structs.replace(self, placed=left)

    def labels_under(self, placed: Placed) -> Mapping[str, str]:
        """Of the node that it is on."""
        node = self.nodes.get(placed.node)
        return node.metadata.labels if node is not None else {}
