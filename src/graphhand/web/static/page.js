// The page: a photo goes to /predict, a camera's images one by one to /track, and what comes back is drawn.

import { drawImage, nearestHand, PoseView } from "./drawing.js";

const SWITCHES = ["side", "max_hands", "fov", "whole_image", "min_score"];
const JPEG_QUALITY = 0.92;

const element = Object.fromEntries(
  ["file", "camera", "image", "pose", "front", "json", "status", "min_score_shown", ...SWITCHES].map((id) => [
    id,
    document.getElementById(id),
  ]),
);
const skeleton = await (await fetch("skeleton")).json();
const pose = new PoseView(element.pose, skeleton);
let seen = { width: 1, hands: [] }; // the prediction on show
let chosen = null; // the hand whose pose is on show
let photo = null; // the file on show, if it is one
let asked = 0; // how often a photo's hands were asked for: only the last answer counts
let camera = null; // the camera that runs, if one does
let scoreIsChosen = false; // the user moved the slider; until then the server's default holds

element.file.addEventListener("change", () => show(element.file.files[0]));
element.camera.addEventListener("click", () => (camera ? stopCamera() : startCamera()));
element.image.addEventListener("click", (event) => choose(event.clientX, event.clientY));
element.front.addEventListener("click", () => pose.front());
element.max_hands.addEventListener("change", showDefaultScore);
for (const id of SWITCHES) element[id].addEventListener("change", again);
element.min_score.addEventListener("input", () => {
  scoreIsChosen = true;
  element.min_score_shown.value = element.min_score.value;
});
addEventListener("paste", (event) => show(event.clipboardData.files[0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  show(event.dataTransfer.files[0]);
});

/** The switches as the end of an address; what the user left empty or as it was is left out. */
function query() {
  const values = SWITCHES.map((id) => [id, element[id].type === "checkbox" ? element[id].checked : element[id].value]);
  return new URLSearchParams(values.filter(([id, value]) => value !== "" && (id !== "min_score" || scoreIsChosen)));
}

/** The server's default, for one hand or several, on the slider. */
function showDefaultScore() {
  if (scoreIsChosen) return;
  element.min_score.value = element.min_score_shown.value = Number(element.max_hands.value) > 1 ? 0.5 : 0.3;
}

/** With the switches as they are now. */
function again() {
  if (camera) {
    stopCamera();
    startCamera();
  } else if (photo) {
    show(photo);
  }
}

async function show(file) {
  if (!file) return;
  stopCamera();
  photo = file;
  const mine = ++asked;
  say("Looking ...");
  try {
    const begun = performance.now();
    const response = await fetch(`predict?${query()}`, { method: "POST", body: file });
    const prediction = await response.json();
    if (mine !== asked || file !== photo) return; // another was chosen, or a switch turned, meanwhile
    if (prediction.error) throw new Error(prediction.error);
    const image = await createImageBitmap(file);
    present(image, prediction, performance.now() - begun);
  } catch (error) {
    if (mine === asked) trouble(error);
  } finally {
    element.file.value = ""; // or the same file could not be chosen twice
  }
}

async function startCamera() {
  if (!navigator.mediaDevices) {
    trouble(new Error("Browsers give cameras only to pages of this machine (127.0.0.1) or over https."));
    return;
  }
  photo = null;
  const mine = (camera = { stop() {} });
  element.camera.setAttribute("aria-pressed", "true");
  say("Waiting for the camera ...");
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } } });
    mine.stop = () => stream.getTracks().forEach((track) => track.stop());
    if (mine !== camera) return mine.stop(); // stopped while the user was asked
    const video = document.createElement("video");
    video.muted = video.playsInline = true;
    video.srcObject = stream;
    await video.play();
    follow(mine, video);
  } catch (error) {
    if (mine === camera) {
      stopCamera();
      trouble(error);
    }
  }
}

function stopCamera() {
  camera?.stop();
  camera = null;
  element.camera.setAttribute("aria-pressed", "false");
}

/** Sends an image, draws what comes back on that very image, and sends the next. */
function follow(mine, video) {
  const address = new URL(`track?${query()}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  const stopStream = mine.stop;
  mine.stop = () => {
    stopStream();
    socket.close();
  };
  let begun = 0;
  let frame = new OffscreenCanvas(1, 1);

  async function send() {
    frame = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    frame.getContext("2d").drawImage(video, 0, 0);
    begun = performance.now();
    const image = await frame.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
    if (mine === camera && socket.readyState === WebSocket.OPEN) socket.send(image);
  }
  socket.addEventListener("open", send);
  socket.addEventListener("message", (event) => {
    if (mine !== camera) return;
    const prediction = JSON.parse(event.data);
    if (prediction.error) {
      stopCamera();
      return trouble(new Error(prediction.error));
    }
    present(frame, prediction, performance.now() - begun);
    send();
  });
  socket.addEventListener("close", () => {
    if (mine !== camera) return;
    stopCamera();
    trouble(new Error("The server is gone."));
  });
}

function present(image, prediction, milliseconds) {
  drawImage(element.image, image, prediction.width, prediction.height, prediction.hands, skeleton);
  seen = prediction;
  // a hand that is followed stays on show
  chosen = seen.hands.find((hand) => hand.track !== undefined && hand.track === chosen?.track) ?? seen.hands[0] ?? null;
  pose.show(chosen);
  const found = prediction.hands.map((hand) => `${hand.side} hand, score ${hand.score.toFixed(2)}`);
  const none = "No hand (least score 0 gives the likeliest)";
  say(`${found.join(", ") || none}; ${milliseconds.toFixed(0)} ms with the way there and back (${prediction.model})`);
  URL.revokeObjectURL(element.json.href);
  element.json.href = URL.createObjectURL(new Blob([JSON.stringify(prediction), "\n"], { type: "application/json" }));
  element.json.hidden = false;
}

/** Show the pose of the hand at a place on the page. */
function choose(pageX, pageY) {
  chosen = nearestHand(element.image, seen.width, seen.hands, pageX, pageY) ?? chosen;
  pose.show(chosen);
}

function say(text) {
  element.status.classList.remove("trouble");
  element.status.textContent = text;
}

function trouble(error) {
  say(error.message);
  element.status.classList.add("trouble");
}
