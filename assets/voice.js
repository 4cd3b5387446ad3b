// The Voice tab: talking by button, space bar or hands-free; the transcript, the answer as it is written, its sound as it
// is spoken, and how long each step took. Talks to the server's own chaining call; evaluates nothing.
(() => {
  "use strict";
  const { find, tell, turnTo, sound } = window.atelier;
  const CHAT = "v1/ai/chaining/chat";
  const HOLD = 350; // ms; a shorter press is a tap, and what is said goes on until the next
  const LOOK_EVERY = 1.1; // seconds between two looks at what is being said
  const place = () => document.getElementById("voice");
  const view = (name) => find(`#voice [data-view="${name}"]`);
  const seen = () => Boolean(place()?.offsetParent) && !document.hidden;
  const make = (tag, name = "", text = "", more = {}) => {
    const made = Object.assign(document.createElement(tag), more);
    if (name) made.className = name;
    if (text) made.textContent = text;
    return made;
  };
  const now = () => performance.now();

  let facts = null;
  let words = {};
  let chosen = {};
  try {
    chosen = JSON.parse(localStorage.getItem("atelier-voice") || "{}");
  } catch {
    localStorage.removeItem("atelier-voice");
  }

  // What is going on: "idle", "taking" (the user speaks), "hearing", "answering"; and whether hands are free.
  let state = "idle";
  let free = false;
  let warmed = false;
  let pressed = 0;
  let tapped = false;
  let turn = null; // the turn on its way or last heard
  let played = null; // of the answer that was cut short, what was heard

  const ears = new sound.Ears((level, change, quiet) => hear(level, change, quiet));
  const mouth = new sound.Mouth((piece) => {
    if (piece) mark(piece);
    else if (turn) mark(null);
    paint();
  });

  // The page ------------------------------------------------------------------------------------

  const select = (name, rows, title) => {
    const box = make("label", "pick");
    box.append(make("span", "", title));
    const list = make("select", "", "", { name });
    for (const row of rows) {
      if (row.rows) {
        const group = make("optgroup", "", "", { label: row.label });
        group.append(...row.rows.map(([value, text]) => new Option(text, value)));
        list.append(group);
      } else {
        list.append(new Option(row[1], row[0]));
      }
    }
    list.value = chosen[name] ?? "";
    if (list.selectedIndex < 0) list.value = chosen[name] = "";
    box.append(list);
    return box;
  };
  const voices = () => {
    const names = new Map(facts.languages);
    const groups = new Map();
    for (const [name, title, language, model] of facts.voices) {
      if (chosen.language && language && language !== chosen.language) continue;
      const label = language ? names.get(language) || language : words.any;
      if (!groups.has(label)) groups.set(label, []);
      groups.get(label).push([`${model}\n${name}`, title]);
    }
    return [["", words.automatic], ...[...groups].map(([label, rows]) => ({ label, rows }))];
  };
  const button = (act, text, name = "", more = {}) => {
    const made = make("button", name, text, { type: "button", ...more });
    made.dataset.act = act;
    return made;
  };

  let built = "";
  const build = () => {
    const { said, conversation, ...rest } = facts;
    const key = JSON.stringify([rest, chosen.language]);
    if (key === built) return paint();
    built = key;
    const bar = make("details", "picks");
    bar.append(make("summary", "pic-tune", words.settings));
    const rows = make("div", "rows");
    rows.append(
      select("language", facts.languages, words.language),
      select("voice", voices(), words.voice),
      select("model", [["", words.automatic], ...facts.models], words.model),
      select("listener", [["", words.automatic], ...facts.listeners], words.listener),
    );
    bar.append(rows);
    bar.open = view("bar").querySelector("details")?.open ?? matchMedia("(min-width: 861px)").matches;
    const tools = make("span", "tools");
    tools.append(button("open", words.open, "act pic-export", { hidden: true }), button("new", words.new, "act pic-new"));
    view("bar").replaceChildren(bar, tools);
    if (!find(".talk", view("desk"))) desk();
    if (!find(".mine", view("log"))) history();
    paint();
  };

  const desk = () => {
    const talk = button("talk", "", "talk");
    talk.append(make("i", "ring"), make("i", "pic-microphone"));
    talk.setAttribute("aria-describedby", "voice-hint");
    const row = make("div", "row");
    const hands = button("free", words.free, "act pic-ear");
    hands.setAttribute("aria-pressed", "false");
    row.append(hands, talk, button("stop", words.stop, "act pic-stop"));
    const hint = make("p", "hint", "", { id: "voice-hint" });
    const form = make("form", "typed");
    const line = make("input", "", "", { type: "text", name: "text", placeholder: words.type, maxLength: 20000, autocomplete: "off" });
    line.setAttribute("aria-label", words.type);
    form.append(line, make("button", "icon pic-send", words.send, { type: "submit", title: words.send }));
    view("desk").replaceChildren(make("p", "trouble", "", { hidden: true }), row, hint, form);
  };

  const empty = () => {
    const box = make("div", "hello");
    box.append(make("i", "pic-microphone"), make("h2", "", words.hello), make("p", "", words.how));
    const row = make("div", "row");
    for (const text of [words.sample_1, words.sample_2, words.sample_3]) {
      const one = button("say", text, "sample-line");
      row.append(one);
    }
    box.append(row);
    for (const text of facts.missing) box.append(make("p", "lack", text));
    return box;
  };
  const history = () => {
    view("log").replaceChildren();
    for (const { role, text, cut } of facts.said) {
      const bubble = role === "user" ? ask(text) : answer();
      if (role === "user") continue;
      bubble.said.textContent = bare(text);
      if (cut) bubble.box.append(make("span", "cut", words.cut));
    }
    if (!facts.said.length) view("log").append(empty());
    else end();
  };
  const end = () => {
    const log = view("log");
    log.scrollTop = log.scrollHeight;
  };
  const near = () => {
    const log = view("log");
    return log.scrollHeight - log.scrollTop - log.clientHeight < 140;
  };
  const ask = (text) => {
    find(".hello", view("log"))?.remove();
    const box = make("div", "mine");
    box.append(make("span", "who aside", words.you), make("p", "", text));
    view("log").append(box);
    end();
    return find("p", box);
  };
  const answer = () => {
    const box = make("div", "theirs");
    const said = make("span", "said");
    const spoken = make("mark");
    const rest = make("span", "rest");
    const text = make("p");
    text.append(said, spoken, rest);
    box.append(text);
    view("log").append(box);
    end();
    return { box, said, spoken, rest };
  };

  // The one line and the one button that say what is going on.
  const status = () => {
    if (state === "taking") return free ? words.free_on : tapped ? words.tap : words.release;
    if (state === "hearing") return turn?.loading ? words.loading : words.hearing;
    if (mouth.speaking) return words.speaking;
    if (state === "answering") return turn?.loading ? words.loading : words.thinking;
    return free ? words.free_on : words.talk;
  };
  let announced = "";
  const paint = () => {
    if (!facts || !find(".talk", view("desk"))) return;
    const talk = find(".talk", view("desk"));
    const looks = state === "idle" && mouth.speaking ? "speaking" : state === "answering" && mouth.speaking ? "speaking" : state;
    place().dataset.state = looks;
    place().toggleAttribute("data-free", free);
    const text = status();
    if (find(".hint", view("desk")).textContent !== text) find(".hint", view("desk")).textContent = text;
    talk.setAttribute("aria-label", text);
    talk.setAttribute("aria-pressed", String(state === "taking"));
    talk.disabled = !facts.hears || !facts.models.length;
    const hands = find("[data-act=free]", view("desk"));
    hands.setAttribute("aria-pressed", String(free));
    hands.disabled = talk.disabled;
    find("[data-act=stop]", view("desk")).disabled = looks === "idle" || state === "taking";
    find("[data-act=open]", view("bar")).hidden = !facts.conversation;
    find("[data-act=new]", view("bar")).disabled = !find(".mine", view("log"));
    if (text !== announced && looks !== "idle") view("news").textContent = text;
    announced = text;
  };
  const trouble = (text) => {
    const line = find(".trouble", view("desk"));
    if (!line) return;
    line.textContent = text;
    line.hidden = !text;
  };
  const rings = () => {
    if (seen()) {
      const level = state === "taking" || free ? heard : 0;
      const loud = Math.max(mouth.speaking ? mouth.level * 1.6 : 0, level);
      find(".talk", view("desk"))?.style.setProperty("--loud", Math.min(1, loud * 5).toFixed(3));
    }
    requestAnimationFrame(rings);
  };

  // Markdown's signs are not shown here, as they are not said.
  const bare = (text) => text.replace(/\*\*|__|`+|^#{1,6} /gm, "").replace(/^([ \t]*)[-*] /gm, "$1• ");

  // Which phrase is being spoken; what was is dark, what comes is not yet.
  const mark = (piece) => {
    const about = piece?.about;
    const of = about?.turn ?? turn;
    if (!of?.bubble) return;
    const { said, spoken, rest } = of.bubble;
    if (about) {
      const at = of.text.indexOf(about.text, of.marked);
      if (at < 0) return;
      of.marked = at;
      of.shown = at + about.text.length;
      said.textContent = bare(of.text.slice(0, at));
      spoken.textContent = bare(about.text);
      rest.textContent = bare(of.text.slice(of.shown));
    } else if (!of.going) {
      said.textContent = bare(of.text);
      spoken.textContent = rest.textContent = "";
    }
  };
  const write = (of, delta) => {
    const follow = near();
    of.text += delta;
    of.bubble.rest.textContent = bare(of.text.slice(of.shown ?? 0));
    if (follow) end();
  };

  const TIMES = [["vad", "time_vad"], ["stt", "time_stt"], ["token", "time_token"], ["audio", "time_audio"]];
  const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
  const times = (of) => {
    const strip = of.strip ?? make("div", "times");
    const parts = [];
    let before = 0;
    for (const [name, word] of TIMES) {
      if (of.at[name] === undefined) continue;
      const took = Math.max(0, of.at[name] - before);
      before = of.at[name];
      parts.push([name, words[word], took]);
    }
    const bar = make("span", "waterfall");
    bar.setAttribute("aria-hidden", "true");
    for (const [name, , took] of parts) {
      const piece = make("i", name);
      piece.style.flexGrow = Math.max(took, before * 0.01);
      bar.append(piece);
    }
    const list = make("span", "list");
    for (const [name, word, took] of parts) list.append(make("span", name, `${word} ${seconds(took)}`));
    const whole = make("b", "", of.at.audio === undefined ? "" : seconds(of.at.audio), { title: words.times });
    strip.replaceChildren(whole, bar, list);
    if (!of.strip) of.bubble.box.append((of.strip = strip));
    if (near()) end();
  };

  // Talking -------------------------------------------------------------------------------------

  const warm = () => {
    if (warmed) return;
    warmed = true;
    fetch("v1/ai/chaining/warm", post(wishes())).catch(() => (warmed = false));
  };
  const wishes = () => {
    const [speaker, voice] = (chosen.voice || "").split("\n");
    const body = { language: chosen.language, model: chosen.model, stt_model: chosen.listener, tts_model: speaker, voice };
    return Object.fromEntries(Object.entries(body).filter(([, value]) => value));
  };
  const post = (body, signal) => ({
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), signal,
  });

  // The answer on its way is cut short; what of it was heard goes with the next turn.
  const interrupt = () => {
    const speaking = mouth.speaking;
    const running = turn?.going;
    if (!speaking && !running) return;
    played = mouth.hush();
    turn.cutting = true;
    turn.control.abort();
    turn.going = false;
    const { said, spoken, rest, box } = turn.bubble ?? {};
    if (box && turn.text) {
      const until = said.textContent + spoken.textContent;
      said.textContent = until;
      spoken.textContent = "";
      rest.classList.add("unsaid");
      box.insertBefore(make("span", "cut", words.cut), find(".times", box));
    } else {
      box?.remove();
    }
    if (state === "hearing") {
      carried = turn.frames; // what was not heard yet goes with what is said now
      turn.mine.parentElement.remove();
    }
    if (state !== "taking") state = "idle";
    paint();
  };

  let heard = 0;
  let carried = [];
  let looking = null;
  let looked = 0;
  const hear = (level, change, quiet) => {
    heard = heard * 0.6 + level * 0.4;
    ears.guard = mouth.speaking ? 2.5 : 1;
    if (free && change === "begins" && state !== "taking") {
      interrupt();
      take();
    }
    if (state === "taking" && change === "ends" && (free || ears.seconds > 80)) done(quiet * 1000);
    if (state === "taking" && ears.seconds - looked > LOOK_EVERY && !looking) look();
  };
  const take = () => {
    if (state === "taking") return;
    trouble("");
    ears.take(carried);
    carried = [];
    state = "taking";
    looked = 0;
    turn = { at: {}, text: "", marked: 0, mine: ask("…"), control: new AbortController() };
    turn.mine.classList.add("live");
    paint();
  };
  // What is being said, written down while it is said; left alone where that takes long.
  const look = async () => {
    const own = (looking = new AbortController());
    const of = turn;
    looked = ears.seconds;
    const began = now();
    try {
      const body = { audio: sound.to64(ears.taken(true)), language: chosen.language || undefined, model_size: chosen.listener || undefined };
      const answer = await fetch("v1/ai/speech/speech-to-text", post(body, own.signal));
      const { text } = answer.ok ? await answer.json() : {};
      if (text && of === turn && state === "taking") of.mine.textContent = text;
      if (now() - began > 900) looked = 1e9;
    } catch {
      looked = Math.max(looked, ears.seconds);
    }
    if (looking === own) looking = null;
  };
  const done = (silence = 0) => {
    if (state !== "taking") return;
    looking?.abort();
    looking = null;
    const length = ears.seconds;
    turn.frames = ears.frames;
    const audio = ears.taken();
    if (!free) later();
    if (length < 0.25) {
      turn.mine.parentElement.remove();
      turn = null;
      state = "idle";
      if (!find(".mine", view("log"))) history();
      return paint();
    }
    turn.at.vad = silence;
    state = "hearing";
    paint();
    send({ audio: sound.to64(audio) });
  };

  const send = async (given) => {
    const of = turn;
    const began = now() - (of.at.vad ?? 0);
    const since = () => now() - began;
    of.going = true;
    mouth.hush();
    const body = { ...given, ...wishes(), keep: true, ...(played === null ? {} : { played }) };
    played = null;
    try {
      const reply = await fetch(CHAT, post(body, of.control.signal));
      if (!reply.ok) throw new Error((await reply.json()).detail || String(reply.status));
      for await (const frame of frames(reply.body)) take_in(of, frame, since);
    } catch (error) {
      if (!of.cutting) trouble(error instanceof TypeError ? words.lost : error.message);
    }
    if (of !== turn || of.cutting) return;
    of.going = false;
    state = "idle";
    if (!mouth.speaking) mark(null);
    if (!of.mine.textContent || of.mine.textContent === "…") of.mine.parentElement.remove();
    setTimeout(() => tell("voice-look", JSON.stringify({ all: "1" })), 300);
    paint();
  };
  const take_in = (of, frame, since) => {
    if (of !== turn || of.cutting) return;
    if (frame.type === "comment") {
      of.loading = frame.text.startsWith("loading");
    } else if (frame.type === "hearing") {
      if (of.partial === undefined) of.partial = "";
      of.mine.textContent = (of.partial += frame.content).trim();
    } else if (frame.type === "heard") {
      of.at.stt = since();
      of.mine.textContent = frame.content;
      of.mine.classList.remove("live");
      state = frame.content ? "answering" : "idle";
      if (!frame.content) trouble(words.nothing);
    } else if (frame.type === "text") {
      of.loading = false;
      of.bubble ??= answer();
      if (of.at.token === undefined) of.at.token = since(), times(of);
      write(of, frame.content);
    } else if (frame.type === "audio") {
      const wait = mouth.say(frame.content, frame.sample_rate, { turn: of, text: frame.text });
      if (of.at.audio === undefined) of.at.audio = since() + wait * 1000, times(of);
    } else if (frame.type === "error") {
      trouble(facts.errors[frame.error] || frame.detail);
    }
    paint();
  };
  async function* frames(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done: over } = await reader.read();
      text += value ?? "";
      for (let at = text.indexOf("\n\n"); at >= 0; at = text.indexOf("\n\n")) {
        const frame = text.slice(0, at);
        text = text.slice(at + 2);
        if (frame.startsWith(": ")) yield { type: "comment", text: frame.slice(2) };
        else if (frame.startsWith("data: {")) yield JSON.parse(frame.slice(6));
      }
      if (over) return;
    }
  }
  const say = (text) => {
    if (!text.trim() || !facts?.models.length) return;
    interrupt();
    carried = [];
    if (state === "taking") ears.taken(), turn.mine.parentElement.remove();
    trouble("");
    mouth.wake();
    turn = { at: {}, text: "", marked: 0, mine: ask(text), control: new AbortController() };
    state = "answering";
    paint();
    send({ text });
  };

  // Beginning and ending by hand. The microphone stays open for a while, so that the next press loses no syllable.
  let closing = 0;
  const later = () => {
    clearTimeout(closing);
    closing = setTimeout(() => !free && state !== "taking" && ears.stop(), 45_000);
  };
  const listen = async () => {
    clearTimeout(closing);
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new Error(words.insecure);
    try {
      await ears.start();
    } catch (error) {
      ears.stop();
      const reasons = { NotAllowedError: words.denied, SecurityError: words.denied, NotFoundError: words.no_microphone };
      throw new Error(reasons[error.name] || error.message);
    }
  };
  const press = async () => {
    if (find(".talk", view("desk")).disabled) return;
    if (state === "taking") {
      if (tapped) finish();
      return;
    }
    pressed = now();
    tapped = false;
    warm();
    mouth.wake();
    interrupt();
    try {
      await listen();
      take();
      if (!pressed) tapped = true; // it was let go while the browser asked
    } catch (error) {
      pressed = 0;
      trouble(error.message);
    }
    paint();
  };
  const release = () => {
    if (!pressed) return;
    const held = now() - pressed;
    pressed = 0;
    if (state !== "taking") return;
    if (held < HOLD) tapped = true;
    else finish();
    paint();
  };
  const finish = () => {
    tapped = false;
    pressed = 0;
    setTimeout(() => done(0), 120); // the last sound is on its way
  };
  const stop = () => {
    interrupt();
    carried = [];
    if (state === "taking") ears.taken(), turn.mine.parentElement.remove(), (state = "idle");
    if (free) hands(false);
    paint();
  };
  const hands = async (on) => {
    free = on;
    if (on) {
      warm();
      mouth.wake();
      try {
        await listen();
      } catch (error) {
        free = false;
        trouble(error.message);
      }
    } else if (state !== "taking") {
      ears.stop();
    }
    paint();
  };
  const begin_anew = async () => {
    stop();
    await fetch(CHAT, { method: "DELETE" });
    facts = { ...facts, said: [], conversation: "" };
    turn = null;
    played = null;
    history();
    paint();
  };

  const ACTS = {
    free: () => hands(!free),
    stop,
    new: begin_anew,
    say: (one) => say(one.textContent),
    open: () => {
      tell("chat-opened", facts.conversation);
      turnTo("chat");
    },
  };
  document.addEventListener("click", (event) => {
    const act = event.target.closest?.("#voice [data-act]");
    if (act && !act.disabled) ACTS[act.dataset.act]?.(act);
  });
  document.addEventListener("pointerdown", (event) => {
    const talk = event.target.closest?.("#voice .talk");
    if (!talk || event.button) return;
    event.preventDefault();
    talk.focus();
    talk.setPointerCapture?.(event.pointerId);
    press();
  });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, release);
  document.addEventListener("contextmenu", (event) => {
    if (event.target.closest?.("#voice .talk")) event.preventDefault();
  });
  const typing = (target) => target.closest?.("input, textarea, select, summary, a, dialog, [contenteditable], [role=tab]");
  const keys = (event) => {
    const talk = event.target.closest?.("#voice .talk");
    const space = event.code === "Space" || (talk && event.code === "Enter");
    if (!space || !seen() || event.ctrlKey || event.metaKey || event.altKey) return false;
    if (!talk && (typing(event.target) || event.target.closest?.("button"))) return false;
    event.preventDefault();
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (keys(event) && !event.repeat) press();
    if (event.key === "Escape" && seen() && !typing(event.target)) stop();
  });
  document.addEventListener("keyup", (event) => {
    if (keys(event)) release();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target.closest?.("#voice form.typed");
    if (!form) return;
    event.preventDefault();
    const line = form.elements.text;
    say(line.value);
    line.value = "";
  });
  document.addEventListener("change", (event) => {
    const list = event.target.closest?.("#voice select");
    if (!list) return;
    chosen[list.name] = list.value;
    if (list.name === "language") {
      chosen.voice = "";
      build();
      find('select[name="language"]', view("bar"))?.focus();
    }
    localStorage.setItem("atelier-voice", JSON.stringify(chosen));
    warmed = false;
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && state === "taking" && !free) done(0);
  });

  let painted = null;
  document.addEventListener("atelier:painted", () => {
    const source = find("#voice-facts [data-facts]");
    if (!source || !view("bar") || source === painted) return;
    painted = source;
    facts = JSON.parse(source.dataset.facts);
    words = facts.words;
    build();
  });
  let before = false;
  let beats = 0;
  setInterval(() => {
    const shown = seen();
    if (shown && (!before || (!facts && beats % 6 === 0))) tell("voice-look", JSON.stringify({ all: "1" }));
    if (!shown && before && ears.open && state !== "taking") hands(false);
    before = shown;
    beats += 1;
  }, 500);
  requestAnimationFrame(rings);
})();
