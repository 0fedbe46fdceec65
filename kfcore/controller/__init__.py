"""Deciding when to reconcile: changes become requests, requests wait in the work queue, workers call the reconciler."""
