// Says when the live part of a page is old: a lost connection must not look like a quiet hour.
"use strict";

const FAILURES_SHOWN = 2;
const note = document.getElementById("live-note");
let failures = 0;

function show() {
  const isLost = failures >= FAILURES_SHOWN;
  note.textContent = isLost ? note.dataset.lost : "";
  note.toggleAttribute("data-stale", isLost);
}

document.addEventListener("htmx:error", () => {
  failures += 1;
  show();
});

document.addEventListener("htmx:before:response", (event) => {
  const response = event.detail.ctx.response;
  if (response.raw.redirected) {
    event.preventDefault();
    location.reload(); // the log-in is over: the whole page leads to the log-in form
    return;
  }
  failures = response.status >= 400 ? failures + 1 : 0;
  show();
});
