"""CEL expressions over JSON: compiled once, evaluated with values as a CRD's schema types them.

The evaluator is the CEL project's (`cel_expr_python`), imported with the first rule. Which rules there are: `rules.py`.
"""

from __future__ import annotations

import base64
import re
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from kfcore.api.meta import Manifest
from kfcore.apiserver.cel_ast import Node, parse
from kfcore.apiserver.cel_costs import of_self
from kfcore.apiserver.cel_macros import one_variable, with_optionals
from kfcore.apiserver.cel_names import escape
from kfcore.apiserver.cel_needs import EVERYTHING, Needs
from kfcore.apiserver.cel_types import kind_of, type_problems

if TYPE_CHECKING:
    from cel_expr_python import cel

_PRESERVE, _INT_OR_STRING = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string"
_STRING_LITERAL = re.compile(r"r?\"(?:[^\"\\]|\\.)*\"|r?'(?:[^'\\]|\\.)*'")
_CHAIN = re.compile(r"(?<![\w.])(?P<has>has\()?\s*(?P<path>(?:self|oldSelf)(?:\.[A-Za-z_]\w*(?!\w*\s*\())*)")
_TIMES = {"date-time": "timestamp", "date": "timestamp", "duration": "duration"}
_BINDING = "cel.bind(oldSelf, __hasOldSelf ? optional.of(__oldSelf) : optional.none(), {})"
_MESSAGES = (
    (re.compile(r"NOT_FOUND: Key not found in map : \"?([^\"]*)\"?"), r"no such key: \1"),
    (re.compile(r"UNKNOWN: Index error: index=(-?\d+).*"), r"index out of bounds: \1"),
    (re.compile(r"(?:UNKNOWN|INVALID_ARGUMENT): No matching overloads found.*"), "no such overload"),
    (re.compile(r"INVALID_ARGUMENT: divide by zero"), "division by zero"),
    (re.compile(r"[A-Z_]+: (.*)"), r"\1"),
)


class CompileError(Exception):
    """An expression is not CEL, or does not fit the values that it is about."""


class EvaluationError(Exception):
    """An expression has no value for an object: a missing key, a division by zero, an overflow."""


class Expression:
    """A compiled expression about `self` and, in transition rules, `oldSelf`."""

    def __init__(self, compiled: cel.Expression, schema: Manifest, *, optional: bool, transition: bool) -> None:
        self._compiled = compiled
        self.schema = schema
        self._optional = optional
        self.transition = transition

    @cached_property
    def tree(self) -> Node:
        return parse(bytes(self._compiled.serialize()))

    def evaluate(self, value: Any, previous: Any, *, has_previous: bool) -> Any:
        """Raises EvaluationError. `value` and `previous` are as `to_cel` gives them."""
        data: dict[str, Any] = {"self": value}
        if self._optional:
            data["__hasOldSelf"] = has_previous
            data["__oldSelf"] = previous if has_previous else value
        elif self.transition:
            data["oldSelf"] = previous
        try:
            result = self._compiled.eval(data=data)
            plain = result.plain_value()
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            raise EvaluationError(in_words(str(error))) from error
        if result.type().name() == "ERROR":
            raise EvaluationError(in_words(str(plain)))
        return plain


def in_words(text: str) -> str:
    for pattern, replacement in _MESSAGES:
        if pattern.fullmatch(text):
            return pattern.sub(replacement, text)
    return text


def blank_strings(text: str) -> str:
    """`text` with its string literals blanked, every other character in its place."""
    return _STRING_LITERAL.sub(lambda match: " " * len(match[0]), text)


def compile_expression(text: str, schema: Manifest, result: str, *, root: bool, optional: bool = False) -> Expression:
    """An expression about a value of `schema`; `result` is the type that it must have: `bool` or `string`.

    `optional`: `oldSelf` is an optional value. Raises CompileError in the server's words.
    """
    transition = re.search(r"\boldSelf\b", blank_strings(text)) is not None
    source = one_variable(_check_fields(text, schema, root=root), blank_strings)
    source = with_optionals(source, blank_strings) if "format" in source else source
    source = _BINDING.format(source) if optional and transition else source
    compiled = _compiled(source, signature(schema, root=root))
    found = compiled.return_type().name().lower()
    expression = Expression(compiled, schema, optional=optional and transition, transition=transition)
    variables = of_self(schema)
    problems = [why for _, why in type_problems(expression.tree, variables)]
    if problems:
        listed = "\n".join(f"ERROR: <input>:1:1: {why}" for why in problems)
        raise CompileError(f"compilation failed: {listed}\n | {text}")
    if found not in (result, "dyn") or (kind_of(expression.tree, variables) or result) != result:
        raise CompileError(f"cel expression must evaluate to a {result}")
    return expression


