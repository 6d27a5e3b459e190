"""The console by keys alone: the Tab key to a control, and what is typed there; the focus is always to be seen."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect
from tests.browser.serving import settled

MOST_TABS = 90
#: What has the focus: whether it is one of those sought, its words, and what is wrong with it, if anything: no ring
#: around it (or around the label that is its face), or not within the window.
FOCUSED = """(sought) => {
  const one = document.activeElement;
  const face = one.matches(".seg input") ? one.closest("label") : one;
  const style = getComputedStyle(face);
  const box = face.getBoundingClientRect();
  const inside = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth && box.width > 0;
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const words = (one.getAttribute("aria-label") ?? one.labels?.[0]?.innerText ?? one.innerText ?? "").trim();
  const unseen = !ring ? "it has no ring" : !inside ? "it is out of sight" : "";
  const wrong = one === document.body ? "it has left the page" : unseen;
  return [sought.includes(one), words.split("\\n")[0], wrong];
}"""
#: Role, name (its beginning, where it ends with "…"), and what is typed there: "\\n" is the Enter key, " " the space
#: bar. These are no ARIA roles: "sheet" is the button that unfolds one; "file" its field, and typed the path; "skip"
#: goes past what stands around every page; "page" waits for the page of that heading and does the same; "see" waits for
#: words within what the selector in the place of the name matches.
Step = tuple[str, str, str]


def reach(page: Page, role: str, name: str) -> None:
    """Press Tab until the control has the focus; every one on the way shows that it has it.

    Raises:
        AssertionError: it cannot be reached going forward through the page, or the focus is not to be seen.
    """
    if role == "sheet":
        sought = page.locator("summary", has_text=name)
    elif role == "file":
        sought = page.get_by_label(name, exact=True)
    elif name.endswith("…"):
        sought = page.get_by_role(role, name=name.removesuffix("…").strip())  # type: ignore[arg-type]
    else:
        sought = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
    passed = []
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        found: list[Any] = sought.evaluate_all(FOCUSED)
        assert not found[2], f"the focus after {passed}: on {found[1]!r} {found[2]}"
        if found[0]:
            return
        passed.append(found[1])
    raise AssertionError(f"cannot reach the {role} {name!r} with the Tab key, only {passed}")


def skip(page: Page) -> None:
    """Past what stands around every page."""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")


def drive(page: Page, *steps: Step) -> None:
    if any(role == "file" for role, _, _ in steps):
        page.on("filechooser", lambda _: None)  # the browser is told to ask us long before a key makes it ask
    for role, name, keys in steps:
        match role:
            case "skip":
                skip(page)
            case "page":
                expect(page.get_by_role("heading", level=1)).to_have_text(name)
                skip(page)
            case "see":
                expect(page.locator(name).first).to_contain_text(keys)
            case _:
                reach(page, role, name)
                settled(page)
                _type(page, role, keys)


def _type(page: Page, role: str, keys: str) -> None:
    if role == "file":
        with page.expect_file_chooser() as asked:
            page.keyboard.press("Enter")
        asked.value.set_files(keys)
        return
    if role in ("textbox", "combobox"):
        page.keyboard.press("Control+A")
        page.keyboard.type(keys.removesuffix("\n"))
    if role == "checkbox":
        page.keyboard.press("Space")
    elif role == "sheet":
        page.keyboard.press("Enter")
    elif keys.endswith("\n"):
        with page.expect_navigation():
            page.keyboard.press("Enter")
