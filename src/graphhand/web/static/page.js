// The page: photos and the frames of videos and cameras go to a backend, a server or this browser's own networks; what
// comes back is drawn.

import { connect } from "./backend.js";
import { ImageView, PoseView } from "./drawing.js";
import { uprightBitmap } from "./exif.js";
import { csvTable, jsonLines, save, stem } from "./files.js";
import { followCamera, Recording, VIDEO_FPS, VideoFile } from "./sources.js";

const SETTINGS = ["side", "max_hands", "fov", "whole_image", "min_score"];
const element = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
const backend = await connect(showLoading).catch(leave);
backend.ready.then(() => showLoading(1), leave);
const { skeleton } = backend;
const image = new ImageView(element.image, skeleton);
const pose = new PoseView(element.pose, skeleton);

let job = new AbortController(); // of what is shown now; aborted by the next
let again = null; // shows the same with the settings as they are now
let on = null; // what the image view has: image, prediction, mirrored
let chosen = null; // the hand whose pose is on show
let results = []; // predictions to download
let name = "hands"; // of the photo or video
let video = null; // the video on show
let recording = null;
let facing = "user";
let scoreIsChosen = false; // the user moved the slider; until then the default holds

showDefaultScore();

element.file.addEventListener("change", () => show(element.file.files[0]));
element.camera.addEventListener("click", () => (element.camera.ariaPressed === "true" ? stop() : startCamera()));
element.other_camera.addEventListener("click", () => {
  facing = facing === "user" ? "environment" : "user";
  startCamera();
});
element.record.addEventListener("click", record);
element.image.addEventListener("click", (event) => choose(image.nearest(event.clientX, event.clientY)));
element.more.addEventListener("click", () => {
  element.settings.hidden = !element.settings.hidden;
  element.more.ariaExpanded = String(!element.settings.hidden);
});
element.front.addEventListener("click", () => pose.front());
element.png.addEventListener("click", async () => save(await image.png(), `${stem(name)}_hands.png`));
element.json.addEventListener("click", () => save(jsonLines(results), `${stem(name)}.jsonl`, "application/jsonl"));
element.csv.addEventListener("click", () => save(csvTable(results, skeleton.joints), `${stem(name)}.csv`, "text/csv"));
element.glb.addEventListener("click", saveRig);
element.timeline.addEventListener("input", () => showFrame(Number(element.timeline.value)));
element.play.addEventListener("click", play);
element.whole_image.addEventListener("change", showDefaultScore);
for (const id of SETTINGS) element[id].addEventListener("change", () => again?.());
element.min_score.addEventListener("input", () => {
  scoreIsChosen = true;
  element.min_score_shown.value = element.min_score.value;
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    const address = button.dataset.example;
    const blob = await (await fetch(address)).blob();
    show(new File([blob], address.split("/").pop(), { type: blob.type }));
  });
}
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

/** The settings as query parameters; what the user left empty or as it was is left out. */
function query() {
  const values = SETTINGS.map((id) => [id, element[id].type === "checkbox" ? element[id].checked : element[id].value]);
  return new URLSearchParams(values.filter(([id, value]) => value !== "" && (id !== "min_score" || scoreIsChosen)));
}

/** The default on the slider. */
function showDefaultScore() {
  if (scoreIsChosen) return;
  element.min_score.value = element.min_score_shown.value = element.whole_image.checked ? 0.3 : 0.5;
}

/** End what is going on, and leave nothing of it on the page. */
function begin(newName, repeat) {
  job.abort();
  job = new AbortController();
  again = repeat;
  name = newName;
  video?.close();
  video = null;
  results = [];
  on = chosen = null;
  image.clear();
  pose.show(null);
  for (const id of ["downloads", "player", "other_camera", "record"]) element[id].hidden = true;
  element.camera.ariaPressed = "false";
  element.empty.hidden = true;
  element.rate.textContent = "";
  finishRecording();
  busy(false);
  return job.signal;
}

function busy(is) {
  element.stage.classList.toggle("busy", is);
  element.spinner.hidden = !is;
}

async function show(file) {
  if (!file) return;
  element.file.value = ""; // or the same file could not be chosen twice
  if (file.type.startsWith("video/")) return showVideo(file);
  const signal = begin(file.name, () => show(file));
  say("Looking for hands ...");
  try {
    const bitmap = await uprightBitmap(file).catch(() => {
      throw new Error(`${file.name} is no picture or video that this browser can read.`);
    });
    if (signal.aborted) return;
    image.show(bitmap, bitmap.width, bitmap.height);
    busy(true);
    const begun = performance.now();
    const prediction = await ask(file, signal);
    if (signal.aborted) return;
    busy(false);
    results = [{ ...prediction, image: file.name }];
    present(bitmap, results[0]);
    say(`${described(prediction.hands)}; ${(performance.now() - begun).toFixed(0)} ms (${prediction.model})`);
  } catch (error) {
    trouble(error, signal);
  }
}

async function ask(file, signal) {
  const prediction = await backend.predict(file, query(), signal);
  if (prediction.error) throw new Error(prediction.error.replace(/^image:/, `${name}:`));
  return prediction;
}

