// The worker that runs the networks, so that the page stays alive: photos and frames in, predictions out.

import { CropEstimator, mostLikelySide } from "./crops.js";
import { candidates, detect, detectedHands } from "./detection.js";
import { exifFocalPx } from "./exif.js";
import { cameraOf, wholeImageBox } from "./geometry.js";
import { loadNetworks } from "./networks.js";
import { pixelsOf, readImage } from "./pixels.js";
import { findHands, locateHand } from "./search.js";
import { HandTracker } from "./tracking.js";

let estimator = null; // crops, detector
let rules = null;
const trackers = new Map();
let last = Promise.resolve(); // one network runs at a time

const actions = {
  async load({ site, base }) {
    rules = site.rules;
    const progress = (bytes, total) => postMessage({ progress: bytes / total });
    const { pose, detector } = await loadNetworks(site, base, progress);
    estimator = { crops: new CropEstimator(pose, rules), detector };
  },

  async predict({ file, parameters }) {
    const options = new Options(parameters);
    const image = await readImage(file);
    options.focalPx = await exifFocalPx(file, image.width, image.height);
    return predictionOf(image, await predicted(image, options));
  },

  async track({ tracker, parameters, bitmap, time, frame }) {
    if (!trackers.has(tracker)) {
      const options = new Options(parameters);
      trackers.set(tracker, new HandTracker(estimator, options, options.fps === null));
    }
    const image = pixelsOf(bitmap);
    const hands = await trackers.get(tracker).next(image, time);
    return { ...predictionOf(image, hands), frame, time_s: Math.round(time * 1e6) / 1e6 };
  },

  async close({ tracker }) {
    trackers.delete(tracker);
  },
};

addEventListener("message", ({ data: { id, action, ...given } }) => {
  last = last.then(async () => {
    try {
      postMessage({ id, result: await actions[action](given) });
    } catch (error) {
      postMessage({ id, error: error.message });
    }
  });
});

/** The page's settings, with the defaults of `graphhand predict`. */
class Options {
  constructor(parameters) {
    const number = (name) => (parameters[name] === undefined ? null : Number(parameters[name]));
    this.side = parameters.side ?? "auto";
    this.wholeImage = parameters.whole_image === "true";
    this.fovDeg = number("fov");
    this.focalPx = null;
    this.maxHands = number("max_hands");
    this.minScore = number("min_score");
    this.fps = number("fps");
    this.smooth = true;
  }

  get sides() {
    return this.side === "auto" ? ["right", "left"] : [this.side];
  }

  handLimit(detected) {
    return this.maxHands ?? (detected ? rules.MAX_HANDS : 1);
  }

  scoreLimit(detected) {
    if (this.minScore !== null) return this.minScore;
    if (detected) return rules.MIN_SCORE_OF_DETECTIONS;
    return this.handLimit(detected) > 1 ? rules.MIN_SCORE_OF_SEVERAL : rules.MIN_SCORE;
  }
}

async function predicted(image, options) {
  const { crops } = estimator;
  const camera = cameraOf(image.width, image.height, options, rules);
  const network = options.wholeImage ? null : estimator.detector;
  const limit = options.handLimit(Boolean(network));
  const least = options.scoreLimit(Boolean(network));
  let found;
  if (network) {
    const detections = candidates(await detect(network, image, rules), rules);
    found = (await detectedHands(crops, image, camera, options.sides, detections, least, true)).slice(0, limit);
  } else if (options.wholeImage) {
    const box = wholeImageBox(image.width, image.height);
    found = [mostLikelySide((await crops.estimateSides(image, camera, options.sides, [box]))[0])];
  } else if (limit > 1) {
    found = await findHands(crops, image, camera, options.sides, limit);
  } else {
    found = [mostLikelySide(await locateHand(crops, image, camera, options.sides))];
  }
  return found.filter(({ score }) => score >= least).map((estimate) => estimate.toHand());
}

function predictionOf({ width, height }, hands) {
  return { image: "image", width, height, hands, model: estimator.crops.network.name };
}
