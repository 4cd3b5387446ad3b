// Writing recordings down: a file, a recording or a sample is sent to this server's own API, the same that programs use;
// its words come while it is heard, each with its time, beside a player. Evaluates nothing; keeps nothing on the server.
(() => {
  "use strict";
  const { find, tell, put, receives, save } = window.atelier;
  const nowhere = document.createElement("i");
  const root = () => find('#hearing [data-view="desk"]') ?? nowhere;
  const of = (name) => find(`[data-of="${name}"]`, root());
  const desk = () => find(".hearing-desk", root());
  const seen = () => Boolean(document.getElementById("hearing")?.offsetParent) && !document.hidden;
  const says = (key, values = {}) => {
    const text = JSON.parse(desk()?.dataset.says || "{}")[key] || "";
    return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  };
  const clock = (value) => {
    const all = Math.max(0, Math.floor(value));
    const [hours, minutes, seconds] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
    const two = (number) => String(number).padStart(2, "0");
    return hours ? `${hours}:${two(minutes)}:${two(seconds)}` : `${minutes}:${two(seconds)}`;
  };

  // What was heard of which file, and how far it is.
  const chosen = {}; // what was picked, for when the desk is painted anew
  const state = { file: null, url: "", lines: [], done: null, share: 0, news: "", wrong: false, running: null, id: "" };
  const say = (text, wrong = false) => {
    Object.assign(state, { news: text, wrong });
    show();
  };

  // Showing
  const show = () => {
    if (!desk()) return;
    of("run").hidden = !state.running;
    const track = of("track");
    track.setAttribute("aria-valuenow", String(Math.round(state.share * 100)));
    track.classList.toggle("unknown", !state.share);
    find("i", track).style.width = `${(state.share * 100).toFixed(1)}%`;
    of("news").textContent = state.news;
    of("news").toggleAttribute("data-wrong", state.wrong);
    of("text").hidden = !state.lines.length;
    of("save").hidden = !state.done || !state.lines.length;
    of("player").hidden = !state.file;
    of("name").textContent = state.file?.name ?? "";
    find('[data-act="again"]', root()).hidden = Boolean(state.running);
    document.getElementById("hearing").toggleAttribute("data-empty", !state.file);
  };
  const line = (spoken, number) => {
    const row = document.createElement("li");
    row.dataset.start = spoken.start;
    row.dataset.end = spoken.end;
    row.dataset.key = number;
    const time = document.createElement("button");
    Object.assign(time, { type: "button", className: "time", textContent: clock(spoken.start) });
    const text = document.createElement("span");
    text.dir = "auto";
    if (spoken.words?.length) {
      for (const word of spoken.words) {
        const part = document.createElement("span");
        part.className = "word";
        Object.assign(part.dataset, { start: word.start, end: word.end });
        part.textContent = word.word;
        text.append(part, " ");
      }
    } else {
      text.textContent = spoken.text.trim();
    }
    row.append(time, text);
    return row;
  };
  const lines = () => {
    const place = of("text");
    if (!place) return;
    if (place.children.length > state.lines.length) place.replaceChildren();
    const follows = place.scrollHeight - place.scrollTop - place.clientHeight < 60;
    for (let n = place.children.length; n < state.lines.length; n += 1) place.append(line(state.lines[n], n));
    if (state.running && follows) place.scrollTop = place.scrollHeight;
  };
  const media = () => {
    const place = of("media");
    if (!place || place.dataset.url === state.url) return;
    place.dataset.url = state.url;
    place.replaceChildren();
    if (!state.url) return;
    const player = document.createElement(state.file.type.startsWith("video/") ? "video" : "audio");
    Object.assign(player, { controls: true, preload: "metadata", src: state.url });
    player.addEventListener("timeupdate", () => light(player.currentTime));
    place.append(player);
  };
  const player = () => find("audio, video", of("media") ?? nowhere);
  const light = (time) => {
    let first = null;
    for (const one of of("text").querySelectorAll("li, .word")) {
      const on = time >= Number(one.dataset.start) && time < Number(one.dataset.end);
      one.classList.toggle("now", on);
      if (on && one.matches("li")) first ??= one;
    }
    if (first && !state.running && !player().paused) {
      const [box, row] = [of("text").getBoundingClientRect(), first.getBoundingClientRect()];
      if (row.top < box.top || row.bottom > box.bottom) first.scrollIntoView({ block: "nearest" });
    }
  };

  // Hearing
  const hear = async (file) => {
    if (!file || !desk()) return;
    await stop();
    if (state.url) URL.revokeObjectURL(state.url);
    Object.assign(state, { file, url: URL.createObjectURL(file), lines: [], done: null, share: 0 });
    lines();
    media();
    await run();
  };
  const run = async () => {
    const began = performance.now();
    const stopping = new AbortController();
    Object.assign(state, { lines: [], done: null, share: 0, running: stopping, id: "" });
    lines();
    say(says("sending"));
    const form = new FormData();
    form.append("file", state.file, state.file.name);
    const translate = of("task").value === "translate";
    const given = { model: of("model").value, language: translate ? "" : of("language").value, stream: "true" };
    for (const [name, value] of Object.entries(given)) if (value) form.append(name, value);
    if (of("words").checked) form.append("timestamp_granularities[]", "word");
    for (const kind of ["srt", "vtt"]) form.append("include[]", kind);
    try {
      const path = `/v1/audio/${translate ? "translations" : "transcriptions"}`;
      const answer = await fetch(path, { method: "POST", body: form, signal: stopping.signal });
      state.id = answer.headers.get("x-request-id") ?? "";
      if (!answer.ok) throw new Error((await answer.json()).error?.message ?? answer.statusText);
      say(says("listening"));
      await read(answer.body.getReader());
    } catch (error) {
      if (state.running !== stopping) return;
      state.running = null;
      return say(says("failed", { reason: error.message }), true);
    }
    if (state.running !== stopping) return;
    state.running = null;
    ended((performance.now() - began) / 1000);
  };
  const read = async (reader) => {
    const letters = new TextDecoder();
    let held = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (held + letters.decode(value, { stream: true })).split("\n\n");
      held = parts.pop();
      for (const part of parts) take(part);
      lines();
      show();
    }
  };
  const take = (frame) => {
    if (frame.startsWith(":")) {
      const progress = frame.match(/^: (\d+) of (\d+)/);
      const queued = frame.match(/^: queued, (\d+) ahead/);
      if (progress) state.share = Number(progress[1]) / Math.max(1, Number(progress[2]));
      else if (queued) state.news = says("waiting", { n: queued[1] });
      else if (frame.startsWith(": loading")) state.news = says("loading");
      return;
    }
    if (!frame.startsWith("data: {")) return;
    const event = JSON.parse(frame.slice(6));
    if (event.error) throw new Error(event.error.message);
    if (event.type === "transcript.text.delta") {
      state.news = says("listening");
      state.lines.push({ text: event.delta, start: event.start, end: event.end, words: event.words });
    } else if (event.type === "transcript.text.done") {
      state.done = event;
    }
  };
  const tongue = (code) => new Intl.DisplayNames([navigator.language], { type: "language" }).of(code);
  const ended = (seconds) => {
    const done = state.done;
    if (!done) return say(says("failed", { reason: "…" }), true);
    state.share = 1;
    if (done.stopped) return say(says("stopped"));
    if (!state.lines.length) return say(says("nothing"));
    const spoken = of("task").value === "translate" ? "en" : done.language;
    const model = find(`[data-of="model"] option[value="${CSS.escape(done.model)}"]`, root())?.textContent;
    say(says("made", {
      time: clock(done.duration), tongue: spoken ? tongue(spoken) : says("unknown"), seconds: seconds.toFixed(1),
      model: model ?? done.model,
    }));
  };
  // A stop lets the answer end with what is there; where nothing was answered yet, the sending ends.
  const stop = async () => {
    const running = state.running;
    if (!running) return;
    if (state.id) {
      await fetch(`/v1/jobs/${encodeURIComponent(state.id)}`, { method: "DELETE" }).catch(() => {});
    } else {
      running.abort();
    }
  };

  // Recording
  const tape = { recorder: null, parts: [], began: 0, timer: 0, context: null };
  const record = async () => {
    if (tape.recorder) return tape.recorder.stop();
    if (!navigator.mediaDevices?.getUserMedia) return say(says(isSecureContext ? "no_microphone" : "insecure"), true);
    let sound;
    try {
      sound = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: true, noiseSuppression: true } });
    } catch (error) {
      return say(says(error.name === "NotAllowedError" ? "refused" : "no_microphone"), true);
    }
    const kind = ["audio/webm;codecs=opus", "audio/mp4"].find((one) => MediaRecorder.isTypeSupported(one)) ?? "";
    tape.parts = [];
    tape.recorder = new MediaRecorder(sound, kind ? { mimeType: kind } : {});
    tape.recorder.addEventListener("dataavailable", (event) => tape.parts.push(event.data));
    tape.recorder.addEventListener("stop", () => {
      for (const track of sound.getTracks()) track.stop();
      const type = tape.recorder.mimeType.split(";")[0];
      clearInterval(tape.timer);
      tape.context.close();
      tape.recorder = null;
      of("level").hidden = true;
      of("record").classList.remove("stop");
      of("recorder").textContent = says("record");
      const name = `${says("recorded")}.${type.includes("mp4") ? "m4a" : "webm"}`;
      hear(new File(tape.parts, name, { type }));
    });
    tape.context = new AudioContext();
    const meter = tape.context.createAnalyser();
    tape.context.createMediaStreamSource(sound).connect(meter);
    const values = new Float32Array(meter.fftSize);
    tape.began = performance.now();
    tape.recorder.start(1000);
    say(says("recording"));
    const beat = () => {
      if (!of("recorder") || !tape.recorder) return;
      meter.getFloatTimeDomainData(values);
      const loud = Math.sqrt(values.reduce((sum, one) => sum + one * one, 0) / values.length);
      of("level").hidden = false;
      find("i", of("level")).style.width = `${Math.min(100, Math.max(2, 100 + 33 * Math.log10(loud + 1e-4))).toFixed(0)}%`;
      of("record").classList.add("stop");
      of("recorder").textContent = says("finish", { time: clock((performance.now() - tape.began) / 1000) });
    };
    tape.timer = setInterval(beat, 100);
    beat();
  };

  // Saving
  const whole = () => state.done?.text ?? "";
  const written = {
    txt: () => [`${state.lines.map((one) => one.text.trim()).join("\n")}\n`, "text/plain"],
    srt: () => [state.done.srt, "application/x-subrip"],
    vtt: () => [state.done.vtt, "text/vtt"],
    json: () => {
      const { text, language, duration, model } = state.done;
      const segments = state.lines.map(({ text: said, ...rest }) => ({ ...rest, text: said.trim() }));
      return [`${JSON.stringify({ text, language, duration, model, segments }, null, 2)}\n`, "application/json"];
    },
  };
  const keep = (kind) => {
    const [text, type] = written[kind]();
    save(`${state.file.name.replace(/\.[^.]+$/, "")}.${kind}`, new Blob([text], { type }));
  };
  const copy = async (button) => {
    const text = find("span", button);
    try {
      await navigator.clipboard.writeText(whole());
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: whole() });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = text.textContent;
    text.textContent = says("copied");
    setTimeout(() => (text.textContent = before), 1600);
  };
  const sample = (button) => {
    const bytes = Uint8Array.from(atob(button.dataset.sound), (letter) => letter.charCodeAt(0));
    hear(new File([bytes], button.dataset.name, { type: "audio/mpeg" }));
  };

  // What a model can
  const suit = () => {
    const model = of("model")?.selectedOptions[0];
    if (!model) return;
    const known = model.dataset.languages.split(" ").filter(Boolean);
    for (const option of of("language").options) option.hidden = option.disabled = Boolean(option.value && known.length && !known.includes(option.value));
    if (of("language").selectedOptions[0]?.disabled) of("language").value = "";
    const english = find('option[value="translate"]', of("task"));
    english.disabled = model.dataset.translates !== "1";
    if (english.disabled) of("task").value = "";
    of("language").disabled = of("task").value === "translate";
  };

  const ACTS = {
    choose: () => of("file").click(),
    record,
    stop,
    again: () => run(),
    save: (button) => keep(button.dataset.kind),
    copy,
    sample,
  };
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target.closest("#hearing *") : null;
    if (!target) return;
    const button = target.closest("button[data-act]");
    if (button) return ACTS[button.dataset.act]?.(button);
    const spot = target.closest(".word, li[data-start]");
    if (!spot || !player() || String(getSelection())) return;
    player().currentTime = Number(spot.dataset.start) + 0.01;
    player().play().catch(() => {});
  });
  document.addEventListener("change", (event) => {
    if (!event.target.closest?.("#hearing")) return;
    if (event.target.dataset.of === "file") {
      hear(event.target.files[0]);
      event.target.value = "";
    } else {
      chosen[event.target.dataset.of] = event.target.type === "checkbox" ? event.target.checked : event.target.value;
      suit();
    }
  });
  receives("hearing", (files) => hear(files[0]));
  document.addEventListener("atelier:send", async (event) => {
    const { tab, name, url, kind } = event.detail ?? {};
    if (tab !== "speech" || !/^(audio|video)\//.test(kind ?? "")) return;
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) hear(new File([await answer.blob()], name, { type: kind }));
    else say(says("failed", { reason: name }), true);
  });
  document.addEventListener("atelier:painted", () => {
    if (!put(find('#hearing [data-view="desk"]'), find("#hearing-desk .hearing-desk"))) return;
    const place = of("media");
    delete place.dataset.url;
    of("text").replaceChildren();
    for (const [name, value] of Object.entries(chosen)) {
      const field = of(name);
      if (field?.type === "checkbox") field.checked = value;
      else if (field && [...field.options].some((one) => one.value === value)) field.value = value;
    }
    media();
    lines();
    suit();
    show();
  });

  let beats = 0;
  setInterval(() => {
    if (seen() && (!desk() || beats % 8 === 0)) tell("hearing-look", JSON.stringify({ stamp: desk()?.dataset.stamp ?? "" }));
    beats += 1;
  }, 700);
})();
