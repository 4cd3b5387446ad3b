// The OCR tab: which document, page and reading it shows; turning pages, zooming, boxes and lines that light up together,
// correcting a line in its place. Evaluates nothing; fetches only the text that is to be copied.
(() => {
  "use strict";
  const { find, tell, copy, put, sheets, give, receives, sent, lights } = window.atelier;
  const view = (name) => find(`#ocr [data-view="${name}"]`);
  const seen = () => Boolean(document.getElementById("ocr")?.offsetParent) && !document.hidden;

  // What is shown; kept for this browser tab, so that a reload comes back to it.
  const state = { doc: "", page: "", model: "", versus: "" };
  try {
    Object.assign(state, JSON.parse(sessionStorage.getItem("atelier-paper") || "{}"));
  } catch {
    sessionStorage.removeItem("atelier-paper");
  }
  let asked = Boolean(state.doc);
  const look = (more = {}) => tell("ocr-look", JSON.stringify({ ...state, ...more }));
  const show = (values) => {
    Object.assign(state, values);
    asked = true;
    sessionStorage.setItem("atelier-paper", JSON.stringify(state));
    look();
  };
  const open = (doc) => show({ doc, page: "", model: "", versus: "" });
  const act = (values) => tell("ocr-do", JSON.stringify({ ...state, ...values }));
  const ask = sheets("ocr", act);

  const sending = (on) => document.getElementById("ocr")?.toggleAttribute("data-sending", on);
  const take = (files) => {
    sending(true);
    give("ocr-upload", files);
  };
  receives("ocr", take);
  sent("ocr", "#ocr-upload input[type=file]", take);

  // The picture: how large, and whether with boxes.
  let zoom = 1;
  const size = () => {
    const place = view("page");
    place.style.setProperty("--zoom", zoom);
    const picture = find(".leaf img", place);
    if (picture) picture.sizes = `${Math.round(find(".desk", place).clientWidth * zoom)}px`;
    for (const button of place.querySelectorAll("[data-act=boxes]")) {
      button.setAttribute("aria-pressed", String(!place.hasAttribute("data-bare")));
    }
  };
  const enlarge = (by) => {
    zoom = by === "fit" ? 1 : Math.min(5, Math.max(0.4, zoom * (by === "in" ? 1.25 : 0.8)));
    size();
  };
  const turn = (by) => {
    const opened = find(".opened[data-numbers]", view("page"));
    const numbers = opened?.dataset.numbers.split(",") ?? [];
    const next = numbers[numbers.indexOf(state.page || opened?.dataset.page) + by];
    if (next) show({ page: next });
  };

  // Lines and boxes; the line that is pointed at on the picture says what it reads.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  lights("ocr", "line", (over, event) => {
    const drawn = over?.matches("polygon") ? over : null;
    const side = drawn?.closest("[data-side]")?.dataset.side;
    const line = drawn && find(`#ocr ${side ? `section[data-side=${side}]` : ""} .lines [data-line="${drawn.dataset.line}"]`);
    tip.hidden = !line;
    if (!line) return;
    tip.textContent = find(".said", line)?.textContent ?? "";
    if (line.dataset.note) tip.append(Object.assign(document.createElement("b"), { textContent: line.dataset.note }));
    document.getElementById("ocr").append(tip);
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 18, innerHeight - tip.offsetHeight - 8)}px`;
  });

  // Correcting a line in its place: Enter and leaving it keep what was typed, Escape does not.
  let editing = null;
  const edit = (line) => {
    if (editing || !line || !find(".said", line) || line.closest(".pair")) return;
    const said = find(".said", line);
    const before = said.textContent;
    const box = document.createElement("textarea");
    Object.assign(box, { value: before, rows: 1, maxLength: 10000 });
    const fit = () => {
      box.style.height = "auto";
      box.style.height = `${box.scrollHeight}px`;
    };
    const end = (keep) => {
      if (editing !== box) return;
      editing = null;
      const text = box.value.replace(/\s+/g, " ").trim();
      box.replaceWith(said);
      if (keep && text && text !== before) {
        said.textContent = text;
        line.classList.remove("low", "fair", "sure");
        line.classList.add("mended");
        act({ act: "correct", line: line.dataset.line, text });
      } else {
        paint();
      }
    };
    box.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") end(false), line.focus();
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      end(true);
      line.focus();
    });
    box.addEventListener("input", fit);
    box.addEventListener("blur", () => end(true));
    said.replaceWith(box);
    editing = box;
    fit();
    box.focus();
  };

  let done = "";
  const settle = () => {
    const outcome = find("#ocr-outcome [data-brought]");
    if (!outcome || outcome.dataset.stamp === done) return;
    done = outcome.dataset.stamp;
    sending(false);
    if (outcome.dataset.brought) open(outcome.dataset.brought);
  };
  // The end of a reading is read out.
  let going = new Set();
  const announce = () => {
    const news = [];
    const now = new Set();
    for (const paper of view("docs").querySelectorAll(".paper")) {
      if (["queued", "running"].includes(paper.dataset.phase)) now.add(paper.dataset.key);
      else if (going.has(paper.dataset.key)) news.push(find(".opens-paper", paper).innerText.replace("\n", ": "));
    }
    going = now;
    const told = find('#ocr-view [data-view="news"]');
    if (news.length && told) told.textContent = news.join(". ");
  };

  const paint = () => {
    const docs = put(view("docs"), find("#ocr-docs .papers"));
    if (docs) announce();
    if (put(view("page"), find("#ocr-page .opened"))) {
      size();
      const opened = find(".opened[data-doc]", view("page"));
      if (opened?.dataset.doc === state.doc) {
        if (!state.page) state.page = opened.dataset.page;
        if (!state.model) state.model = opened.dataset.model;
        find(".thumb[aria-current]", opened)?.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
    }
    if (!editing && put(view("lines"), find("#ocr-lines .reading"))) choose();
    // The first look of a page that showed nothing yet: the newest document.
    if (docs && !asked) {
      const first = find("[data-open]", view("docs"));
      if (first) open(first.dataset.open);
    }
    document.getElementById("ocr")?.toggleAttribute("data-empty", Boolean(find(".opened.empty", view("page"))));
  };
  const choose = () => {
    const place = document.getElementById("ocr");
    const can = Boolean(find("[data-act=look]", view("lines")));
    const layout = can && place.dataset.look === "layout";
    if (!layout) delete place.dataset.look;
    for (const button of view("lines").querySelectorAll("[data-act=look]")) {
      button.setAttribute("aria-pressed", String((button.dataset.to === "layout") === layout));
    }
  };
  document.addEventListener("atelier:painted", () => {
    paint();
    ask();
    settle();
  });
  document.addEventListener("atelier:paper", (event) => open(event.detail));

  const LOCAL = {
    choose: () => find("#ocr-upload input[type=file]")?.click(),
    turn: (button) => turn(Number(button.dataset.by)),
    zoom: (button) => enlarge(button.dataset.by),
    boxes: () => (view("page").toggleAttribute("data-bare"), size()),
    look: (button) => {
      document.getElementById("ocr").dataset.look = button.dataset.to;
      choose();
    },
    copy: (button) => copy(find(".whole", view("lines")).textContent, button),
    copy_all: async (button) => {
      const answer = await fetch(find(".menu a", view("lines")).href);
      if (answer.ok) copy(await answer.text(), button);
    },
  };
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    for (const menu of document.querySelectorAll("#ocr details.menu[open]")) {
      if (!menu.contains(target)) menu.open = false;
    }
    const chosen = target.closest("#ocr details.menu > div > *");
    if (chosen) setTimeout(() => (chosen.closest("details").open = false), chosen.matches("a") ? 60 : 1200);
    if (target.closest("#ocr-choose")) return LOCAL.choose();
    const inside = target.closest("#ocr");
    if (!inside) return;
    const doc = target.closest("[data-open]");
    if (doc) return open(doc.dataset.open);
    const page = target.closest("[data-goto]");
    if (page) return show({ page: page.dataset.goto });
    const line = target.closest(".lines .line");
    if (line) return edit(line);
    if (target.matches("polygon")) {
      const said = find(`#ocr .lines [data-line="${target.dataset.line}"]`);
      said?.scrollIntoView({ block: "center" });
      return edit(said);
    }
    const button = target.closest("button[data-act]");
    if (!button) return;
    const local = LOCAL[button.dataset.act];
    if (local) return local(button);
    if (button.dataset.act === "sample") sending(true), setTimeout(() => sending(false), 8000);
    act({ ...button.dataset });
  });
  document.addEventListener("change", (event) => {
    const select = event.target.closest?.("#ocr select");
    if (!select) return;
    if (select.dataset.of) return show({ [select.dataset.of]: select.value, ...(select.dataset.of === "model" ? { versus: "" } : {}) });
    if (!select.value) return;
    const given = { ...select.dataset, value: select.value };
    show({ versus: select.value });
    act(given);
    select.value = "";
  });
  document.addEventListener("keydown", (event) => {
    if (!seen() || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    if (target.closest?.("input, textarea, select, [contenteditable], dialog, [role=tab], [role=listbox]")) return;
    const line = target.closest?.("#ocr .lines .line");
    if (line && event.key === "Enter") return event.preventDefault(), edit(line);
    if (line && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const next = event.key === "ArrowDown" ? line.nextElementSibling : line.previousElementSibling;
      if (next) event.preventDefault(), next.focus();
      return;
    }
    const keys = {
      ArrowLeft: () => turn(-1), PageUp: () => turn(-1), ArrowRight: () => turn(1), PageDown: () => turn(1),
      "+": () => enlarge("in"), "=": () => enlarge("in"), "-": () => enlarge("out"), 0: () => enlarge("fit"),
    };
    if (!keys[event.key] || !find(".opened[data-doc]", view("page"))) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("wheel", (event) => {
    if (!event.ctrlKey || !event.target.closest?.("#ocr .desk")) return;
    event.preventDefault();
    enlarge(event.deltaY < 0 ? "in" : "out");
  }, { passive: false });
  addEventListener("resize", () => seen() && view("page") && size());

  // Look while the tab is seen: every second while something is read, every fourth otherwise.
  let beats = 0;
  let before = false;
  setInterval(() => {
    const now = seen();
    if (now) {
      const moving = find("#ocr .papers")?.dataset.moving === "1";
      if (!before || (!find(".papers", view("docs")) && beats % 6 === 0)) look({ all: "1" });
      else if (moving || beats % 4 === 0) look();
      beats += 1;
    }
    before = now;
  }, 1000);
})();
