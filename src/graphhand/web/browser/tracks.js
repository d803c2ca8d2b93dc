// One hand over time: its side agreed over frames, its joints smoothed, its motion: graphhand.inference.tracks and
// identities in the browser.

import { project } from "./geometry.js";

const clamp = (value, most) => Math.min(Math.max(value, -most), most);

export class Track {
  /** `number` is null where there is but one hand. */
  constructor(sides, smooth, number, rules) {
    this.number = number;
    this.last = null; // while it is lost
    this.rules = rules;
    this.possible = sides;
    this.filters = smooth ? [0, 1, 2].map(() => new OneEuroFilter(rules.CUTOFF_HZ, rules.BETA_HZ_S_PER_M)) : null;
    this.rightLogit = 0;
    this.time = 0;
    this.motion = null;
    this.motionBefore = null; // in the frame before
    this.beforeMerge = null; // when another hand's crop began to show this one
    this.mergedWith = null; // whose hand its crop showed when it was hidden
    this.detectionScore = 0;
    this.misses = 0; // passes of the detector that did not see it
  }

  /** Those still in question. */
  get sides() {
    const agreed = Math.abs(this.rightLogit) >= this.rules.SIDE_LOGIT_MARGIN_VIDEO && this.possible.length > 1;
    return agreed ? [this.side] : this.possible;
  }

  get side() {
    return this.rightLogit >= 0 ? "right" : "left";
  }

  /** Take a frame's estimates, one a side; return that of the side which all frames together say. */
  update(estimates, time) {
    const { FRAME_LOGIT_LIMIT, SIDE_LOGIT_LIMIT, SIDE_MEMORY_S } = this.rules;
    const logits = estimates.map(({ logit, view }) => (view.side === "right" ? logit : -logit));
    const said = clamp(logits.reduce((a, b) => a + b) / logits.length, FRAME_LOGIT_LIMIT);
    if (!this.last && Math.abs(said) >= FRAME_LOGIT_LIMIT && said * this.rightLogit < 0) this.rightLogit = 0;
    this.rightLogit = clamp(this.rightLogit * Math.exp((this.time - time) / SIDE_MEMORY_S) + said, SIDE_LOGIT_LIMIT);
    this.time = time;
    let estimate = estimates.find(({ view }) => view.side === this.side) ?? estimates[0];
    const likelier = estimates.reduce((best, one) => (one.score > best.score ? one : best));
    if (likelier.score > estimate.score) estimate = estimate.with({ logit: likelier.logit });
    if (this.last && this.last.view.side !== estimate.view.side) this.resetFilters();
    this.motionBefore = this.motion;
    this.motion = this.motion ? this.motion.moved(estimate, time) : new Motion(estimate, time, this.rules);
    this.last = estimate;
    return estimate;
  }

  get seen() {
    return this.motion ? this.motion.time : -Infinity;
  }

  /** How unlike an estimate is to this hand: by its motion, or that before a merge, and its side. */
  cost(estimate, time, beforeMerge = false) {
    const motion = beforeMerge ? this.beforeMerge : this.motion;
    if (!motion) return Infinity;
    const sure = Math.abs(this.rightLogit) >= this.rules.FRAME_LOGIT_LIMIT;
    return motion.cost(estimate, time, !sure || estimate.view.side === this.side);
  }

  /** How far the last frame's place is from where it should have been. */
  stray() {
    return this.motion && this.motionBefore ? apart(this.motion.middle, this.motionBefore.at(this.motion.time)) : Infinity;
  }

  /** Out of sight; of a hand that merged with another, the motion before that counts. */
  hide(mergedWith) {
    this.mergedWith = mergedWith;
    if (mergedWith && this.motionBefore) this.motion = this.motionBefore;
    this.lose();
  }

  /** Go on elsewhere, at rest. */
  jump(estimate, time) {
    this.resetFilters();
    [this.last, this.motion, this.motionBefore] = [estimate, new Motion(estimate, time, this.rules), null];
  }

  /** The hand is not where it was; its side stays known. */
  lose() {
    this.last = null;
    this.resetFilters();
  }

  /** The last estimate as JSON has it, smoothed. */
  hand(time) {
    return this.smoothed(this.last, time).toHand(this.number);
  }

  resetFilters() {
    for (const filter of this.filters ?? []) filter.reset();
  }

