// What a photo's EXIF tells, its focal length and how it is turned: graphhand.io.containers in the browser.

const ORIENTATION = 0x0112;
const [EXIF_DIRECTORY, WIDTH, HEIGHT, FOCAL_35MM] = [0x8769, 0xa002, 0xa003, 0xa405];
const [RIFF, WEBP, IEND] = [0x52494646, 0x57454250, 0x49454e44]; // names, four letters each
const [EXIF_NAME, EXIF_OF_PNG, EXIF_OF_WEBP] = [0x45786966, 0x65584966, 0x45584946];
const MOST_ENTRIES = 512;
const FILM_DIAGONAL_MM = Math.hypot(36, 24);
const SENSOR_ASPECTS = [4 / 3, 3 / 2, 16 / 9];
const SAME_ASPECT = 0.02;

/** In pixels of an image of this size; null where the file does not tell it, or was cut. */
export async function exifFocalPx(blob, width, height) {
  const tags = parsed(exifBlock(new DataView(await blob.arrayBuffer())));
  const focal = tags?.get(FOCAL_35MM);
  if (!(focal >= 8 && focal <= 800)) return null;
  const aspectOf = (a, b) => Math.max(a, b) / Math.min(a, b);
  const near = (aspect, other) => Math.abs(aspect / other - 1) < SAME_ASPECT;
  const [w, h] = [tags.get(WIDTH), tags.get(HEIGHT)];
  const wanted = w > 0 && h > 0 ? SENSOR_ASPECTS.filter((aspect) => near(aspectOf(w, h), aspect)) : SENSOR_ASPECTS;
  if (!wanted.some((aspect) => near(aspectOf(width, height), aspect))) return null;
  return (focal * Math.hypot(width, height)) / FILM_DIAGONAL_MM;
}

/** The bitmap of a file, turned upright; browsers turn some formats only, so that here they turn none. */
export async function uprightBitmap(blob, settings = {}) {
  const data = await blob.arrayBuffer();
  const view = exifBlock(new DataView(data));
  const tags = view ? directory(view).filter(({ tag }) => tag === ORIENTATION) : [];
  if (!tags.length) return createImageBitmap(blob, settings);
  for (const { at, kind, little } of tags) {
    if (kind === 3) view.setUint16(at, 1, little);
    else view.setUint32(at, 1, little);
  }
  return turned(await createImageBitmap(new Blob([data]), settings), tags.at(-1).value);
}

/** A bitmap whose first row and column belong elsewhere, as EXIF numbers it, 1 to 8. */
function turned(bitmap, orientation) {
  const { width: w, height: h } = bitmap;
  const transform = {
    ...{ 2: [-1, 0, 0, 1, w, 0], 3: [-1, 0, 0, -1, w, h], 4: [1, 0, 0, -1, 0, h], 5: [0, 1, 1, 0, 0, 0] },
    ...{ 6: [0, 1, -1, 0, h, 0], 7: [0, -1, -1, 0, h, w], 8: [0, -1, 1, 0, 0, w] },
  }[orientation];
  if (!transform) return bitmap;
  const canvas = orientation >= 5 ? new OffscreenCanvas(h, w) : new OffscreenCanvas(w, h);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.setTransform(...transform);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}

/** The TIFF inside the first EXIF of a JPEG, PNG or WebP, as a view; null where there is none. */
function exifBlock(view) {
  try {
    if (view.getUint16(0) === 0xffd8) return ofJpeg(view);
    if (view.getUint32(0) === 0x89504e47) return ofPng(view);
    if (view.getUint32(0) === RIFF && view.getUint32(8) === WEBP) return ofWebp(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the end of the file
  }
  return null;
}

function ofJpeg(view) {
  for (let at = 2; ; ) {
    // A marker is 0xFF and a code, perhaps after more 0xFF; within compressed data 0xFF00 and 0xFFD0-D7 are none.
    while (view.getUint8(at) !== 0xff || !isMarker(view.getUint8(at + 1))) at++;
    const [code, length] = [view.getUint8(at + 1), view.getUint16(at + 2)];
    if (code === 0xd9 || length < 2) return null;
    if (code === 0xe1 && length >= 7 && view.getUint32(at + 4) === EXIF_NAME && view.getUint8(at + 8) === 0) {
      return part(view, at + 10, length - 8);
    }
    at += 2 + length;
  }
}

const isMarker = (code) => code > 0x01 && code < 0xff && !(code >= 0xd0 && code <= 0xd7);

function ofPng(view) {
  for (let at = 8; view.getUint32(at + 4) !== IEND; at += 12 + view.getUint32(at)) {
    if (view.getUint32(at + 4) === EXIF_OF_PNG) return part(view, at + 8, view.getUint32(at));
  }
  return null;
}

function ofWebp(view) {
  const end = 8 + view.getUint32(4, true);
  for (let at = 12; at + 8 <= end; ) {
    const length = view.getUint32(at + 4, true);
    if (view.getUint32(at) === EXIF_OF_WEBP) {
      // Some programs put a JPEG's name before the TIFF.
      const named = length >= 6 && view.getUint32(at + 8) === EXIF_NAME && view.getUint16(at + 12) === 0;
      return part(view, at + 8 + (named ? 6 : 0), length - (named ? 6 : 0));
    }
    at += 8 + length + (length & 1);
  }
  return null;
}

function part(view, start, length) {
  return new DataView(view.buffer, start, Math.max(0, Math.min(length, view.byteLength - start)));
}

/** The single whole numbers of the EXIF directory by tag. */
function parsed(view) {
  if (!view) return null;
  const { value: start, little } = directory(view).findLast(({ tag }) => tag === EXIF_DIRECTORY) ?? {};
  return start === undefined ? null : new Map(entries(view, start, little).map(({ tag, value }) => [tag, value]));
}

/** The entries of a TIFF's first directory. */
function directory(view) {
  if (view.byteLength < 8) return [];
  const order = view.getUint32(0);
  const little = order === 0x49492a00;
  return little || order === 0x4d4d002a ? entries(view, view.getUint32(4, little), little) : [];
}

/** The single whole numbers of a directory, and where they stand, as far as it can be read. */
function entries(view, start, little) {
  const found = [];
  try {
    const count = Math.min(view.getUint16(start, little), MOST_ENTRIES);
    for (let at = start + 2; at < start + 2 + 12 * count; at += 12) {
      const kind = view.getUint16(at + 2, little);
      if (![3, 4].includes(kind) || view.getUint32(at + 4, little) !== 1) continue;
      const value = kind === 3 ? view.getUint16(at + 8, little) : view.getUint32(at + 8, little);
      found.push({ tag: view.getUint16(at, little), value, kind, at: at + 8, little });
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return found;
}