async function showVideo(file) {
  const signal = begin(file.name, () => showVideo(file));
  say(`Reading ${file.name} ...`);
  try {
    video = new VideoFile(file);
    await video.open();
    element.player.hidden = element.progress.hidden = false;
    element.play.hidden = element.timeline.hidden = true;
    element.timeline.max = video.frames - 1;
    const clip = video;
    const ofVideo = query();
    ofVideo.set("fps", VIDEO_FPS);
    const begun = performance.now();
    await clip.track({
      makeTracker: () => backend.tracker(ofVideo),
      signal,
      shown(canvas, prediction) {
        const done = clip.predictions.length;
        const left = ((performance.now() - begun) / done / 1000) * (clip.frames - done);
        element.progress.value = done / clip.frames;
        element.rate.textContent = `${done} of ${clip.frames} frames, ${left.toFixed(0)} s left`;
        present(canvas, prediction);
      },
    });
    if (signal.aborted) return;
    results = clip.predictions;
    element.progress.hidden = true;
    element.play.hidden = element.timeline.hidden = false;
    element.timeline.value = clip.frames - 1;
    element.rate.textContent = "";
    offerDownloads();
    const with_hands = results.filter((prediction) => prediction.hands.length).length;
    say(`${clip.frames} frames at ${clip.fps} a second, hands in ${with_hands} of them`);
  } catch (error) {
    trouble(error, signal);
  }
}

async function showFrame(number) {
  const clip = video;
  if (!clip?.predictions[number]) return;
  const canvas = await clip.frame(number);
  if (clip === video) present(canvas, clip.predictions[number]);
}

async function play() {
  const { signal } = job;
  const clip = video;
  if (element.play.ariaPressed === "true") {
    element.play.ariaPressed = "false";
    return;
  }
  element.play.ariaPressed = "true";
  let number = Number(element.timeline.value);
  if (number >= clip.frames - 1) number = -1;
  while (!signal.aborted && element.play.ariaPressed === "true" && ++number < clip.frames) {
    const due = performance.now() + 1000 / clip.fps;
    element.timeline.value = number;
    await showFrame(number);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
  }
  element.play.ariaPressed = "false";
}

async function startCamera() {
  const signal = begin("camera", startCamera);
  element.camera.ariaPressed = "true";
  say("Waiting for the camera ...");
  const times = [];
  try {
    await followCamera({
      facing,
      makeTracker: () => backend.tracker(query()),
      signal,
      shown(canvas, prediction, mirrored) {
        if (!times.length) say("The camera runs. Show your hand."); // once: it is read aloud
        element.other_camera.hidden = element.record.hidden = false;
        results = [{ ...prediction, image: "camera" }];
        present(canvas, results[0], mirrored);
        const now = performance.now();
        times.push(now);
        while (now - times[0] > 2000) times.shift();
        const rate = ((times.length - 1) * 1000) / Math.max(1, now - times[0]);
        element.rate.textContent = `${described(prediction.hands)}; ${rate.toFixed(0)} images a second`;
      },
    });
  } catch (error) {
    trouble(error, signal);
  }
}

function stop() {
  job.abort();
  element.camera.ariaPressed = "false";
  element.other_camera.hidden = true;
  again = null;
  finishRecording();
  element.record.hidden = true;
  say("The camera is off.");
}

function record() {
  if (recording) return finishRecording();
  recording = new Recording(element.image);
  element.record.ariaPressed = "true";
}

async function finishRecording() {
  const finished = recording;
  recording = null;
  element.record.ariaPressed = "false";
  if (!finished) return;
  const blob = await finished.stop();
  save(blob, `camera.${blob.type.includes("mp4") ? "mp4" : "webm"}`);
}

function present(picture, prediction, mirrored = false) {
  on = { picture, prediction, mirrored };
  const { hands } = prediction;
  // a hand that is followed stays on show
  chosen = hands.find((hand) => hand.track !== undefined && hand.track === chosen?.track) ?? hands[0] ?? null;
  draw();
  offerDownloads();
}

function offerDownloads() {
  element.downloads.hidden = false;
  element.glb.hidden = !backend.canRig || results.every((prediction) => !prediction.hands.length);
}

/** The hands of all results as one rig. */
async function saveRig() {
  const { signal } = job;
  element.glb.disabled = true;
  say("Fitting the hand model ...");
  try {
    const rig = await backend.rig(jsonLines(results), signal);
    save(rig, `${stem(name)}.glb`);
    say(`${stem(name)}.glb is saved.`);
  } catch (error) {
    if (!signal.aborted) complain(error.message);
  } finally {
    element.glb.disabled = false;
  }
}

function draw() {
  const { picture, prediction, mirrored } = on;
  image.show(picture, prediction.width, prediction.height, prediction.hands, chosen, mirrored);
  pose.show(chosen);
}

/** Show the pose of a hand. */
function choose(hand) {
  if (!hand || !on) return;
  chosen = hand;
  draw();
}

function described(hands) {
  const found = hands.map((hand) => `${hand.side} hand, score ${hand.score.toFixed(2)}`);
  return found.join("; ") || "No hand (score threshold 0 shows doubtful ones)";
}

function showLoading(share) {
  element.loading.value = share;
  element.loading_label.hidden = share === 1;
}

/** Nothing works without networks: say why. */
function leave(error) {
  element.loading_label.hidden = element.empty.hidden = true;
  document.querySelector("header").inert = true;
  complain(error.message);
  return new Promise(() => {});
}

function say(text) {
  element.status.classList.remove("trouble");
  element.status.textContent = text;
}

/** Say what went wrong, with nothing else on the page. */
function trouble(error, signal) {
  if (signal.aborted) return;
  const repeat = again;
  begin(name, repeat);
  element.empty.hidden = false;
  complain(error.message);
}

function complain(text) {
  say(text);
  element.status.classList.add("trouble");
}

if (element.file.files.length) show(element.file.files[0]); // chosen while the page was loading
