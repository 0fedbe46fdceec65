"""Semantic versions: what CEL's `semver` makes of a text, and which of two comes first."""

from __future__ import annotations

import re

import msgspec

_NUMBER = "0|[1-9][0-9]*"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?")


class Version(msgspec.Struct, frozen=True):
    major: int
    minor: int
    patch: int
    before: tuple[str, ...] = ()
    """The identifiers of what came before the release (`rc.1`)."""

    @property
    def order(self) -> tuple[object, ...]:
        """A release is after all that came before it; numbers are before words."""
        identifiers = tuple(
            (0, int(one), "") if one.isascii() and one.isdigit() else (1, 0, one) for one in self.before
        )
        return (self.major, self.minor, self.patch, not self.before, identifiers)


def parse(text: str, *, normalize: bool = False) -> Version:
    """`normalize` takes a leading `v`, missing numbers and leading zeros, too. Raises ValueError."""
    if normalize:
        text = _normal(text)
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a semantic version")
    major, minor, patch, before = match.groups()
    return Version(int(major), int(minor), int(patch), tuple(before.split(".")) if before else ())


def _normal(text: str) -> str:
    match = re.fullmatch(r"v?([0-9.]*)(.*)", text, re.DOTALL)
    assert match is not None
    numbers = [str(int(one)) if one else "" for one in match[1].split(".")]
    numbers += ["0"] * (3 - len(numbers))
    return ".".join(numbers) + match[2]
