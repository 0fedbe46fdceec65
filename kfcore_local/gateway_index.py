"""The gateway's first page: a link to everything that it leads to, and whether somebody answers there. Rules come in,
HTML goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape

from kfcore_local.gateway_routes import Backend, Rule

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Services of this cluster</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 50rem; padding: 0 1rem; }}
td {{ padding: .2rem 1.5rem .2rem 0; }} .waits {{ color: #888; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #ddd; }} a {{ color: #8af; }} }}
</style>
<h1>Services of this cluster</h1>
{body}
</html>
"""


def index_page(rules: Iterable[Rule], port: int, is_open: Callable[[Backend], bool]) -> str:
    """`is_open`: whether a pod behind a Service's port is ready. `port` is the gateway's own."""
    rows = {}
    for rule in rules:
        if not rule.exact and ":" not in rule.prefix:  # those with a port are the same Service again
            rows[rule.host, rule.prefix] = rule
    if not rows:
        return _PAGE.format(body="<p>There is no Service with a selector yet.</p>")
    body = "".join(_row(rows[key], port, is_open(rows[key].backend)) for key in sorted(rows))
    return _PAGE.format(body=f"<table>{body}</table>")


def _row(rule: Rule, port: int, is_open: bool) -> str:
    backend = rule.backend
    host = rule.host if rule.host.endswith(".localhost") or not rule.host else f"{rule.host}.localhost"
    address = f"http://{host}:{port}{rule.prefix}" if host else rule.prefix
    shown = f"{host}{rule.prefix}"
    where = f"Service {backend.namespace}/{backend.service}, port {backend.port}"
    state = "" if is_open else '<span class="waits">no pod is ready</span>'
    return f'<tr><td><a href="{escape(address)}">{escape(shown)}</a></td><td>{escape(where)}</td><td>{state}</td></tr>'
