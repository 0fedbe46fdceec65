"""One machine as a cluster: a scheduler, a kubelet that runs processes, their network, and what starts them all."""
