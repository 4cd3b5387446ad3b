// What the page does by itself: theme, panels, the open conversation in the address, downloads, focus.
// Served inline in the head; evaluates nothing and fetches nothing.
(() => {
  "use strict";
  const root = document.documentElement;
  const find = (selector, from = document) => from.querySelector(selector);

  // The browser's own id: what "stop" and the remembered model belong to.
  if (!/(^|; )atelier_page=[A-Za-z0-9-]{8,64}(;|$)/.test(document.cookie)) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    const id = Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
    const secure = location.protocol === "https:" ? ";Secure" : "";
    document.cookie = `atelier_page=${id};path=/;max-age=31536000;SameSite=Lax${secure}`;
  }

  // Theme: the system's, until the toggle was used.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => localStorage.getItem("atelier-theme");
  const dark = () => (stored() ? stored() === "dark" : system.matches);
  const paint = () => {
    root.style.colorScheme = dark() ? "dark" : "light";
    if (document.body && document.body.classList.contains("dark") !== dark()) {
      document.body.classList.toggle("dark", dark());
    }
  };
  const toggleTheme = () => {
    const next = dark() ? "light" : "dark";
    if ((next === "dark") === system.matches) localStorage.removeItem("atelier-theme");
    else localStorage.setItem("atelier-theme", next);
    paint();
  };
  system.addEventListener("change", paint);

  // Hidden text boxes carry what happens here to the server; a number makes the same value news again.
  let told = 0;
  const tell = (id, value) => {
    const box = find(`#${id} textarea, #${id} input`);
    if (!box) return;
    box.value = `${value}#${++told}`;
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  // The tabs, for links on the page and for the other scripts.
  // A narrow page moves tabs into a menu where they have no names: it holds those that are missing, in their order.
  const named = (tab) => find(`#page-tabs [role="tab"][aria-controls="tab-${CSS.escape(tab)}"]`);
  const opens = (tab) => {
    const order = (find("#page-order [data-tabs]")?.dataset.tabs ?? "").split(" ");
    const at = order.filter((one) => !named(one)).indexOf(tab);
    const menu = document.querySelectorAll("#page-tabs .overflow-dropdown button");
    return named(tab) ?? (at < 0 ? null : menu[at]);
  };
  const turnTo = (tab) => opens(tab)?.click();
  document.addEventListener("atelier:send", (event) => turnTo(event.detail.tab));

  // Panels: `#x-opener` opens and closes `#x`; panels of one `data-group` exclude each other.
  const GROUPS = [["chat-settings", "chat-code"], ["chat-side"], ["chat-menu"]];
  const setPanel = (id, open) => {
    const panel = document.getElementById(id);
    if (!panel) return;
    panel.toggleAttribute("data-open", open);
    const opener = document.getElementById(`${id}-opener`);
    if (opener) opener.setAttribute("aria-expanded", String(open));
    root.toggleAttribute(`data-${id}`, open);
  };
  const isOpen = (id) => document.getElementById(id)?.hasAttribute("data-open");
  const togglePanel = (id) => {
    const open = !isOpen(id);
    for (const group of GROUPS) {
      if (group.includes(id)) group.forEach((other) => other !== id && setPanel(other, false));
    }
    setPanel(id, open);
    if (open) {
      const first = find("button, input, textarea", document.getElementById(id));
      if (first && id !== "chat-code") first.focus({ preventScroll: true });
    }
  };
  const closeTop = () => {
    const dialog = find(".dialog:not(.hide) .dialog-cancel");
    if (dialog) return dialog.click();
    for (const id of ["chat-menu", "chat-side", "chat-settings", "chat-code"]) {
      if (isOpen(id)) {
        setPanel(id, false);
        return document.getElementById(`${id}-opener`)?.focus();
      }
    }
  };

  // Copying; pages that came over plain HTTP from another machine have no clipboard of their own.
  const copy = async (text, button) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.dataset.before || button.textContent;
    button.dataset.before = before;
    button.textContent = button.dataset.copied;
    setTimeout(() => (button.textContent = before), 1600);
  };

  // Downloads. Going to a file's address instead would end the page's streams, though the page stays.
  const download = (url, name = "") => {
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
  };
  const save = (name, blob) => {
    const url = URL.createObjectURL(blob);
    download(url, name);
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  window.atelier = { find, tell, opens, turnTo, copy, download, save };

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    const opener = target.closest(".opens");
    if (opener) return togglePanel(opener.id.replace(/-opener$/, ""));
    if (target.closest(".theme-toggle")) return toggleTheme();
    const link = target.closest('a[href^="#"]')?.hash.slice(1);
    if (link && opens(link)) return event.preventDefault(), turnTo(link);
    const copier = target.closest(".copies");
    if (copier) return copy(find("code", copier.closest("figure")).textContent, copier);
    const closer = target.closest(".closes");
    if (closer) return setPanel(closer.closest("[data-open]")?.id, false);
    const row = target.closest("[data-conversation]");
    if (row) {
      tell("chat-opened", row.dataset.conversation);
      setPanel("chat-side", false);
      return focusBox();
    }
    if (isOpen("chat-menu") && !target.closest("#chat-menu button:disabled")) setPanel("chat-menu", false);
    if (isOpen("chat-side") && (target.id === "chat" || !target.closest("#chat-side"))) {
      setPanel("chat-side", false);
    }
    if (target.closest("#chat-new")) setPanel("chat-side", false), focusBox();
    if (target.closest(".dialog") && target.classList.contains("dialog")) closeTop();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeTop();
    if (event.key === "Enter" && event.isComposing) event.stopPropagation();
  }, true);

  // The composer: focus on machines with a keyboard, and what was typed outlives a reload.
  const keyboard = matchMedia("(hover: hover)");
  const composer = () => find("#chat-box textarea");
  const focusBox = () => {
    if (keyboard.matches) composer()?.focus({ preventScroll: true });
  };
  // Once everything is up, ask for the first painting, and again should it get lost.
  const wanted = new URL(location.href).searchParams.get("c") || "";
  const PARTS = ["#chat-opened textarea", "#chat-list .md", "#chat-model input", "#chat-log", "#chat-state .md"];
  let asks = 0;
  const arrive = () => {
    if (find("#chat-list [data-open-conversation]") || asks >= 20) return;
    if (PARTS.every((part) => find(part))) {
      asks += 1;
      tell("page-seen", document.hidden ? "0" : "1");
      tell("chat-opened", wanted);
      setTimeout(arrive, 6000);
    } else {
      setTimeout(arrive, 40);
    }
  };
  let greeted = false;
  const greet = (box) => {
    greeted = true;
    const draft = sessionStorage.getItem("atelier-draft");
    if (draft && !box.value) {
      box.value = draft;
      box.dispatchEvent(new Event("input", { bubbles: true }));
    }
    focusBox();
    arrive();
  };
  addEventListener("pagehide", () => {
    sessionStorage.setItem("atelier-draft", composer()?.value || "");
  });

  // What the server painted: the open conversation, a file to save, a new dialog.
  let saved = "";
  let dialog = null;
  const settle = () => {
    paint();
    const list = find("#chat-list [data-open-conversation]");
    if (list) {
      const url = new URL(location.href);
      const id = list.dataset.openConversation;
      if ((url.searchParams.get("c") || "") !== id) {
        if (id) url.searchParams.set("c", id);
        else url.searchParams.delete("c");
        history.replaceState(history.state, "", url);
      }
    }
    const file = find("#chat-file [data-file]");
    if (file && file.dataset.stamp !== saved) {
      saved = file.dataset.stamp;
      save(file.dataset.file, new Blob([file.textContent], { type: file.dataset.type }));
    }
    const shown = find(".dialog:not(.hide)");
    if (shown !== dialog) {
      dialog = shown;
      const first = shown && find("textarea, input, button", shown);
      if (first) first.focus(), first.select?.();
      else if (!shown) focusBox();
    }
    for (const button of document.querySelectorAll("button.icon:not([title])")) {
      button.title = button.textContent.trim();
      if (button.classList.contains("opens")) button.setAttribute("aria-expanded", "false");
    }
    const box = composer();
    if (box && !greeted) greet(box);
    document.dispatchEvent(new Event("atelier:painted"));
  };
  let asked = false;
  const watch = () => {
    paint();
    new MutationObserver(() => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        settle();
      });
    }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
    settle();
  };

  // The open tab stands in the address, so that a reload comes back to it.
  let arrived = false;
  setInterval(() => {
    if (!find("#chat-list [data-open-conversation]") || document.hidden) return;
    if (!arrived) {
      arrived = true;
      return turnTo(location.hash.slice(1));
    }
    const shown = [...document.querySelectorAll("#page-tabs > .tabitem")].find((tab) => tab.offsetParent);
    const hash = !shown || shown.id === "tab-chat" ? "" : `#${shown.id.replace("tab-", "")}`;
    if (hash === location.hash) return;
    const url = new URL(location.href);
    url.hash = hash;
    history.replaceState(history.state, "", url);
  }, 500);

  // A hidden page asks for no status.
  document.addEventListener("visibilitychange", () => tell("page-seen", document.hidden ? "0" : "1"));

  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);
})();
