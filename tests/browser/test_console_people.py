"""Users, roles, API keys, sessions and fleets in the console: whole acts, with and without scripts, by keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.browser.serving import PASSWORD, Opens, Site, press, unfold

from tidegate.control.services import people, sessions
from tidegate.control.services.people import NamedGrant

pytestmark = pytest.mark.browser


def test_a_user_with_an_own_role_from_making_to_disabling(site: Site, open_window: Opens) -> None:
    role, name = "night", "ann"
    window = open_window(java_script_enabled=False)
    window.enter()
    page = window.go("/new-role")
    page.get_by_label("Name").fill("Not A Name")
    page.get_by_label("rollouts.read").check()
    press(page, "Create role")
    expect(page.locator("#name-h")).to_contain_text("must be 1 to 63")
    expect(page.get_by_label("rollouts.read")).to_be_checked()  # what was typed stays
    page.get_by_label("Name").fill(role)
    press(page, "Create role")
    expect(page.get_by_role("status")).to_contain_text("Nobody holds it yet")

    page = window.go("/new-user")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Role", exact=True).first.select_option(role)
    press(page, "Create user")
    password = page.locator("#secret").inner_text()
    assert sessions.sign_in(site.node, name, password, user_agent="t", address="192.0.2.9").operator.name == name
    page = window.go(f"/roles/{role}")
    expect(page.get_by_text(f"user:{name}")).to_be_visible()
    expect(page.get_by_text("Delete role")).to_have_attribute("aria-disabled", "true")

    page = window.go(f"/users/{name}")
    unfold(page, "Disable operator")
    expect(page.locator("details[open]")).to_contain_text("1 living session end")
    press(page, "Disable the operator", "details[open]")
    expect(page.get_by_role("status").first).to_contain_text("Operator disabled")
    expect(page.locator("main")).to_contain_text("Not signed in")


def test_a_key_is_shown_once_and_revoked_by_the_keyboard_alone(site: Site, open_window: Opens) -> None:
    window = open_window()
    window.enter()
    page = window.go("/api-keys")
    page.get_by_label("Name").focus()
    page.keyboard.type("browser-key")
    page.keyboard.press("Enter")
    secret = page.locator("#secret").inner_text()
    assert secret.startswith("tg_")
    assert sessions.authenticate(site.node, f"Bearer {secret}").actor.name == "browser-key"
    page = window.go("/api-keys")
    assert secret not in page.content()
    page.locator("summary", has_text="Revoke API key").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("API key revoked")
    expect(page.locator("#list")).to_contain_text("revoked")


def test_ending_a_session_ends_the_page_it_has_open(site: Site, open_window: Opens) -> None:
    people.create_operator(
        site.scope, site.node, name="watcher", roles=[NamedGrant("viewer", "default")], password=PASSWORD
    )
    other = open_window()
    watched = other.sign_in("watcher")
    expect(watched.locator("#live-word")).to_have_text("Live")
    window = open_window(java_script_enabled=False)
    window.enter()
    page = window.go("/sessions?q=watcher")
    page.get_by_role("button", name="End session of watcher").first.click()
    expect(page.get_by_role("status").first).to_contain_text("Session ended")
    expect(watched.locator("#live-word")).to_contain_text("Not live", timeout=3_000)
    other.go("/devices")
    expect(watched.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_fleet_is_made_and_shown_without_scripts(site: Site, open_window: Opens) -> None:
    window = open_window(java_script_enabled=False)
    window.enter()
    page = window.go("/fleets")
    page.get_by_label("Name").fill("browser-plant")
    press(page, "Create fleet")
    expect(page.get_by_role("status")).to_contain_text("Fleet created")
    page.get_by_role("button", name="Show fleet browser-plant").click()
    expect(page.locator(".side__foot")).to_contain_text("Fleet browser-plant")
    window.go("/audit")
    expect(page.locator("main")).to_contain_text("browser-plant")
    window.go("/fleets")
    page.get_by_role("button", name="Show fleet default").click()
    expect(page.locator(".side__foot")).to_contain_text("Fleet default")


def test_changing_ones_password_where_the_form_says_what_is_wrong(site: Site, open_window: Opens) -> None:
    people.create_operator(
        site.scope, site.node, name="changer", roles=[NamedGrant("viewer", "default")], password=PASSWORD
    )
    window = open_window(java_script_enabled=False)
    page = window.sign_in("changer")
    window.go("/account")
    page.get_by_label("Present password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("a new and long one")
    page.get_by_label("New password, again").fill("a new and longer one")
    press(page, "Change password")
    expect(page.locator("#again-h")).to_contain_text("must be the same")
    page.get_by_label("Present password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("a new and long one")
    page.get_by_label("New password, again").fill("a new and long one")
    press(page, "Change password")
    expect(page.get_by_role("status")).to_contain_text("Password changed")
