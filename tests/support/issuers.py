"""An OpenID Connect issuer on loopback: keys made on the spot, published over https."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from support.certificates import self_signed
from support.ports import free_ports

AUDIENCE = "blindsight"
ISSUER = "https://issuer.example"
_MAKE: Mapping[str, Callable[[], Any]] = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_PUBLISHED: Mapping[str, Callable[..., dict[str, Any]]] = {
    "RS256": RSAAlgorithm.to_jwk,
    "ES256": ECAlgorithm.to_jwk,
    "EdDSA": OKPAlgorithm.to_jwk,
}


@dataclass
class SigningKey:
    """A key of an issuer."""

    algorithm: str
    key_id: str
    private: Any = None

    def __post_init__(self) -> None:
        self.private = self.private or _MAKE[self.algorithm]()

    @property
    def published(self) -> dict[str, Any]:
        """Its public half, as in a JWKS."""
        made = _PUBLISHED[self.algorithm](self.private.public_key(), as_dict=True)
        return {**made, "kid": self.key_id, "use": "sig"}


def claims(**more: Any) -> dict[str, Any]:
    """Claims of an editor, for ten minutes; None takes one out."""
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "iat": now, "exp": now + 600}
    made = {**usual, "blindsight_role": "editor", **more}
    return {name: value for name, value in made.items() if value is not None}


def signed(key: SigningKey, header: Mapping[str, Any] | None = None, **more: Any) -> str:
    """A token of somebody with these claims."""
    headers = {"kid": key.key_id, **(header or {})}
    shown = {name: value for name, value in headers.items() if value is not None}
    return jwt.encode(claims(**more), key.private, algorithm=key.algorithm, headers=shown)


def part(value: Any) -> str:
    """A part of a token, from JSON or as it is."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Jwks:
    """What an issuer publishes, and how often it was asked.

    Attributes:
        answer: writes an answer; None: the document.
    """

    folder: Path
    keys: list[SigningKey]
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    asked: int = 0
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def __post_init__(self) -> None:
        self.authority, self._key = self_signed(self.folder)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}/jwks"

    def document(self) -> bytes:
        return json.dumps({"keys": [one.published for one in self.keys]}).encode()

    def start(self) -> Self:
        jwks = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                jwks.asked += 1
                if jwks.answer is not None:
                    jwks.answer(self)
                    return
                data = jwks.document()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, self._key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None  # a client that leaves
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
