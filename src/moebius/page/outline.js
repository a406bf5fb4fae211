/** The line around a mask, as line segments along its pixels' edges. Pure. */

/**
 * @param {Uint8Array} mask   (height, width)
 * @param {number} width
 * @param {number} height
 * @param {number} [scale]   what coordinates are multiplied by
 * @returns {number[]}   x0, y0, x1, y1, ...: collinear neighbours are one segment; none along the photo's own border
 */
export function trace(mask, width, height, scale = 1) {
  /** @type {number[]} */
  const segments = [];
  for (let y = 1; y < height; y += 1) {
    let from = -1;
    for (let x = 0; x <= width; x += 1) {
      const edge = x < width && mask[(y - 1) * width + x] !== mask[y * width + x];
      if (edge && from < 0) from = x;
      if (!edge && from >= 0) {
        segments.push(from * scale, y * scale, x * scale, y * scale);
        from = -1;
      }
    }
  }
  for (let x = 1; x < width; x += 1) {
    let from = -1;
    for (let y = 0; y <= height; y += 1) {
      const edge = y < height && mask[y * width + x - 1] !== mask[y * width + x];
      if (edge && from < 0) from = y;
      if (!edge && from >= 0) {
        segments.push(x * scale, from * scale, x * scale, y * scale);
        from = -1;
      }
    }
  }
  return segments;
}
