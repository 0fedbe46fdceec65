"""Notebooks (`kubeflow.org`): a server with a web page from one manifest, stopped when idle."""

from kfcore_notebook.api import Notebook
from kfcore_notebook.controller import NotebookController

__all__ = ["Notebook", "NotebookController"]
