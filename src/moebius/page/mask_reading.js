/** Masks out of image files: whatever is at least half white is to be filled. */

/** @import {Bits, Size} from "./types.js" */

/** Rows worked on at a time. */
const STRIP = 512;
/** Levels within which opaque pixels count as one colour. */
const ONE_COLOUR = 32;

/**
 * With alpha, if all that is at least half opaque has one colour, the mask is a painted layer and its opaque part is
 * filled; otherwise it is laid on black. A mask of the photo's shape at another size is brought to the photo's.
 * @param {Blob} file
 * @param {Size} size   of the photo
 * @returns {Promise<Bits>}
 */
export async function readMask(file, { width, height }) {
  const image = await createImageBitmap(file).catch(() => {
    throw new Error("mask: expected an image that this browser can show, a PNG for example");
  });
  const near = Math.max(2, width / image.width, height / image.height); // rounding of a scaled copy's sides
  if (Math.abs(image.width * (height / image.height) - width) > near) {
    throw new Error(`mask: expected the photo's size, ${width} x ${height}, got ${image.width} x ${image.height}`);
  }
  const painted = isPaintedLayer(image, width, height);
  const stride = (width + 7) >> 3;
  const bits = new Uint8Array(stride * height);
  for (const { data, top } of strips(image, width, height)) {
    for (let i = 0; i < data.length; i += 4) {
      if (painted ? data[i + 3] < 128 : grey(data, i) < 128) continue;
      const [x, y] = [(i / 4) % width, top + Math.floor(i / 4 / width)];
      bits[y * stride + (x >> 3)] |= 128 >> (x & 7);
    }
  }
  image.close();
  return { kind: "bits", width, height, bits };
}

/** @param {ImageBitmap} image @param {number} width @param {number} height */
function isPaintedLayer(image, width, height) {
  const low = [255, 255, 255];
  const high = [0, 0, 0];
  let clear = false;
  for (const { data } of strips(image, width, height)) {
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] < 128) clear = true;
      for (let c = 0; c < 3 && data[i + 3] >= 128; c += 1) {
        low[c] = Math.min(low[c], data[i + c]);
        high[c] = Math.max(high[c], data[i + c]);
      }
    }
    if (high.some((value, c) => value - low[c] > ONE_COLOUR)) return false;
  }
  return clear && high[0] >= low[0];
}

/** Luma on black, 0 to 255. @param {Uint8ClampedArray} data @param {number} i */
function grey(data, i) {
  return Math.round(((0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]) * data[i + 3]) / 255);
}

/** The image at (width, height), some rows at a time: canvases are limited in size, and photos are not.
 * @param {ImageBitmap} image @param {number} width @param {number} height */
function* strips(image, width, height) {
  const canvas = new OffscreenCanvas(width, Math.min(STRIP, height));
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  context.imageSmoothingEnabled = false;
  for (let top = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    context.clearRect(0, 0, width, rows);
    context.drawImage(image, 0, -top, width, height);
    yield { top, data: context.getImageData(0, 0, width, rows).data };
  }
}
