// Hands by a detector: graphhand.inference.detector and detection in the browser.

import { mostLikelySide } from "./crops.js";
import { iou, overSmaller, squareBox, suppress, wholeImageBox } from "./geometry.js";
import { enlarged, shrunk } from "./pixels.js";

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

/** The longer side at `size`, grey to the right and below up to multiples of 32. */
function letterbox(image, size) {
  const scale = size / Math.max(image.width, image.height);
  const [wide, high] = [image.width, image.height].map((side) => Math.max(1, Math.round(side * scale)));
  const whole = [0, 0, image.width, image.height];
  const small = scale < 1 ? shrunk(image, whole, wide, high) : enlarged(image, wide, high);
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

/** Hands around detections: a side for each, one recrop around the joints found; best first. */
async function estimateDetections(crops, image, camera, sides, detections) {
  const { rules } = crops;
  const margin = crops.network.margin;
  const tried = detections.map((detection) => sidesOf(detection, sides, rules));
  const views = detections.flatMap(({ box }, k) => {
    const square = squareBox(box, margin);
    return tried[k].map((side) => ({ image, camera, side, box: square }));
  });
  const estimates = await crops.estimate(views);
  const chosen = detections.map(({ rightLogit }, k) => likelier(estimates.splice(0, tried[k].length), rightLogit));
  const recrops = chosen.map((estimate, k) => [k, estimate.recrop(margin)]).filter(([, view]) => view);
  const recropped = await crops.estimate(recrops.map(([, view]) => view));
  recrops.forEach(([k], row) => {
    if (overSmaller(recropped[row].box, detections[k].box) >= rules.MIN_SHARED) chosen[k] = recropped[row];
  });
  const found = chosen.map((one, k) => one.with({ detectionScore: jointScore(detections[k], one, rules) }));
  const best = found.filter((estimate) => estimate.isFinite).sort((a, b) => b.score - a.score);
  const kept = [];
  for (const one of best) if (!kept.some((other) => isSameHand(one, other, rules))) kept.push(one);
  return kept;
}

/** Whether two estimates are of one hand: their boxes or their joints nearly coincide. */
export function isSameHand(one, other, rules) {
  const size = Math.max(one.box[2], one.box[3], other.box[2], other.box[3]);
  const away = one.joints_px.map(([x, y], k) => Math.hypot(x - other.joints_px[k][0], y - other.joints_px[k][1]));
  const apart = away.reduce((a, b) => a + b) / away.length;
  return iou(one.box, other.box) > rules.SAME_HAND_IOU || apart < rules.SAME_HAND_DISTANCE * size;
}

/** The hands around detections, best first; where none scores enough, also what the whole image is a crop of. */
export async function detectedHands(crops, image, camera, sides, detections, least, orWholeImage) {
  const found = await estimateDetections(crops, image, camera, sides, detections);
  if (orWholeImage && !found.some(({ score }) => score >= least))
    found.push(await wholeImageHand(crops, image, camera, sides));
  return found.sort((a, b) => b.score - a.score);
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
export function jointScore(detection, estimate, rules) {
  const { LARGEST_LOGIT, POSE_WEIGHT, SCORE_BIAS } = rules;
  const logit = (score) => {
    const p = Math.min(Math.max(score, 1e-9), 1 - 1e-9);
    return Math.min(Math.max(Math.log(p) - Math.log1p(-p), -LARGEST_LOGIT), LARGEST_LOGIT);
  };
  return 1 / (1 + Math.exp(-logit(detection.score) - POSE_WEIGHT * logit(estimate.poseScore) - SCORE_BIAS));
}

function sidesOf({ rightLogit }, sides, rules) {
  const side = rightLogit >= 0 ? "right" : "left";
  return sides.includes(side) && Math.abs(rightLogit) >= rules.DECIDED_LOGIT ? [side] : sides;
}

function likelier(estimates, rightLogit) {
  const right = Math.min(Math.max(rightLogit, -20), 20);
  const value = ({ logit, view }) => logit + (view.side === "right" ? right : -right);
  return estimates.reduce((best, estimate) => (value(estimate) > value(best) ? estimate : best));
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
