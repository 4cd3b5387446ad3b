// The Voice tab's ears and mouth: the microphone in frames, when speech begins and ends, recordings as WAV,
// and a queue that plays pieces of sound one right after another. Knows no page; evaluates nothing.
(() => {
  "use strict";
  const FRAME = 0.02; // seconds, as assets/voice-capture.js makes them
  const BEFORE = 15; // frames kept from before speech was noticed
  const SURE = 4; // frames of five that must be loud before it counts as speech
  const HANG = 32; // frames of silence that end it: 0.64 s
  const LONGEST = 90 / FRAME;
  const RATE = 16000;

  const loudness = (frame) => {
    let sum = 0;
    for (const sample of frame) sum += sample * sample;
    return Math.sqrt(sum / frame.length);
  };

  // When speech begins and when it ends, by loudness over the room's own noise, with hysteresis.
  class Gate {
    floor = 0.004;
    open = false;
    recent = [];
    quiet = 0;
    hear(level, guard) {
      const begins = Math.max(0.012, this.floor * 3.5) * guard;
      const ends = Math.max(0.007, this.floor * 2);
      if (!this.open) {
        // The room's noise: followed down at once, up slowly.
        this.floor = level < this.floor ? this.floor * 0.9 + level * 0.1 : this.floor * 0.995 + Math.min(level, 0.03) * 0.005;
        this.recent.push(level > begins);
        if (this.recent.length > (guard > 1 ? 10 : 5)) this.recent.shift();
        if (this.recent.filter(Boolean).length < SURE * (guard > 1 ? 2 : 1)) return "";
        this.open = true;
        this.recent = [];
        this.quiet = 0;
        return "begins";
      }
      this.quiet = level < ends ? this.quiet + 1 : 0;
      if (this.quiet < HANG) return "";
      this.open = false;
      return "ends";
    }
    reset() {
      this.open = false;
      this.recent = [];
      this.quiet = 0;
    }
  }

  // The microphone. `told(level, change, quiet)` at every frame; frames are kept while `taking`.
  class Ears {
    constructor(told) {
      this.told = told;
      this.gate = new Gate();
      this.guard = 1;
      this.taking = false;
      this.frames = [];
      this.before = [];
    }
    get open() {
      return Boolean(this.stream?.active);
    }
    async start() {
      if (this.open) return this.context.resume();
      this.stream = await navigator.mediaDevices.getUserMedia({
        audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 },
      });
      this.context = new AudioContext();
      await this.context.audioWorklet.addModule("v1/page/voice-capture.js");
      this.node = new AudioWorkletNode(this.context, "atelier-capture", { numberOfOutputs: 0 });
      this.node.port.onmessage = (event) => this.hear(event.data);
      this.context.createMediaStreamSource(this.stream).connect(this.node);
      await this.context.resume();
    }
    stop() {
      for (const track of this.stream?.getTracks() ?? []) track.stop();
      this.context?.close();
      this.stream = this.context = null;
      this.taking = false;
      this.gate.reset();
    }
    hear(frame) {
      const level = loudness(frame);
      const kept = frame.slice();
      if (this.taking) {
        this.frames.push(kept);
      } else {
        this.before.push(kept);
        if (this.before.length > BEFORE) this.before.shift();
      }
      const change = this.gate.hear(level, this.guard);
      const full = this.taking && this.frames.length > LONGEST;
      this.told(level, full ? "ends" : change, this.gate.quiet * FRAME);
    }
    // Keep what is heard from now on; `carried`: frames that stand before it.
    take(carried = []) {
      this.frames = [...carried, ...this.before];
      this.before = [];
      this.taking = true;
    }
    // What was taken so far, as a WAV; ends the taking unless it is only a look.
    taken(look = false) {
      const frames = this.frames;
      if (!look) {
        this.taking = false;
        this.frames = [];
      }
      return wav(frames, this.context?.sampleRate ?? 48000);
    }
    get seconds() {
      return this.frames.length * FRAME;
    }
  }

  // Frames at the microphone's rate to a WAV of 16 kHz; each sample is the mean of those it stands for.
  const wav = (frames, rate) => {
    const length = frames.reduce((sum, frame) => sum + frame.length, 0);
    const whole = new Float32Array(length);
    let at = 0;
    for (const frame of frames) whole.set(frame, at), (at += frame.length);
    const step = rate / RATE;
    const count = Math.floor(length / step);
    const file = new DataView(new ArrayBuffer(44 + 2 * count));
    const letters = (place, text) => [...text].forEach((c, n) => file.setUint8(place + n, c.charCodeAt(0)));
    letters(0, "RIFF"), file.setUint32(4, 36 + 2 * count, true), letters(8, "WAVEfmt ");
    file.setUint32(16, 16, true), file.setUint16(20, 1, true), file.setUint16(22, 1, true);
    file.setUint32(24, RATE, true), file.setUint32(28, 2 * RATE, true);
    file.setUint16(32, 2, true), file.setUint16(34, 16, true), letters(36, "data"), file.setUint32(40, 2 * count, true);
    for (let n = 0; n < count; n += 1) {
      const from = Math.floor(n * step);
      const to = Math.max(from + 1, Math.floor((n + 1) * step));
      let sum = 0;
      for (let i = from; i < to; i += 1) sum += whole[i];
      file.setInt16(44 + 2 * n, Math.max(-1, Math.min(1, sum / (to - from))) * 32767, true);
    }
    return new Uint8Array(file.buffer);
  };

  const to64 = (bytes) => {
    let text = "";
    for (let n = 0; n < bytes.length; n += 32768) text += String.fromCharCode(...bytes.subarray(n, n + 32768));
    return btoa(text);
  };
  const from64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  // Plays WAVs one right after another. `told(piece)` when one begins, `told(null)` when all have ended.
  class Mouth {
    constructor(told) {
      this.told = told;
      this.pieces = [];
    }
    // Browsers let sound out only after a gesture: call this in one.
    wake() {
      if (!this.context) {
        this.context = new AudioContext();
        this.meter = this.context.createAnalyser();
        this.meter.fftSize = 512;
        this.meter.connect(this.context.destination);
        this.wave = new Float32Array(512);
      }
      return this.context.resume();
    }
    say(encoded, rate, about) {
      const data = new DataView(from64(encoded).buffer, 44);
      const count = data.byteLength >> 1;
      if (!count) return 0;
      this.wake();
      const sound = this.context.createBuffer(1, count, rate);
      const samples = sound.getChannelData(0);
      for (let n = 0; n < count; n += 1) samples[n] = data.getInt16(2 * n, true) / 32768;
      const source = this.context.createBufferSource();
      source.buffer = sound;
      source.connect(this.meter);
      const start = Math.max(this.context.currentTime + 0.02, this.pieces.at(-1)?.end ?? 0);
      const piece = { source, about, start, end: start + sound.duration };
      this.pieces.push(piece);
      source.start(start);
      source.onended = () => {
        if (this.pieces.at(-1) === piece) this.told(null);
      };
      setTimeout(() => this.pieces.includes(piece) && this.told(piece), Math.max(0, start - this.context.currentTime) * 1000);
      return start - this.context.currentTime;
    }
    get speaking() {
      return Boolean(this.pieces.length) && this.context.currentTime < this.pieces.at(-1).end;
    }
    // Seconds of sound that were heard of this answer.
    get played() {
      const now = this.context?.currentTime ?? 0;
      return this.pieces.reduce((sum, p) => sum + Math.max(0, Math.min(now, p.end) - p.start), 0);
    }
    get level() {
      if (!this.speaking) return 0;
      this.meter.getFloatTimeDomainData(this.wave);
      return loudness(this.wave);
    }
    // Silence at once; what was heard of the answer, in seconds.
    hush() {
      const played = this.played;
      for (const piece of this.pieces) {
        piece.source.onended = null;
        try {
          piece.source.stop();
        } catch {
          // it had ended
        }
      }
      this.pieces = [];
      return played;
    }
  }

  window.atelier.sound = { Ears, Mouth, to64 };
})();
