"""The place of TFJob (kubeflow.org/v1). Nothing is implemented yet, and no controller is registered."""
