// Hands through a video: cropped where they just were; a detector finds those that are new or lost:
// graphhand.inference.tracking in the browser.

import { cameraOf, iou, wholeImageBox } from "./geometry.js";
import { candidates, detect, detectedHands, isSameHand, jointScore, matchDetections } from "./detection.js";
import { Track } from "./tracks.js";

export class HandTracker {
  #tracks = [];
  #hidden = []; // out of sight, remembered
  #count = 0; // of several hands, so far
  #frames = 0; // since the detector's last pass

  constructor({ crops, detector }, options) {
    Object.assign(this, { crops, detector, options, rules: crops.rules });
    this.limit = options.handLimit;
    this.least = options.scoreLimit;
    if (options.wholeImage) this.#tracks = [this.#newTrack(null)];
  }

  /** The hands in the next frame, as JSON has them; time in seconds. */
  async next(image, time) {
    const camera = cameraOf(image.width, image.height, this.options, this.rules);
    if (this.options.wholeImage) await this.#estimateWhole(image, camera, time);
    else await this.#followDetected(image, camera, time);
    return this.#tracks.filter((track) => track.last).map((track) => track.hand(time));
  }

  #newTrack(number) {
    return new Track(this.options.sides, this.options.smooth, number, this.rules);
  }

  /** The one hand of frames that are cut to it. */
  async #estimateWhole(image, camera, time) {
    const [track] = this.#tracks;
    const box = wholeImageBox(image.width, image.height);
    const [estimates] = await this.crops.estimateSides(image, camera, track.sides, [box]);
    if (track.update(estimates, time).score < this.least) track.lose();
  }

  /** Estimates of a hand where it just was; none where it is lost. */
  async #estimateAgain(track, image, camera) {
    const box = track.last?.nextBox(this.crops.network.margin);
    if (!box) return [];
    const [estimates] = await this.crops.estimateSides(image, camera, track.sides, [box]);
    const others = this.options.sides.filter((side) => !track.sides.includes(side));
    if (others.length && estimates[0].logit < 0) {
      estimates.push(...(await this.crops.estimateSides(image, camera, others, [box]))[0]);
    }
    const least = Math.min(...estimates.map(({ uncertainty }) => uncertainty));
    return least > this.rules.LOST_UNCERTAINTY ? [] : estimates;
  }

  /** Crop each hand where it was; where the detector's turn has come, take its word on who is there. */
  async #followDetected(image, camera, time) {
    this.#hidden = this.#hidden.filter((track) => time - track.seen <= this.rules.MEMORY_S);
    for (const track of [...this.#tracks]) {
      const estimates = await this.#estimateAgain(track, image, camera);
      const { detectionScore } = track;
      if (estimates.length) track.update(estimates.map((one) => one.with({ detectionScore })), time);
      else this.#hide(track);
    }
    this.#partMerged();
    this.#frames++;
    const { DETECTION_FRAMES, LOST_DETECTION_FRAMES, SEEN_SHARE } = this.rules;
    const merged = this.#hidden.some((track) => track.mergedWith);
    const interval = merged ? 1 : this.#hidden.length ? LOST_DETECTION_FRAMES : DETECTION_FRAMES;
    if (this.#tracks.length && this.#frames < interval) return;
    this.#frames = 0;
    const detections = await detect(this.detector, image, this.rules);
    const leastSeen = SEEN_SHARE * this.least;
    await this.#settle(candidates(detections, this.rules), leastSeen, image, camera, time);
  }

  /** Tie a frame's detections to the hands followed, to those remembered, or to new ones. */
  async #settle(detections, leastSeen, image, camera, time) {
    const followed = this.#tracks.filter((track) => track.last);
    const { matched, others } = matchDetections(followed.map((track) => track.last), detections, this.rules);
    followed.forEach((track, number) => {
      const score = matched.has(number) ? jointScore(detections[matched.get(number)], track.last.poseScore, this.rules) : -1;
      if (score >= leastSeen) {
        track.misses = 0;
        track.detectionScore = score;
      } else if (++track.misses >= this.rules.MAX_MISSES) this.#hide(track);
    });
    const fresh = others.map((k) => detections[k]);
    const { sides } = this.options;
    const orWholeImage = !this.#tracks.length;
    const found = await detectedHands(this.crops, image, camera, sides, fresh, this.least, orWholeImage);
    for (const estimate of found) {
      if (this.#tracks.length >= this.limit || estimate.score < this.least) break;
      const same = ({ last }) => last && isSameHand(last, estimate, this.rules);
      if (!this.#tracks.some(same)) this.#takeUp(estimate, time);
    }
  }

  /** Go on with the remembered hand that an estimate most likely is, or start a new one. */
  #takeUp(estimate, time) {
    const costs = this.#hidden.map((track) => track.cost(estimate, time));
    const found = costs.indexOf(Math.min(...costs));
    let track;
    if (found < 0 || !(costs[found] <= this.rules.MAX_COST)) track = this.#newTrack(this.#count++);
    else {
      [track] = this.#hidden.splice(found, 1);
      estimate = this.#unswapped(track, estimate, time);
    }
    track.misses = 0;
    track.detectionScore = estimate.score;
    track.update([estimate], time);
    this.#tracks.push(track);
    this.#tracks.sort((a, b) => a.number - b.number);
  }

  /** Of a hand that reappears beside the one it had merged with: which of the two places is whose? */
  #unswapped(track, estimate, time) {
    const other = track.mergedWith;
    track.mergedWith = null;
    if (!other || !this.#tracks.includes(other) || !other.last || !other.beforeMerge) return estimate;
    const theirs = other.last;
    const stay = track.cost(estimate, time) + other.cost(theirs, time, true);
    const swap = track.cost(theirs, time) + other.cost(estimate, time, true);
    other.beforeMerge = null;
    if (swap >= stay) return estimate;
    other.detectionScore = estimate.score;
    other.jump(estimate, time);
    return theirs;
  }

  /** Of two hands whose crops show one, the one that strayed further from its path is hidden until they part. */
  #partMerged() {
    const followed = this.#tracks.filter((track) => track.last);
    followed.forEach((first, number) => {
      for (const second of followed.slice(number + 1)) {
        if (!first.last || !second.last || iou(first.last.box, second.last.box) <= this.rules.SAME_HAND_IOU) continue;
        const [kept, lost] = first.stray() <= second.stray() ? [first, second] : [second, first];
        kept.beforeMerge = kept.motionBefore;
        this.#hide(lost, kept);
      }
    });
  }

  #hide(track, mergedWith = null) {
    track.hide(mergedWith);
    this.#tracks = this.#tracks.filter((one) => one !== track);
    this.#hidden.push(track);
  }
}
