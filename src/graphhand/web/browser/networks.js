// The networks in ONNX Runtime's WebAssembly: crops in, hands out; images in, a detector's grid out.

import * as ort from "./runtime/ort.wasm.min.mjs";

const MOST_THREADS = 4;
const CROPS_AT_ONCE = 4; // more are no faster for each, and take more memory

/** Loads what `site.json` lists; `progress(bytes, total)` as they arrive. */
export async function loadNetworks(site, base, progress) {
  ort.env.wasm.wasmPaths = new URL("runtime/", base).href;
  // Threads share memory, which browsers give to pages alone that are isolated from other sites.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  ort.env.logLevel = "error";
  const loader = new Loader(site.bytes, progress);
  const pose = new HandNetwork(await loader.session(site.pose, base), site.pose);
  const detector = new GridNetwork(await loader.session(site.detector, base), site.detector);
  return { pose, detector };
}

class Loader {
  #loaded = 0;
  #total;
  #progress;

  constructor(total, progress) {
    this.#total = total;
    this.#progress = progress;
  }

  async session(network, base) {
    const graph = await this.#fetched(new URL(network.graph, base));
    const externalData = [];
    for (const [path, address] of Object.entries(network.weights)) {
      externalData.push({ path, data: await this.#fetched(new URL(address, base)) });
    }
    const extra = { session: { intra_op: { allow_spinning: "0" } } }; // threads that wait leave the core to others
    return ort.InferenceSession.create(graph, { externalData, executionProviders: ["wasm"], extra });
  }

  async #fetched(address) {
    const response = await fetch(address).catch(() => null);
    if (!response?.ok) throw new Error(`${address.pathname} cannot be loaded: is the folder complete, and the server running?`);
    const parts = [];
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      this.#loaded += value.length;
      this.#progress(this.#loaded, this.#total);
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }
}

/** The pose network. */
class HandNetwork {
  #session;

  constructor(session, { name, image_size, crop_margin }) {
    this.#session = session;
    this.name = name;
    this.size = image_size;
    this.margin = crop_margin;
    this.batch = CROPS_AT_ONCE;
  }

  /** Of crops (RGBA bytes of size x size) with intrinsics K: for each joints and the log-odds of a right hand. */
  async run(crops, intrinsics) {
    const count = crops.length;
    const image = new Float32Array(count * 3 * this.size ** 2);
    crops.forEach((crop, k) => planes(crop, image, k * 3 * this.size ** 2));
    const output = await this.#session.run({
      image: new ort.Tensor("float32", image, [count, 3, this.size, this.size]),
      K: new ort.Tensor("float32", Float32Array.from(intrinsics.flat()), [count, 3, 3]),
      camera_known: new ort.Tensor("bool", new Uint8Array(count).fill(1), [count]),
    });
    const rows = (name, width, k) => {
      const values = output[name].data.subarray(k * 21 * width, (k + 1) * 21 * width);
      return Array.from({ length: 21 }, (_, joint) => Array.from(values.subarray(joint * width, (joint + 1) * width)));
    };
    return crops.map((_, k) => ({
      joints_m: rows("joints_m", 3, k),
      joints_px: rows("joints_px", 2, k),
      wrist_cam_m: rows("joints_cam_m", 3, k)[0],
      logit: output.handedness_logit.data[k],
      uncertainty: output.uncertainty ? output.uncertainty.data[k] : NaN,
    }));
  }
}

/** The detector. */
class GridNetwork {
  #session;

  constructor(session, { image_size, stride }) {
    this.#session = session;
    this.size = image_size;
    this.stride = stride;
  }

  /** The grid {data, width, height} of an image: six planes. */
  async run({ width, height, data }) {
    const image = new Float32Array(3 * width * height);
    planes(data, image, 0);
    const { grid } = await this.#session.run({ image: new ort.Tensor("float32", image, [1, 3, height, width]) });
    return { data: grid.data, height: grid.dims[2], width: grid.dims[3] };
  }
}

/** RGBA bytes to planes of red, green and blue in [0, 1]. */
function planes(bytes, target, start) {
  const count = bytes.length / 4;
  for (let at = 0; at < count; at++) {
    for (let channel = 0; channel < 3; channel++) target[start + channel * count + at] = bytes[4 * at + channel] / 255;
  }
}
