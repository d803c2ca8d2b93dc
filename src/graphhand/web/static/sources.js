// A camera's images and a video's frames: each goes to a tracker, and comes back with its hands.

export const VIDEO_FPS = 25; // browsers do not tell a file's rate
const LONGEST_SIDE = 1280; // of the images that are sent

function grab(video) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = new OffscreenCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function tracked(tracker, canvas) {
  const prediction = await tracker.track(canvas);
  if (prediction.error) throw new Error(prediction.error);
  return prediction;
}

/**
 * Follow the hands that a camera sees until `signal` is aborted.
 * `shown(canvas, prediction, ownMirror)` is called for every image; the camera on the user's side is shown mirrored.
 */
export async function followCamera({ facing, makeTracker, signal, shown }) {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give cameras only to pages of this machine (127.0.0.1) or over https.");
  }
  let stream;
  try {
    const video = { width: { ideal: 640 }, facingMode: facing };
    stream = await navigator.mediaDevices.getUserMedia({ video });
  } catch (error) {
    const reasons = {
      NotAllowedError: "The camera was refused: allow it in the browser's address bar.",
      NotFoundError: "There is no camera.",
      NotReadableError: "Another program uses the camera.",
    };
    throw new Error(reasons[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
  const video = document.createElement("video");
  const tracker = makeTracker();
  try {
    video.muted = video.playsInline = true;
    video.srcObject = stream;
    await Promise.all([video.play(), tracker.opened]);
    while (!signal.aborted) {
      const canvas = grab(video);
      const prediction = await tracked(tracker, canvas);
      if (!signal.aborted) shown(canvas, prediction, facing === "user");
    }
  } finally {
    tracker.close();
    stream.getTracks().forEach((track) => track.stop());
  }
}

/** A video file: its frames are tracked once, in order, and can then be looked at in any order. */
export class VideoFile {
  #video = document.createElement("video");

  constructor(file) {
    this.name = file.name;
    this.predictions = [];
    this.#video.muted = this.#video.playsInline = true;
    this.#video.src = URL.createObjectURL(file);
  }

  async open() {
    await new Promise((resolve, reject) => {
      this.#video.addEventListener("loadeddata", resolve, { once: true });
      this.#video.addEventListener("error", () => reject(new Error(`${this.name} is no video that this browser plays.`)), {
        once: true,
      });
    });
    if (!Number.isFinite(this.#video.duration) || !this.#video.videoWidth) {
      throw new Error(`${this.name} does not say how long it is: convert it to MP4.`);
    }
    this.frames = Math.max(1, Math.floor(this.#video.duration * VIDEO_FPS));
    this.fps = VIDEO_FPS;
  }

  /** A frame as a canvas. */
  async frame(number) {
    const time = Math.min((number + 0.5) / VIDEO_FPS, this.#video.duration);
    if (Math.abs(this.#video.currentTime - time) > 1e-3) {
      const seeked = new Promise((resolve) => this.#video.addEventListener("seeked", resolve, { once: true }));
      this.#video.currentTime = time;
      await seeked;
    }
    return grab(this.#video);
  }

  /** Track all frames; `shown(canvas, prediction)` after each. */
  async track({ makeTracker, signal, shown }) {
    const tracker = makeTracker();
    try {
      await tracker.opened;
      for (let number = 0; number < this.frames && !signal.aborted; number++) {
        const canvas = await this.frame(number);
        const prediction = await tracked(tracker, canvas);
        if (signal.aborted) return;
        this.predictions.push({ ...prediction, image: this.name });
        shown(canvas, this.predictions[number]);
      }
    } finally {
      tracker.close();
    }
  }

  close() {
    URL.revokeObjectURL(this.#video.src);
    this.#video.removeAttribute("src");
  }
}

/** Records a canvas as a video until it is stopped. */
export class Recording {
  #recorder;
  #parts = [];

  constructor(canvas) {
    this.#recorder = new MediaRecorder(canvas.captureStream());
    this.#recorder.addEventListener("dataavailable", (event) => this.#parts.push(event.data));
    this.#recorder.start();
  }

  async stop() {
    const stopped = new Promise((resolve) => this.#recorder.addEventListener("stop", resolve, { once: true }));
    this.#recorder.stop();
    await stopped;
    return new Blob(this.#parts, { type: this.#recorder.mimeType });
  }
}
