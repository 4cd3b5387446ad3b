// The Monitoring tab: its parts, looking at the open one while it is seen, and what was pressed.
// Evaluates nothing and fetches nothing.
(() => {
  "use strict";
  const { find, tell, put, sheets } = window.atelier;
  const PARTS = ["now", "usage", "containers", "log", "doctor"];
  const EVERY = { now: 2, usage: 10, containers: 3, log: 2, doctor: Infinity }; // seconds
  const root = () => document.getElementById("monitoring");
  const view = (name) => find(`#monitoring [data-view="${name}"]`);
  const act = (values) => tell("monitoring-do", JSON.stringify(values));
  // The shared dialog takes a tab's sheet from `#<tab>-sheet` and shows it in `#<tab>-view`.
  const ask = sheets("monitoring", act);
  const seen = () => Boolean(root()?.offsetParent) && !document.hidden;

  let part = PARTS.includes(sessionStorage.getItem("atelier-monitoring")) ? sessionStorage.getItem("atelier-monitoring") : "now";
  let opened = ""; // the container whose output is shown
  let offset = "0"; // of the rows
  let looked = 0;
  const look = (all) => {
    looked = performance.now();
    tell("monitoring-look", JSON.stringify({ part, opened, offset, ...(all ? { all: "1" } : {}) }));
  };
  const show = (name) => {
    part = name;
    sessionStorage.setItem("atelier-monitoring", name);
    mark();
    look(true);
    dispatchEvent(new Event("resize")); // a plot that was hidden has no width yet
  };
  const mark = () => {
    const place = root();
    if (!place) return;
    if (place.dataset.part !== part) place.dataset.part = part;
    for (const name of PARTS) {
      document.getElementById(`monitoring-show-${name}`)?.setAttribute("aria-pressed", String(name === part));
    }
  };

  document.addEventListener("atelier:painted", () => {
    if (!root()) return;
    mark();
    for (const name of ["live", "containers", "log", "usage", "rows"]) {
      put(view(name), find(`#monitoring-${name}-painted .shelf`));
    }
    ask();
  });

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target?.closest("#monitoring")) return;
    const shown = target.closest("[id^=monitoring-show-]");
    if (shown) return show(shown.id.replace("monitoring-show-", ""));
    const output = target.closest("[data-output]");
    if (output) {
      opened = opened === output.dataset.output ? "" : output.dataset.output;
      return look(false);
    }
    const turn = target.closest("[data-offset]");
    if (turn) {
      offset = turn.dataset.offset;
      return look(false);
    }
    const name = target.closest(".log code, .rows code")?.textContent;
    if (name) return search(name);
    const button = target.closest("button[data-act]");
    if (!button) return;
    act({ ...button.dataset });
    button.classList.add("sent");
    setTimeout(() => button.classList.remove("sent"), 8000);
  });
  // A request's id leads to what the log says of it.
  const search = (text) => {
    const box = find("#monitoring-text input, #monitoring-text textarea");
    if (box) {
      box.value = text;
      box.dispatchEvent(new Event("input", { bubbles: true }));
    }
    setTimeout(() => show("log"), 60);
  };

  document.addEventListener("change", (event) => {
    const select = event.target.closest?.("#monitoring select[data-act]");
    if (!select) return;
    act({ ...select.dataset, value: select.value });
    select.blur();
  });
  // A form that changes is looked at with its new values, once typing pauses.
  let waiting = 0;
  const soon = (event) => {
    if (!event.target.closest?.("#monitoring .form-bar")) return;
    offset = "0";
    clearTimeout(waiting);
    waiting = setTimeout(() => look(false), 350);
  };
  document.addEventListener("input", soon);
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#monitoring .form-bar, .options [role=option]")) soonAfter();
  });
  const soonAfter = () => {
    if (!seen()) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => look(false), 350);
  };

  // Look while the tab is seen.
  let before = false;
  setInterval(() => {
    const now = seen();
    const empty = now && part !== "doctor" && !find(`#monitoring-${part === "now" ? "live" : part}-painted .shelf`);
    const passed = (performance.now() - looked) / 1000;
    if (now && !before) mark(), look(true);
    else if (empty ? passed > 5 : now && passed >= EVERY[part]) look(empty);
    before = now;
  }, 500);
})();
