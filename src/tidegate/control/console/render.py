"""Templates to pages: Jinja with autoescape, nothing undefined, and a sprite of only the icons used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tidegate import __version__
from tidegate.control.console import assets, gauges, icons, pictures, tide, words

SPRITE = "<!--sprite-->"


@dataclass(slots=True)
class Fragments:
    """What of a page may be replaced while it is looked at, by the id of the element; filled while it is rendered."""

    found: dict[str, str] = field(default_factory=dict)

    def __call__(self, name: str, caller: Callable[[], str]) -> Markup:
        html = Markup(caller().strip())  # noqa: S704 - what a template wrote, escaped already
        self.found[name] = str(html)
        return html


@cache
def environment() -> Environment:
    env = Environment(
        loader=PackageLoader("tidegate.control.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    env.filters |= {
        "number": words.number,
        "percent": words.percent,
        "duration": words.duration,
        "file_size": words.file_size,
        "stamp": words.stamp,
        "machine": words.machine,
        "short": words.short_hash,
        "shortened": words.shortened,
        "ended": words.ended,
    }
    env.globals |= {
        "plural": words.plural,
        "tone": words.tone,
        "icon_of": words.icon,
        "clock": words.clock,
        "until": words.until,
        "ago": words.ago,
        "asset": assets.url,
        "version": __version__,
        "tide": tide.tide,
        "tide_tall": tide.tide_tall,
        "tide_mini": pictures.tide_mini,
        "meter": gauges.meter,
        "bar": gauges.bar,
    }
    return env


@dataclass(frozen=True, slots=True)
class Rendered:
    html: str
    fragments: dict[str, str]


def render(template: str, context: dict[str, Any], *, live: bool) -> Rendered:
    """A whole page, and its replaceable parts."""
    fragments = Fragments()
    html = environment().get_template(template).render(**context, fragment=fragments)
    return Rendered(html.replace(SPRITE, icons.sprite(html, live=live), 1), fragments.found)
