"""Mask credentials that a server repeats in its response, and advise on what to do if it rejects them."""

from __future__ import annotations

from ostream.errors import NotNDJSON, ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Mapping, TypeVar

    from ostream.errors import OstreamError
    from ostream.net.host import Host

    Error = TypeVar("Error", bound=OstreamError)

# A key shorter than this is masked only after "Bearer" or "Basic": it may be a common word such as `ollama`.
UNAMBIGUOUS_LENGTH = 12
MASK = "***"
_NAMES = ("auth", "key", "token", "secret", "cookie", "password")


class Credentials:
    """The credentials among the headers of a request: the value of each header whose name contains one of _NAMES."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def _secrets(self) -> list[str]:
        values = [value for name, value in self._headers.items() if any(part in name.lower() for part in _NAMES)]
        # In "Bearer KEY", only the last word is secret.
        words = {value.split()[-1] for value in values if value.strip()}
        # Sort the longest first, because one secret may contain another.
        return sorted(words, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Return `text` with the credentials replaced by ***."""
        for secret in self._secrets():
            if secret in text or "\\" in text:
                text = _masked(text, secret)
        return text

    def mask_bytes(self, data: bytes) -> bytes:
        """Do what `mask` does, for bytes."""
        return self.mask(data.decode("latin-1")).encode("latin-1")

    def mask_error(self, error: Error) -> Error:
        """Mask the text of an error in place: message, advice, sign-in URL, server's error object, line and `partial`.

        A `partial` of the library, which is a response object, is not changed. Returns the error.
        """
        error.error = self.mask(error.error)
        error.args = tuple(self.mask(value) if isinstance(value, str) else value for value in error.args)
        error.advice = self.mask(error.advice)
        if isinstance(error, ResponseError):
            error.signin_url = self.mask(error.signin_url)
            details = error.server_error.items()
            error.server_error = {self.mask(key): self.mask(v) if isinstance(v, str) else v for key, v in details}
        if isinstance(error, NotNDJSON):
            error.line = self.mask_bytes(error.line)
        if isinstance(error.partial, bytes):
            error.partial = self.mask_bytes(error.partial)
        return error


def advice_on_rejection(error: ResponseError, host: Host, headers: Mapping[str, str], key_withheld: bool) -> str:
    """Return advice for a 401 or 403 response, or for any error that has a sign-in URL.

    Return "" for other errors, for errors that already have advice, and if the server has disabled cloud models.

    Arguments:
        headers: the headers of the request.
        key_withheld: True if $OLLAMA_API_KEY is set but was not sent to this host.
    """
    if error.signin_url:
        return f"run 'ollama signin' where the server runs, or open {error.signin_url}"
    if error.status_code not in (401, 403) or error.advice or "cloud is disabled" in error.error:
        return ""
    if error.status_code == 401 and host.is_loopback and error.error == "unauthorized":
        return "for a cloud model, run 'ollama signin'"
    if key_withheld:
        return "OLLAMA_API_KEY was not sent over plain http; use https"
    if any(name.lower() == "authorization" for name in headers):
        return "the server rejected the key that was sent; check it"
    return "set OLLAMA_API_KEY, or send the key with --header-file"


def _masked(text: str, secret: str) -> str:
    import re

    # In a line of JSON, each character of the secret may be escaped.
    escaped = {char: rf"\\u(?i:{ord(char):04x})|{re.escape(char)}" for char in secret}
    escaped.update((char, rf"\\{re.escape(char)}|{escaped[char]}") for char in '"\\/' if char in escaped)
    pattern = "".join(f"(?:{escaped[char]})" for char in secret)
    if len(secret) >= UNAMBIGUOUS_LENGTH:
        return re.sub(pattern, MASK, text)
    return re.sub(rf"\b((?i:Bearer|Basic)\s+){pattern}(?!\w)", rf"\1{MASK}", text)
