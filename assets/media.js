// The media corner: a pasted address is looked at; what was taken is sent on to another tab, once. Evaluates nothing and
// fetches nothing.
(() => {
  "use strict";
  const { find, tell, put } = window.atelier;
  const view = (name) => find(`#media [data-view="${name}"]`);
  const seen = () => Boolean(document.getElementById("media")?.offsetParent) && !document.hidden;
  const look = (more = {}) => tell("media-look", JSON.stringify(more));
  const act = (values) => tell("media-do", JSON.stringify(values));
  const has = (tab) => Boolean(find(`#page-tabs [role="tab"][aria-controls="tab-${CSS.escape(tab)}"]`));

  // What was asked to go on to a tab when it is there goes once, also over a reload.
  let gone = new Set();
  try {
    gone = new Set(JSON.parse(sessionStorage.getItem("atelier-media") || "[]"));
  } catch {
    sessionStorage.removeItem("atelier-media");
  }
  const send = (job, tab) => {
    const { name, url, kind } = job.dataset;
    const detail = { tab, name, url: new URL(url, document.baseURI).href, kind };
    document.dispatchEvent(new CustomEvent("atelier:send", { detail }));
  };
  const forward = () => {
    for (const job of view("jobs").querySelectorAll("[data-then][data-url]")) {
      if (gone.has(job.dataset.key)) continue;
      gone.add(job.dataset.key);
      sessionStorage.setItem("atelier-media", JSON.stringify([...gone].slice(-100)));
      if (has(job.dataset.then)) send(job, job.dataset.then);
    }
  };

  document.addEventListener("atelier:painted", () => {
    if (!view("found")) return;
    put(view("found"), find("#media-found .media-found"));
    if (put(view("jobs"), find("#media-jobs .media-jobs"))) forward();
    for (const button of document.querySelectorAll("#media-view [data-tab]")) button.hidden = !has(button.dataset.tab);
  });

  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest("#media-view button[data-act]") : null;
    if (!button) return;
    const { act: what, then = "", format = "", job = "" } = button.dataset;
    if (what === "send") return send(button.closest("[data-url]"), button.dataset.tab);
    const chosen = find("select", button.closest(".doing") ?? button)?.value ?? "";
    const usual = then === "speech" && !chosen ? format : chosen;
    button.classList.add("sent");
    setTimeout(() => button.classList.remove("sent"), 1500);
    act({ act: what, then, job, format: usual });
    setTimeout(look, 400);
  });

  // An address that is pasted anywhere on the open tab, outside of a field.
  document.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text/plain").trim() ?? "";
    if (!seen() || !/^https?:\/\/\S+$/i.test(text) || event.target.closest?.("input, textarea, [contenteditable]")) return;
    const box = find("#media-url textarea, #media-url input");
    if (!box) return;
    event.preventDefault();
    box.value = text;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => find("#media-go")?.click(), 60);
  });

  let beats = 0;
  let before = false;
  setInterval(() => {
    const now = seen();
    if (now) {
      const moving = find("#media-jobs .media-jobs")?.dataset.moving === "1";
      if (!before || (!find("#media-jobs .media-jobs") && beats % 6 === 0)) look({ all: "1" });
      else if (moving || beats % 6 === 0) look();
      beats += 1;
    } else if (find("#media-jobs .media-jobs")?.dataset.moving === "1" && !document.hidden) {
      look(); // it may have to be sent on while another tab is open
    }
    before = now;
  }, 1000);
})();
