// Live pages: fragments replace elements by id, and nothing under the pointer or the focus moves. Every page works
// without this file.
(() => {
  "use strict";
  const SETTLE_MS = 500; // a press sooner than this after its button changed is not what the person saw
  const RETRY_MS = 8000;
  const ANNOUNCE_MS = 10000; // a screen reader is told of changes no more often
  const SOON_MS = 150;
  const STILL_PX = 1;
  const held = new Map(); // id -> html that waits: its sheet is open, or putting it in place would move something
  const settling = new WeakMap(); // button -> when it may be pressed; marked `data-settling` until then
  const pointer = { x: -1, y: -1 };
  let due = 0;
  let rows = null; // ids of the list as it is now on the server
  let announcedAt = -ANNOUNCE_MS;
  let asOf = "";

  const parsed = (html) => {
    const box = document.createElement("template");
    box.innerHTML = html;
    return box.content.firstElementChild;
  };

  // -- what must not be disturbed ------------------------------------------------------------------------------------

  const dirty = (field) => field.matches("select")
    ? [...field.options].some((option) => option.selected !== option.defaultSelected)
    : field.type === "checkbox" || field.type === "radio" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;

  const selecting = (element) => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
  };

  const busy = (element) => {
    if (element.querySelector("details.act[open]") || selecting(element)) return true;
    const active = document.activeElement;
    return active !== null && element.contains(active) && active.matches("input, textarea, select");
  };

  const underPointer = () => (pointer.x < 0 ? null : document.elementFromPoint(pointer.x, pointer.y));

  // A table that is pointed at or walked through keeps its cells; so does nothing else, which is only kept in place.
  const read = (element) => {
    const box = element.closest(".tablebox");
    return box !== null && (box.contains(underPointer()) || (box.contains(document.activeElement) && document.activeElement !== box));
  };

  // The element as the server wrote it: what a person opened, and what is marked here, is no difference.
  const plain = (element) => {
    const copy = element.cloneNode(true);
    for (const details of copy.querySelectorAll("details.act[open]")) details.removeAttribute("open");
    for (const button of [copy, ...copy.querySelectorAll("[data-settling]")]) button.removeAttribute("data-settling");
    return copy;
  };

  const same = (element, html) => parsed(html)?.isEqualNode(plain(element)) ?? false;

  // -- anchors: what stays where it is -------------------------------------------------------------------------------

  // The way from `top` down to `element`, to find what stands in its place after a swap.
  const way = (element, top) => {
    const steps = [];
    for (let at = element; at !== top; at = at.parentElement) steps.unshift([...at.parentElement.children].indexOf(at));
    return steps;
  };

  const counterpart = (element, before, after) => {
    if (!before.contains(element)) return element;
    if (element === before) return after;
    if (element.id) return after.querySelector("#" + CSS.escape(element.id));
    let at = after;
    for (const step of way(element, before)) {
      at = at.children[step];
      if (at === undefined) return null;
    }
    return at.tagName === element.tagName ? at : null;
  };

  const anchors = () => {
    const found = new Set();
    const active = document.activeElement;
    if (active !== null && active !== document.body && active.id !== "main") found.add(active);
    const pointed = underPointer();
    if (pointed !== null && pointed !== document.documentElement && pointed !== document.body) found.add(pointed);
    if (found.size === 0) {
      // Nobody points anywhere: what is read at the top of the window stays there.
      const top = document.querySelector(".top")?.getBoundingClientRect().bottom ?? 0;
      const first = document.elementFromPoint(innerWidth / 2, top + 8);
      if (first !== null && scrollY > 0) found.add(first);
    }
    return [...found].map((element) => ({ element, box: element.getBoundingClientRect() }));
  };

  // -- presses -------------------------------------------------------------------------------------------------------

  // The button shows that it takes no press yet; console.js refuses one, and says why.
  const settle = (button, until) => {
    const left = until - performance.now();
    if (left <= 0) return;
    settling.set(button, until);
    button.dataset.settling = "";
    setTimeout(() => delete button.dataset.settling, left);
  };

  // A button that is not what stood in its place can be pressed when there was time to read it.
  const settleNew = (element, fresh) => {
    for (const button of fresh.querySelectorAll(".btn, summary")) {
      const before = counterpart(button, fresh, element);
      const known = before !== null && plain(before).isEqualNode(button);
      settle(button, known ? settling.get(before) ?? 0 : performance.now() + SETTLE_MS);
    }
  };

  // An open sheet says that its facts have changed, and takes a press when there was time to read that.
  const warn = (element) => {
    for (const note of element.querySelectorAll("details[open] .sheet__changed[hidden]")) {
      note.hidden = false;
      for (const button of note.closest(".sheet").querySelectorAll(".btn")) settle(button, performance.now() + SETTLE_MS);
    }
  };

  // -- swapping ------------------------------------------------------------------------------------------------------

  const carried = (element, fresh) => {
    for (const details of element.querySelectorAll("details[id][open]:not(.act)")) {
      fresh.querySelector("#" + CSS.escape(details.id))?.setAttribute("open", "");
    }
    if (element.matches("details[open]:not(.act)")) fresh.setAttribute("open", "");
    if (fresh.isEqualNode(plain(element))) return false;
    for (const field of element.querySelectorAll("input[id], textarea[id], select[id]")) {
      const other = dirty(field) ? fresh.querySelector("#" + CSS.escape(field.id)) : null;
      if (other === null) continue;
      if (field.type === "checkbox" || field.type === "radio") other.checked = field.checked;
      else other.value = field.value;
    }
    return true;
  };

  // Put `html` in place of the element; gives false, and leaves everything as it was, where something would move.
  const swap = (element, html, still) => {
    const fresh = parsed(html);
    if (fresh === null || fresh.id !== element.id || !carried(element, fresh)) return true;
    const active = element.contains(document.activeElement) ? document.activeElement : null;
    const kept = still ? anchors() : [];
    const scrolled = scrollY;
    element.replaceWith(fresh);
    const moved = (one) => {
      const now = counterpart(one.element, element, fresh)?.getBoundingClientRect();
      return now === undefined ? null : [now.x - one.box.x, now.y - one.box.y];
    };
    for (const one of kept) {
      const by = moved(one);
      if (by !== null && Math.abs(by[1]) > STILL_PX) scrollBy({ top: by[1], behavior: "instant" });
    }
    const disturbed = kept.some((one) => moved(one)?.every((by) => Math.abs(by) <= STILL_PX) !== true);
    if (disturbed) {
      fresh.replaceWith(element);
      scrollTo({ top: scrolled, behavior: "instant" });
      active?.focus({ preventScroll: true });
      return false;
    }
    settleNew(element, fresh);
    if (active !== null) counterpart(active, element, fresh)?.focus({ preventScroll: true });
    return true;
  };

  const place = (id, html, still = true) => {
    const element = document.getElementById(id);
    if (element === null) return;
    held.delete(id);
    if (busy(element)) {
      if (same(element, html)) return;
      warn(element);
      held.set(id, html);
    } else if (id === "announce" && performance.now() - announcedAt < ANNOUNCE_MS) {
      held.set(id, html);
      setTimeout(again, ANNOUNCE_MS);
    } else if (still && read(element) && !same(element, html)) {
      held.set(id, html);
    } else if (!swap(element, html, still)) {
      held.set(id, html);
    } else if (id === "announce") {
      announcedAt = performance.now();
    }
  };

  // What waits, once more: something was closed, left, or pointed away from.
  const again = () => {
    due = 0;
    for (const [id, html] of [...held]) place(id, html);
    offer();
  };

  const soon = () => {
    if (held.size > 0 && due === 0) due = setTimeout(again, SOON_MS);
  };

  // -- "3 changes, show": over the page, so that offering it moves nothing -------------------------------------------

  const shown = () => new Set([...document.querySelectorAll("main [id^='row-']")].map((row) => row.id));

  const offer = () => {
    const note = document.getElementById("changes");
    if (note === null) return;
    const here = shown();
    const other = rows !== null && (rows.length !== here.size || rows.some((id) => !here.has(id)));
    const waiting = [...held.keys()].filter((id) => id !== "announce" && !document.getElementById(id)?.querySelector("details.act[open]")).length;
    const words = other ? "The list has changed" : waiting === 1 ? "1 change" : waiting + " changes";
    const label = note.querySelector("[data-words]");
    if (label.textContent !== words) label.textContent = words;
    note.dataset.list = other ? "changed" : "";
    note.hidden = !other && waiting === 0;
  };

  const show = (note) => {
    if (note.dataset.list === "changed") {
      location.reload();
      return;
    }
    for (const [id, html] of [...held]) place(id, html, false);
    offer();
  };

  // -- the stream ----------------------------------------------------------------------------------------------------

  // The page came with "As of 14:31", which stays true until the stream is open; lost is only what was live before.
  const say = (state, words) => {
    const live = document.getElementById("live");
    const label = document.getElementById("live-word");
    for (const one of ["still", "lost"]) live?.classList.toggle("live--" + one, one === state);
    if (label !== null && label.textContent !== words) label.textContent = words;
  };

  const take = (message) => {
    asOf = message.as_of;
    say("open", "Live");
    if (message.rows !== undefined) rows = message.rows;
    for (const [id, html] of Object.entries(message.fragments)) place(id, html);
    offer();
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
      say("lost", "Not live, signed out");
    });
    source.addEventListener("error", () => {
      if (asOf !== "") say("lost", "Not live, as of " + asOf);
      // A lost connection is tried again by the browser; a refusal (no stream left) is not.
      if (source?.readyState === EventSource.CLOSED) {
        stop();
        setTimeout(listen, RETRY_MS);
      }
    });
  };

  const look = () => (document.hidden ? stop() : listen());

  // A search put another list into the page: from now on that one is followed.
  const follow = () => {
    const address = location.pathname + location.search;
    if (document.body.dataset.live === address) return;
    document.body.dataset.live = address;
    held.clear();
    rows = null;
    stop();
    listen();
    offer();
  };

  // -- where people point and what they leave ------------------------------------------------------------------------

  document.addEventListener("pointermove", (event) => {
    pointer.x = event.pointerType === "touch" ? -1 : event.clientX;
    pointer.y = event.clientY;
    soon();
  }, { passive: true });
  document.documentElement.addEventListener("pointerleave", () => {
    pointer.x = -1;
    soon();
  });
  addEventListener("scrollend", () => soon());
  document.addEventListener("focusout", () => soon());
  document.addEventListener("toggle", (event) => { if (!event.target.open) soon(); }, true);
  document.addEventListener("click", (event) => {
    const note = event.target.closest("#changes");
    if (note !== null) show(note);
  });

  if (document.body.dataset.live !== undefined) {
    listen();
    document.addEventListener("visibilitychange", look);
    addEventListener("pagehide", stop);
    addEventListener("pageshow", look);
    for (const event of ["htmx:after:history:push", "htmx:after:swap"]) document.addEventListener(event, follow);
  }
})();
