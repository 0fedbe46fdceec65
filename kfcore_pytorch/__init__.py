"""PyTorchJob of kubeflow.org/v1: a master and workers that find each other by environment variables."""

from kfcore_pytorch.api import PyTorchJob
from kfcore_pytorch.controller import PyTorchJobController

__all__ = ["PyTorchJob", "PyTorchJobController"]
