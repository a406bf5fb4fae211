/** Mixing in light: stored values are spaced as eyes see, not as light adds up. The curve is sRGB's, IEC 61966-2-1. */

/** Points of the table, as in Python's imaging/linear.py: values between them are interpolated, there as here. */
const POINTS = 65536;
const LEAST_SLOPE = 1e-6;

/** @type {Float64Array | null} */
let table = null;

/** Light of POINTS stored values from 0 to 1. */
function lightTable() {
  if (table === null) {
    table = new Float64Array(POINTS);
    for (let i = 0; i < POINTS; i++) {
      const stored = i / (POINTS - 1);
      const light = stored <= 0.04045 ? stored / 12.92 : ((stored + 0.055) / 1.055) ** 2.4;
      table[i] = light + LEAST_SLOPE * stored;
    }
  }
  return table;
}

/**
 * (1 - weight) old + weight new, added as light.
 * @param {number} old @param {number} fresh stored values in [0, 1] @param {number} weight in [0, 1]
 * @returns {number} a stored value in [0, 1]
 */
export function mix(old, fresh, weight) {
  return toStored((1 - weight) * toLight(old) + weight * toLight(fresh));
}

/** @param {number} stored */
function toLight(stored) {
  const light = lightTable();
  const place = stored * (POINTS - 1), below = Math.min(Math.floor(place), POINTS - 2);
  return light[below] + (place - below) * (light[below + 1] - light[below]);
}

/** @param {number} value */
function toStored(value) {
  const light = lightTable();
  let low = 0, high = POINTS - 1;
  if (value >= light[high]) return 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (light[middle] <= value) low = middle;
    else high = middle;
  }
  return (low + (value - light[low]) / (light[high] - light[low])) / (POINTS - 1);
}
