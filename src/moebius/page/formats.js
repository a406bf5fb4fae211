/** File formats: told by their first bytes, named in files and for people. Pure. */

/** @type {Record<string, {title: string, ends: string}>} */
const FORMATS = {
  jpeg: { title: "JPEG", ends: "jpg" },
  png: { title: "PNG", ends: "png" },
  webp: { title: "WebP", ends: "webp" },
  gif: { title: "GIF", ends: "gif" },
  bmp: { title: "BMP", ends: "bmp" },
  tiff: { title: "TIFF", ends: "tif" },
  heic: { title: "HEIC", ends: "heic" },
  heif: { title: "HEIF", ends: "heif" },
  avif: { title: "AVIF", ends: "avif" },
  jpeg2000: { title: "JPEG 2000", ends: "jp2" },
  svg: { title: "SVG", ends: "svg" },
};

/** As long a beginning of a file as `sniff` needs. */
export const SNIFFED = 64;

/** @param {Uint8Array} bytes   the beginning of a file @returns {string | null} the format, null: none that is known */
export function sniff(bytes) {
  const text = String.fromCharCode(...bytes.subarray(0, SNIFFED));
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("\x89PNG")) return "png";
  if (text.startsWith("RIFF") && text.slice(8, 12) === "WEBP") return "webp";
  if (text.startsWith("GIF8")) return "gif";
  if (text.startsWith("BM")) return "bmp";
  if (/^(II[*+]\0|MM\0[*+])/.test(text)) return "tiff";
  if (text.slice(4, 8) === "ftyp") return /avi[fs]/.test(text.slice(8, 32)) ? "avif" : "heic";
  if (text.startsWith("\0\0\0\x0cjP  ")) return "jpeg2000";
  if (/^(\xef\xbb\xbf)?\s*<(\?xml|svg|!--|!DOCTYPE svg)/i.test(text)) return "svg";
  return null;
}

/** @param {string} format */
export function title(format) {
  return FORMATS[format]?.title ?? format.toUpperCase();
}

/**
 * "holiday.jpeg" as a cleaned PNG: "holiday-clean.png".
 * @param {string} name
 * @param {string} addition
 * @param {string} format
 */
export function fileName(name, addition, format) {
  const stem = name.replace(/\.[^.]{1,5}$/, "").replace(new RegExp(`-${addition}$`), "") || "photo";
  return `${stem}-${addition}.${FORMATS[format]?.ends ?? format}`;
}
