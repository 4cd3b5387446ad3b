// The Translate tab: two panes, live while typing, files with progress, a glossary, listening. It translates by the API of
// this server; what was typed stays in this browser. Evaluates nothing.
(() => {
  "use strict";
  const { find, tell, put, receives, save, turnTo } = window.atelier;
  const tab = () => document.getElementById("translate");
  const desk = () => find("#translate .translate-desk");
  const of = (name) => find(`#translate [data-of="${name}"]`);
  const view = (name) => find(`#translate [data-view="${name}"]`);
  const seen = () => Boolean(tab()?.offsetParent) && !document.hidden;
  const LIVE = 5000; // characters up to which a text is translated while it is typed
  const PAUSE = 550; // milliseconds without a key before that
  const RECENT = 6;

  let known = null; // what the server told with the desk
  const say = (key, values = {}) =>
    Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), known.says[key]);

  // What was chosen; kept for this browser.
  const kept = { from: "auto", to: "", model: "", live: true, glossary: "", recent: [] };
  try {
    Object.assign(kept, JSON.parse(localStorage.getItem("atelier-translate") || "{}"));
  } catch {
    localStorage.removeItem("atelier-translate");
  }
  const keep = (values) => {
    Object.assign(kept, values);
    try {
      localStorage.setItem("atelier-translate", JSON.stringify(kept));
    } catch { /* a full or forbidden store forgets */ }
  };
  const now = { said: "", detected: "", sure: null, left: [], state: "", failed: false, share: null, run: null };

  // Languages by the name they have in the reader's language.
  const names = new Map();
  const nameOf = (code) => {
    if (!names.has(code)) {
      let name = known.names[code]?.[0] ?? code;
      try {
        const tag = code === "zh-hant" ? "zh-Hant" : code;
        const local = new Intl.DisplayNames([known.reader], { type: "language", fallback: "none" }).of(tag);
        if (local) name = local;
      } catch { /* a code that browsers do not know */ }
      names.set(code, name.charAt(0).toLocaleUpperCase(known.reader) + name.slice(1));
    }
    return names.get(code);
  };
  const offered = () => {
    const model = kept.model;
    if (known.chats.includes(model)) return known.any;
    return known.languages[model] ?? known.all;
  };
  const option = (code, name) => Object.assign(document.createElement("option"), { value: code, textContent: name });
  const group = (label, codes) => {
    const made = Object.assign(document.createElement("optgroup"), { label });
    made.append(...codes.map((code) => option(code, nameOf(code))));
    return made;
  };
  const fill = (select, chosen, auto) => {
    const codes = [...offered()].sort((a, b) => nameOf(a).localeCompare(nameOf(b), known.reader));
    const recent = codes.length > 12 ? kept.recent.filter((code) => codes.includes(code)) : [];
    const rows = auto ? [option("auto", say("auto"))] : [];
    if (recent.length) rows.push(group(say("recent"), recent), group(say("languages"), codes.filter((c) => !recent.includes(c))));
    else rows.push(...codes.map((code) => option(code, nameOf(code))));
    select.replaceChildren(...rows);
    const fits = codes.includes(chosen) || (auto && chosen === "auto");
    select.value = fits ? chosen : auto ? "auto" : codes.find((code) => code !== kept.from && code !== known.reader) ?? codes[0];
    return select.value;
  };
  const languages = () => {
    const first = kept.to || (known.reader === "en" ? "fr" : "en");
    keep({ from: fill(of("from"), kept.from, true), to: fill(of("to"), first, false) });
    paint();
  };
  const used = (...codes) => {
    const recent = [...codes.filter((c) => c && c !== "auto"), ...kept.recent];
    keep({ recent: [...new Set(recent)].slice(0, RECENT) });
  };

  // The glossary: "word = translation", a line each.
  const glossary = () => {
    const terms = {};
    for (const line of kept.glossary.split("\n")) {
      const [word, ...rest] = line.split(/\s*(?:=|→|\t)\s*/);
      if (word.trim() && word.trim().length <= 200) terms[word.trim()] = rest.join(" ").trim().slice(0, 200);
    }
    return Object.fromEntries(Object.entries(terms).slice(0, 1000));
  };

  // What is shown of a translation.
  const paint = () => {
    if (!desk()) return;
    const said = find("#translate .said");
    if (said.textContent !== now.said) said.textContent = now.said;
    said.lang = kept.to;
    of("text").lang = kept.from === "auto" ? now.detected : kept.from;
    const text = of("text").value;
    view("size").textContent = text ? say("words", { n: text.length.toLocaleString(known.reader) }) : "";
    const sure = now.sure === null ? "" : ` (${Math.round(100 * now.sure)} %)`;
    const told = now.detected && now.detected !== "und" && kept.from === "auto" && text;
    view("detected").textContent = told ? say("detected", { name: nameOf(now.detected) }) + sure : "";
    view("state").textContent = now.state;
    view("state").classList.toggle("failed", now.failed);
    const track = find("#translate .target .track");
    track.hidden = !now.run;
    track.classList.toggle("unknown", now.share === null);
    find("i", track).style.width = now.share === null ? "" : `${(100 * now.share).toFixed(1)}%`;
    tab().toggleAttribute("data-running", Boolean(now.run));
    tab().toggleAttribute("data-empty", !text);
    tab().toggleAttribute("data-said", Boolean(now.said));
    const doubts = find("#translate .doubts");
    doubts.hidden = !now.left.length;
    const quoted = now.left.slice(0, 3).map((one) => `“${one.length > 80 ? `${one.slice(0, 79)}…` : one}”`).join(" ");
    if (now.left.length) doubts.textContent = say(now.left.length > 1 ? "left_more" : "left", { n: now.left.length, text: quoted });
    const terms = Object.keys(glossary()).length;
    const count = find('#translate [data-act="glossary"] .count');
    count.hidden = !terms;
    count.textContent = terms;
  };

  // Server-sent events of an answer, one value after another.
  const frames = async function* (answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        if (part.startsWith(": queued")) yield { type: "queued", n: /\d+/.exec(part)?.[0] ?? "" };
        else if (part.startsWith(": loading")) yield { type: "loading" };
        else if (part.startsWith("data: {")) yield JSON.parse(part.slice(6));
      }
    }
  };
  const reason = async (answer) => {
    try {
      return (await answer.json()).detail || say("failed");
    } catch {
      return say("failed");
    }
  };

  let timer = 0;
  const stop = (state = "") => {
    clearTimeout(timer);
    now.run?.abort();
    Object.assign(now, { run: null, share: null, state });
    paint();
  };
  const translate = async () => {
    stop();
    const text = of("text").value;
    if (!text.trim()) {
      Object.assign(now, { said: "", detected: "", left: [], state: "", failed: false });
      return paint();
    }
    const run = new AbortController();
    Object.assign(now, { run, failed: false, share: null, state: "" });
    paint();
    const body = { text, from_lang: kept.from, to_lang: kept.to, glossary: glossary(), stream: true };
    if (kept.model) body.model = kept.model;
    const slow = setTimeout(() => now.run === run && ((now.state = say("translating")), paint()), 500);
    let said = "";
    try {
      const answer = await fetch("v1/ai/translation/translate", {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal: run.signal,
      });
      if (!answer.ok) throw new Error(await reason(answer));
      for await (const event of frames(answer)) {
        if (now.run !== run) return;
        if (event.type === "source") Object.assign(now, { detected: event.from_lang, sure: event.detected });
        else if (event.type === "text") now.said = said += event.content;
        else if (event.type === "progress") now.share = event.total ? event.done / event.total : null;
        else if (event.type === "queued") now.state = say("waiting", { n: event.n });
        else if (event.type === "loading") now.state = say("preparing");
        else if (event.type === "done") {
          const same = event.from_lang === kept.to;
          Object.assign(now, { left: event.untranslated, state: same ? say("same") : "", said });
          used(kept.to, event.from_lang);
        } else if (event.detail || event.error) throw new Error(event.detail ?? say("failed"));
        if (event.type === "text") now.state = "";
        paint();
      }
    } catch (error) {
      if (now.run !== run) return;
      Object.assign(now, { failed: true, state: error instanceof TypeError ? say("failed") : error.message, left: [] });
      if (!said) now.said = "";
    } finally {
      clearTimeout(slow);
      if (now.run === run) Object.assign(now, { run: null, share: null });
      paint();
    }
    const news = find('#translate-view [data-view="news"]');
    if (news && !now.failed) news.textContent = now.said.slice(0, 400);
  };
  const typed = () => {
    clearTimeout(timer);
    const text = of("text").value;
    const quick = kept.live && text.length <= LIVE && !known.chats.includes(kept.model);
    if (!text.trim()) return translate();
    paint();
    if (quick) timer = setTimeout(translate, PAUSE);
  };
  const write = (text) => {
    of("text").value = text;
    translate();
  };

  // Files: each is a row with how far it is, and a link to what came back.
  const files = [];
  const rows = () => {
    const list = find("#translate .files");
    if (!list) return;
    list.replaceChildren(...files.map((file) => {
      const row = document.createElement("li");
      row.className = `file ${file.state}`;
      const name = Object.assign(document.createElement("b"), { textContent: file.name, title: file.name });
      const told = Object.assign(document.createElement("span"), { textContent: file.told });
      row.append(name, told);
      if (file.url) {
        row.append(Object.assign(document.createElement("a"), {
          className: "act primary", href: file.url, download: file.made, textContent: say("download"),
        }));
      }
      const close = Object.assign(document.createElement("button"), { type: "button", className: "icon pic-close" });
      close.title = close.ariaLabel = say("again");
      close.dataset.file = file.id;
      row.append(close);
      if (file.state === "running") {
        const track = Object.assign(document.createElement("span"), { className: `track${file.share === null ? " unknown" : ""}` });
        const bar = document.createElement("i");
        if (file.share !== null) bar.style.width = `${(100 * file.share).toFixed(1)}%`;
        track.append(bar);
        row.append(track);
      }
      return row;
    }));
    tab().toggleAttribute("data-files", files.length > 0);
  };
  const follow = async (file) => {
    while (file.state === "running") {
      await new Promise((done) => setTimeout(done, 700));
      try {
        const answer = await fetch(`v1/jobs/${file.id}`, { signal: file.run.signal });
        const ticket = answer.ok ? await answer.json() : null;
        if (ticket?.total && file.state === "running") (file.share = Math.min(1, ticket.done / ticket.total)), rows();
      } catch { /* the next look may succeed */ }
    }
  };
  const carry = async (given) => {
    const id = `translate-${crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`}`;
    const file = { id, name: given.name, state: "running", told: say("translating"), share: null, run: new AbortController() };
    files.unshift(file);
    rows();
    follow(file);
    const form = new FormData();
    form.set("file", given, given.name);
    form.set("from_lang", kept.from);
    form.set("to_lang", kept.to);
    form.set("glossary", JSON.stringify(glossary()));
    if (kept.model) form.set("model", kept.model);
    try {
      const answer = await fetch("v1/translate/file", {
        method: "POST", body: form, signal: file.run.signal, headers: { "x-request-id": id },
      });
      if (!answer.ok) throw new Error(await reason(answer));
      const left = Number(answer.headers.get("x-untranslated") ?? 0);
      const source = answer.headers.get("x-source-language");
      const named = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "");
      file.made = named ? decodeURIComponent(named[1]) : given.name;
      file.url = URL.createObjectURL(await answer.blob());
      const how = [`${source ? nameOf(source) : ""} → ${nameOf(kept.to)}`];
      if (left) how.push(say("left_file", { n: left }));
      Object.assign(file, { state: "done", told: how.join(" · ") });
    } catch (error) {
      if (file.run.signal.aborted) return;
      Object.assign(file, { state: "failed", told: error instanceof TypeError ? say("failed") : error.message });
    }
    rows();
  };
  const take = async (given) => {
    if (!known) return;
    for (const file of given) {
      const plain = /\.(txt|text)$/i.test(file.name) || (file.type === "text/plain" && !/\.\w+$/.test(file.name));
      if (plain && given.length === 1 && file.size <= 20000) write(await file.text());
      else carry(file);
    }
  };
  receives("translate", take);
  document.addEventListener("atelier:send", async ({ detail }) => {
    if (detail?.tab !== "translate") return;
    const url = new URL(detail.url, location.href);
    if (url.origin !== location.origin && url.protocol !== "blob:") return;
    const answer = await fetch(url);
    if (!answer.ok) return;
    const blob = await answer.blob();
    const file = new File([blob], detail.name || "text.txt", { type: detail.kind || blob.type });
    for (let tries = 0; !known && tries < 40; tries += 1) await new Promise((done) => setTimeout(done, 150));
    take([file]);
  });

  // Listening: whatever model speaks the language.
  let sound = null;
  const listen = async (side, pressed) => {
    const before = pressed.getAttribute("aria-pressed") === "true";
    sound?.pause();
    for (const one of document.querySelectorAll('#translate [data-act="listen"]')) one.setAttribute("aria-pressed", "false");
    if (before) return;
    const text = side === "from" ? of("text").value : now.said;
    const language = side === "from" ? (kept.from === "auto" ? now.detected : kept.from) : kept.to;
    if (!text.trim()) return;
    pressed.setAttribute("aria-pressed", "true");
    pressed.toggleAttribute("data-busy", true);
    try {
      const answer = await fetch("v1/ai/speech/text-to-speech", {
        method: "POST", headers: { "content-type": "application/json" },
        body: JSON.stringify({ text: text.slice(0, 5000), language: language === "und" ? undefined : language }),
      });
      if (!answer.ok) throw new Error(await reason(answer));
      const { audio } = await answer.json();
      if (pressed.getAttribute("aria-pressed") !== "true") return;
      sound = new Audio(`data:audio/wav;base64,${audio}`);
      sound.onended = () => pressed.setAttribute("aria-pressed", "false");
      await sound.play();
    } catch (error) {
      pressed.setAttribute("aria-pressed", "false");
      Object.assign(now, { state: error.message, failed: true });
      paint();
    } finally {
      pressed.removeAttribute("data-busy");
    }
  };

  const ACTS = {
    go: translate,
    stop: () => stop(say("stopped")),
    clear: () => {
      write("");
      of("text").focus();
    },
    swap: () => {
      const from = kept.from === "auto" ? now.detected || "" : kept.from;
      const text = now.said || of("text").value;
      const back = offered().includes(from) ? from : known.reader === kept.to ? "en" : known.reader;
      keep({ from: kept.to, to: back });
      languages();
      write(text);
    },
    copy: async (button) => {
      await navigator.clipboard?.writeText(now.said).catch(() => {});
      button.classList.add("done");
      button.title = say("copied");
      setTimeout(() => button.classList.remove("done"), 1400);
    },
    save: () => save(`translation.${kept.to}.txt`, new Blob([now.said], { type: "text/plain" })),
    glossary: (button) => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", String(open));
      find("#translate-terms").hidden = !open;
      if (open) of("glossary").focus();
    },
    choose: () => of("file").click(),
    listen: (button) => listen(button.dataset.side, button),
    models: () => turnTo("models"),
  };
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target.closest("#translate button") : null;
    if (!target || !known) return;
    if (target.dataset.file) {
      const place = files.findIndex((file) => file.id === target.dataset.file);
      const [file] = files.splice(place, 1);
      file.run.abort();
      file.state = "gone";
      if (file.url) URL.revokeObjectURL(file.url);
      return rows();
    }
    ACTS[target.dataset.act]?.(target);
  });
  document.addEventListener("change", (event) => {
    const name = event.target.closest?.("#translate [data-of]")?.dataset.of;
    if (!name || !known) return;
    const value = event.target.value;
    if (name === "file") {
      take([...event.target.files]);
      event.target.value = "";
    } else if (name === "live") {
      keep({ live: event.target.checked });
    } else if (name === "model") {
      keep({ model: value });
      languages();
      typed();
    } else if (name === "from" || name === "to") {
      const other = name === "from" ? "to" : "from";
      if (value === kept[other]) keep({ [other]: kept[name] === "auto" ? now.detected || kept[other] : kept[name] });
      keep({ [name]: value });
      used(value);
      if (value === kept[other]) keep({ [other]: offered().find((code) => code !== value) ?? value });
      languages();
      if (of("text").value.trim()) translate();
    }
  });
  document.addEventListener("input", (event) => {
    const name = event.target.closest?.("#translate [data-of]")?.dataset.of;
    if (name === "text") typed();
    if (name === "glossary") {
      keep({ glossary: event.target.value });
      typed();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest?.("#translate")) {
      event.preventDefault();
      translate();
    }
    if (event.key === "Escape" && now.run && event.target.closest?.("#translate")) stop(say("stopped"));
  });

  document.addEventListener("atelier:painted", () => {
    const fresh = find("#translate-desk .translate-desk");
    if (!fresh || desk()?.dataset.stamp === fresh.dataset.stamp) return;
    const text = of("text")?.value ?? "";
    if (!put(find('#translate-view [data-view="desk"]'), fresh)) return;
    known = JSON.parse(desk().dataset.known);
    names.clear();
    of("text").value = text;
    of("live").checked = kept.live;
    of("glossary").value = kept.glossary;
    const models = [...of("model").options].map((one) => one.value);
    if (!models.includes(kept.model)) keep({ model: "" });
    of("model").value = kept.model;
    languages();
    rows();
  });
  // Look when the tab comes to the front, and now and then: models come and go.
  let beats = 0;
  let before = false;
  setInterval(() => {
    const here = seen();
    if (here && (!before || !desk() || beats % 20 === 0)) tell("translate-look", JSON.stringify({ stamp: desk()?.dataset.stamp ?? "" }));
    beats += 1;
    before = here;
  }, 500);
})();
