// The page's predictions without a server: a worker of this browser makes them.

const base = new URL("./", import.meta.url).href;

/** What the page needs of a backend; `progress(share)` as the networks arrive, which `ready` waits for. */
export async function connect(progress) {
  if (typeof WebAssembly !== "object" || typeof OffscreenCanvas !== "function") {
    throw new Error("This browser has no WebAssembly, which the networks need: open the page in a current one.");
  }
  await isolate();
  const response = await fetch(new URL("site.json", base)).catch(() => null);
  if (!response?.ok) throw new Error("static/site.json cannot be loaded: is the folder complete?");
  const site = await response.json();
  const worker = new NetworkWorker(progress);
  const ready = worker.ask("load", { site, base });
  ready.catch(() => {}); // whoever waits for it says so
  return {
    skeleton: site.skeleton,
    canRig: false,
    ready,
    async predict(file, parameters) {
      await ready;
      return worker.ask("predict", { file, parameters: [...parameters] });
    },
    tracker: (parameters) => new Tracker(worker, ready, [...parameters]),
  };
}

/** Loads the page once more, through its service worker: see offline.js. Where there is none, one thread must do. */
async function isolate() {
  if (crossOriginIsolated || !navigator.serviceWorker || sessionStorage.getItem(base)) return;
  sessionStorage.setItem(base, "isolated");
  try {
    await navigator.serviceWorker.register(new URL("../offline.js", base));
    await navigator.serviceWorker.ready;
  } catch {
    return;
  }
  location.reload();
  await new Promise(() => {});
}

class NetworkWorker {
  #worker = new Worker(new URL("worker.js", base), { type: "module" });
  #asked = new Map();
  #count = 0;

  constructor(progress) {
    this.#worker.addEventListener("message", ({ data: { id, result, error, progress: share } }) => {
      if (share !== undefined) return progress(share);
      const { resolve, reject } = this.#asked.get(id);
      this.#asked.delete(id);
      return error === undefined ? resolve(result) : reject(new Error(error));
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      const error = new Error(`The networks do not start in this browser (${event.message ?? "the worker failed"}).`);
      for (const { reject } of this.#asked.values()) reject(error);
      this.#asked.clear();
    });
  }

  ask(action, given, transfer = []) {
    return new Promise((resolve, reject) => {
      const id = this.#count++;
      this.#asked.set(id, { resolve, reject });
      this.#worker.postMessage({ id, action, ...given }, transfer);
    });
  }
}

let trackers = 0;

class Tracker {
  #worker;
  #number = trackers++;
  #fps = null; // of a video; null where images come from a camera
  #frame = 0;
  #begun = null;

  constructor(worker, ready, parameters) {
    this.#worker = worker;
    this.opened = ready.then(async () => {
      this.#fps = await worker.ask("open", { tracker: this.#number, parameters });
    });
    this.opened.catch(() => {}); // whoever waits for it says so
  }

  /** The prediction of an image on a canvas. */
  async track(canvas) {
    await this.opened;
    const now = performance.now() / 1000;
    this.#begun ??= now;
    const frame = this.#frame++;
    const time = this.#fps === null ? now - this.#begun : frame / this.#fps;
    const bitmap = await createImageBitmap(canvas);
    const given = { tracker: this.#number, bitmap, time, frame };
    return this.#worker.ask("track", given, [bitmap]);
  }

  close() {
    this.opened.then(() => this.#worker.ask("close", { tracker: this.#number })).catch(() => {});
  }
}
