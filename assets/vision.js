// The Vision tab: brings pictures by dropping, pasting, choosing and the camera; moves what the server painted into
// place; hides what is below the threshold. Evaluates nothing and fetches nothing.
(() => {
  "use strict";
  const { find, tell, turnTo, put, give, receives, sent, lights } = window.atelier;
  const view = (name) => find(`#vision [data-view="${name}"]`);
  const act = (values) => tell("vision-do", JSON.stringify(values));
  const seen = () => Boolean(document.getElementById("vision")?.offsetParent) && !document.hidden;

  // The desk of this browser tab: what the server keeps the picture and its conversation under.
  const desk = () => {
    let name = sessionStorage.getItem("atelier-desk");
    if (!name) {
      const bytes = crypto.getRandomValues(new Uint8Array(12));
      name = Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
      sessionStorage.setItem("atelier-desk", name);
    }
    return name;
  };

  const sending = (on) => document.getElementById("vision")?.toggleAttribute("data-sending", on);
  const take = (files) => {
    sending(true);
    setTimeout(() => sending(false), 30000);
    give("vision-upload", files);
  };
  receives("vision", take);
  sent("vision", "#vision-upload input[type=file]", take);
  lights("vision", "thing");

  // What was found: the slider decides what is shown of it.
  const filter = () => {
    const least = Number(find("#vision-least input[type=range]")?.value ?? 0.3);
    const counts = new Map();
    let rows = 0;
    for (const one of document.querySelectorAll("#vision [data-thing]")) {
      one.hidden = Number(one.dataset.score) < least;
      if (one.nodeName !== "LI") continue;
      rows += 1;
      if (!one.hidden) counts.set(one.dataset.name, (counts.get(one.dataset.name) ?? 0) + 1);
    }
    const tally = find("#vision .tally");
    const text = [...counts].map(([name, n]) => `${name} ${n}`).join(" · ");
    if (tally && tally.textContent !== text) tally.textContent = text;
    const below = find("#vision .found .below");
    if (below) below.hidden = !rows || counts.size > 0;
  };
  const mode = () => {
    const shown = ["ask", "find", "label"].find((name) => document.getElementById(`vision-${name}`)?.offsetParent);
    const place = document.getElementById("vision");
    if (place && shown && place.dataset.mode !== shown) place.dataset.mode = shown;
  };

  let done = "";
  const settle = () => {
    const outcome = find("#vision-outcome [data-go]");
    if (!outcome || outcome.dataset.stamp === done) return;
    done = outcome.dataset.stamp;
    sending(false);
    if (outcome.dataset.go !== "ocr") return;
    turnTo("ocr");
    document.dispatchEvent(new CustomEvent("atelier:paper", { detail: outcome.dataset.open }));
  };

  document.addEventListener("atelier:painted", () => {
    put(view("stage"), find("#vision-painted .stage"));
    put(view("presets"), find("#vision-presets .quick"));
    if (put(view("found"), find("#vision-found .found"))) {
      const boxes = view("boxes");
      if (boxes) boxes.replaceChildren(...[...(find(".boxes", view("found"))?.children ?? [])]);
      filter();
    }
    put(view("bars"), find("#vision-bars .found"));
    mode();
    settle();
  });

  // The camera, in a dialog of its own; the picture is taken as the video shows it.
  const photograph = async (words) => {
    const dialog = document.createElement("dialog");
    dialog.className = "camera";
    const video = document.createElement("video");
    Object.assign(video, { autoplay: true, muted: true, playsInline: true });
    const row = document.createElement("p");
    const make = (text, style, press) => {
      const made = document.createElement("button");
      Object.assign(made, { type: "button", textContent: text, className: `act ${style}`, onclick: press });
      return made;
    };
    let stream = null;
    dialog.onclose = () => {
      stream?.getTracks().forEach((track) => track.stop());
      dialog.remove();
    };
    const shoot = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => {
        if (blob) take([new File([blob], "photo.jpg", { type: "image/jpeg" })]);
        dialog.close();
      }, "image/jpeg", 0.92);
    };
    row.append(make(words.cancel, "", () => dialog.close()), make(words.take, "primary", shoot));
    dialog.append(video, row);
    document.getElementById("vision").append(dialog);
    dialog.showModal();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (!dialog.open) return stream.getTracks().forEach((track) => track.stop());
      video.srcObject = stream;
    } catch {
      const told = document.createElement("p");
      Object.assign(told, { className: "state failed", textContent: words.none });
      told.setAttribute("role", "alert");
      video.replaceWith(told);
      row.lastChild.remove();
    }
  };

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (target?.closest("#vision-modes [role=tab]")) setTimeout(mode);
    const button = target?.closest("#vision button[data-act]");
    if (!button) return;
    const { act: name, ...values } = button.dataset;
    if (name === "choose") return find("#vision-upload input[type=file]")?.click();
    if (name === "camera") return photograph(values);
    if (name === "sample") sending(true);
    act({ act: name, ...values });
  });
  document.addEventListener("input", (event) => {
    if (event.target.closest?.("#vision-least")) setTimeout(filter);
  });

  let before = false;
  setInterval(() => {
    const now = seen();
    if (now && (!before || !find(".stage", view("stage")))) tell("vision-desk", desk());
    before = now;
    mode();
  }, 400);
})();
