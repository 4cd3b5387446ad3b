// Speaking a text: the sound is played while it is made, drawn, and kept in this page for listening again and saving.
// Asks this server's own API, the same that programs use; evaluates nothing.
(() => {
  "use strict";
  const { find, tell, put } = window.atelier;
  const root = () => find('#speaking [data-view="desk"]');
  const of = (name) => find(`[data-of="${name}"]`, root() ?? document.createElement("i"));
  const seen = () => Boolean(document.getElementById("speaking")?.offsetParent) && !document.hidden;
  const desk = () => find(".speaking-desk", root() ?? document.createElement("i"));
  const says = (key, values = {}) => {
    const text = JSON.parse(desk()?.dataset.says || "{}")[key] || "";
    return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  };
  const news = (text, wrong = false) => {
    of("news").textContent = text;
    of("news").toggleAttribute("data-wrong", wrong);
  };

  // What is spoken with; the text outlives a reload.
  const state = { voice: "", model: "", reference: "", recording: "" };
  const KEPT = "atelier-spoken";

  // The sound: pieces of samples, played one behind the other from any place.
  const sound = { pieces: [], length: 0, rate: 24000, peaks: [], loudest: 0, share: 1, done: true };
  const player = { context: null, nodes: [], base: 0, at: 0, next: 0, playing: false, wanted: false };
  const PEAK = 480; // samples of one peak
  const seconds = () => sound.length / sound.rate;
  const now = () => {
    if (!player.playing) return player.at;
    return Math.max(0, Math.min(seconds(), player.context.currentTime - player.base));
  };
  const ready = () => {
    player.context ??= new AudioContext();
    if (player.context.state === "suspended") player.context.resume();
    return player.context;
  };
  const schedule = (samples, from) => {
    const buffer = player.context.createBuffer(1, samples.length, sound.rate);
    buffer.copyToChannel(samples, 0);
    const node = player.context.createBufferSource();
    node.buffer = buffer;
    node.connect(player.context.destination);
    if (player.next < player.context.currentTime) {
      const late = player.context.currentTime + 0.03 - player.next;
      player.base += late;
      player.next += late;
    }
    node.start(player.next, from);
    player.next += buffer.duration - from;
    player.nodes.push(node);
    if (player.nodes.length > 400) player.nodes.splice(0, 200);
  };
  const hush = () => {
    for (const node of player.nodes) {
      try {
        node.stop();
      } catch {
        // it has not begun
      }
    }
    player.nodes = [];
  };
  const play = (from) => {
    hush();
    ready();
    player.playing = true;
    player.next = player.context.currentTime + 0.03;
    player.base = player.next - from;
    let start = 0;
    for (const piece of sound.pieces) {
      const long = piece.length / sound.rate;
      if (start + long > from) schedule(piece, Math.max(0, from - start));
      start += long;
    }
    beat();
  };
  const pause = () => {
    player.at = now();
    player.playing = player.wanted = false;
    hush();
  };
  const add = (samples) => {
    sound.pieces.push(samples);
    sound.length += samples.length;
    for (let at = 0; at < samples.length; at += PEAK) {
      let most = 0;
      for (let n = at; n < Math.min(samples.length, at + PEAK); n += 4) most = Math.max(most, Math.abs(samples[n]));
      sound.peaks.push(most);
      sound.loudest = Math.max(sound.loudest, most);
    }
    if (player.playing) schedule(samples, 0);
    else if (player.wanted) (player.wanted = false), play(player.at);
  };
  const clear = () => {
    pause();
    Object.assign(sound, { pieces: [], length: 0, peaks: [], loudest: 0, share: 0, done: false });
    player.at = 0;
  };

  // Drawing, while something moves.
  const clock = (value) => `${Math.floor(value / 60)}:${String(Math.floor(value % 60)).padStart(2, "0")}`;
  const draw = () => {
    const canvas = of("wave");
    if (!canvas?.clientWidth) return;
    const scale = devicePixelRatio || 1;
    const [wide, high] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (canvas.width !== wide || canvas.height !== high) (canvas.width = wide), (canvas.height = high);
    const brush = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const [played, coming] = [style.getPropertyValue("--played"), style.getPropertyValue("--coming")];
    brush.clearRect(0, 0, wide, high);
    const step = 4 * scale;
    const part = sound.done ? 1 : Math.max(0.02, sound.share);
    const bars = Math.floor((wide * part) / step);
    const here = seconds() ? (now() / seconds()) * bars : 0;
    for (let bar = 0; bar < Math.floor(wide / step); bar += 1) {
      let most = 0;
      if (bar < bars) {
        const from = Math.floor((bar * sound.peaks.length) / bars);
        const to = Math.max(from + 1, Math.floor(((bar + 1) * sound.peaks.length) / bars));
        for (let n = from; n < to && n < sound.peaks.length; n += 1) most = Math.max(most, sound.peaks[n]);
      }
      const tall = Math.max(2 * scale, (most / Math.max(0.05, sound.loudest)) * high * 0.95);
      brush.fillStyle = bar < here ? played : coming;
      brush.globalAlpha = bar < bars ? 1 : 0.35;
      brush.beginPath();
      brush.roundRect(bar * step, (high - tall) / 2, 2.4 * scale, tall, scale);
      brush.fill();
    }
    of("time").textContent = `${clock(now())} / ${clock(seconds())}`;
    canvas.setAttribute("aria-valuemax", seconds().toFixed(1));
    canvas.setAttribute("aria-valuenow", now().toFixed(1));
    of("sound").toggleAttribute("data-playing", player.playing);
  };
  let beating = false;
  const beat = () => {
    if (beating) return;
    beating = true;
    const step = () => {
      if (player.playing && sound.done && now() >= seconds() - 0.01) {
        pause();
        player.at = 0;
      }
      draw();
      if (player.playing || !sound.done) return requestAnimationFrame(step);
      beating = false;
    };
    requestAnimationFrame(step);
  };

  // Base64 of 16-bit WAV to samples and back.
  const samplesOf = (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const samples = new Float32Array((bytes.length - 44) >> 1);
    for (let n = 0; n < samples.length; n += 1) samples[n] = view.getInt16(44 + 2 * n, true) / 32768;
    return samples;
  };
  const wav = () => {
    const head = new DataView(new ArrayBuffer(44));
    const text = (at, value) => [...value].forEach((c, n) => head.setUint8(at + n, c.charCodeAt(0)));
    const size = sound.length * 2;
    text(0, "RIFF"), head.setUint32(4, 36 + size, true), text(8, "WAVEfmt "), head.setUint32(16, 16, true);
    head.setUint16(20, 1, true), head.setUint16(22, 1, true), head.setUint32(24, sound.rate, true);
    head.setUint32(28, sound.rate * 2, true), head.setUint16(32, 2, true), head.setUint16(34, 16, true);
    text(36, "data"), head.setUint32(40, size, true);
    const parts = sound.pieces.map((piece) => Int16Array.from(piece, (v) => Math.round(v * 32767)));
    return new Blob([head, ...parts], { type: "audio/wav" });
  };

  // Asking the server.
  const asked = () => ({
    text: of("text").value,
    ...(state.reference ? { reference: state.reference } : state.voice ? { voice_path: state.voice } : {}),
    ...(of("language").value ? { language: of("language").value } : {}),
    ...(model() ? { model: model() } : {}),
    ...(Number(of("speed").value) !== 1 ? { speed: Number(of("speed").value) } : {}),
  });
  const model = () => of("model").value || (state.reference ? "" : state.model);
  const why = async (answer) => {
    const body = await answer.json().catch(() => ({}));
    return body.detail || body.error?.message || `${answer.status}`;
  };
  let running = null;
  const frames = async (answer, take) => {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        if (part.startsWith("data: ") && part !== "data: [DONE]") take(JSON.parse(part.slice(6)));
      }
    }
  };
  const speak = async () => {
    if (!of("text").value.trim()) return news(says("empty")), of("text").focus();
    ready();
    running?.abort();
    const mine = (running = new AbortController());
    clear();
    player.wanted = true;
    let first = 0;
    let named = "";
    const began = performance.now();
    of("sound").hidden = false;
    of("save").hidden = true;
    busy(true);
    news(says("waiting"));
    beat();
    const take = (frame) => {
      if (mine !== running) return;
      if (frame.type === "audio") {
        first ||= performance.now() - began;
        sound.rate = frame.sample_rate;
        add(samplesOf(frame.content));
      } else if (frame.type === "progress") {
        sound.share = frame.done / frame.total;
        news(says("making", { done: Math.round(100 * sound.share) }));
      } else if (frame.type === "done") named = frame.model;
      else if (frame.detail) throw new Error(frame.detail);
    };
    try {
      const answer = await fetch("v1/ai/speech/text-to-speech", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ ...asked(), stream: true }),
        signal: mine.signal,
      });
      if (!answer.ok) throw new Error(await why(answer));
      await frames(answer, take);
      if (mine === running) news(says("made", { model: named, first: (first / 1000).toFixed(2) }));
    } catch (error) {
      if (mine !== running) return;
      if (error.name === "AbortError") news(says("stopped"));
      else news(says("failed", { reason: error.message }), true);
    }
    if (mine !== running) return;
    sound.done = true;
    player.wanted = false;
    running = null;
    busy(false);
    of("sound").hidden = of("save").hidden = !sound.length;
    draw();
  };
  const busy = (on) => {
    const go = of("go");
    go.textContent = says(on ? "stop" : "speak");
    go.classList.toggle("primary", !on);
    go.classList.toggle("stop", on);
    go.dataset.act = on ? "stop" : "speak";
  };
  const save = async (kind, button) => {
    button.disabled = true;
    try {
      let file = wav();
      if (kind !== "wav") {
        const answer = await fetch(`v1/ai/speech/convert?format=${kind}`, { method: "POST", body: file });
        if (!answer.ok) throw new Error(await why(answer));
        file = await answer.blob();
      }
      window.atelier.save(`atelier.${kind}`, file);
    } catch (error) {
      news(says("failed", { reason: error.message }), true);
    }
    button.disabled = false;
  };

  // Voices: choosing, finding, hearing one.
  const choose = (button) => {
    Object.assign(state, { voice: button.dataset.voice, model: button.dataset.model, reference: "", recording: "" });
    for (const one of root().querySelectorAll(".pick")) one.setAttribute("aria-pressed", String(one === button));
    mark();
  };
  const mark = () => {
    const picked = find('.pick[aria-pressed="true"]', root());
    const name = state.reference ? says("cloned", { name: state.recording }) : picked?.dataset.name;
    of("chosen").textContent = name || says("fitting");
    const cloned = of("cloned");
    if (cloned) {
      cloned.hidden = !state.reference;
      find("b", cloned).textContent = name || "";
    }
    told();
  };
  const filter = () => {
    const words = of("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of of("voices").children) {
      row.hidden = !words.every((word) => row.dataset.find.includes(word));
      shown += !row.hidden;
    }
    of("none").hidden = shown > 0;
  };
  let heard = null;
  const hear = async (button) => {
    const again = heard?.button === button;
    heard?.end();
    if (again) return;
    const context = ready();
    pause();
    const one = (heard = { button, end: () => {} });
    button.setAttribute("data-busy", "");
    const over = () => {
      button.removeAttribute("data-busy");
      if (heard === one) heard = null;
    };
    one.end = over;
    try {
      const answer = await fetch(`${button.dataset.hear}&format=wav`);
      if (!answer.ok) throw new Error(await why(answer));
      const buffer = await context.decodeAudioData(await answer.arrayBuffer());
      if (heard !== one) return;
      const node = context.createBufferSource();
      node.buffer = buffer;
      node.connect(context.destination);
      node.onended = over;
      one.end = () => (node.stop(), over());
      node.start();
    } catch (error) {
      over();
      news(says("failed", { reason: error.message }), true);
    }
  };

  // Cloning: a recording or a file, once its owner agrees.
  const agreed = () => {
    if (of("consent").checked) return true;
    news(says("consent_first"), true);
    of("consent").focus();
    return false;
  };
  const clone = async (blob, name) => {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    state.reference = btoa(text);
    state.recording = name;
    for (const one of root().querySelectorAll(".pick")) one.setAttribute("aria-pressed", "false");
    news("");
    mark();
  };
  let recorder = null;
  const record = async (button) => {
    if (recorder) return recorder.stop();
    if (!agreed()) return;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      return news(says("no_microphone"), true);
    }
    const pieces = [];
    const began = Date.now();
    const label = find("span", button);
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      clearTimeout(limit);
      const kind = recorder.mimeType;
      recorder = null;
      button.removeAttribute("data-busy");
      label.textContent = says("record");
      clone(new Blob(pieces, { type: kind }), clock((Date.now() - began) / 1000));
    };
    const limit = setTimeout(() => recorder?.stop(), 60000);
    button.setAttribute("data-busy", "");
    label.textContent = says("recording");
    recorder.start();
  };

  // The text, its count, and the call as code.
  const told = () => {
    const text = of("text").value;
    of("count").textContent = text ? says("characters", { n: text.length.toLocaleString() }) : "";
    of("pace").textContent = `${Number(of("speed").value)}×`;
    const { reference, ...body } = asked();
    const shown = JSON.stringify({ ...body, text: text.length > 60 ? `${text.slice(0, 60)}…` : text || "…" });
    const more = reference ? " # with a recording as reference" : "";
    const quoted = shown.replaceAll("'", "'\\''");
    of("call").textContent = `curl ${location.origin}/v1/ai/speech/text-to-speech --json '${quoted}'${more}`;
    sessionStorage.setItem(KEPT, text);
  };
  const write = (text) => {
    const most = Number(desk().dataset.most);
    of("text").value = text.slice(0, most);
    if (text.length > most) news(says("too_long", { most: most.toLocaleString() }));
    told();
  };

  const ACTS = {
    speak,
    stop: () => running?.abort(),
    play: () => (player.playing ? pause() : play(now() >= seconds() - 0.05 ? 0 : now()), draw()),
    sample: () => (write(says("sample")), of("text").focus()),
    voices: () => (of("find").scrollIntoView({ block: "center" }), of("find").focus()),
    choose: () => agreed() && of("file").click(),
    record,
    forget: () => choose(find(".pick", root())),
  };
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target.closest("#speaking button, #speaking canvas") : null;
    if (!target) return;
    if (target.dataset.hear) return hear(target);
    if (target.dataset.save) return save(target.dataset.save, target);
    if (target.classList.contains("pick")) return choose(target);
    if (target === of("wave")) {
      const box = target.getBoundingClientRect();
      const part = sound.done ? 1 : Math.max(0.02, sound.share);
      return seek(((event.clientX - box.left) / box.width / part) * seconds());
    }
    ACTS[target.dataset.act]?.(target);
  });
  const seek = (to) => {
    const place = Math.max(0, Math.min(seconds(), to));
    if (player.playing) play(place);
    else player.at = place;
    draw();
  };
  document.addEventListener("keydown", (event) => {
    if (!root() || !event.target.closest?.("#speaking")) return;
    if (event.target === of("text") && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      return void speak();
    }
    if (event.target !== of("wave")) return;
    const steps = { ArrowLeft: -5, ArrowRight: 5, Home: -Infinity, End: Infinity };
    if (event.key in steps) event.preventDefault(), seek(now() + steps[event.key]);
    if (event.key === " " || event.key === "Enter") event.preventDefault(), ACTS.play();
  });
  document.addEventListener("input", (event) => {
    if (!event.target.closest?.("#speaking")) return;
    if (event.target === of("find")) filter();
    else told();
  });
  document.addEventListener("change", async (event) => {
    if (!event.target.closest?.("#speaking")) return;
    if (event.target === of("file") && event.target.files[0]) {
      const [file] = event.target.files;
      event.target.value = "";
      return clone(file, file.name);
    }
    told();
  });

  // A text that comes from elsewhere: dropped on the text, or sent from another tab.
  document.addEventListener("drop", async (event) => {
    const file = event.dataTransfer?.files[0];
    if (!file || !event.target.closest?.("#speaking .speaking-box") || !/^text\/|^$/.test(file.type)) return;
    event.preventDefault();
    event.stopPropagation();
    write(await file.text());
  }, true);
  document.addEventListener("dragover", (event) => {
    if (event.target.closest?.("#speaking .speaking-box")) event.preventDefault();
  });
  document.addEventListener("atelier:send", async (event) => {
    const { tab, url, kind } = event.detail || {};
    if (tab !== "speech") return;
    const spoken = /^text\//.test(kind || "");
    find(`#speech-modes [role="tab"][aria-controls="speech-${spoken ? "speak" : "transcribe"}"]`)?.click();
    if (!spoken || !root()) return;
    const answer = await fetch(url);
    if (answer.ok) write(await answer.text());
  });

  let painted = "";
  document.addEventListener("atelier:painted", () => {
    const source = find("#speaking-desk .speaking-desk");
    if (!source || !root() || source.dataset.stamp === painted) return;
    const fresh = !desk();
    const held = fresh ? sessionStorage.getItem(KEPT) || "" : "";
    const box = document.createElement("div");
    box.append(source.cloneNode(true));
    put(root(), box);
    painted = source.dataset.stamp;
    if (fresh) of("text").value = held;
    const chosen = [...root().querySelectorAll(".pick")].find(
      (one) => one.dataset.voice === state.voice && one.dataset.model === state.model,
    );
    if (!state.reference) choose(chosen || find(".pick", root()));
    filter();
    if (running) busy(true);
    told();
  });
  addEventListener("resize", () => seen() && root() && draw());
  let before = false;
  let beats = 0;
  setInterval(() => {
    const open = seen();
    if (open && (!before || beats % (desk() ? 20 : 3) === 0)) tell("speaking-look", JSON.stringify({ stamp: painted }));
    beats = open ? beats + 1 : 0;
    before = open;
  }, 1000);
})();
