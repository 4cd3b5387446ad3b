// The Files tab: where it stands, uploads straight to REST with their progress, sending files to other tabs, dragging
// rows into folders. What is shown of folders and files, the server paints. Evaluates nothing.
(() => {
  "use strict";
  const { find, tell, opens, put, sheets, receives } = window.atelier;
  const view = (name) => find(`[data-view="${name}"]`, document.getElementById("tab-files") ?? document);
  const place = () => document.getElementById("files");
  const seen = () => Boolean(place()?.offsetParent) && !document.hidden;

  // Where the tab stands; kept for this browser tab, so that a reload comes back to it.
  const state = { at: "", open: "", find: "", trash: "" };
  try {
    Object.assign(state, JSON.parse(sessionStorage.getItem("atelier-files") || "{}"), { find: "" });
  } catch {
    sessionStorage.removeItem("atelier-files");
  }
  const look = (more = {}) => tell("files-look", JSON.stringify({ ...state, ...more }));
  const stand = (values) => {
    Object.assign(state, values);
    sessionStorage.setItem("atelier-files", JSON.stringify(state));
    place()?.toggleAttribute("data-open", Boolean(state.open));
  };
  const show = (values) => {
    stand(values);
    look();
  };
  const enter = (at) => {
    const box = find("#files-find input, #files-find textarea");
    if (box?.value) {
      box.value = "";
      box.dispatchEvent(new Event("input", { bubbles: true }));
    }
    show({ at, open: "", find: "", trash: "" });
    view("list")?.closest(".column")?.scrollTo({ top: 0 });
  };
  const act = (values) => tell("files-do", JSON.stringify({ ...state, ...values }));
  const ask = sheets("files", act);
  const says = (name) => find(`#files-says-${name}`)?.textContent.trim() ?? "";

  // Uploads: one after another, each with its bar; a name that is taken gets a number.
  const waiting = [];
  let running = null;
  const take = (files) => {
    for (const file of files) {
      const row = document.createElement("li");
      const name = Object.assign(document.createElement("b"), { textContent: file.path || file.name });
      const told = document.createElement("span");
      const stop = Object.assign(document.createElement("button"), { type: "button", className: "icon pic-close" });
      stop.title = find(".pic-close[title]", place())?.title ?? "";
      stop.setAttribute("aria-label", stop.title);
      const track = Object.assign(document.createElement("span"), { className: "track" });
      track.setAttribute("role", "progressbar");
      track.setAttribute("aria-label", name.textContent);
      track.append(document.createElement("i"));
      row.append(name, told, stop, track);
      view("sends").append(row);
      const one = { file, row, told, bar: track, at: state.trash ? "" : state.at };
      stop.onclick = () => {
        if (one.request) return one.request.abort();
        waiting.splice(waiting.indexOf(one), 1);
        row.remove();
      };
      waiting.push(one);
    }
    next();
  };
  const end = (one, state_, text) => {
    running = null;
    one.request = null;
    one.row.className = state_;
    one.told.textContent = text;
    if (state_ === "failed") one.told.setAttribute("role", "alert");
    const stop = find("button", one.row);
    stop.onclick = () => one.row.remove();
    if (state_ !== "failed") setTimeout(() => one.row.remove(), 2500);
    look();
    next();
  };
  const next = () => {
    if (running || !waiting.length) return;
    const one = (running = waiting.shift());
    const form = new FormData();
    form.append("path", one.at);
    form.append("existing", "rename");
    form.append("files", one.file, one.file.path || one.file.name);
    const request = (one.request = new XMLHttpRequest());
    request.open("POST", "v1/files/upload");
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => {
      const share = total ? Math.round((100 * loaded) / total) : 0;
      one.bar.firstChild.style.width = `${share}%`;
      one.bar.setAttribute("aria-valuenow", share);
      one.told.textContent = `${share} %`;
    };
    request.onload = () => {
      if (request.status === 200) return end(one, "done", says("sent"));
      end(one, "failed", request.status === 413 ? says("too_large") : request.response?.detail || says("failed"));
    };
    request.onerror = () => end(one, "failed", says("failed"));
    request.onabort = () => end(one, "stopped", says("stopped"));
    request.send(form);
  };
  addEventListener("beforeunload", (event) => {
    if (running) event.preventDefault();
  });

  // What was dropped may hold folders: their files come with their paths.
  const within = async (entry, above) => {
    if (entry.isFile) {
      const file = await new Promise((found, failed) => entry.file(found, failed));
      file.path = above + file.name;
      return [file];
    }
    const reader = entry.createReader();
    const files = [];
    for (;;) {
      const some = await new Promise((found, failed) => reader.readEntries(found, failed));
      if (!some.length) return files;
      for (const each of some) files.push(...(await within(each, `${above}${entry.name}/`)));
    }
  };
  receives("files", async (files, data) => {
    const entries = [...(data?.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return take(files);
    for (const entry of entries) take(await within(entry, ""));
  });
  window.atelier.sent("files", "#files-list .folder", take);
  const choose = () => {
    const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, id: "files-chosen" });
    input.hidden = true;
    input.onchange = () => {
      take([...input.files]);
      input.remove();
    };
    document.getElementById("files-chosen")?.remove();
    document.body.append(input);
    input.click();
  };

  // Sending a file to another tab.
  const send = ({ tab, name, url }) => {
    const kind = find(".opened-file", view("file"))?.dataset.look ?? "";
    fetch(url, { method: "HEAD" }).then((answer) => {
      if (!answer.ok) return;
      const type = (answer.headers.get("content-type") ?? "").split(";")[0];
      document.dispatchEvent(new CustomEvent("atelier:send", { detail: { tab, name, url, kind: type, look: kind } }));
    });
  };

  // What was done, with the way back, for a while.
  let done = "";
  let fading = 0;
  const settle = () => {
    const outcome = find("#files-outcome [data-stamp]");
    if (!outcome || outcome.dataset.stamp === done) return;
    done = outcome.dataset.stamp;
    if (outcome.classList.contains("go")) {
      stand({ at: outcome.dataset.at, open: outcome.dataset.opened });
      return look();
    }
    const news = view("news");
    news.replaceChildren(outcome.cloneNode(true));
    clearTimeout(fading);
    fading = setTimeout(() => news.replaceChildren(), 12000);
  };
  let words = "";
  const paint = () => {
    if (put(view("list"), find("#files-list .folder"))) {
      const shown = find(".folder", view("list"));
      if (!state.trash && shown && shown.dataset.path !== state.at) stand({ at: shown.dataset.path });
      place().toggleAttribute("data-trash", Boolean(find(".trash", shown?.parentElement)));
    }
    if (put(view("file"), find("#files-file .opened-file"))) {
      const file = find(".opened-file", view("file"));
      place().dataset.look = file.dataset.look ?? "";
      place().toggleAttribute("data-open", Boolean(file.dataset.open));
      if (file.dataset.open !== words) {
        words = file.dataset.open;
        document.getElementById("files-side")?.scrollTo({ top: 0 });
      }
      let any = false;
      for (const button of file.querySelectorAll("[data-act=send]")) {
        button.hidden = !opens(button.dataset.tab);
        any ||= !button.hidden;
      }
      const menu = find("details.sends", file);
      if (menu) menu.hidden = !any;
    }
  };
  document.addEventListener("atelier:painted", () => {
    if (!place()) return;
    paint();
    ask();
    settle();
  });

  const LOCAL = {
    choose,
    close_file: () => show({ open: "" }),
    leave_trash: () => show({ trash: "" }),
    send: (button) => send(button.dataset),
  };
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target?.closest("#files, #files-view")) return;
    for (const menu of document.querySelectorAll("#files details.menu[open]")) {
      if (!menu.contains(target) || target.closest("[data-act]")) menu.open = false;
    }
    if (target.closest("#files-upload")) return choose();
    if (target.closest("#files-new")) return act({ act: "ask_create" });
    if (target.closest("#files-trash")) return show({ trash: state.trash ? "" : "1", open: "" });
    const into = target.closest("[data-into]");
    if (into) return enter(into.dataset.into);
    const file = target.closest("button[data-open]");
    if (file) return show({ open: file.dataset.open });
    const button = target.closest("button[data-act]");
    if (!button) return;
    const local = LOCAL[button.dataset.act];
    if (local) return local(button);
    if (button.closest('[data-view="news"]')) view("news").replaceChildren();
    if (button.dataset.act === "remove" && button.dataset.path === state.open) stand({ open: "" });
    act({ ...button.dataset });
  });
  let typing = 0;
  document.addEventListener("input", (event) => {
    if (!event.target.closest?.("#files-find")) return;
    clearTimeout(typing);
    typing = setTimeout(() => show({ find: event.target.value }), 200);
  });

  // Rows can be dragged into folders, also into those of the path above.
  let dragged = null;
  const target = (event) => {
    const over = event.target.closest?.("#files [data-into]");
    return dragged && over && over.dataset.into !== dragged.key ? over : null;
  };
  document.addEventListener("dragstart", (event) => {
    const row = event.target.closest?.("#files .file[data-type]");
    if (!row) return;
    dragged = { key: row.dataset.key, type: row.dataset.type };
    event.dataTransfer.setData("text/plain", row.dataset.key);
    event.dataTransfer.effectAllowed = "move";
  });
  document.addEventListener("dragover", (event) => {
    const over = target(event);
    for (const lit of document.querySelectorAll("#files .over")) if (lit !== over) lit.classList.remove("over");
    if (!over) return;
    event.preventDefault();
    over.classList.add("over");
  });
  document.addEventListener("drop", (event) => {
    const over = target(event);
    if (!over) return;
    event.preventDefault();
    act({ act: "move", path: dragged.key, type: dragged.type, folder: over.dataset.into });
  });
  document.addEventListener("dragend", () => {
    dragged = null;
    for (const lit of document.querySelectorAll("#files .over")) lit.classList.remove("over");
  });

  // Keys in the list: up and down, Enter opens, Delete, F2; Backspace goes up.
  document.addEventListener("keydown", (event) => {
    if (!seen() || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, dialog, [role=tab]")) return;
    const row = event.target.closest?.("#files .file");
    const move = (to) => to && (event.preventDefault(), find(".opens-file", to).focus());
    if (event.key === "ArrowDown") return move(row ? row.nextElementSibling : find("#files .file"));
    if (event.key === "ArrowUp") return row && move(row.previousElementSibling);
    if (event.key === "Backspace" && state.at && !state.trash) return event.preventDefault(), enter(state.at.split("/").slice(0, -1).join("/"));
    if (event.key === "Escape" && state.open) return show({ open: "" });
    if (!row?.dataset.type) return;
    if (event.key === "Delete") find("[data-act=remove]", row)?.click();
    if (event.key === "F2") find("[data-act=ask_rename]", row)?.click();
  });

  // Look while the tab is seen, every fourth second; others may change the folder as well.
  let beats = 0;
  let before = false;
  setInterval(() => {
    const now = seen();
    if (now) {
      if (!before || (!find(".folder", view("list")) && beats % 3 === 0)) look({ all: "1" });
      else if (beats % 4 === 0) look();
      beats += 1;
    }
    before = now;
  }, 1000);
})();
