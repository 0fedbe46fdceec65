"""What whoever runs the operator sees of notebooks: its metrics, its role, and those of people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from notebook_cluster import NAMESPACE, Cluster, a_notebook

from kfcore_notebook import Notebook, NotebookController
from kfcore_notebook.activity import Servers
from kfcore_notebook.idleness import Activity
from kfcore_notebook.settings import NotebookSettings

DEPLOY = Path(__file__).parents[2] / "deploy"


class NothingHappens(Servers):
    async def ask(self, notebook: Notebook) -> Activity:
        return Activity()


async def test_the_metrics_count_what_runs_was_made_and_was_stopped() -> None:
    cluster = Cluster(NotebookSettings(culling=True, idle_seconds=120, check_seconds=60))
    async with cluster.operator(servers=NothingHappens()) as manager:
        await cluster.create(a_notebook(), a_notebook("other"))
        await cluster.pod_runs()
        await cluster.rest(300)
        shown = manager.metrics.render().decode()
    for line in (
        f'notebook_running{{namespace="{NAMESPACE}"}} 2.0',
        f'notebook_create_total{{namespace="{NAMESPACE}"}} 2.0',
        f'notebook_culling_total{{name="nb",namespace="{NAMESPACE}"}} 1.0',
        "# TYPE notebook_create_failed_total counter",
        f'last_notebook_culling_timestamp_seconds{{name="nb",namespace="{NAMESPACE}"}} 1.7',
    ):
        assert line in shown, line


def test_the_operators_role_lets_it_change_no_pod_and_delete_nothing() -> None:
    allowed = {(p.resource, verb) for p in NotebookController.permissions() for verb in p.verbs}
    assert ("notebooks/status", "patch") in allowed
    assert {verb for resource, verb in allowed if resource == "pods"} == {"get", "list", "watch"}
    assert not any(verb == "delete" for _, verb in allowed)


def test_the_roles_for_people_are_gathered_into_kubeflows_own() -> None:
    roles: dict[str, Any] = {
        role["metadata"]["name"]: role for role in yaml.safe_load_all((DEPLOY / "notebook-roles.yaml").read_text())
    }
    prefix = "rbac.authorization.kubeflow.org/aggregate-to-"
    labels = {name: set(role["metadata"]["labels"]) for name, role in roles.items()}
    assert labels == {
        "kubeflow-notebooks-admin": {f"{prefix}kubeflow-admin"},
        "kubeflow-notebooks-edit": {f"{prefix}kubeflow-edit", f"{prefix}kubeflow-notebooks-admin"},
        "kubeflow-notebooks-view": {f"{prefix}kubeflow-view"},
    }
    assert roles["kubeflow-notebooks-view"]["rules"][0]["verbs"] == ["get", "list", "watch"]
