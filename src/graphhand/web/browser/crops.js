// What the network estimates in crops, in the image's pixels and camera: graphhand.inference.crops in the browser.

import { boxOf, HandCrop, iou, project, squareBox } from "./geometry.js";
import { cropImage } from "./pixels.js";

const PX_DECIMALS = 3;
const M_DECIMALS = 6;

/** Cuts crops, runs the network on them, brings its joints back into the image. */
export class CropEstimator {
  constructor(network, rules) {
    this.network = network;
    this.rules = rules;
  }

  /** One estimate for each view {image, camera, side, box}. */
  async estimate(views) {
    const estimates = [];
    const cut = new Map(); // the two sides of one box share the work
    for (let start = 0; start < views.length; start += this.network.batch) {
      const batch = views.slice(start, start + this.network.batch);
      const crops = batch.map((view) => {
        if (!cut.has(view.box)) {
          const crop = new HandCrop(view.camera, view.box, this.network.size);
          cut.set(view.box, { crop, pixels: cropImage(crop, view.image) });
        }
        const { crop, pixels } = cut.get(view.box);
        if (view.side === "right") return { crop, pixels };
        return { crop: crop.flipped(), pixels: flipped(pixels, this.network.size) };
      });
      const found = await this.network.run(
        crops.map(({ pixels }) => pixels),
        crops.map(({ crop }) => crop.K),
      );
      found.forEach((output, k) => estimates.push(new Estimate(batch[k], crops[k].crop, output, this.rules)));
    }
    return estimates;
  }

  /** For each box its estimates, one a side. */
  async estimateSides(image, camera, sides, boxes) {
    const views = boxes.flatMap((box) => sides.map((side) => ({ image, camera, side, box })));
    return inGroups(await this.estimate(views), sides);
  }
}

/** What the network estimated in one crop. */
export class Estimate {
  constructor(view, crop, output, rules) {
    this.view = view;
    this.rules = rules;
    this.logit = output.logit;
    this.uncertainty = output.uncertainty;
    this.joints_px = crop.uncropPoints(output.joints_px);
    this.joints_rel_m = crop.uncropJoints(output.joints_m);
    const [wrist] = crop.uncropJoints([output.wrist_cam_m]);
    this.joints_cam_m = this.joints_rel_m.map((joint) => joint.map((value, axis) => value + wrist[axis]));
    this.detectionScore = null;
  }

  /** A copy with some values changed. */
  with(values) {
    return Object.assign(Object.create(Estimate.prototype), this, values);
  }

  /** The detection's where there is one, else the pose network's. */
  get score() {
    return this.detectionScore ?? this.poseScore;
  }

  /** How much the crop looks like a hand of this side, less where heatmaps are uncertain. */
  get poseScore() {
    return this.certainty / (1 + Math.exp(-Math.min(Math.max(this.logit, -60), 60)));
  }

  /** 1, less where heatmaps are uncertain. */
  get certainty() {
    const most = this.rules.MAX_UNCERTAINTY;
    return this.uncertainty > most ? most / this.uncertainty : 1;
  }

  get box() {
    return boxOf(this.joints_px);
  }

  get isFinite() {
    return this.joints_px.flat().every(Number.isFinite);
  }

  /** Whether all joints stand in front of the camera and are projected onto `joints_px`. */
  get isPlaced() {
    if (!this.isFinite || !this.joints_cam_m.flat().every(Number.isFinite)) return false;
    const away = this.joints_cam_m.map((joint, k) => {
      const seen = project(this.view.camera, joint);
      return seen ? Math.hypot(seen[0] - this.joints_px[k][0], seen[1] - this.joints_px[k][1]) : NaN;
    });
    const [, , width, height] = this.box;
    return away.reduce((a, b) => a + b) / away.length <= this.rules.MAX_PROJECTION_ERROR * Math.max(width, height);
  }

  /** The square to crop next, around its joints; null where they make no sense. */
  nextBox(margin) {
    if (!this.isFinite) return null;
    const { width, height } = this.view.image;
    const box = squareBox(this.box, margin);
    const [u, v] = [box[0] + box[2] / 2, box[1] + box[3] / 2];
    const inside = u > -0.5 && v > -0.5 && u < width - 0.5 && v < height - 0.5;
    const { MIN_SIDE_PX, MAX_SIDE } = this.rules;
    return inside && box[2] >= MIN_SIDE_PX && box[2] <= MAX_SIDE * Math.max(width, height) ? box : null;
  }

  /** The view to take next, or null where this one is as good. */
  recrop(margin) {
    let box = this.nextBox(margin);
    if (!box) return null;
    const side = Math.max(box[2], this.rules.MIN_RECROP_RATIO * this.view.box[2]);
    box = [box[0] + (box[2] - side) / 2, box[1] + (box[3] - side) / 2, side, side];
    return iou(box, this.view.box) >= this.rules.RECROP_IOU ? null : { ...this.view, box };
  }

  /** As JSON has it. */
  toHand(track = null) {
    const { fx, fy, cx, cy, assumed } = this.view.camera;
    const [focalX, focalY, u, v] = rounded([fx, fy, cx, cy], PX_DECIMALS);
    return {
      ...(track === null ? {} : { track }),
      side: this.view.side,
      score: rounded(this.score, 4),
      ...(Number.isNaN(this.uncertainty) ? {} : { uncertainty: rounded(this.uncertainty, M_DECIMALS) }),
      box_px: rounded(this.box, PX_DECIMALS),
      joints_px: rounded(this.joints_px, PX_DECIMALS),
      joints_rel_m: rounded(this.joints_rel_m, M_DECIMALS),
      joints_cam_m: this.isPlaced ? rounded(this.joints_cam_m, M_DECIMALS) : null,
      camera: { fx: focalX, fy: focalY, cx: u, cy: v, assumed },
    };
  }
}

export function mostLikelySide(estimates) {
  return estimates.reduce((best, estimate) => (estimate.logit > best.logit ? estimate : best));
}

export function inGroups(estimates, sides) {
  const groups = [];
  for (let at = 0; at < estimates.length; at += sides.length) groups.push(estimates.slice(at, at + sides.length));
  return groups;
}

export function rounded(value, decimals) {
  if (Array.isArray(value)) return value.map((one) => rounded(one, decimals));
  const unit = 10 ** decimals;
  return Math.round(value * unit) / unit + 0;
}

function flipped(pixels, size) {
  const whole = new Uint32Array(pixels.buffer);
  const result = new Uint32Array(whole.length);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) result[row * size + column] = whole[row * size + size - 1 - column];
  }
  return new Uint8ClampedArray(result.buffer);
}
