"""Files to manifests, the first step of `kfcore local run`: YAML in, documents with their place in the file out.

Whatever is wrong in a file is told here, all of it at once and before anything runs. What a kind's own fields may hold
is `kfcore_local.validation`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kfcore.api.meta import Manifest
from kfcore.api.validation import show

FieldPath = tuple[str | int, ...]
"""Where a field is: the keys and indices that lead to it."""

STDIN = "-"


class BadInput(Exception):
    """What the user gave cannot be run. The message has one line for every problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Document:
    """One manifest of a file. `directory` is where its containers run unless they say otherwise."""

    source: str
    number: int
    manifest: Manifest
    directory: Path
    lines: Mapping[FieldPath, int] = field(default_factory=dict, repr=False)

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def api_version(self) -> str:
        return str(self.manifest["apiVersion"])

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"].get("namespace") or "default")

    def problem(self, path: FieldPath, message: str) -> str:
        """`job.yaml:12: document 1: spec.x[0].y: message`, with the line of the field or of what should hold it."""
        known = next((path[:end] for end in range(len(path), -1, -1) if path[:end] in self.lines), None)
        line = f":{self.lines[known]}" if known is not None else ""
        where = f"{field_name(path)}: " if path else ""
        return f"{self.source}{line}: document {self.number}: {where}{message}"


def field_name(path: FieldPath) -> str:
    """`spec.containers[0].image`, as Kubernetes writes it."""
    text = "".join(
        f"[{part}]" if isinstance(part, int) or not re.fullmatch(r"[\w-]+", part) else f".{part}" for part in path
    )
    return text.removeprefix(".")


def read_files(files: Sequence[str]) -> list[Document]:
    """Every document of `files`, in order; `-` is standard input. Raises `BadInput` with all that is wrong in them."""
    documents: list[Document] = []
    problems: list[str] = []
    for name in files:
        try:
            documents += _read_file(name)
        except BadInput as error:
            problems += error.problems
    problems += _repeated(documents)
    if problems:
        raise BadInput(problems)
    return documents


def _read_file(name: str) -> list[Document]:
    if name == STDIN:
        return parse(sys.stdin.buffer.read(), "standard input", Path.cwd())
    path = Path(name)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BadInput([f"{name}: no such file"]) from None
    except IsADirectoryError:
        raise BadInput([f"{name}: is a directory; name the files in it, such as {name.rstrip('/')}/*.yaml"]) from None
    except OSError as error:
        raise BadInput([f"{name}: cannot be read: {error.strerror}"]) from None
    return parse(data, name, path.absolute().parent)


def parse(data: bytes, source: str, directory: Path) -> list[Document]:
    """The documents of one file. Raises `BadInput`."""
    documents: list[Document] = []
    problems: list[str] = []
    try:
        for number, node in enumerate(yaml.compose_all(data.decode("utf-8-sig"), yaml.SafeLoader), 1):
            if _is_empty(node):
                continue
            try:
                documents.append(_document(node, source, number, directory))
            except BadInput as error:
                problems += error.problems
    except UnicodeDecodeError as error:
        problems.append(f"{source}: is not a text file: byte {error.start} is not UTF-8")
    except yaml.YAMLError as error:
        problems.append(f"{source}{_place(error)}: is not valid YAML: {_reason(error)}")
    if not documents and not problems:
        problems.append(f"{source}: holds no document; expected a manifest, such as that of a PyTorchJob")
    if problems:
        raise BadInput(problems)
    return documents


def _document(node: Node, source: str, number: int, directory: Path) -> Document:
    lines: dict[FieldPath, int] = {}
    at = Document(source, number, {}, directory, lines)
    if not isinstance(node, MappingNode):
        lines[()] = node.start_mark.line + 1
        raise BadInput(
            [at.problem((), f"expected a manifest (a mapping with apiVersion and kind), found {_what(node)}")]
        )
    if problems := list(_walk(node, (), at, lines, {node})):
        raise BadInput(problems)
    try:
        manifest = _plain(_Loader("").construct_document(node))
    except yaml.YAMLError as error:
        raise BadInput([f"{source}{_place(error)}: document {number}: is not valid YAML: {_reason(error)}"]) from None
    document = Document(source, number, manifest, directory, lines)
    if problems := list(_identity(document)):
        raise BadInput(problems)
    return document


