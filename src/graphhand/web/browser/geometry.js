// Crops of an image and the way back, and overlap of boxes: graphhand.geometry in the browser.
// Matrices are nine numbers, row by row. Boxes are x, y, width, height in pixels; the first pixel's centre is (0, 0).

/** A camera {fx, fy, cx, cy, assumed} of an image, perhaps cut to one hand, from what is known of it. */
export function cameraOf(width, height, { fovDeg, focalPx, wholeImage }, rules, cut = false) {
  const longer = Math.max(width, height);
  const assumed = cut || wholeImage ? rules.DEFAULT_CUT_FOV_DEG : rules.DEFAULT_FOV_DEG;
  const ofFov = (fov) => longer / (2 * Math.tan(((fov / 180) * Math.PI) / 2));
  const focal = fovDeg !== null ? ofFov(fovDeg) : (focalPx ?? ofFov(assumed));
  return { fx: focal, fy: focal, cx: (width - 1) / 2, cy: (height - 1) / 2, assumed: fovDeg === null && focalPx === null };
}

/** Pixels [u, v] of a point in camera axes; null where it is not in front of the camera. */
export function project({ fx, fy, cx, cy }, [x, y, z]) {
  return z > 0 ? [(fx * x) / z + cx, (fy * y) / z + cy] : null;
}

/** How one square crop is cut: the view of a camera turned towards the middle of the box. See geometry/crops.py. */
export class HandCrop {
  constructor(camera, box, size) {
    const { fx, fy, cx, cy } = camera;
    const inverse = [1 / fx, 0, -cx / fx, 0, 1 / fy, -cy / fy, 0, 0, 1];
    const [u, v] = [box[0] + box[2] / 2, box[1] + box[3] / 2];
    const ray = times(inverse, [u, v, 1]);
    const distance = Math.hypot(...ray);
    const rotation = rotationToAxis(ray.map((value) => value / distance));
    const middle = (size - 1) / 2;
    const focal = size / Math.max(box[2], box[3]) / Math.sqrt(Math.abs(determinant(inverse)) / distance ** 3);
    this.size = size;
    this.K = [focal, 0, middle, 0, focal, middle, 0, 0, 1];
    this.rotation = rotation;
    this.homography = product(product(this.K, rotation), inverse);
  }

  /** The same crop flipped left to right. */
  flipped() {
    const crop = Object.create(HandCrop.prototype);
    const mirror = [-1, 0, this.size - 1, 0, 1, 0, 0, 0, 1];
    crop.size = this.size;
    crop.K = this.K;
    crop.rotation = product([-1, 0, 0, 0, 1, 0, 0, 0, 1], this.rotation);
    crop.homography = product(mirror, this.homography);
    return crop;
  }

  /** From crop pixels to the image's. */
  uncropPoints(points) {
    const back = inverseOf(this.homography);
    return points.map(([u, v]) => {
      const [x, y, w] = times(back, [u, v, 1]);
      return [x / w, y / w];
    });
  }

  /** Vectors in the crop's axes to the image's camera axes; the rotation, perhaps with a flip, is orthogonal. */
  uncropJoints(joints) {
    const [a, b, c, d, e, f, g, h, i] = this.rotation;
    return joints.map((joint) => times([a, d, g, b, e, h, c, f, i], joint));
  }
}

/** The smallest rotation that takes a unit ray in front of the camera to the z axis. */
function rotationToAxis([x, y, z]) {
  const k = 1 / (1 + z);
  return [1 - k * x * x, -k * x * y, -x, -k * x * y, 1 - k * y * y, -y, x, y, z];
}

export function product(one, other) {
  const rows = [0, 3, 6].flatMap((r) =>
    [0, 1, 2].map((c) => one[r] * other[c] + one[r + 1] * other[c + 3] + one[r + 2] * other[c + 6]),
  );
  return rows;
}

export function times(matrix, [x, y, z]) {
  return [0, 3, 6].map((r) => matrix[r] * x + matrix[r + 1] * y + matrix[r + 2] * z);
}

function determinant([a, b, c, d, e, f, g, h, i]) {
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

export function inverseOf(matrix) {
  const [a, b, c, d, e, f, g, h, i] = matrix;
  const k = 1 / determinant(matrix);
  return [
    ...[e * i - f * h, c * h - b * i, b * f - c * e],
    ...[f * g - d * i, a * i - c * g, c * d - a * f],
    ...[d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((value) => value * k);
}

/** How many target pixels one source pixel spans at a point. */
export function scaleAt(homography, u, v) {
  const w = homography[6] * u + homography[7] * v + homography[8];
  return Math.sqrt(Math.abs(determinant(homography) / w ** 3));
}

/** The nearest whole number, of two the even one: Python's round. */
export function roundedToEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** x, y, width, height of points. */
export function boxOf(points) {
  const [us, vs] = [points.map(([u]) => u), points.map(([, v]) => v)];
  const [left, top] = [Math.min(...us), Math.min(...vs)];
  return [left, top, Math.max(...us) - left, Math.max(...vs) - top];
}

/** The square around a box, its side `margin` times the longer one. */
export function squareBox([x, y, width, height], margin) {
  const side = Math.max(Math.max(width, height) * margin, 1);
  return [x + (width - side) / 2, y + (height - side) / 2, side, side];
}

/** The smallest square around an image. */
export function wholeImageBox(width, height) {
  const side = Math.max(width, height);
  return [(width - 1 - side) / 2, (height - 1 - side) / 2, side, side];
}

function intersection(a, b) {
  const across = Math.min(a[0] + a[2], b[0] + b[2]) - Math.max(a[0], b[0]);
  const down = Math.min(a[1] + a[3], b[1] + b[3]) - Math.max(a[1], b[1]);
  return Math.max(across, 0) * Math.max(down, 0);
}

export function iou(a, b) {
  const shared = intersection(a, b);
  return shared / Math.max(a[2] * a[3] + b[2] * b[3] - shared, 1e-9);
}

/** The intersection over the smaller box. */
export function overSmaller(a, b) {
  return intersection(a, b) / Math.max(Math.min(a[2] * a[3], b[2] * b[3]), 1e-9);
}

/** Greedy non-maximum suppression: the items kept, best first. */
export function suppress(items, { boxOf: box, score, mostIou, mostInside = 1 }) {
  const kept = [];
  for (const item of items.toSorted((a, b) => score(b) - score(a))) {
    const fits = (other) => iou(box(item), box(other)) <= mostIou && overSmaller(box(item), box(other)) <= mostInside;
    if (kept.every(fits)) kept.push(item);
  }
  return kept;
}
