"""A path with parameters, as data: read from its text once, then matched and formatted.

The rules:

1. A path begins with `/` and is cut at each `/` into *segments*. There is no normalising: a
   slash at the end counts, an empty segment is a segment.
2. `{name}`, `{name:type}`, `<name>` and `<name:type>` are parameters. Everything else is
   literal text, compared exactly with the decoded path.
3. A segment may mix text and parameters, but two parameters need text between them. In such a
   segment a `str` parameter ends at the first character of the text after it, so that matching
   takes time proportional to the length of the path, whatever was sent.
4. A type that takes `/` (`path`, `any`) stands at the end of the path.
5. Two patterns of the same *shape*, equal but for the names of parameters, match the same paths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from telex.exceptions import RoutingError
from telex.routing._convertors import REFUSALS, TEXT, Convertor, find_convertor, spans_segments

_PLAIN: Final = "!$&'()*+,;=:@"
"""What a segment may hold as it is, next to letters, digits and `-._~` (RFC 3986 §3.3)."""

_BRACKETS: Final = {"{": "}", "<": ">"}
_ANY_BRACKET: Final = re.compile(r"[{}<>]")


class Parameter(NamedTuple):
    """One `{name:type}`."""

    name: str
    type: str
    convertor: Convertor


Part = str | Parameter
Shape = tuple[tuple[str, ...], ...]


class Segment:
    """What stands between two slashes, or the whole rest when `spans` is true.

    Attributes:
        parts: Literal texts and parameters in turn.
        parameters: The parameters alone.
        literal: The text of a segment without parameters, else `None`.
        spans: Whether it reads everything to the end of the path.
        shape: Equal for segments that match the same texts.
    """

    __slots__ = ("_regex", "literal", "parameters", "parts", "shape", "spans")

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.parts = parts
        self.parameters = tuple(part for part in parts if isinstance(part, Parameter))
        self.literal = None if self.parameters else "".join(map(str, parts))
        self.spans = any(spans_segments(each.convertor) for each in self.parameters)
        self.shape = tuple(
            f"<{part.type}>" if isinstance(part, Parameter) else part for part in parts
        )
        # Text from slash to slash needs no regular expression; this is most of all segments.
        plain = len(parts) == 1 and all(each.convertor is TEXT for each in self.parameters)
        self._regex = None if plain else re.compile(self._spell())

    @property
    def rank(self) -> tuple[bool, bool]:
        """Lower is tried first: typed before `str`, text around it before none."""
        untyped = any(each.convertor is TEXT for each in self.parameters)
        return untyped, len(self.parts) == 1

    def read(self, text: str) -> tuple[Any, ...] | None:
        """Return the values of the parameters, or `None` when the text does not fit."""
        texts = self.texts(text)
        if not texts or self._regex is None:
            return texts
        try:
            return tuple(
                each.convertor.convert(part)
                for each, part in zip(self.parameters, texts, strict=True)
            )
        except REFUSALS:
            return None

    def texts(self, text: str) -> tuple[str, ...] | None:
        """Return the texts of the parameters, not converted, or `None`."""
        if self.literal is not None:
            return () if text == self.literal else None
        if self._regex is None:
            return (text,) if text else None
        found = self._regex.fullmatch(text)
        if found is None:
            return None
        return tuple(found[f"_{index}"] for index in range(len(self.parameters)))

    def _spell(self) -> str:
        """Write the regular expression."""
        spelled = []
        index = 0
        for position, part in enumerate(self.parts):
            if isinstance(part, str):
                spelled.append(re.escape(part))
                continue
            regex = part.convertor.regex
            if part is not self.parameters[-1]:
                regex = self._bounded(part, str(self.parts[position + 1]))
            spelled.append(f"(?P<_{index}>{regex})")
            index += 1
        return "".join(spelled)

    @staticmethod
    def _bounded(parameter: Parameter, following: str) -> str:
        """Return the regex of a parameter that is not the last, without any way back.

        With a way back `{a}-{b}-{c}` takes the cube of the length to refuse "-----".
        """
        if parameter.convertor is TEXT:
            return f"[^/{re.escape(following[0])}]+"
        return f"(?>{parameter.convertor.regex})"


_Reader = Callable[[Segment, str], tuple[Any, ...] | None]


class Pattern:
    """A path with parameters.

    Immutable; any number of tasks may use it.

    Attributes:
        path: The text it was made of.
        segments: Its parts between the slashes.
        parameters: All parameters in order.
        names: Their names in order.
        shape: Equal for patterns that match the same paths.
        is_static: Whether it has no parameters.
    """

    __slots__ = ("is_static", "names", "parameters", "path", "segments", "shape")

    def __init__(self, path: str) -> None:
        """Read a pattern.

        Args:
            path: What the patterns in the head of this file look like.

        Raises:
            RoutingError: It is not a pattern; the text says where and what was expected.
        """
        if not isinstance(path, str) or not path.startswith("/"):
            raise RoutingError(f"path {path!r}: must begin with '/'")
        self.path = path
        self.segments = tuple(Segment(parts) for parts in _cut(path))
        self.parameters = tuple(each for part in self.segments for each in part.parameters)
        self.names = tuple(each.name for each in self.parameters)
        self.shape: Shape = tuple(segment.shape for segment in self.segments)
        self.is_static = not self.parameters
        self._check()

    def __repr__(self) -> str:
        return f"Pattern({self.path!r})"

    def match(self, path: str) -> dict[str, Any] | None:
        """Return the parameters of a decoded path, or `None` when it does not match.

        Never raises for what the path holds.
        """
        values = self._read(path, Segment.read)
        return None if values is None else dict(zip(self.names, values, strict=True))

    def fill(self, /, **params: Any) -> str:
        """Return the path with these parameters, decoded, as it stands in a scope.

        The result matches again and gives the same parameters.

        Args:
            **params: A value for each parameter. A `str` is taken as the text of the value,
                whatever the type.

        Raises:
            LookupError: A parameter is missing, or there is none of that name.
            ValueError: A value does not fit its type, or cannot be told from the text around it.
        """
        if params.keys() != set(self.names):
            raise LookupError(f"path {self.path!r} takes {', '.join(self.names) or 'nothing'}")
        texts = {each.name: _text(each, params[each.name]) for each in self.parameters}
        path = self._join(texts)
        if self._read(path, Segment.texts) != tuple(texts[name] for name in self.names):
            raise ValueError(f"path {self.path!r}: {texts} would not be read back from {path!r}")
        return path

    def format(self, /, **params: Any) -> str:
        """Return the path with these parameters, percent-encoded, as it stands in a URL.

        Args:
            **params: As for `fill`.

        Raises:
            LookupError: As for `fill`.
            ValueError: As for `fill`, or a value that UTF-8 has no bytes for.
        """
        encoded = quote(self.fill(**params), safe=f"/{_PLAIN}")
        # "//host" at the head of a link is another host (RFC 3986 §4.2).
        return f"/%2F{encoded[2:]}" if encoded.startswith("//") else encoded

    def _join(self, texts: dict[str, str]) -> str:
        """Put texts in the places of the parameters."""
        filled = (
            "".join(
                texts[part.name] if isinstance(part, Parameter) else part for part in each.parts
            )
            for each in self.segments
        )
        return "".join(f"/{segment}" for segment in filled)

    def _read(self, path: str, read: _Reader) -> tuple[Any, ...] | None:
        """Return what is read from all segments, in order, or `None`."""
        last = len(self.segments) - 1
        spans = self.segments[last].spans
        # "/a/b".split("/") begins with an empty text, which stands for what is before the path.
        before, *texts = path.split("/", last + 1 if spans else -1)
        if before or len(texts) != last + 1:
            return None
        values: tuple[Any, ...] = ()
        for segment, text in zip(self.segments, texts, strict=True):
            found = read(segment, text)
            if found is None:
                return None
            values += found
        return values

    def _check(self) -> None:
        """Refuse what is read well and still makes no sense."""
        for name in self.names:
            if self.names.count(name) > 1:
                raise RoutingError(f"path {self.path!r}: parameter {name!r} appears twice")
        for segment in self.segments:
            for part, following in zip(segment.parts, segment.parts[1:], strict=False):
                if isinstance(part, Parameter) and isinstance(following, Parameter):
                    raise RoutingError(
                        f"path {self.path!r}: expected text between the parameters"
                        f" {part.name!r} and {following.name!r}"
                    )
            for parameter in segment.parameters:
                at_end = segment is self.segments[-1] and parameter is segment.parts[-1]
                if spans_segments(parameter.convertor) and not at_end:
                    raise RoutingError(
                        f"path {self.path!r}: type {parameter.type!r} takes '/' and"
                        f" must be at the end"
                    )


def _cut(path: str) -> Iterator[tuple[Part, ...]]:
    """Yield the parts of each segment of a path; brackets may not hold a slash."""
    for text in path[1:].split("/"):
        parts: list[Part] = []
        rest = text
        while found := _ANY_BRACKET.search(rest):
            closing = _BRACKETS.get(found[0])
            if closing is None:
                raise RoutingError(f"path {path!r}: {found[0]!r} without an opening bracket")
            if found.start():
                parts.append(rest[: found.start()])
            inside, closed, rest = rest[found.end() :].partition(closing)
            if not closed:
                raise RoutingError(f"path {path!r}: expected {closing!r} after {found[0]!r}")
            parts.append(_parameter(path, inside))
        if rest or not parts:
            parts.append(rest)
        yield tuple(parts)


def _parameter(path: str, text: str) -> Parameter:
    """Read what stands between two brackets."""
    name, colon, kind = text.partition(":")
    if not name.isidentifier():
        raise RoutingError(f"path {path!r}: expected the name of a parameter, not {name!r}")
    kind = kind if colon else "str"
    try:
        return Parameter(name, kind, find_convertor(kind))
    except LookupError as error:
        raise RoutingError(f"path {path!r}: parameter {name!r} has an {error.args[0]}") from None


def _text(parameter: Parameter, value: Any) -> str:
    """Return the text of a value, which the convertor takes."""
    try:
        # str.__str__ and not str(): a member of `class Room(str, Enum)` stands for its value.
        text = (
            str.__str__(value) if isinstance(value, str) else parameter.convertor.to_string(value)
        )
        if re.fullmatch(parameter.convertor.regex, text) is None:
            raise ValueError(f"{text!r} is not of type {parameter.type}")
        parameter.convertor.convert(text)
    except (TypeError, *REFUSALS) as error:
        raise ValueError(f"parameter {parameter.name!r}: {error}") from error
    return text
