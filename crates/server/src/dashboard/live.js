// Keeps the page current: each decision arrives as an event, and the parts are fetched again.
// Reports are no decisions, so the fleet is looked at every few seconds as well.
(() => {
  "use strict";
  const parts = [...document.querySelectorAll("[data-part]")];
  const live = document.getElementById("live");
  const shown = new Map();
  const QUIET_MS = 250;
  const LOOK_MS = 2000;
  let planned = 0;
  let busy = false;
  let again = false;

  const say = (text, on) => {
    const words = live.lastElementChild;
    if (words.textContent !== text) words.textContent = text;
    live.classList.toggle("off", !on);
  };

  // A part is replaced only when it changed, and never while it is being read.
  const put = (part, html) => {
    if (shown.get(part) === html) return;
    if (part.contains(document.activeElement) && part.matches(":has(details[open])")) return;
    const open = [...part.querySelectorAll("details")].map((d) => d.open);
    const scrolled = [...part.querySelectorAll("[tabindex]")].map((e) => [e.scrollLeft, e.scrollTop]);
    const focused = [...part.querySelectorAll("[tabindex]")].indexOf(document.activeElement);
    part.innerHTML = html;
    shown.set(part, html);
    part.querySelectorAll("details").forEach((d, i) => { d.open = open[i] || false; });
    part.querySelectorAll("[tabindex]").forEach((e, i) => {
      if (scrolled[i]) [e.scrollLeft, e.scrollTop] = scrolled[i];
      if (i === focused) e.focus({ preventScroll: true });
    });
  };

  const look = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      for (const part of parts) {
        const answer = await fetch("/fragments/" + part.dataset.part, { credentials: "same-origin" });
        if (answer.status === 401) { location.reload(); return; }
        if (answer.ok) put(part, await answer.text());
      }
      say("Live", true);
    } catch {
      say("Control plane away, trying again", false);
    } finally {
      busy = false;
      if (again) { again = false; soon(); }
    }
  };

  const soon = () => {
    clearTimeout(planned);
    planned = setTimeout(look, QUIET_MS);
  };

  const events = new EventSource("/v1/events/stream");
  events.addEventListener("entry", soon);
  events.onopen = soon;
  events.onerror = () => say("Control plane away, trying again", false);
  setInterval(() => { if (!document.hidden) look(); }, LOOK_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
  addEventListener("pagehide", () => events.close());
})();
