"""DNS messages, as far as a cluster's names need them: a question in, an answer out. Makes no request.

Answers have addresses (A), aliases (CNAME) and names of addresses (PTR); of a name that is there, other types are
answered with nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

A, CNAME, PTR = 1, 5, 12
NO_ERROR, SERVER_FAILURE, NO_NAME = 0, 2, 3
_INTERNET = 1
_RESPONSE = 0x8400  # an authoritative one
_REVERSE = ".in-addr.arpa"
_RECURSION = 0x0180  # asked for, and offered
SECONDS = 5
"""For how long an answer may be kept: as long as CoreDNS says it of a cluster's names."""


class NotAQuestion(Exception):
    """Bytes that are no question which can be answered."""


class Question(msgspec.Struct, frozen=True):
    number: int
    name: str
    kind: int
    section: bytes
    """The question as it came, to be repeated in the answer."""


def read_question(message: bytes) -> Question:
    """Raises NotAQuestion."""
    try:
        number, flags, questions = struct.unpack_from(">HHH", message)
        if flags & 0x8000 or questions != 1:
            raise NotAQuestion
        labels, position = [], 12
        while length := message[position]:
            if length > 63:
                raise NotAQuestion  # a question has nothing to point to
            labels.append(message[position + 1 : position + 1 + length].decode("ascii"))
            position += 1 + length
        kind, _ = struct.unpack_from(">HH", message, position + 1)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise NotAQuestion from error
    return Question(number, ".".join(labels).lower(), kind, message[12 : position + 5])


def answer(question: Question, addresses: Sequence[str], alias: str = "") -> bytes:
    """The addresses of the name; with `alias`, they are those of the name that it stands for."""
    records = []
    owner = b"\xc0\x0c"  # the name in the question
    if alias:
        encoded = _encode(alias)
        records.append(_record(owner, CNAME, encoded))
        owner = encoded
    if question.kind == A:
        records += [_record(owner, A, bytes(int(part) for part in address.split("."))) for address in addresses]
    return _message(question, NO_ERROR, records)


def name_of_address(question: Question, name: str) -> bytes:
    """What an address is called, to one who asked for that."""
    return _message(question, NO_ERROR, [_record(b"\xc0\x0c", PTR, _encode(name))] if question.kind == PTR else [])


def asked_address(question: Question) -> str:
    """The IPv4 address whose name is asked for; empty where it is about something else."""
    parts = question.name.removesuffix(_REVERSE).split(".")
    whole = len(parts) == 4 and all(part.isdecimal() for part in parts)
    return ".".join(reversed(parts)) if whole and question.name.endswith(_REVERSE) else ""


def failure(question: Question, code: int) -> bytes:
    return _message(question, code, [])


def _message(question: Question, code: int, records: list[bytes]) -> bytes:
    header = struct.pack(">HHHHHH", question.number, _RESPONSE | _RECURSION | code, 1, len(records), 0, 0)
    return header + question.section + b"".join(records)


def _record(owner: bytes, kind: int, data: bytes) -> bytes:
    return owner + struct.pack(">HHIH", kind, _INTERNET, SECONDS, len(data)) + data


def _encode(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"
