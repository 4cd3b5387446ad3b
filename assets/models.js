// The Models tab: moves what the server painted into place without losing focus, scroll or open lists; search and
// filter; tells the server what was pressed; looks again while it is seen. Evaluates nothing and fetches nothing.
(() => {
  "use strict";
  const { find, tell, turnTo, put, sheets } = window.atelier;
  const view = (name) => find(`#models-view [data-view="${name}"]`);
  const act = (values) => tell("models-do", JSON.stringify(values));
  const ask = sheets("models", act);
  const seen = () => Boolean(view("live")?.offsetParent) && !document.hidden;

  // Search and filter.
  let only = "all";
  const filter = () => {
    const typed = find("#models-search input, #models-search textarea")?.value ?? "";
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    let any = false;
    for (const group of document.querySelectorAll("#models-view .group")) {
      let count = 0;
      for (const card of group.querySelectorAll(".card")) {
        const fits = only === "all" || card.hasAttribute(`data-${only}`);
        card.hidden = !fits || !words.every((word) => card.dataset.words.includes(word));
        count += !card.hidden;
      }
      group.hidden = !count;
      any ||= count > 0;
      const shown = find(".count", group);
      if (shown.textContent !== String(count)) shown.textContent = count;
    }
    const none = find("#models-view .shelf > .none");
    if (none) none.hidden = any;
    for (const name of ["all", "ready", "fitting"]) {
      document.getElementById(`models-show-${name}`)?.setAttribute("aria-pressed", String(only === name));
    }
  };

  // A download's card shows the numbers of its row among the jobs.
  const progress = () => {
    for (const card of document.querySelectorAll("#models-view .fetch[data-of]")) {
      const done = find(`#models-view [data-job="${CSS.escape(card.dataset.of)}"]`)?.dataset.done;
      if (done === undefined) continue;
      find(".track i", card).style.width = `${done}%`;
      find(".percent", card).textContent = `${Math.floor(done)} %`;
    }
  };

  // Changes of phase are read out; a download that is over by its model being there.
  let told = new Map();
  const announce = () => {
    const rows = document.querySelectorAll("#models-view .jobs [data-told]");
    const now = new Map([...rows].map((row) => [row.dataset.job, { ...row.dataset }]));
    const news = [...now].filter(([id, row]) => told.get(id)?.told !== row.told).map(([, row]) => row.told);
    for (const [id, row] of told) {
      const ready = find(`#models-view [data-card="${CSS.escape(row.of)}"][data-ready]`);
      if (!now.has(id) && ready && row.done > 0) news.push(row.over);
    }
    told = now;
    if (news.length && view("news")) view("news").textContent = news.join(". ");
  };

  let gone = "";
  const go = () => {
    const outcome = find("#models-outcome [data-go]");
    if (!outcome || outcome.dataset.stamp === gone) return;
    gone = outcome.dataset.stamp;
    turnTo(outcome.dataset.go);
    setTimeout(() => find("#chat-new")?.click(), 60);
  };

  document.addEventListener("atelier:painted", () => {
    if (put(view("cards"), find("#models-cards .shelf"))) filter(), progress();
    if (put(view("live"), find("#models-live .monitor"))) announce(), progress();
    ask();
    go();
  });

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    if (target.closest("#models-add")) return act({ act: "ask_add" });
    const shown = target.closest("[id^=models-show-]");
    if (shown) {
      only = shown.id.replace("models-show-", "");
      return filter();
    }
    const button = target.closest("#models-view button[data-act]");
    if (!button) return;
    act({ ...button.dataset });
    button.classList.add("sent");
    setTimeout(() => button.classList.remove("sent"), 8000);
  });
  document.addEventListener("change", (event) => {
    const select = event.target.closest?.("#models-view select[data-act]");
    if (!select) return;
    act({ ...select.dataset, value: select.value });
    select.blur();
  });
  document.addEventListener("input", (event) => {
    if (event.target.closest?.("#models-search")) filter();
  });

  // Look while the tab is seen: every second while something moves, every third otherwise.
  let beats = 0;
  let before = false;
  setInterval(() => {
    const now = seen();
    if (now) {
      const moving = find("#models-view [data-moving]")?.dataset.moving === "1";
      if (!before || (!find("#models-view .shelf") && beats % 6 === 0)) tell("models-look", "all");
      else if (moving || beats % 3 === 0) tell("models-look", "");
      beats += 1;
    }
    before = now;
  }, 1000);
})();
