// Hands by a detector: graphhand.inference.detector and detection in the browser.

import { mostLikelySide } from "./crops.js";
import { iou, overSmaller, roundedToEven, squareBox, suppress, wholeImageBox } from "./geometry.js";
import { shrunk } from "./pixels.js";

const ALIGNMENT = 32;
const GREY = 114;

/** The hands of an image as {box, score, rightLogit}, best first. */
export async function detect(network, image, rules) {
  const { pixels, scale } = letterbox(image, network.size);
  const found = decoded(await network.run(pixels), network.stride, rules).map((one) => {
    const [x, y, width, height] = one.box;
    const box = [(x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, width / scale, height / scale];
    return { ...one, box: clipped(box, image.width, image.height) };
  });
  const large = found.filter(({ box }) => Math.min(box[2], box[3]) >= 1);
  const { MOST_IOU: mostIou, MOST_INSIDE: mostInside } = rules;
  return suppress(large, { boxOf: ({ box }) => box, score: ({ score }) => score, mostIou, mostInside });
}

/** The longer side at `size` at most, grey to the right and below up to multiples of 32. */
function letterbox(image, size) {
  const scale = Math.min(1, size / Math.max(image.width, image.height));
  const [wide, high] = [image.width, image.height].map((side) => Math.max(1, roundedToEven(side * scale)));
  const small = scale < 1 ? shrunk(image, [0, 0, image.width, image.height], wide, high) : image;
  const [width, height] = [wide, high].map((side) => Math.ceil(side / ALIGNMENT) * ALIGNMENT);
  const data = new Uint8ClampedArray(4 * width * height).fill(GREY);
  for (let row = 0; row < high; row++) data.set(small.data.subarray(4 * row * wide, 4 * (row + 1) * wide), 4 * row * width);
  return { pixels: { width, height, data }, scale };
}

/** The grid's cells whose score is not below any neighbour's, best first. */
function decoded({ data, width, height }, stride, rules) {
  const plane = width * height;
  const found = [];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const at = row * width + column;
      if (data[at] < rules.LEAST_SCORE || !isPeak(data, width, height, row, column)) continue;
      const [left, top, right, bottom] = [1, 2, 3, 4].map((channel) => data[channel * plane + at]);
      const [u, v] = [column, row].map((cell) => cell * stride + (stride - 1) / 2);
      found.push({ box: [u - left, v - top, left + right, top + bottom], score: data[at], rightLogit: data[5 * plane + at] });
    }
  }
  return found.sort((a, b) => b.score - a.score).slice(0, rules.MOST_BOXES);
}

function isPeak(data, width, height, row, column) {
  for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, height - 1); y++) {
    for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, width - 1); x++) {
      if (data[y * width + x] > data[row * width + column]) return false;
    }
  }
  return true;
}

function clipped([x, y, width, height], imageWidth, imageHeight) {
  const limited = (value, length) => Math.min(Math.max(value, -0.5), length - 0.5);
  const [left, top] = [limited(x, imageWidth), limited(y, imageHeight)];
  return [left, top, limited(x + width, imageWidth) - left, limited(y + height, imageHeight) - top];
}

/** Hands around detections, best first; a candidate costs one crop, and more only while it may be a hand. */
async function estimateDetections(crops, image, camera, sides, detections, least) {
  const { rules } = crops;
  const margin = crops.network.margin;
  const hopeless = rules.HOPELESS_SHARE * least;
  const scored = (detection, estimate) =>
    estimate.with({ detectionScore: jointScore(detection, estimate.poseScore, rules) });
  const first = await likelierSides(crops, image, camera, sides, detections, hopeless);
  const judged = first.map((estimate, k) => ({ estimate: scored(detections[k], estimate), detection: detections[k] }));
  const promising = distinct(judged.filter(({ estimate }) => estimate.isFinite), rules);
  const views = promising.map(({ estimate }) => (estimate.score >= hopeless ? estimate.recrop(margin) : null));
  const recropped = await crops.estimate(views.filter(Boolean));
  const found = promising.map(({ estimate, detection }, k) => {
    const again = views[k] ? recropped.shift() : null;
    const stays = again?.isFinite && overSmaller(again.box, detection.box) >= rules.MIN_SHARED;
    return { estimate: stays ? scored(detection, again) : estimate };
  });
  return distinct(found, rules).map(({ estimate }) => estimate);
}

