// Finding hands where no detector is: graphhand.inference.window_search in the browser.

import { inGroups, mostLikelySide } from "./crops.js";
import { overSmaller, searchBoxes, wholeImageBox } from "./geometry.js";

const ALL = (boxes) => boxes;

/** The estimates of the one hand of an image, one a side; `windows` picks those searched of the image's windows. */
export async function locateHand(crops, image, camera, sides, windows = ALL) {
  const { rules } = crops;
  const margin = crops.network.margin;
  const [found] = await crops.estimateSides(image, camera, sides, [wholeImageBox(image.width, image.height)]);
  for (let round = 0; round < rules.MAX_RECROPS; round++) {
    const likeliest = mostLikelySide(found).logit;
    const recrops = found
      .map((estimate, k) => [k, estimate.logit >= likeliest - rules.SIDE_LOGIT_MARGIN ? estimate.recrop(margin) : null])
      .filter(([, view]) => view);
    const estimates = await crops.estimate(recrops.map(([, view]) => view));
    recrops.forEach(([k], row) => (found[k] = estimates[row]));
  }
  return slidingWindowSearch(crops, found, windows);
}

async function slidingWindowSearch(crops, estimates, windows) {
  const { rules } = crops;
  const { uncertainty } = mostLikelySide(estimates);
  if (!(uncertainty > rules.SEARCH_UNCERTAINTY)) return estimates;
  const { image, camera } = estimates[0].view;
  const sides = estimates.map((estimate) => estimate.view.side);
  const boxes = searchBoxes(image.width, image.height, rules.WINDOWS, rules.MIN_WINDOW_PX);
  const searched = windows(boxes);
  const candidates = Math.ceil((rules.CANDIDATES * searched.length) / Math.max(1, boxes.length));
  const found = await crops.estimate(searched.map((box) => ({ ...estimates[0].view, box })));
  found.sort((a, b) => a.uncertainty - b.uncertainty);
  const recrops = found.slice(0, candidates).map((estimate) => estimate.nextBox(crops.network.margin));
  const groups = await crops.estimateSides(image, camera, sides, recrops.filter(Boolean));
  const least = (group) => Math.min(...group.map((estimate) => estimate.uncertainty));
  const better = groups.filter((group) => rules.MIN_GAIN * least(group) <= uncertainty);
  return better.reduce((best, group) => (best === estimates || least(group) < least(best) ? group : best), estimates);
}

/** The best hands of an image, at most `limit`, best first; `known` ones are left out. */
export async function findHands(crops, image, camera, sides, limit, windows = ALL, known = []) {
  const { rules } = crops;
  const margin = crops.network.margin;
  const foundIn = async (boxes, some) => {
    const groups = await crops.estimateSides(image, camera, some, boxes);
    const likeliest = groups.map(mostLikelySide);
    return likeliest.filter((estimate) => estimate.nextBox(margin) && differsFromAll(estimate, known, rules));
  };
  const whole = await foundIn([wholeImageBox(image.width, image.height)], sides);
  const hasHeatmaps = whole.every((estimate) => Number.isFinite(estimate.uncertainty));
  const searched = windows(searchBoxes(image.width, image.height, rules.FINE_WINDOWS, rules.MIN_WINDOW_PX));
  const found = [...whole, ...(await foundIn(searched, hasHeatmaps ? sides.slice(0, 1) : sides))];
  let hands = nonMaximumSuppression(
    found.filter((estimate) => !(estimate.uncertainty > rules.MAX_CANDIDATE_UNCERTAINTY)),
    rules,
    (estimate) => (hasHeatmaps ? -estimate.uncertainty : estimate.score),
  );
  for (let round = 0; round < rules.RECROPS_OF_SEVERAL; round++) {
    const boxes = hands.slice(0, rules.CANDIDATES * limit).map((estimate) => estimate.nextBox(margin));
    const recropped = await foundIn(boxes.filter(Boolean), sides);
    hands = nonMaximumSuppression(recropped.filter((estimate) => estimate.score >= rules.MIN_SCORE_OF_CANDIDATES), rules);
  }
  return dropMergedHands(hands, rules).slice(0, limit);
}

/** Best first, each that is not the same hand as a better one. */
export function nonMaximumSuppression(estimates, rules, score = (estimate) => estimate.score) {
  const kept = [];
  for (const estimate of estimates.toSorted((a, b) => score(b) - score(a))) {
    if (differsFromAll(estimate, kept, rules)) kept.push(estimate);
  }
  return kept;
}

function differsFromAll(estimate, others, rules) {
  return others.every((other) => overSmaller(estimate.box, other.box) <= rules.NMS_OVERLAP);
}

/** Hands, best first, without those made of several better ones' joints. */
function dropMergedHands(hands, rules) {
  const kept = [];
  for (const hand of hands) {
    const taken = hand.joints_px.filter(([u, v]) =>
      kept.some(({ box: [x, y, width, height] }) => u >= x && u - x <= width && v >= y && v - y <= height),
    );
    if (taken.length / hand.joints_px.length <= rules.NMS_OVERLAP) kept.push(hand);
  }
  return kept;
}
