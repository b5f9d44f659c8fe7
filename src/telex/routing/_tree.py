"""Patterns in a tree of segments: from a path to what was put there.

A lookup is one dictionary access for a path without parameters. Otherwise it walks the tree,
segment by segment, and at each segment tries in this order what was added there:

1. the same text,
2. parameters with a type (with text around them first), then `str` (likewise),
3. a parameter that takes `/` and so the whole rest,
4. a mount, which takes the rest too.

Within one group the order of adding counts. A branch that leads nowhere is left without a trace
and the next one tried. No place of the tree is visited twice in one lookup, whatever the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from telex.routing._pattern import Segment

T = TypeVar("T")


class Found(NamedTuple, Generic[T]):
    """What a lookup gives."""

    leaf: T
    values: tuple[Any, ...]
    """The values of the parameters, in the order of the pattern."""
    prefix: str
    """The part of the path that a mount's own pattern took; `""` for anything else."""


class _Node(Generic[T]):
    """One place of the tree: what ends here and where it goes on."""

    __slots__ = ("leaf", "mount", "parameters", "same", "tails")

    def __init__(self) -> None:
        self.leaf: T | None = None
        self.mount: T | None = None
        self.same: dict[str, _Node[T]] = {}
        self.parameters: list[tuple[Segment, _Node[T]]] = []
        self.tails: list[tuple[Segment, T]] = []

    def child(self, segment: Segment) -> _Node[T]:
        """Return the place behind a segment; one place for all segments of the same shape."""
        if segment.literal is not None:
            return self.same.setdefault(segment.literal, _Node())
        for known, node in self.parameters:
            if known.shape == segment.shape:
                return node
        node = _Node[T]()
        self.parameters.append((segment, node))
        self.parameters.sort(key=lambda each: each[0].rank)
        return node


class Tree(Generic[T]):
    """Leaves and mounts by path. Adding the same shape twice is the caller's mistake."""

    def __init__(self) -> None:
        self._root = _Node[T]()
        self._static: dict[str, T] = {}

    def add(self, segments: Sequence[Segment], leaf: T) -> None:
        """Put a leaf where a whole path of these segments leads."""
        *before, last = segments
        node = self._root
        for segment in before:
            node = node.child(segment)
        if last.spans:
            node.tails.append((last, leaf))
            node.tails.sort(key=lambda each: each[0].rank)
            return
        node.child(last).leaf = leaf
        if all(segment.literal is not None for segment in segments):
            self._static["".join(f"/{segment.literal}" for segment in segments)] = leaf

    def mount(self, segments: Sequence[Segment], leaf: T) -> None:
        """Put a leaf where every path leads that begins with these segments."""
        node = self._root
        for segment in segments:
            node = node.child(segment)
        node.mount = leaf

    def find(self, path: str) -> Found[T] | None:
        """Return what is at a decoded path, or `None`."""
        leaf = self._static.get(path)
        if leaf is not None:
            return Found(leaf, (), "")
        return _find(self._root, path.split("/")[1:], 0, ())


def _find(node: _Node[T], texts: list[str], depth: int, values: tuple[Any, ...]) -> Found[T] | None:
    """Look below one place; `depth` segments lie behind."""
    if depth < len(texts):
        found = _find_below(node, texts, depth, values)
        if found is not None:
            return found
    elif node.leaf is not None:
        return Found(node.leaf, values, "")
    if node.mount is None:
        return None
    return Found(node.mount, values, "".join(f"/{text}" for text in texts[:depth]))


def _find_below(
    node: _Node[T], texts: list[str], depth: int, values: tuple[Any, ...]
) -> Found[T] | None:
    """Try what goes on from one place."""
    text = texts[depth]
    same = node.same.get(text)
    if same is not None:
        found = _find(same, texts, depth + 1, values)
        if found is not None:
            return found
    for segment, child in node.parameters:
        read = segment.read(text)
        if read is not None:
            found = _find(child, texts, depth + 1, values + read)
            if found is not None:
                return found
    if node.tails:
        rest = "/".join(texts[depth:])
        for segment, leaf in node.tails:
            read = segment.read(rest)
            if read is not None:
                return Found(leaf, values + read, "")
    return None
