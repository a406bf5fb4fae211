/**
 * Patches of a picture at one scale: which are known whole, which touch the hole, and how far one is from another.
 * Formulas as in Python's imaging/patches.py, on whole numbers.
 */
/** @typedef {import("./arrays.js").Mask} Mask */

/** Of patches of 5 x 5 px. */
export const RADIUS = 2;
const SIDE = 2 * RADIUS + 1;
/** What the pixel of a patch weighs that has most say in a comparison. */
const HEAVIEST = 256;
/** What a guessed pixel of the hole weighs beside a known one, halved for each step into the hole. */
const GUESSED = 0.02;
/** Steps into the hole from which on it has no less. */
const DEEPEST = 16;

/**
 * A picture at one scale, and its hole. A place is y * stride + x, of a patch's middle in the picture and of its top left
 * corner in pictures with a mirrored border.
 */
export class Level {
  /** @param {Uint8Array} picture RGB; what is under the hole is a first guess @param {Mask} hole */
  constructor(picture, hole) {
    const { width, height } = hole, stride = width + 2 * RADIUS, steps = [1, -1, stride, -stride];
    this.picture = picture;
    this.hole = hole;
    this.stride = stride;
    /** Patches: 1 where they touch the hole, 2 where they are known whole. */
    this.kinds = new Uint8Array(stride * height);
    for (let y = RADIUS; y < height - RADIUS; y++) {
      this.kinds.fill(2, y * stride + RADIUS, Math.max(y * stride + RADIUS, y * stride + width - RADIUS));
    }
    for (let i = 0; i < hole.data.length; i++) {
      if (!hole.data[i]) continue;
      const x = i % width, y = (i - x) / width;
      for (let row = Math.max(0, y - RADIUS); row <= Math.min(height - 1, y + RADIUS); row++) {
        this.kinds.fill(1, row * stride + Math.max(0, x - RADIUS), row * stride + Math.min(width, x + RADIUS + 1));
      }
    }
    /** Places of those that are known, and of those that touch the hole; both in reading order. */
    this.known = placesOf(this.kinds, 2);
    this.places = placesOf(this.kinds, 1);
    /** Which of the latter is at a place, and next to each: right, left, below, above; -1 for none. */
    this.index = new Int32Array(stride * height).fill(-1);
    this.beside = new Int32Array(4 * this.places.length).fill(-1);
    this.source = this.wide(picture, 3);
    const count = this.places.length;
    for (let row = 0; row < count; row++) this.index[this.places[row]] = row;
    for (let k = 0; k < 4 * count; k++) this.beside[k] = this.index[this.places[k >> 2] + steps[k % 4]] ?? -1;
    /** What each pixel of a patch weighs, 25 a patch, and all of them; empty before `weigh()`. */
    this.weights = new Int32Array(0);
    this.totals = new Int32Array(count);
  }

  /** To be called before patches are compared. */
  weigh() {
    const { places, stride, totals } = this;
    const deep = Float64Array.from(depth(this.hole, DEEPEST)).map((steps) => (steps ? GUESSED / 2 ** steps : 1));
    const all = this.wide(deep, 1), each = new Float64Array(SIDE ** 2);
    this.weights = new Int32Array(each.length * places.length);
    for (let row = 0; row < places.length; row++) {
      let heaviest = 0;
      for (let p = 0; p < each.length; p++) {
        each[p] = all[places[row] + Math.floor(p / SIDE) * stride + (p % SIDE)];
        heaviest = Math.max(heaviest, each[p]);
      }
      for (let p = 0; p < each.length; p++) {
        totals[row] += this.weights[each.length * row + p] = Math.max(1, Math.floor((each[p] * HEAVIEST) / heaviest));
      }
    }
  }

  /** The place (y, x) if there is a known patch; else -1. @param {number} y @param {number} x */
  usable(y, x) {
    const { width, height } = this.hole, at = y * this.stride + x;
    return y >= 0 && y < height && x >= 0 && x < width && this.kinds[at] === 2 ? at : -1;
  }

