"""What the scheduler of one machine decides by, each part alone: kinds, affinity, resources, claims, gangs, preemption.
`kfcore_local.scheduler` asks them and acts.
"""
