// The worker that runs the networks, so that the page stays alive: photos and frames in, predictions out.

import { CropEstimator, mostLikelySide } from "./crops.js";
import { candidates, detect, detectedHands, isCutToHand } from "./detection.js";
import { exifFocalPx } from "./exif.js";
import { cameraOf, wholeImageBox } from "./geometry.js";
import { loadNetworks } from "./networks.js";
import { Options, splitFps } from "./options.js";
import { pixelsOf, readImage } from "./pixels.js";
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
    const options = new Options(parameters, rules);
    const image = await readImage(file);
    options.focalPx = await exifFocalPx(file, image.width, image.height);
    return predictionOf(image, await predicted(image, options));
  },

  async open({ tracker, parameters }) {
    const { fps, others } = splitFps(parameters, rules);
    trackers.set(tracker, new HandTracker(estimator, new Options(others, rules)));
    return fps;
  },

  async track({ tracker, bitmap, time, frame }) {
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

async function predicted(image, options) {
  const { crops, detector } = estimator;
  const { sides, scoreLimit: least } = options;
  let found;
  if (options.wholeImage) {
    const camera = cameraOf(image.width, image.height, options, rules);
    const box = wholeImageBox(image.width, image.height);
    found = [mostLikelySide((await crops.estimateSides(image, camera, sides, [box]))[0])];
  } else {
    const detections = await detect(detector, image, rules);
    const camera = cameraOf(image.width, image.height, options, rules, isCutToHand(image, detections, rules));
    found = await detectedHands(crops, image, camera, sides, candidates(detections, rules), least, true);
    found = found.slice(0, options.handLimit);
  }
  return found.filter(({ score }) => score >= least).map((estimate) => estimate.toHand());
}

function predictionOf({ width, height }, hands) {
  return { image: "image", width, height, hands, model: estimator.crops.network.name };
}
