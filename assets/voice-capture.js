// Runs beside the page on the browser's sound thread: hands the microphone's samples over in frames of 20 ms.
registerProcessor("atelier-capture", class extends AudioWorkletProcessor {
  constructor() {
    super();
    this.frame = new Float32Array(Math.round(sampleRate / 50));
    this.filled = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[i];
      this.frame[this.filled] = sample / channels.length;
      this.filled += 1;
      if (this.filled < this.frame.length) continue;
      this.port.postMessage(this.frame);
      this.filled = 0;
    }
    return true;
  }
});
