// Images as pixels: read from a file, shrunk by areas, warped into crops. As OpenCV does it for graphhand.
// An image is {width, height, data}: four bytes a pixel, red, green, blue, opaque.

import { uprightBitmap } from "./exif.js";
import { inverseOf, product, roundedToEven, scaleAt } from "./geometry.js";

const WIDEST_SHRINK = 0.5; // below this scale a crop goes through a smaller copy, so that nothing aliases

/** The pixels of an image file, upright, transparency over white, colour profiles ignored. */
export async function readImage(blob) {
  const bitmap = await uprightBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  return pixelsOf(bitmap);
}

/** The pixels of a bitmap, which is closed. */
export function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** The crop of an image, `size` x `size`; what lies outside the image is black. */
export function cropImage(crop, image) {
  const { size } = crop;
  const middle = (size - 1) / 2;
  let homography = crop.homography;
  let back = inverseOf(homography);
  const scale = 1 / scaleAt(back, middle, middle);
  if (scale < WIDEST_SHRINK) {
    const part = seen(back, size, image, 2 / scale);
    const [left, top, right, bottom] = part;
    const factor = Math.max(scale * 1.5, 1 / Math.min(right - left, bottom - top));
    const [width, height] = [right - left, bottom - top].map((length) => roundedToEven(length * factor));
    const [fx, fy] = [width / (right - left), height / (bottom - top)];
    const shrink = [fx, 0, (fx - 1) / 2 - fx * left, 0, fy, (fy - 1) / 2 - fy * top, 0, 0, 1];
    image = shrunk(image, part, width, height);
    homography = product(homography, inverseOf(shrink));
    back = product(shrink, back);
  }
  return warped(image, back, size, seen(back, size, image, 1));
}

/** The part (left, top, right, bottom) of an image that a crop shows, never empty. */
function seen(back, size, { width, height }, margin) {
  const [us, vs] = [[], []];
  for (const [x, y] of [[0, 0], [size - 1, 0], [0, size - 1], [size - 1, size - 1]]) {
    const w = back[6] * x + back[7] * y + back[8];
    if (w * back[8] <= 0) return [0, 0, width, height]; // a corner looks behind the camera
    us.push((back[0] * x + back[1] * y + back[2]) / w);
    vs.push((back[3] * x + back[4] * y + back[5]) / w);
  }
  const [left, right] = pixelsBetween(Math.min(...us) - margin, Math.max(...us) + margin, width);
  const [top, bottom] = pixelsBetween(Math.min(...vs) - margin, Math.max(...vs) + margin, height);
  return [left, top, right, bottom];
}

function pixelsBetween(low, high, length) {
  const first = Math.min(Math.max(Math.floor(low), 0), length - 1);
  return [first, Math.min(Math.max(Math.ceil(high) + 1, first + 1), length)];
}

/** A part of an image at a smaller size: each pixel is the mean of the area it covers. */
export function shrunk(image, [left, top, right, bottom], width, height) {
  const columns = coverage(right - left, width);
  const rows = coverage(bottom - top, height);
  const data = new Uint8ClampedArray(4 * width * height);
  const line = new Float32Array(3 * width); // one row of the result, summed
  for (let y = 0; y < height; y++) {
    line.fill(0);
    for (let k = rows.start[y]; k < rows.start[y + 1]; k++) {
      const from = 4 * ((top + rows.source[k]) * image.width + left);
      for (let x = 0; x < width; x++) {
        let r = 0;
        let g = 0;
        let b = 0;
        for (let j = columns.start[x]; j < columns.start[x + 1]; j++) {
          const at = from + 4 * columns.source[j];
          const share = columns.share[j];
          r += share * image.data[at];
          g += share * image.data[at + 1];
          b += share * image.data[at + 2];
        }
        line[3 * x] += rows.share[k] * r;
        line[3 * x + 1] += rows.share[k] * g;
        line[3 * x + 2] += rows.share[k] * b;
      }
    }
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      data[at] = line[3 * x];
      data[at + 1] = line[3 * x + 1];
      data[at + 2] = line[3 * x + 2];
      data[at + 3] = 255;
    }
  }
  return { width, height, data };
}

/** Which of `length` pixels each of `count` larger ones covers, and by which share of it. */
function coverage(length, count) {
  const step = length / count;
  const [start, source, share] = [[0], [], []];
  for (let k = 0; k < count; k++) {
    const [low, high] = [k * step, Math.min((k + 1) * step, length)];
    for (let at = Math.floor(low); at < Math.min(Math.ceil(high - 1e-9), length); at++) {
      source.push(at);
      share.push((Math.min(at + 1, high) - Math.max(at, low)) / step);
    }
    start.push(source.length);
  }
  return { start: Int32Array.from(start), source: Int32Array.from(source), share: Float32Array.from(share) };
}

/** Bilinear: pixel (x, y) of the result is the image at back(x, y), black outside `part`. */
function warped(image, back, size, part) {
  // Plain variables: this runs for every pixel of every crop.
  const { width, data } = image;
  const left = part[0];
  const top = part[1];
  const right = part[2];
  const bottom = part[3];
  const result = new Uint8ClampedArray(4 * size * size);
  for (let row = 0, at = 0; row < size; row++) {
    for (let column = 0; column < size; column++, at += 4) {
      result[at + 3] = 255;
      const w = back[6] * column + back[7] * row + back[8];
      const u = (back[0] * column + back[1] * row + back[2]) / w;
      const v = (back[3] * column + back[4] * row + back[5]) / w;
      const x = Math.floor(u);
      const y = Math.floor(v);
      if (!(x >= left - 1 && x < right && y >= top - 1 && y < bottom)) continue;
      const onLeft = x >= left ? 1 - (u - x) : 0;
      const onRight = x + 1 < right ? u - x : 0;
      const above = y >= top ? 1 - (v - y) : 0;
      const below = y + 1 < bottom ? v - y : 0;
      // Where a weight is 0 its neighbour is not looked at: any pixel will do.
      const upper = 4 * (Math.max(y, top) * width);
      const lower = 4 * (Math.min(y + 1, bottom - 1) * width);
      const first = 4 * Math.max(x, left);
      const second = 4 * Math.min(x + 1, right - 1);
      for (let channel = 0; channel < 3; channel++) {
        result[at + channel] =
          above * (onLeft * data[upper + first + channel] + onRight * data[upper + second + channel]) +
          below * (onLeft * data[lower + first + channel] + onRight * data[lower + second + channel]);
      }
    }
  }
  return result;
}
