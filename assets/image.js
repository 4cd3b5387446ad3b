// The Image tab: fills the form, brings pictures by dropping and pasting, moves what the server painted into place.
// Evaluates nothing; fetches nothing but what is dropped from another tab.
(() => {
  "use strict";
  const { find, tell, turnTo, put, give, receives, download } = window.atelier;
  const place = () => document.getElementById("image");
  const view = (name) => find(`#image [data-view="${name}"]`);
  const seen = () => Boolean(place()?.offsetParent) && !document.hidden;
  const drawing = () => find("form.drawing", view("form") ?? document);

  const state = { pick: "", other: "", search: "", favourites: "" };
  let mode = "";
  let comparing = false;
  let locked = false;
  let masked = "";
  const look = (more = {}) => tell("image-look", JSON.stringify({ ...state, ...more }));
  const act = (values) => tell("image-do", JSON.stringify({ ...state, ...values }));
  const show = (changes) => {
    Object.assign(state, changes);
    look();
  };
  const setMode = (name) => {
    mode = name;
    place()?.setAttribute("data-mode", name);
    for (const one of ["pictures", "creatures"]) {
      document.getElementById(`image-${one}`)?.setAttribute("aria-pressed", String(one === name));
    }
  };
  const going = (on) => place()?.toggleAttribute("data-going", on);

  // The form
  const box = (name) => drawing()?.elements[name];
  const set = (name, value) => {
    const field = box(name);
    if (!field) return;
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const own = () => {
    const option = box("model")?.selectedOptions[0];
    if (!option) return;
    box("steps").placeholder = option.dataset.steps;
    box("guidance").placeholder = option.dataset.guidance;
    for (const side of ["width", "height"]) box(side).placeholder = option.dataset.side;
  };
  const size = (w, h) => {
    const side = Number(box("model").selectedOptions[0]?.dataset.side || 512);
    const scale = Math.sqrt((side * side) / (w * h));
    set("width", Math.round((w * scale) / 32) * 32);
    set("height", Math.round((h * scale) / 32) * 32);
  };
  const restore = (recipe) => {
    setMode("pictures");
    for (const name of ["prompt", "negative", "width", "height", "steps", "guidance", "seed", "scheduler", "strength"]) {
      if (recipe[name] !== undefined) set(name, recipe[name]);
    }
    const [lora, scale] = recipe.loras?.[0] ?? ["", 1];
    set("lora", lora);
    set("scale", scale);
    if ([...(box("model")?.options ?? [])].some((one) => one.value === recipe.model)) set("model", recipe.model);
    lock(true);
    box("prompt")?.focus();
  };
  const lock = (on) => {
    locked = on;
    find("[data-act=lock]", drawing())?.setAttribute("aria-pressed", String(on));
  };
  const roll = () => set("seed", crypto.getRandomValues(new Uint32Array(1))[0]);
  const draw = () => {
    const form = drawing();
    if (!form || place().hasAttribute("data-going")) return;
    const values = Object.fromEntries(new FormData(form));
    if (!locked) values.seed = "";
    going(true);
    masked = mask.data();
    act({ ...values, mask: masked, act: "draw" });
  };

  // Where the source picture is painted anew: white on black, drawn with the finger or the mouse.
  const mask = (() => {
    let canvas = null;
    let down = false;
    const point = (event) => {
      const at = canvas.getBoundingClientRect();
      return [((event.clientX - at.left) / at.width) * canvas.width, ((event.clientY - at.top) / at.height) * canvas.height];
    };
    const stroke = (event) => {
      if (!down) return;
      const pen = canvas.getContext("2d");
      pen.lineTo(...point(event));
      pen.stroke();
    };
    const open = () => {
      const frame = find(".source .canvas", drawing());
      const picture = find("img", frame);
      if (!frame || !picture) return;
      if (canvas?.isConnected) return canvas.remove();
      canvas = document.createElement("canvas");
      const scale = Math.min(1, 256 / Math.max(picture.naturalWidth, picture.naturalHeight));
      canvas.width = Math.round(picture.naturalWidth * scale);
      canvas.height = Math.round(picture.naturalHeight * scale);
      const pen = canvas.getContext("2d");
      Object.assign(pen, { lineWidth: canvas.width / 9, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
      canvas.addEventListener("pointerdown", (event) => {
        event.preventDefault();
        down = true;
        canvas.setPointerCapture(event.pointerId);
        pen.beginPath();
        pen.moveTo(...point(event));
        stroke(event);
      });
      canvas.addEventListener("pointermove", stroke);
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (down = false));
      frame.append(canvas);
    };
    const data = () => {
      if (!canvas?.isConnected) return "";
      const flat = document.createElement("canvas");
      [flat.width, flat.height] = [canvas.width, canvas.height];
      const pen = flat.getContext("2d");
      pen.fillRect(0, 0, flat.width, flat.height);
      pen.drawImage(canvas, 0, 0);
      const bits = pen.getImageData(0, 0, flat.width, flat.height).data;
      let white = 0;
      for (let n = 0; n < bits.length; n += 4) white += bits[n] > 127;
      return white ? flat.toDataURL("image/png") : "";
    };
    return { open, data };
  })();

  let done = "";
  const settle = () => {
    const outcome = find("#image-outcome [data-stamp]");
    if (!outcome || outcome.dataset.stamp === done) return;
    done = outcome.dataset.stamp;
    const told = outcome.dataset;
    going(false);
    if (told.recipe) restore(JSON.parse(told.recipe));
    if (told.drawn) state.pick = told.drawn;
    if (told.drawn && locked === false) box("seed").placeholder = told.seed;
    if (told.sourced) setMode("pictures"), box("prompt")?.focus();
    if (told.met) {
      state.pick = told.met;
      const card = find(".card", view("corner"));
      card?.classList.remove("comes");
      requestAnimationFrame(() => card?.classList.add("comes"));
    }
  };

  document.addEventListener("atelier:painted", () => {
    if (put(view("form"), find("#image-form .drawing, #image-form .lacking"))) {
      own();
      if (!mode) setMode(drawing() ? "pictures" : "creatures");
    }
    put(view("stage"), find("#image-stage .easel"));
    put(view("shelf"), find("#image-shelf .shelf"));
    put(view("corner"), find("#image-corner .corner"));
    settle();
  });

  receives("image", (files) => give("image-upload", files));
  document.addEventListener("atelier:send", async (event) => {
    const { tab, name, url, kind } = event.detail ?? {};
    if (tab !== "image" || new URL(url, location.href).origin !== location.origin) return;
    const answer = await fetch(url);
    if (!answer.ok) return;
    turnTo("image");
    give("image-upload", [new File([await answer.blob()], name || "picture", { type: kind || "" })]);
  });

  const LOCAL = {
    choose: () => find("#image-upload input[type=file]")?.click(),
    size: (button) => size(Number(button.dataset.w), Number(button.dataset.h)),
    dice: () => (roll(), lock(true)),
    lock: () => (lock(!locked), locked && !box("seed").value && roll()),
    mask: () => mask.open(),
    send: (button) => {
      const url = `v1/gallery/${button.dataset.id}/picture`;
      const detail = { tab: "vision", name: "picture.png", url, kind: "image/png" };
      document.dispatchEvent(new CustomEvent("atelier:send", { detail }));
    },
  };
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target?.closest("#image")) return;
    const chosen = target.closest("#image-pictures, #image-creatures");
    if (chosen) return setMode(chosen.id.replace("image-", ""));
    if (target.closest("#image-starred")) {
      const on = state.favourites !== "1";
      document.getElementById("image-starred").setAttribute("aria-pressed", String(on));
      return show({ favourites: on ? "1" : "" });
    }
    if (target.closest("#image-compare")) {
      comparing = !comparing;
      if (!comparing) show({ other: "" });
      return document.getElementById("image-compare").setAttribute("aria-pressed", String(comparing));
    }
    if (target.closest("#image-pack")) {
      const asked = new URLSearchParams({ kind: "picture", search: state.search, favourites: state.favourites === "1" });
      return download(`v1/gallery/pack.zip?${asked}`);
    }
    const pick = target.closest("[data-pick]");
    if (pick) return show(comparing && mode === "pictures" ? { other: pick.dataset.pick } : { pick: pick.dataset.pick });
    const button = target.closest("button[data-act]");
    if (!button || button.type === "submit") return;
    const local = LOCAL[button.dataset.act];
    if (local) return local(button);
    if (button.dataset.act === "meet") going(true);
    act({ ...button.dataset });
  });
  document.addEventListener("submit", (event) => {
    if (!event.target.matches?.("#image form.drawing")) return;
    event.preventDefault();
    draw();
  });
  document.addEventListener("input", (event) => {
    const target = event.target;
    if (!target.closest?.("#image")) return;
    if (target.name === "model") own();
    const told = find(`output[data-of="${target.name}"]`, drawing() ?? document);
    if (told) told.textContent = target.value;
    if (target.closest("#image-search")) {
      clearTimeout(state.wait);
      const wait = setTimeout(() => show({ search: target.value.slice(0, 200) }), 250);
      Object.defineProperty(state, "wait", { value: wait, configurable: true, enumerable: false });
    }
  });
  document.addEventListener("keydown", (event) => {
    if (!seen()) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest?.("form.drawing")) draw();
    if (event.target.closest?.("input, textarea, select, [contenteditable], dialog")) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const list = [...(view(mode === "creatures" ? "corner" : "shelf")?.querySelectorAll("[data-pick]") ?? [])];
    const at = list.findIndex((one) => one.dataset.pick === (state.pick || list[0]?.dataset.pick));
    const next = by && list[at + by];
    if (next) event.preventDefault(), show({ pick: next.dataset.pick });
  });

  let before = false;
  let beats = 0;
  setInterval(() => {
    const now = seen();
    if (now && !place().hasAttribute("data-going") && (!before || (!find(".shelf", view("shelf")) && beats % 4 === 0))) look({ all: "1" });
    else if (now && beats % 10 === 9 && !place().hasAttribute("data-going")) look();
    beats += 1;
    before = now;
  }, 1000);
})();
