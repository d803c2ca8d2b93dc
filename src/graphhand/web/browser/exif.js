// The focal length that a photo's EXIF tells: graphhand.io.containers in the browser.

const [EXIF_DIRECTORY, WIDTH, HEIGHT, FOCAL_35MM] = [0x8769, 0xa002, 0xa003, 0xa405];
const LONGEST_HEAD = 2 ** 18; // bytes before the image data of a JPEG, or before a PNG's
const MOST_ENTRIES = 512;
const FILM_DIAGONAL_MM = Math.hypot(36, 24);
const SENSOR_ASPECTS = [4 / 3, 3 / 2, 16 / 9];
const SAME_ASPECT = 0.02;

/** In pixels of an image of this size; null where the file does not tell it, or was cut. */
export async function exifFocalPx(blob, width, height) {
  const tags = parsed(exifBlock(new DataView(await blob.slice(0, LONGEST_HEAD).arrayBuffer())));
  const focal = tags?.get(FOCAL_35MM);
  if (!(focal >= 8 && focal <= 800)) return null;
  const aspectOf = (a, b) => Math.max(a, b) / Math.min(a, b);
  const near = (aspect, other) => Math.abs(aspect / other - 1) < SAME_ASPECT;
  const [w, h] = [tags.get(WIDTH), tags.get(HEIGHT)];
  const wanted = w > 0 && h > 0 ? SENSOR_ASPECTS.filter((aspect) => near(aspectOf(w, h), aspect)) : SENSOR_ASPECTS;
  if (!wanted.some((aspect) => near(aspectOf(width, height), aspect))) return null;
  return (focal * Math.hypot(width, height)) / FILM_DIAGONAL_MM;
}

/** The TIFF inside a JPEG's or PNG's EXIF, as a view; null where there is none. */
function exifBlock(view) {
  try {
    if (view.getUint16(0) === 0xffd8) {
      for (let at = 2; view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
        const [code, length] = [view.getUint8(at + 1), view.getUint16(at + 2)];
        if (code === 0xda) return null;
        if (code === 0xe1 && view.getUint32(at + 4) === 0x45786966) return part(view, at + 10, length - 8);
      }
    } else if (view.getUint32(0) === 0x89504e47) {
      for (let at = 8; view.getUint32(at + 4) !== 0x49444154; at += 12 + view.getUint32(at)) {
        if (view.getUint32(at + 4) === 0x65584966) return part(view, at + 8, view.getUint32(at));
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the end of the file
  }
  return null;
}

function part(view, start, length) {
  return new DataView(view.buffer, start, Math.min(length, view.byteLength - start));
}

/** The single whole numbers of the EXIF directory by tag. */
function parsed(view) {
  if (!view || view.byteLength < 8) return null;
  const order = view.getUint32(0);
  if (order !== 0x49492a00 && order !== 0x4d4d002a) return null;
  const little = order === 0x49492a00;
  const inner = numbers(view, view.getUint32(4, little), little).get(EXIF_DIRECTORY);
  return inner === undefined ? null : numbers(view, inner, little);
}

function numbers(view, start, little) {
  const found = new Map();
  try {
    const count = Math.min(view.getUint16(start, little), MOST_ENTRIES);
    for (let at = start + 2; at < start + 2 + 12 * count; at += 12) {
      const kind = view.getUint16(at + 2, little);
      if (![3, 4].includes(kind) || view.getUint32(at + 4, little) !== 1) continue;
      const value = kind === 3 ? view.getUint16(at + 8, little) : view.getUint32(at + 8, little);
      found.set(view.getUint16(at, little), value);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return found;
}