class _Loader(yaml.SafeLoader):
    """YAML's values as JSON has them: a date stays the text that it was written as."""

    yaml_constructors = {
        **yaml.SafeLoader.yaml_constructors,
        "tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_str,
    }


def _walk(node: Node, path: FieldPath, at: Document, lines: dict[FieldPath, int], above: set[Node]) -> Iterable[str]:
    """Note the line of every field; yield what no manifest may hold: a repeated key, or itself."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, SequenceNode):
        children: list[tuple[str | int, Node, Node]] = [(index, item, item) for index, item in enumerate(node.value)]
    elif isinstance(node, MappingNode):
        children = [(key.value if isinstance(key, ScalarNode) else "?", key, value) for key, value in node.value]
    else:
        return
    seen: dict[str | int, int] = {}
    for part, key, value in children:
        line = key.start_mark.line + 1
        if not isinstance(node, SequenceNode) and not isinstance(key, ScalarNode):
            yield at.problem((*path,), f"expected text as a key, found {_what(key)} (line {line})")
        elif part in seen and part != "<<":
            lines[*path, part] = line
            yield at.problem((*path, part), f"is there twice, first on line {seen[part]}; expected each key once")
        elif value in above:
            yield at.problem((*path, part), "contains itself; expected no alias to what is around it")
        else:
            seen[part] = line
            yield from _walk(value, (*path, part), at, lines, above | {value})
            lines[*path, part] = line


def _plain(value: Any) -> Any:
    """The same as JSON can hold it: text for keys, no sets and no bytes."""
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, bytes | set | tuple) else value


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else "null" if key is None else str(key)


def _identity(document: Document) -> Iterable[str]:
    """What every manifest must have: apiVersion, kind, metadata.name."""
    manifest = document.manifest
    for key, example in (("apiVersion", "kubeflow.org/v1"), ("kind", "PyTorchJob")):
        value = manifest.get(key)
        if not isinstance(value, str) or not value:
            yield document.problem((key,), f"expected text such as {example}, found {_found(manifest, key)}")
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        yield document.problem(("metadata",), f"expected a mapping with a name, found {_found(manifest, 'metadata')}")
        return
    if metadata.get("name") is None and metadata.get("generateName"):
        yield document.problem(
            ("metadata", "name"), "expected a name; generateName is for `kubectl create` against `kfcore local up`"
        )
    elif not isinstance(metadata.get("name"), str) or not metadata["name"]:
        yield document.problem(("metadata", "name"), f"expected text, found {_found(metadata, 'name')}")
    if not isinstance(metadata.get("namespace", ""), str | None):
        yield document.problem(("metadata", "namespace"), f"expected text, found {_found(metadata, 'namespace')}")


def _repeated(documents: Iterable[Document]) -> Iterable[str]:
    seen: dict[tuple[str, str, str, str], Document] = {}
    for document in documents:
        group = document.api_version.rpartition("/")[0]
        first = seen.setdefault((group, document.kind, document.namespace, document.name), document)
        if first is not document:
            yield document.problem(
                ("metadata", "name"),
                f"{document.kind} {document.namespace}/{document.name} is there already, in document {first.number} of "
                f"{first.source}; expected another name",
            )


def _is_empty(node: Node | None) -> bool:
    return node is None or (isinstance(node, ScalarNode) and node.tag.endswith(":null"))


def _what(node: Node) -> str:
    if isinstance(node, SequenceNode):
        return "a list"
    return "a mapping" if isinstance(node, MappingNode) else show(node.value)


def _found(mapping: Manifest, key: str) -> str:
    if key not in mapping:
        return "nothing"
    return show(mapping[key])


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _reason(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None)
    context = getattr(error, "context", None)
    if problem:
        return f"{problem} ({context})" if context else str(problem)
    return str(error).splitlines()[0]