def _check_fields(text: str, schema: Manifest, *, root: bool) -> str:
    """`text` with the times that it names by their path made times: the evaluator gets them as text.

    Raises CompileError for a path to a field that the schema does not have.
    """
    pieces, end = [], 0
    for match in _CHAIN.finditer(blank_strings(text)):
        node: Manifest | None = schema
        place = match.start("path")
        for depth, name in enumerate(match["path"].split(".")[1:]):
            place = text.index(".", place + 1) if depth else match.start("path") + len(match["path"].split(".")[0])
            if root and depth == 0 and name in ("apiVersion", "kind", "metadata"):
                node = None
                break
            node, known = _field(node, name)
            if not known:
                column = match.start("has") + 4 if match["has"] else place + 1
                raise CompileError(
                    f"compilation failed: ERROR: <input>:1:{column}: undefined field '{name}'\n | {text}\n | "
                    f"{'.' * (column - 1)}^"
                )
            if node is None:
                break
        convert = _TIMES.get((node or {}).get("format", "")) if not match["has"] else None
        if convert and (node or {}).get("type") == "string":
            pieces += [text[end : match.start("path")], f"{convert}({match['path']})"]
            end = match.end("path")
    return "".join([*pieces, text[end:]])


def _field(schema: Manifest | None, name: str) -> tuple[Manifest | None, bool]:
    """The schema of a field, None where it cannot be told; and whether there is such a field."""
    if schema is None or schema.get("type") != "object" or schema.get(_PRESERVE):
        return None, True
    properties = schema.get("properties") or {}
    for key, inner in properties.items():
        if escape(key) == name:
            return inner, True
    additional = schema.get("additionalProperties")
    if additional is not None:
        return (additional if isinstance(additional, dict) else None), True
    return None, False


@lru_cache(maxsize=1024)
def _compiled(text: str, signature_: str) -> cel.Expression:
    try:
        return _environment(signature_).compile(text)
    except RuntimeError as error:
        found = str(error).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        raise CompileError(f"compilation failed: {found}") from error


@cache
def _environment(signature_: str) -> cel.Env:
    from cel_expr_python import cel

    of_self = cel.Type(signature_)
    return environment(self=of_self, oldSelf=of_self, __oldSelf=of_self, __hasOldSelf=cel.Type.BOOL)


def environment(*libraries: cel.CelExtension, **variables: cel.Type) -> cel.Env:
    """Kubernetes' CEL with these variables, and with further `libraries`."""
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

    from kfcore.apiserver.cel_functions import library

    return cel.NewEnv(
        variables=variables,
        extensions=[
            ext_optional.ExtOptional(),
            ext_strings.ExtStrings(),
            ext_math.ExtMath(),
            ext_bindings.ExtBindings(),
            library(),
            *libraries,
        ],
    )


def signature(schema: Manifest, *, root: bool = False) -> str:
    """The CEL type of a schema's values: objects are maps, since their fields have types of their own."""
    if schema.get(_INT_OR_STRING):
        return "dyn"
    match schema.get("type"):
        case "object":
            inner = schema.get("additionalProperties")
            return f"map<string, {signature(inner) if isinstance(inner, dict) and not root else 'dyn'}>"
        case "array":
            items = schema.get("items")
            return f"list<{signature(items) if isinstance(items, dict) else 'dyn'}>"
        case "string":
            return "bytes" if schema.get("format") == "byte" else "string"
        case "integer":
            return "int"
        case "number":
            return "double"
        case "boolean":
            return "bool"
    return "dyn"


def to_cel(value: Any, schema: Manifest, *, root: bool = False, needs: Needs = EVERYTHING) -> Any:
    """What is needed of a JSON value, as CEL sees one of `schema`: null fields are absent, and numbers are of the
    schema's type.
    """
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        found = {}
        for key, inner in value.items():
            if inner is None and not isinstance(additional, dict):
                continue
            if root and key in ("apiVersion", "kind", "metadata"):
                if key == "metadata":
                    inner = {name: inner[name] for name in ("name", "generateName") if name in inner}
                found[key] = inner
                continue
            name = escape(key) if key in properties else key
            of_inner = needs.of(name)
            if of_inner is None:
                continue
            if key in properties:
                found[name] = to_cel(inner, properties[key], needs=of_inner)
            elif isinstance(additional, dict):
                found[name] = to_cel(inner, additional, needs=of_inner)
            elif schema.get(_PRESERVE):
                found[name] = inner
        return found
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [to_cel(item, items, needs=needs.of_item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and schema.get("type") == "number":
        return float(value)
    if isinstance(value, float) and value.is_integer() and schema.get("type") == "integer":
        return int(value)
    if isinstance(value, str) and schema.get("format") == "byte":
        try:
            return base64.b64decode(value)
        except ValueError:  # which validation of the format reports
            return value.encode()
    return value
