"""TFJob of kubeflow.org/v1: a chief, workers, parameter servers and an evaluator that find each other by TF_CONFIG."""

from kfcore_tf.api import TFJob
from kfcore_tf.controller import TFJobController

__all__ = ["TFJob", "TFJobController"]