/** For each detection the estimate of its likelier side; the other one is cropped where a hand's side is in doubt. */
async function likelierSides(crops, image, camera, sides, detections, hopeless) {
  const { rules } = crops;
  const logOdds = ({ rightLogit, box }, side) => {
    const weight = spansImage(box, image, rules) ? rules.CUT_SIDE_WEIGHT : 1;
    return weight * Math.min(Math.max(rightLogit, -20), 20) * (side === "right" ? 1 : -1);
  };
  const support = (detection, estimate) => estimate.logit + logOdds(detection, estimate.view.side);
  const order = detections.map((detection) => sides.toSorted((a, b) => logOdds(detection, b) - logOdds(detection, a)));
  const views = detections.map((detection, k) => {
    return { image, camera, side: order[k][0], box: squareBox(detection.box, crops.network.margin) };
  });
  const chosen = await crops.estimate(views);
  const doubtful = detections.flatMap((detection, k) => {
    const decided = Math.max(logOdds(detection, order[k][0]), support(detection, chosen[k])) >= rules.DECIDED_LOGIT;
    const lost = jointScore(detection, chosen[k].certainty, rules) < hopeless;
    return sides.length < 2 || decided || lost ? [] : [k];
  });
  const others = await crops.estimate(doubtful.map((k) => ({ ...views[k], side: order[k][1] })));
  doubtful.forEach((k, row) => {
    if (support(detections[k], others[row]) > support(detections[k], chosen[k])) chosen[k] = others[row];
  });
  return chosen;
}

/** Of {estimate}, best first, each hand once. */
function distinct(judged, rules) {
  const kept = [];
  for (const one of judged.toSorted((a, b) => b.estimate.score - a.estimate.score)) {
    if (!kept.some(({ estimate }) => isSameHand(one.estimate, estimate, rules))) kept.push(one);
  }
  return kept;
}

/** Whether two estimates are of one hand: their boxes or their joints nearly coincide. */
export function isSameHand(one, other, rules) {
  const size = Math.max(one.box[2], one.box[3], other.box[2], other.box[3]);
  const away = one.joints_px.map(([x, y], k) => Math.hypot(x - other.joints_px[k][0], y - other.joints_px[k][1]));
  const apart = away.reduce((a, b) => a + b) / away.length;
  return iou(one.box, other.box) > rules.SAME_HAND_IOU || apart < rules.SAME_HAND_DISTANCE * size;
}

/** Whether an image seems cut to one hand: the likeliest detection spans half of it, or there is none. */
export function isCutToHand(image, detections, rules) {
  const best = detections.reduce((one, other) => (one && one.score >= other.score ? one : other), null);
  return best === null || spansImage(best.box, image, rules);
}

const spansImage = ([, , width, height], image, rules) =>
  Math.max(width, height) >= rules.CUT_SHARE * Math.max(image.width, image.height);

/** The hands around detections, best first; where none is certain, perhaps what the whole image is a crop of. */
export async function detectedHands(crops, image, camera, sides, detections, least, orWholeImage) {
  const found = await estimateDetections(crops, image, camera, sides, detections, least);
  const best = Math.max(-1, ...found.map(({ score }) => score));
  if (!orWholeImage || best >= crops.rules.MIN_SCORE_OF_DETECTIONS) return found;
  const whole = await wholeImageHand(crops, image, camera, sides);
  return whole.score > best ? [whole] : found;
}

/** The hand that an image is a crop of, if it is one: for images in which the detector finds none. */
async function wholeImageHand(crops, image, camera, sides) {
  const box = wholeImageBox(image.width, image.height);
  const best = mostLikelySide((await crops.estimateSides(image, camera, sides, [box]))[0]);
  const view = best.recrop(crops.network.margin);
  return view ? (await crops.estimate([view]))[0] : best;
}

/** The detections that the pose network looks at. */
export function candidates(detections, rules) {
  return detections.filter(({ score }) => score >= rules.CANDIDATE_SCORE).slice(0, rules.MOST_CANDIDATES);
}

/** Score of a hand: what detector and pose network say together. */
export function jointScore(detection, poseScore, rules) {
  const { LARGEST_LOGIT, POSE_WEIGHT, SCORE_BIAS } = rules;
  const logit = (score) => {
    const p = Math.min(Math.max(score, 1e-9), 1 - 1e-9);
    return Math.min(Math.max(Math.log(p) - Math.log1p(-p), -LARGEST_LOGIT), LARGEST_LOGIT);
  };
  return 1 / (1 + Math.exp(-logit(detection.score) - POSE_WEIGHT * logit(poseScore) - SCORE_BIAS));
}

/** Ties detections to the estimates of hands that are followed: of each hand its detection, and those of none. */
export function matchDetections(estimates, detections, rules) {
  const pairs = estimates.flatMap(({ box }, hand) =>
    detections.map((detection, k) => ({ hand, k, overlap: iou(box, detection.box) })),
  );
  const matched = new Map();
  const taken = new Set();
  for (const { hand, k, overlap } of pairs.sort((a, b) => b.overlap - a.overlap)) {
    if (overlap < rules.MATCH_IOU || matched.has(hand) || taken.has(k)) continue;
    matched.set(hand, k);
    taken.add(k);
  }
  return { matched, others: detections.map((_, k) => k).filter((k) => !taken.has(k)) };
}
