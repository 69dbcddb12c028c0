"""Who a request comes from, by the token that it shows."""

from typing import TYPE_CHECKING
from urllib.parse import unquote

from ldm_sep.web.guard import RateLimit
from ldm_sep.web.replies import RefusedError
from ldm_sep.web.tokens import Tokens

if TYPE_CHECKING:
    from starlette.requests import Request


class Door:
    """Checks the tokens of requests. ``tokens`` None: none is needed (``local``), and a request may show any name.

    A request shows a token in its Authorization header or, where ``cookie`` names one, in a cookie, for what a browser
    asks for by itself: pictures, downloads. Wrong tokens are counted by address. After 20 of them, but for one in five
    seconds, the reply is 429. A right one is always taken.
    """

    def __init__(self, tokens: Tokens | None, cookie: str | None = None) -> None:
        self.local = tokens is None
        self._tokens, self._cookie = tokens, cookie
        self._misses = RateLimit(burst=20, per_second=0.2)

    def admits(self, request: "Request") -> bool:
        """Whether ``request`` shows a token, or needs none."""
        return self.local or bool(self.name(request))

    def name(self, request: "Request") -> str:
        """The name that the token was made for; empty for a wrong one. Without tokens: what was shown."""
        scheme, _, code = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.name_of(unquote(code.strip()), request)
        return self.name_of(request.cookies.get(self._cookie, "") if self._cookie else "", request)

    def name_of(self, code: str, request: "Request") -> str:
        """The same for a ``code`` that came with ``request`` in another way."""
        if self._tokens is None:
            return code
        name = self._tokens.name_of(code)
        if name is None and code:
            wait = self._misses.wait(request.client.host if request.client else "")
            if wait > 0:
                raise RefusedError(429, "Too many wrong links; wait a few minutes.", retry_after=wait)
        return name or ""
