"""The console's cookies: by name, and how they are set."""

from __future__ import annotations

from starlette.responses import Response

# `__Host-` keeps a cookie to this host, HTTPS and the whole of its paths.
SESSION_COOKIE = "__Host-tidegate"
CSRF_COOKIE = "__Host-tidegate-csrf"
THEME_COOKIE = "__Host-tidegate-theme"
FLEET_COOKIE = "__Host-tidegate-fleet"
#: By this one an operator's browser is known when somebody else fails to sign in under their name.
BROWSER_COOKIE = "__Host-tidegate-browser"
#: Between the password and the second factor.
STEP_COOKIE = "__Host-tidegate-step"
#: Between this node and the OpenID provider, and back.
SIGN_ON_COOKIE = "__Host-tidegate-sign-on"


def set_cookie(response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """A cookie that scripts cannot read, and that other sites cannot send with a form."""
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")


def drop_cookie(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
