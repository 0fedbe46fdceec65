"""The place of Notebook (kubeflow.org). Nothing is implemented yet, and no controller is registered."""
