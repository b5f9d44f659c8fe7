"""A real nginx with the configuration that docs/deployment.md shows, always ended.

with proxying(backend.port, tmp_path) as nginx:
    async with connect(nginx.url("/echo")): ...
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme

import pages
from integration.servers import free_port

DEADLINE: Final = 20.0
"""Seconds nginx may take to begin, and to end."""

PAGE: Final = pages.ROOT / "docs" / "deployment.md"

SHOWN: Final = {
    "listen 443 ssl;": "listen 127.0.0.1:{port} ssl;",
    "ssl_certificate /etc/ssl/example.com.pem;": "ssl_certificate {folder}/certificate.pem;",
    "ssl_certificate_key /etc/ssl/example.com.key;": "ssl_certificate_key {folder}/key.pem;",
    "server_name example.com;": "server_name 127.0.0.1;",
    "server 127.0.0.1:8000;": "server 127.0.0.1:{backend};",
}
"""What of the page cannot be the same in a test, and what stands there instead."""

AROUND: Final = """
daemon off;
worker_processes 1;
error_log stderr info;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/app.conf;
}}
"""
"""What Debian has in /etc/nginx/nginx.conf, as far as it matters."""


def program() -> str | None:
    """Where nginx is: installed, or fetched by `scripts/install-nginx`."""
    fetched = pages.ROOT / ".cache" / "nginx" / "usr" / "sbin" / "nginx"
    found = (shutil.which(name) for name in ("nginx", "/usr/sbin/nginx", str(fetched)))
    return next((path for path in found if path is not None), None)


def shown() -> str:
    """The configuration on the page."""
    [block] = [
        block.code
        for block in pages.blocks(PAGE.read_text(encoding="utf-8"))
        if block.language == "nginx"
    ]
    return block


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Replace parts of a text, each of which must be there exactly once."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {text}"
        text = text.replace(old, new)
    return text


@dataclass
class Nginx:
    """One nginx.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        backend: The port it passes requests on to.
        folder: Where its files are.
        authority: Who signed its certificate.
    """

    port: int
    backend: int
    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def origin(self) -> str:
        """The origin of a page on it."""
        return f"https://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """The URL of a path on it."""
        return f"wss://127.0.0.1:{self.port}{path}"

    @property
    def trust(self) -> ssl.SSLContext:
        """What a client needs to believe its certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return (self.folder / "nginx.log").read_text(errors="replace")

    def configure(self, changes: Mapping[str, str]) -> None:
        """Write the configuration of the page with some parts of it replaced."""
        own = {
            old: new.format(port=self.port, backend=self.backend, folder=self.folder)
            for old, new in SHOWN.items()
        }
        text = changed(changed(shown(), changes), own)
        (self.folder / "app.conf").write_text(text)
        # Root's nginx would look for a user that not every system has.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.getuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(user + AROUND.format(folder=self.folder))

    def certify(self) -> None:
        """Write its certificate and the key."""
        certificate = self.authority.issue_cert("127.0.0.1")
        (self.folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
        (self.folder / "certificate.pem").write_bytes(chain)

    def begin(self) -> None:
        """Start it and wait until it takes connections."""
        path = program()
        assert path is not None
        log = self.folder / "nginx.log"
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [path, "-p", str(self.folder), "-c", "nginx.conf", "-e", "stderr"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        give_up = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), DEADLINE).close()
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(0.02)
                raise RuntimeError(f"nginx ended with {code}:\n{self.output}")
            if time.monotonic() > give_up:
                raise RuntimeError(f"nginx does not answer:\n{self.output}")

    def reload(self) -> None:
        """Have it read its configuration again, as `nginx -s reload` does; do not wait."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def end(self) -> None:
        """Stop it: it hangs up on everybody, and its workers end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(DEADLINE)
            raise


@contextmanager
def proxying(
    backend: int, folder: Path, changes: Mapping[str, str] | None = None
) -> Iterator[Nginx]:
    """An nginx that answers, for the length of the block.

    Args:
        backend: The port it passes requests on to.
        folder: For its files.
        changes: Parts of the page's configuration, and what stands there instead.
    """
    nginx = Nginx(free_port(), backend, folder)
    nginx.certify()
    nginx.configure(changes or {})
    try:
        nginx.begin()
        yield nginx
    finally:
        nginx.end()
