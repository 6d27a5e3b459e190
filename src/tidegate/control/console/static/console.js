// Live pages: fragments replace elements by id. Every page works without this file.
(() => {
  "use strict";
  const SETTLE_MS = 500; // a press sooner than this after its button changed is not what the person saw
  const RETRY_MS = 8000;
  const held = new Map(); // id -> html that waits until its sheet is closed
  let changedAt = 0;
  let asOf = "";

  const busy = (element) => {
    if (element.querySelector("details.act[open]")) return true;
    const active = document.activeElement;
    return active !== null && element.contains(active) && active.matches("input, textarea, select");
  };

  const opened = (element) => [...element.querySelectorAll("details[id][open]")].map((details) => details.id);

  // Whether an open sheet shows what the server says; what a person opened or typed is no difference.
  const same = (element, html) => {
    const box = document.createElement("template");
    box.innerHTML = html;
    const plain = element.cloneNode(true);
    for (const details of plain.querySelectorAll("details.act[open]")) details.removeAttribute("open");
    return box.content.firstElementChild?.isEqualNode(plain) ?? false;
  };

  const swap = (element, html) => {
    const box = document.createElement("template");
    box.innerHTML = html;
    const fresh = box.content.firstElementChild;
    if (fresh === null || fresh.id !== element.id) return;
    for (const id of opened(element)) fresh.querySelector("#" + CSS.escape(id))?.setAttribute("open", "");
    if (fresh.isEqualNode(element)) return;
    const focus = element.contains(document.activeElement) ? document.activeElement : null;
    if (element.querySelector(".btn")) changedAt = performance.now();
    element.replaceWith(fresh);
    if (focus?.id) document.getElementById(focus.id)?.focus({ preventScroll: true });
  };

  const place = (id, html) => {
    const element = document.getElementById(id);
    if (element === null) return false;
    if (busy(element)) {
      if (same(element, html)) return true;
      held.set(id, html);
      for (const note of element.querySelectorAll("details[open] .sheet__changed")) note.hidden = false;
    } else {
      held.delete(id);
      swap(element, html);
    }
    return true;
  };

  const say = (live, words) => {
    const label = document.getElementById("live-word");
    document.getElementById("live")?.classList.toggle("live--lost", !live);
    if (label !== null && label.textContent !== words) label.textContent = words;
  };

  const take = (message) => {
    asOf = message.as_of;
    say(true, "Live");
    let unknown = 0;
    for (const [id, html] of Object.entries(message.fragments)) {
      if (!place(id, html) && id.startsWith("row-")) unknown += 1;
    }
    if (unknown > 0) {
      const more = document.getElementById("rows-changed");
      if (more !== null) more.hidden = false;
    }
  };

  let source = null;

  const stop = () => {
    source?.close();
    source = null;
  };

  // A page that nobody looks at holds no connection: a browser has few of them for one host.
  const listen = () => {
    if (source !== null || document.hidden) return;
    source = new EventSource("/live?of=" + encodeURIComponent(document.body.dataset.live));
    source.addEventListener("fragments", (event) => take(JSON.parse(event.data)));
    source.addEventListener("signed-out", () => {
      document.removeEventListener("visibilitychange", look);
      stop();
      say(false, "Not live, signed out");
    });
    source.addEventListener("error", () => {
      say(false, "Not live, as of " + (asOf || document.body.dataset.asOf));
      // A lost connection is tried again by the browser; a refusal (no stream left) is not.
      if (source?.readyState === EventSource.CLOSED) {
        stop();
        setTimeout(listen, RETRY_MS);
      }
    });
  };

  const look = () => (document.hidden ? stop() : listen());

  document.addEventListener("toggle", (event) => {
    if (event.target.open) return;
    for (const [id, html] of [...held]) place(id, html);
  }, true);

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.closest("details.act") && performance.now() - changedAt < SETTLE_MS) {
      event.preventDefault();
      for (const note of form.querySelectorAll(".sheet__changed")) note.hidden = false;
      return;
    }
    event.submitter?.setAttribute("aria-busy", "true");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const sheet = event.target.closest("details[open]:is(.act, .menu)") ?? document.querySelector("details[open]:is(.act, .menu)");
    if (sheet === null) return;
    sheet.removeAttribute("open");
    sheet.querySelector("summary").focus();
  });

  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button === null) return;
    const text = document.getElementById(button.dataset.copy)?.textContent ?? "";
    navigator.clipboard?.writeText(text).then(() => { button.lastChild.textContent = "Copied"; });
  });

  for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
  if (document.body.dataset.live !== undefined) {
    listen();
    document.addEventListener("visibilitychange", look);
    addEventListener("pagehide", stop);
    addEventListener("pageshow", look);
  }
})();
