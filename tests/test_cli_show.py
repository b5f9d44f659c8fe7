"""What `telex connect` writes: nothing is altered, nothing commands the terminal."""

from __future__ import annotations

import json
import re

import pytest

from telex._cli_show import MAX_BODY, MAX_HEX, Screen, indent_json, visible

DOCUMENTS = [
    '{"a":1}',
    '[1, -2.5e3 ,true,false,null, "x"]',
    '{"a": {"b": [[], {}, [[1]], {"c": "]},{["}]}, "é": "\\"\\\\"}',
    " [ ] ",
    "{}",
]


@pytest.mark.parametrize("text", DOCUMENTS)
def test_json_is_indented_as_the_standard_library_does_it(text: str) -> None:
    value = json.loads(text)
    expected = json.dumps(value, indent=2, ensure_ascii=False).replace("-2500.0", "-2.5e3")
    assert indent_json(text) == expected


def test_repeated_keys_long_numbers_and_escapes_stay_as_they_were_sent() -> None:
    text = r'{"a":1.10,"a":100000000000000000000000.5,"b":"\u001b[0m"}'
    pretty = indent_json(text)
    assert pretty is not None
    assert re.sub(r"\s", "", pretty) == text


@pytest.mark.parametrize("text", ["", "12", '"x"', "null", "{", "[1,]", "[" * 100_000, "{'a': 1}"])
def test_what_is_no_object_or_array_is_left_alone(text: str) -> None:
    assert indent_json(text) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("line\n\ttab – é 漢 👩‍💻", "line\n\ttab – é 漢 👩‍💻"),
        ("\x1b[2J\x07\r\x00\x7f", r"\x1b[2J\x07\r\x00\x7f"),
        ("\x9b31m \u202e \ud800", r"\x9b31m \u202e \ud800"),
    ],
)
def test_control_characters_become_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_messages_go_to_the_standard_output_with_the_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen()
    screen.received("[bold]hello[/bold] :smile:")
    screen.received('{"a":[1]}')
    screen.received(b"\x00\xff")
    screen.received(bytes(MAX_HEX + 2))
    out, err = capsys.readouterr()
    lines = re.sub(r"\d\d:\d\d:\d\d", "TIME", out)
    assert lines.startswith(
        "TIME < [bold]hello[/bold] :smile:\n"
        'TIME < {\n  "a": [\n    1\n  ]\n}\n'
        "TIME < 2 bytes  00 ff\n"
        "TIME < 1026 bytes  00 00"
    )
    assert lines.endswith("00 … 2 more bytes\n")
    assert err == ""


def test_raw_messages_are_one_a_line_as_they_came(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(raw=True)
    screen.received('{"a":1}')
    screen.received(b"\x00\xff")
    assert capsys.readouterr().out == '{"a":1}\n00ff\n'


@pytest.mark.parametrize(
    ("code", "reason", "by_us", "shown"),
    [
        (1000, "", True, "closed: 1000 Normal Closure\n"),
        (
            1012,
            "bye",
            False,
            (
                "server closed: 1012 Service Restart ('bye')\n"
                "Restarting; wait, with jitter. A client should connect again.\n"
            ),
        ),
        (
            1008,
            "",
            False,
            (
                "server closed: 1008 Policy Violation\n"
                "A message breaks the rules. Connecting again will not help.\n"
            ),
        ),
        (
            4001,
            "\x1b[0m",
            False,
            (
                "server closed: 4001 Private ('\\x1b[0m')\n"
                "Private to the application. "
                "Whether to connect again, only the application knows.\n"
            ),
        ),
        (
            1006,
            "",
            False,
            (
                "the connection was lost: 1006 Abnormal Closure\n"
                "The connection ended without close frame. A client should connect again.\n"
            ),
        ),
    ],
)
def test_an_end_is_shown_with_name_meaning_and_advice(
    capsys: pytest.CaptureFixture[str], code: int, reason: str, by_us: bool, shown: str
) -> None:
    Screen().closed(code, reason, by_us=by_us)
    out, err = capsys.readouterr()
    assert (out, err) == ("", shown)


def test_a_rejection_is_shown_with_its_headers_and_body(
    capsys: pytest.CaptureFixture[str],
) -> None:
    headers = [("Date", "today"), ("WWW-Authenticate", "Bearer"), ("Content-Length", "9")]
    Screen().rejected(401, "Unauthorized", headers, b'{"why":1}')
    assert capsys.readouterr().err == (
        "the server rejected the connection: HTTP 401 Unauthorized\n"
        "WWW-Authenticate: Bearer\n"
        '{\n  "why": 1\n}\n'
    )


def test_a_long_body_is_cut_and_an_empty_one_is_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Screen().rejected(500, "", [], b"x" * (MAX_BODY + 1))
    Screen().rejected(403, "", [], b"")
    assert capsys.readouterr().err == (
        "the server rejected the connection: HTTP 500\n"
        f"{'x' * MAX_BODY}\n"
        "the server rejected the connection: HTTP 403\n"
    )
