"""CEL about a request: the conditions of webhooks and the expressions of policies, over `object`, `oldObject`,
`request`, `params`, `namespaceObject`, `authorizer` and `variables`. The evaluator is that of `cel.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from kfcore.apiserver.cel import CompileError, EvaluationError, blank_strings, environment, in_words
from kfcore.apiserver.cel_macros import one_variable, with_optionals

if TYPE_CHECKING:
    from cel_expr_python import cel

CONDITION = frozenset({"object", "oldObject", "request", "authorizer", "namespaceObject"})
POLICY = CONDITION | {"variables"}
WITH_PARAMS = POLICY | {"params"}


@cache
def _environment(variables: frozenset[str]) -> cel.Env:
    from cel_expr_python import cel

    from kfcore.apiserver.cel_authorizer import authorizer_library

    return environment(authorizer_library(), **dict.fromkeys(sorted(variables), cel.Type.DYN))


@lru_cache(1024)
def compiled(text: str, variables: frozenset[str], result: str = "") -> cel.Expression:
    """An expression that gives a `bool` or a `string` (empty: anything). Raises CompileError in the server's words."""
    source = one_variable(text, blank_strings)
    source = with_optionals(source, blank_strings) if "format" in source else source
    try:
        expression = _environment(variables).compile(source)
    except RuntimeError as error:
        found = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        raise CompileError(f"compilation failed: {found}") from error
    if result and expression.return_type().name().lower() not in (result, "dyn"):
        raise CompileError(f"must evaluate to {result}")
    return expression


def evaluate(text: str, variables: frozenset[str], values: Mapping[str, Any], result: str = "") -> Any:
    """The value of an expression. Raises EvaluationError."""
    try:
        expression = compiled(text, variables, result)
    except CompileError as error:
        raise EvaluationError(f"compilation error: {error}") from error
    try:
        found = expression.eval(data={name: values.get(name) for name in variables})
        plain = found.plain_value()
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise EvaluationError(_resulted(text, str(error))) from error
    if found.type().name() == "ERROR":
        raise EvaluationError(_resulted(text, str(plain)))
    return plain


def _resulted(text: str, why: str) -> str:
    return f"expression '{text}' resulted in error: {in_words(why)}"


def conditions_hold(conditions: Iterable[Mapping[str, Any]], value: Callable[[str], Any], *, fails: bool) -> bool:
    """Whether all `matchConditions` do. One that is false settles it, whatever the others; what has no value counts by
    the failure policy (`fails`). Raises EvaluationError.
    """
    errors: list[str] = []
    for condition in conditions:
        try:
            if value(condition["expression"]) is False:
                return False
        except EvaluationError as error:
            errors.append(str(error))
    if not errors:
        return True
    if fails:
        raise EvaluationError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return False
