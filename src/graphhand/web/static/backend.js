// The page's predictions by the server that it came from: photos to /predict, frames to /track, results to /rig.

const JPEG_QUALITY = 0.9;
const NO_ANSWER = "The server does not answer.";
const LOST = "The connection to the server was lost.";

/** What the page needs of a backend. */
export async function connect() {
  const skeleton = await (await asked("skeleton")).json();
  return {
    skeleton,
    canRig: skeleton.rig,
    ready: Promise.resolve(),
    predict,
    rig,
    tracker: (parameters) => new Tracker(parameters),
  };
}

/** The prediction of an image file. */
async function predict(file, parameters, signal) {
  const response = await asked(`predict?${parameters}`, { method: "POST", body: file, signal });
  return response.json();
}

/** Lines of JSON as a rig, a `.glb` file. */
async function rig(lines, signal) {
  const response = await asked("rig", { method: "POST", body: lines, signal });
  if (!response.ok) throw new Error((await response.json()).error);
  return response.blob();
}

function asked(address, request = {}) {
  return fetch(address, request).catch((error) => {
    throw request.signal?.aborted ? error : new Error(NO_ANSWER);
  });
}

/** One connection to /track. Images are answered in turn. */
class Tracker {
  #socket;
  #answers = [];

  constructor(parameters) {
    const address = new URL(`track?${parameters}`, location.href);
    address.protocol = address.protocol.replace("http", "ws");
    this.#socket = new WebSocket(address);
    this.opened = new Promise((resolve, reject) => {
      this.#socket.addEventListener("open", resolve);
      this.#socket.addEventListener("error", () => reject(new Error(NO_ANSWER)));
    });
    this.#socket.addEventListener("message", (event) => this.#answers.shift()?.resolve(JSON.parse(event.data)));
    this.#socket.addEventListener("close", () => {
      for (const answer of this.#answers.splice(0)) answer.reject(new Error(LOST));
    });
  }

  /** The prediction of an image on a canvas. */
  async track(canvas) {
    const image = await canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
    if (this.#socket.readyState !== WebSocket.OPEN) throw new Error(LOST);
    const answer = new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
    this.#socket.send(image);
    return answer;
  }

  close() {
    this.#answers.splice(0);
    this.#socket.close();
  }
}