  /**
   * With a border of RADIUS that mirrors the inside.
   * @template {Uint8Array | Float64Array} T @param {T} values @param {number} channels @returns {T}
   */
  wide(values, channels) {
    const { width, height } = this.hole;
    const Kind = /** @type {new (length: number) => T} */ (values.constructor);
    const found = new Kind(this.stride * (height + 2 * RADIUS) * channels);
    for (let y = 0, to = 0; y < height + 2 * RADIUS; y++) {
      for (let x = 0; x < this.stride; x++) {
        const from = channels * (reflected(y, height) * width + reflected(x, width));
        for (let c = 0; c < channels; c++) found[to++] = values[from + c];
      }
    }
    return found;
  }

  /**
   * Weighted squares between a patch and a known one, or as many as it takes to exceed `limit`.
   * @param {Uint8Array} fill wide @param {number} row @param {number} at @param {number} limit
   */
  squares(fill, row, at, limit) {
    const { source, weights, stride } = this;
    let sum = 0, p = SIDE ** 2 * row;
    for (let y = 0, i = 3 * this.places[row], j = 3 * at; y < SIDE && sum <= limit; y++, i += 3 * (stride - SIDE), j += 3 * (stride - SIDE)) {
      for (let x = 0; x < SIDE; x++, i += 3, j += 3) {
        const red = fill[i] - source[j], green = fill[i + 1] - source[j + 1], blue = fill[i + 2] - source[j + 2];
        sum += weights[p++] * (red * red + green * green + blue * blue);
      }
    }
    return sum;
  }

  /**
   * How far a patch of the fill is from a known one, a whole number; where it is `most` or more, any such number.
   * @param {Uint8Array} fill wide @param {number} row @param {number} at @param {number} most
   */
  distance(fill, row, at, most) {
    const total = this.totals[row], limit = (most * total) / SIDE ** 2 + 1;
    return Math.floor((this.squares(fill, row, at, limit) * SIDE ** 2) / total);
  }

  /** The distance of each patch of the fill. @param {Uint8Array} fill wide @param {Int32Array} at */
  distances(fill, at) {
    return at.map((to, row) => this.distance(fill, row, to, Infinity));
  }

  /**
   * The nearest of all known patches to each, the first of several.
   * @param {Uint8Array} fill wide @param {Int32Array} at known patches, better ones saving time; overwritten
   */
  nearest(fill, at) {
    const { places, known } = this;
    for (let row = 0; row < places.length; row++) {
      let least = this.squares(fill, row, at[row], Infinity) + 1;
      for (let k = 0; k < known.length; k++) {
        const far = this.squares(fill, row, known[k], least);
        if (far < least) {
          least = far;
          at[row] = known[k];
        }
      }
    }
  }
}

/** Steps from each pixel of the hole to what is known, at most `most`; 0 outside. @param {Mask} hole @param {number} most */
export function depth({ width, height, data }, most) {
  const found = data.map((value) => value * most);
  for (const turn of [1, -1]) {
    for (let i = 0; i < found.length; i++) {
      const at = turn > 0 ? i : found.length - 1 - i, x = at % width, before = turn > 0 ? x > 0 : x < width - 1;
      found[at] = Math.min(found[at], (before ? found[at - turn] : most) + 1, (found[at - turn * width] ?? most) + 1);
    }
  }
  return found;
}

/** @param {Uint8Array} kinds @param {number} kind */
function placesOf(kinds, kind) {
  const found = new Int32Array(kinds.length);
  let count = 0;
  for (let at = 0; at < kinds.length; at++) if (kinds[at] === kind) found[count++] = at;
  return found.slice(0, count);
}

/** The index inside that is at `index` of a wide row. @param {number} index @param {number} count */
function reflected(index, count) {
  return Math.abs(count - 1 - Math.abs(count - 1 - Math.abs(index - RADIUS)));
}
