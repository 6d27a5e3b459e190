"""The sprite: one `<symbol>` per icon that a page uses, from icons.svg.

Each icon is 16 px; `f` is a filled silhouette, `k` the stroke knocked out of it. `ready`, `held` and `withdrawn` were
drawn after the design, in its manner.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from tidegate.control.console import words

_SYMBOL = re.compile(r'<symbol id="i-([a-z_-]+)".*?</symbol>')
_USED = re.compile(r'href="#i-([a-z_-]+)"')


@cache
def symbols() -> dict[str, str]:
    """Icon name to its `<symbol>` element."""
    text = files("tidegate.control.console").joinpath("icons.svg").read_text("utf-8")
    return {match[1]: match[0] for match in _SYMBOL.finditer(text)}


def sprite(html: str, *, live: bool) -> Markup:
    """What `html` refers to; a page with live updates also gets every icon that a state may turn into."""
    names = set(_USED.findall(html))
    if live:
        names |= {icon for _, icon in words.LOOKS.values()} | {"info", "warn"}
    known = symbols()
    return Markup(  # noqa: S704 - our own file
        '<svg width="0" height="0" aria-hidden="true" focusable="false"><defs>'
        + "".join(known[name] for name in sorted(names) if name in known)
        + "</defs></svg>"
    )