  smoothed(estimate, time) {
    if (!this.filters) return estimate;
    if (![...estimate.joints_px, ...estimate.joints_rel_m].flat().every(Number.isFinite)) {
      this.resetFilters();
      return estimate;
    }
    const [ofPixels, ofPose, ofWrist] = this.filters;
    const joints_px = ofPixels.next(estimate.joints_px, time, pixelsPerMetre(estimate));
    const joints_rel_m = ofPose.next(estimate.joints_rel_m, time);
    const nowhere = { joints_px, joints_rel_m, joints_cam_m: joints_rel_m.map(() => [NaN, NaN, NaN]) };
    if (!estimate.isPlaced) {
      ofWrist.reset();
      return estimate.with(nowhere);
    }
    const [wrist] = ofWrist.next([estimate.joints_cam_m[0]], time);
    const joints_cam_m = joints_rel_m.map((joint) => joint.map((value, axis) => value + wrist[axis]));
    const projected = joints_cam_m.map((joint) => project(estimate.view.camera, joint));
    return estimate.with(projected.every(Boolean) ? { joints_px: projected, joints_rel_m, joints_cam_m } : nowhere);
  }
}

/** Where a hand is and goes; at rest at first. */
class Motion {
  constructor(estimate, time, rules, velocity = [0, 0]) {
    const [x, y, width, height] = estimate.box;
    this.middle = [x + width / 2, y + height / 2];
    this.longer = Math.max(width, height);
    this.velocity = velocity; // pixels a second
    this.time = time;
    this.rules = rules;
  }

  /** After a frame in which it was seen. */
  moved(estimate, time) {
    const next = new Motion(estimate, time, this.rules, this.velocity);
    const step = time - this.time;
    if (step <= 0) return next;
    const weight = this.rules.VELOCITY_WEIGHT;
    next.velocity = this.velocity.map((v, axis) => (1 - weight) * v + (weight * (next.middle[axis] - this.middle[axis])) / step);
    return next;
  }

  at(time) {
    return this.middle.map((place, axis) => place + this.velocity[axis] * (time - this.time));
  }

  /** How unlike an estimate is to where and what the hand should be, in sides of its box. */
  cost(estimate, time, sameSide) {
    const { middle, longer } = new Motion(estimate, time, this.rules);
    const unit = Math.max(this.longer, longer, 1e-6);
    const ahead = apart(middle, this.at(time)) / unit;
    const stayed = apart(middle, this.middle) / unit;
    const size = Math.abs(Math.log(Math.max(longer, 1e-6) / Math.max(this.longer, 1e-6)));
    return ahead + 0.25 * Math.min(stayed, ahead) + size + (sameSide ? 0 : this.rules.OTHER_SIDE_COST);
  }
}

/** The One Euro filter of Casiez, Roussel and Vogel (2012): little jitter at rest, little delay in motion. */
class OneEuroFilter {
  constructor(minCutoffHz, beta, speedCutoffHz = 1) {
    Object.assign(this, { minCutoffHz, beta, speedCutoffHz });
    this.reset();
  }

  reset() {
    this.value = null;
  }

  /** The next points, smoothed; `unit` is what counts as a unit of length. */
  next(points, time, unit = 1) {
    if (!this.value) {
      this.value = points;
      this.velocity = points.map((point) => point.map(() => 0));
    } else {
      const step = time - this.time;
      const follows = share(this.speedCutoffHz, step);
      this.velocity = this.velocity.map((point, k) =>
        point.map((v, axis) => v + follows * ((points[k][axis] - this.value[k][axis]) / step - v)),
      );
      this.value = this.value.map((point, k) => {
        const speed = Math.hypot(...this.velocity[k]) / unit;
        const follow = share(this.minCutoffHz + this.beta * speed, step);
        return point.map((value, axis) => value + follow * (points[k][axis] - value));
      });
    }
    this.time = time;
    return this.value;
  }
}

function share(cutoffHz, step) {
  const angle = 2 * Math.PI * cutoffHz * step;
  return angle / (angle + 1);
}

/** At the hand's distance, from the extent of its joints in the image and across the line of sight. */
function pixelsPerMetre({ joints_px, joints_rel_m }) {
  const spread = (points) => {
    const middle = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
    return Math.hypot(...points.flatMap((point) => [point[0] - middle[0], point[1] - middle[1]]));
  };
  return spread(joints_px) / Math.max(spread(joints_rel_m), 1e-9);
}

function apart(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}
