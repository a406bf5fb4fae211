/** Opening photos: what the file is, how large, and whether this browser can show it. */

/** @import {Info, Origin, Photo} from "./types.js" */
import { SNIFFED, sniff, title } from "./formats.js";

/**
 * @param {Blob} file
 * @param {string} name
 * @param {Origin | null} [origin]
 * @returns {Promise<Photo>}   upright; rejects with an Error that says what was expected
 */
export async function readPhoto(file, name, origin = null) {
  const format = sniff(new Uint8Array(await file.slice(0, SNIFFED).arrayBuffer()));
  if (file.size === 0) throw new Error("photo: expected an image, got an empty file");
  if (format === "svg") throw new Error("photo: expected pixels, got SVG; export it as PNG first");
  const size = await measure(file);
  if (size === null && format === null) throw new Error("photo: expected an image, a JPEG or PNG for example");
  if (size === null) {
    const reason = ["tiff", "heic", "jpeg2000", "avif"].includes(format ?? "")
      ? "cannot be shown by this browser"
      : "is damaged";
    const advice = reason.endsWith("damaged")
      ? ""
      : "; save it as JPEG or PNG, or use the command line: moebius inpaint";
    throw new Error(`this ${title(format ?? "")} file ${reason}${advice}`);
  }
  return { file, name, ...size, format: format ?? "png", origin };
}

/** What is wrong with a photo for this engine, or null. @param {Photo} photo @param {Info} info */
export function tooLarge(photo, { limits }) {
  const pixels = photo.width * photo.height;
  if (pixels > limits.pixels) {
    return `photo: expected at most ${mega(limits.pixels)} megapixels, got ${mega(pixels)}; make it smaller first`;
  }
  if (photo.file.size > limits.upload_bytes) {
    return `photo: expected a file of at most ${mega(limits.upload_bytes)} MB, got ${mega(photo.file.size)} MB`;
  }
  return null;
}

/** @param {number} count */
function mega(count) {
  return Number((count / 1e6).toPrecision(3));
}

/** Width and height as shown, without decoding the pixels. @param {Blob} file
 * @returns {Promise<{width: number, height: number} | null>} */
function measure(file) {
  const address = URL.createObjectURL(file);
  return new Promise((resolve) => {
    const image = new Image();
    const end = (/** @type {{width: number, height: number} | null} */ size) => {
      URL.revokeObjectURL(address);
      resolve(size);
    };
    image.onload = () => end({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => end(null);
    image.src = address;
  });
}
