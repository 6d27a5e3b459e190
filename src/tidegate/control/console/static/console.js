// What people do: sheets, forms, lists with boxes. Every page works without this file.
(() => {
  "use strict";

  // -- presses -------------------------------------------------------------------------------------------------------

  // A button that live.js has just changed takes no press: it is not what the person saw. Enter in a field of its form is
  // a click on it too.
  document.addEventListener("click", (event) => {
    const note = document.getElementById("unread");
    if (note === null) return;
    note.hidden = event.target.closest("[data-settling]") === null;
    if (note.hidden) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);

  document.addEventListener("submit", (event) => event.submitter?.setAttribute("aria-busy", "true"));
  addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("[aria-busy]")) button.removeAttribute("aria-busy");
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const sheet = event.target.closest("details[open]:is(.act, .menu)") ?? document.querySelector("details[open]:is(.act, .menu)");
    if (sheet === null) return;
    sheet.removeAttribute("open");
    sheet.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.removeAttribute("open");
    }
  });

  // -- lists with boxes ----------------------------------------------------------------------------------------------

  // Ticking the box in a table's head ticks every row; the number of those ticked is said beside what is done with them.
  const tick = (form) => {
    const boxes = [...form.querySelectorAll("input[name='device']")];
    const ticked = boxes.filter((box) => box.checked).length;
    const all = form.querySelector("[data-tick-all]");
    if (all !== null) {
      all.checked = ticked === boxes.length && ticked > 0;
      all.indeterminate = ticked > 0 && ticked < boxes.length;
    }
    const said = form.querySelector("[data-ticked]");
    if (said !== null) said.textContent = ticked === 1 ? "1 selected device" : ticked + " selected devices";
  };

  document.addEventListener("change", (event) => {
    const field = event.target;
    if (field.matches("[data-submit]")) field.form.requestSubmit();
    if (field.matches("[data-tick-all]")) {
      for (const box of field.form.querySelectorAll("input[name='device']")) box.checked = field.checked;
    }
    if (field.form?.matches("[data-bulk]")) tick(field.form);
  });

  // -- secrets shown once --------------------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button === null) return;
    const text = document.getElementById(button.dataset.copy)?.textContent ?? "";
    navigator.clipboard?.writeText(text).then(() => { button.lastChild.textContent = "Copied"; });
  });

  for (const element of document.querySelectorAll("[data-needs-script]")) element.hidden = false;
  for (const form of document.querySelectorAll("[data-bulk]")) tick(form);
})();
