// What the tabs' scripts share: painted HTML is moved into its place piece by piece, so that focus, scroll and open
// lists survive; painted sheets become dialogs; painted buttons tell the server. Evaluates nothing and fetches nothing.
(() => {
  "use strict";
  const { find } = window.atelier;

  // Make `old` look like `fresh`, keeping every element that is still meant.
  const same = (a, b) =>
    a.nodeName === b.nodeName && (a.dataset?.key ?? "") === (b.dataset?.key ?? "");
  const morph = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.isEqualNode(fresh)) return;
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      const reading = old.nodeName === "DETAILS" && name === "open"; // who opened it is not done with it
      if (!fresh.hasAttribute(name) && !reading) old.removeAttribute(name);
    }
    if (old.nodeName === "SELECT" && old === document.activeElement) return;
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      if (at && same(at, child)) {
        const next = at.nextSibling;
        morph(at, child);
        at = next;
        continue;
      }
      const key = child.dataset?.key;
      const moved = key && [...old.children].find((one) => one.dataset.key === key && same(one, child));
      if (moved) {
        old.insertBefore(moved, at);
        morph(moved, child);
      } else {
        old.insertBefore(child.cloneNode(true), at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    if (old.nodeName === "SELECT") old.value = find("option[selected]", fresh)?.value ?? old.value;
  };

  // What was painted last, by the place it went to: a place that came anew is painted again.
  const painted = new WeakMap();
  const put = (place, source) => {
    if (!place || !source || painted.get(place) === source) return false;
    painted.set(place, source);
    const box = place.cloneNode(false);
    box.append(source.cloneNode(true));
    morph(place, box);
    return true;
  };

  // The dialog of a tab: the newest sheet that was painted, until it is closed; submitting it tells its values.
  const sheets = (tab, act) => {
    const place = () => find(`#${tab}-view dialog[data-view="sheet"]`);
    const fresh = () => find(`#${tab}-sheet form.sheet`);
    let closed = "";
    const dismiss = () => {
      const dialog = place();
      const sheet = find("form.sheet", dialog);
      if (!sheet) return;
      closed = sheet.dataset.stamp;
      dialog.replaceChildren(); // what was typed is gone
      painted.delete(dialog);
      if (fresh()) act({ act: "close" });
    };
    document.addEventListener("click", (event) => {
      const target = event.target instanceof Element ? event.target : null;
      if (target?.closest(`#${tab}-view .closes-sheet`) || (target && target === place())) place().close();
    });
    document.addEventListener("submit", (event) => {
      const sheet = event.target.closest?.(`#${tab}-view form.sheet`);
      if (!sheet) return;
      event.preventDefault();
      const { stamp, ...values } = sheet.dataset;
      if (!values.act) return place().close();
      sheet.setAttribute("aria-busy", "true");
      act({ ...values, ...Object.fromEntries(new FormData(sheet)) });
    });
    return () => {
      const dialog = place();
      const sheet = fresh();
      if (!dialog) return;
      if (!dialog.onclose) dialog.onclose = dismiss;
      if (!sheet || sheet.dataset.stamp === closed) {
        if (dialog.open) dialog.close();
        return;
      }
      put(dialog, sheet);
      if (!dialog.open) {
        dialog.showModal();
        (find("input", dialog) || find(".closes-sheet", dialog)).focus();
      }
    };
  };

  // Files: those given to an upload button of the page, and those dropped on a tab or pasted while it is seen.
  const give = (button, files) => {
    const input = find(`#${button} input[type="file"]`);
    if (!input || !files.length) return;
    const held = new DataTransfer();
    for (const file of input.multiple ? files : [files[0]]) held.items.add(file);
    input.files = held.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const receives = (tab, take) => {
    const place = () => {
      const found = document.getElementById(tab);
      return found?.offsetParent ? found : null;
    };
    const carries = (data) => [...(data?.types ?? [])].includes("Files");
    let inside = 0;
    const mark = (on) => document.getElementById(tab)?.toggleAttribute("data-dragging", on);
    document.addEventListener("dragenter", (event) => {
      if (place() && carries(event.dataTransfer)) (inside += 1), mark(true);
    });
    document.addEventListener("dragleave", () => {
      inside = Math.max(0, inside - 1);
      if (!inside) mark(false);
    });
    document.addEventListener("dragover", (event) => {
      if (place() && carries(event.dataTransfer)) event.preventDefault();
    });
    document.addEventListener("drop", (event) => {
      inside = 0;
      mark(false);
      if (!place() || !event.dataTransfer?.files.length) return;
      event.preventDefault();
      event.stopPropagation();
      take([...event.dataTransfer.files], event.dataTransfer);
    }, true);
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!place() || !files.length) return;
      event.preventDefault();
      event.stopPropagation();
      take(files);
    }, true);
  };

  // What belongs together lights up together: all with the same number, when one is pointed at or focused.
  const lights = (tab, name, told = () => {}) => {
    const key = `data-${name}`;
    const change = (event) => {
      const over = event.target instanceof Element ? event.target.closest(`#${tab} [${key}]`) : null;
      const number = over?.getAttribute(key);
      for (const lit of document.querySelectorAll(`#${tab} .lit`)) {
        if (lit.getAttribute(key) !== number) lit.classList.remove("lit");
      }
      if (over) {
        const side = over.closest("[data-side]")?.dataset.side;
        for (const one of document.querySelectorAll(`#${tab} [${key}="${number}"]`)) {
          one.classList.toggle("lit", !side || (one.closest("[data-side]")?.dataset.side ?? side) === side);
        }
      }
      told(over, event);
    };
    document.addEventListener("pointerover", change);
    document.addEventListener("focusin", change);
  };

  // A file that another tab sends: fetched from our own server, and taken as if it had been dropped here, once the tab
  // is there. `ready` is what must be on the page for that.
  const sent = (tab, ready, take) => {
    document.addEventListener("atelier:send", async ({ detail }) => {
      const url = new URL(detail.url, document.baseURI);
      if (detail.tab !== tab || url.origin !== location.origin) return;
      const answer = await fetch(url);
      if (!answer.ok) return;
      const file = new File([await answer.blob()], detail.name, { type: detail.kind });
      for (let tries = 0; tries < 100 && !(document.getElementById(tab)?.offsetParent && find(ready)); tries += 1) {
        await new Promise((done) => setTimeout(done, 100));
      }
      take([file]);
    });
  };

  // The chat takes texts, into its box: to be asked about.
  sent("chat", "#chat-box textarea", async ([file]) => {
    const box = find("#chat-box textarea");
    const text = (await file.text()).slice(0, 100000).trimEnd();
    const fence = text.includes("```") ? "~~~~" : "```";
    box.value = `${box.value ? `${box.value.trimEnd()}\n\n` : ""}${file.name}:\n${fence}\n${text}\n${fence}\n\n`;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    box.focus({ preventScroll: true });
    box.setSelectionRange(box.value.length, box.value.length);
    box.scrollTop = box.scrollHeight;
  });

  Object.assign(window.atelier, { put, sheets, give, receives, sent, lights });
})();
