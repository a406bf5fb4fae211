/**
 * Patches of a picture at one scale: which are known whole, which touch the hole, and how far one is from another.
 * Formulas as in Python's imaging/patches.py, on whole numbers.
 */

/** @typedef {import("./arrays.js").Mask} Mask */

/** What the pixel of a patch weighs that has most say in a comparison. */
const HEAVIEST = 192;
/** What a patch in the mirror is farther for it, in squares of colour of each of its pixels. */
const MIRRORED = 400;
/** What a pixel weighs, by steps into the hole. */
const SAY = [1, 0.07];
while (SAY.length < 17) SAY.push(SAY[SAY.length - 1] * 0.7);

/**
 * A place is y * stride + x: a patch's middle in the picture, its corner in one with a reflected border, a "wide" one. Below
 * the picture lies its mirror, with more patches to be copied.
 */
export class Level {
  /**
   * @param {Uint8Array} picture RGB; what is under the hole is a first guess @param {Mask} hole
   * @param {number} radius of its patches
   */
  constructor(picture, hole, radius) {
    const { width, height } = hole, stride = width + 2 * radius, steps = [1, -1, stride, -stride];
    this.radius = radius;
    this.side = 2 * radius + 1;
    this.picture = picture;
    this.hole = hole;
    this.stride = stride;
    /** Patches: 1 where they touch the hole, 2 where they are known whole. */
    this.kinds = new Uint8Array(2 * stride * height);
    for (let y = radius; y < height - radius && width > 2 * radius; y++) {
      this.kinds.fill(2, y * stride + radius, y * stride + width - radius);
    }
    for (let i = 0; i < hole.data.length; i++) {
      if (!hole.data[i]) continue;
      const x = i % width, y = (i - x) / width;
      for (let row = Math.max(0, y - radius); row <= Math.min(height - 1, y + radius); row++) {
        this.kinds.fill(1, row * stride + Math.max(0, x - radius), row * stride + Math.min(width, x + radius + 1));
      }
    }
    /** Places in reading order. @param {number} kind */
    const placesOf = (kind) => new Int32Array(this.kinds.keys()).filter((at) => this.kinds[at] === kind);
    /** How many are known whole, and those in the mirror as well. */
    this.own = placesOf(2).length;
    for (let y = 0; y < height; y++) {
      const from = y * stride, to = (height + y) * stride;
      for (let x = 0; x < width; x++) this.kinds[to + x] = this.kinds[from + width - 1 - x] & 2;
    }
    this.known = placesOf(2);
    this.places = placesOf(1);
    /** Which of the latter is at a place, and next to each: right, left, below, above; -1 for none. */
    this.index = new Int32Array(stride * height).fill(-1);
    this.beside = new Int32Array(4 * this.places.length).fill(-1);
    this.source = this.wide(picture, 3, true);
    const count = this.places.length;
    for (let row = 0; row < count; row++) this.index[this.places[row]] = row;
    for (let k = 0; k < 4 * count; k++) this.beside[k] = this.index[this.places[k >> 2] + steps[k % 4]] ?? -1;
    /** What each pixel of a patch weighs, patch by patch, and all of them; empty before `weigh()`. */
    this.weights = new Int32Array(0);
    this.totals = new Int32Array(count);
    /** The fill whose patches' nearest were asked for the last time; 1 where they were in the mirror, too.
     * @type {Uint8Array | null} */
    this.asked = null;
    this.askedAll = new Uint8Array(count);
  }

  /** To be called before patches are compared. */
  weigh() {
    const { places, stride, totals, side } = this, area = side ** 2;
    const deep = this.wide(depth(this.hole, SAY.length - 1), 1), each = new Float64Array(area);
    this.weights = new Int32Array(area * places.length);
    for (let row = 0; row < places.length; row++) {
      let heaviest = 0;
      for (let p = 0; p < area; p++) {
        each[p] = SAY[deep[places[row] + Math.floor(p / side) * stride + (p % side)]];
        heaviest = Math.max(heaviest, each[p]);
      }
      for (let p = 0; p < area; p++) {
        totals[row] += this.weights[area * row + p] = Math.max(1, Math.floor((each[p] * HEAVIEST) / heaviest));
      }
    }
  }

  /** The place (y, x) if there is a known patch; else -1. @param {number} y @param {number} x */
  usable(y, x) {
    const { width, height } = this.hole, at = y * this.stride + x;
    return y >= 0 && y < 2 * height && x >= 0 && x < width && this.kinds[at] === 2 ? at : -1;
  }

  /**
   * With a border of `radius` that reflects the inside.
   * @param {Uint8Array} values @param {number} channels @param {boolean} mirror below it, too
   */
  wide(values, channels, mirror = false) {
    const { width, height } = this.hole, all = mirror ? 2 * height : height, tall = all + 2 * this.radius;
    const found = new Uint8Array(this.stride * tall * channels);
    for (let y = 0, to = 0; y < tall; y++) {
      const row = reflected(y - this.radius, all);
      for (let x = 0; x < this.stride; x++) {
        const column = reflected(x - this.radius, width);
        const from = row < height ? row * width + column : (row - height + 1) * width - 1 - column;
        for (let c = 0; c < channels; c++) found[to++] = values[channels * from + c];
      }
    }
    return found;
  }

  /**
   * Weighted squares between a patch and a known one, or as many as it takes to exceed `limit`.
   * @param {Uint8Array} fill wide @param {number} row @param {number} at @param {number} limit
   */
  squares(fill, row, at, limit) {
    const { source, weights, stride, side } = this;
    let sum = 0, p = side ** 2 * row;
    for (let y = 0; y < side && sum <= limit; y++) {
      let i = 3 * (this.places[row] + y * stride), j = 3 * (at + y * stride);
      for (let x = 0; x < side; x++, i += 3, j += 3) {
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
    const total = this.totals[row], area = this.side ** 2;
    return Math.floor((this.squares(fill, row, at, (most * total) / area + 1) * area) / total);
  }

  /** The distance of each patch of the fill. @param {Uint8Array} fill wide @param {Int32Array} at */
  distances(fill, at) {
    return at.map((to, row) => this.distance(fill, row, to, Infinity));
  }

  /**
   * The nearest of all known patches to each, the first of several; those that are as the last time are not asked again.
   * @param {Uint8Array} fill wide @param {Int32Array} at known patches, better ones saving time; overwritten
   * @param {boolean} mirror are all in it asked for, or only the one that was the nearest the last time?
   */
  nearest(fill, at, mirror) {
    const { places, known, own, asked, askedAll } = this, count = mirror ? known.length : own;
    for (let row = 0; row < places.length; row++) {
      if (asked !== null && this.alike(fill, asked, row) && askedAll[row] >= Number(mirror)) continue;
      askedAll[row] = Number(mirror);
      const more = MIRRORED * this.totals[row];
      let least = this.squares(fill, row, at[row], Infinity) + (at[row] > known[own - 1] ? more : 0) + 1;
      for (let k = 0; k < count && least > 0; k++) {
        const extra = k < own ? 0 : more, far = this.squares(fill, row, known[k], least - extra) + extra;
        if (far < least) {
          least = far;
          at[row] = known[k];
        }
      }
    }
    this.asked = fill;
  }

  /** Is a patch the same in both? @param {Uint8Array} one wide @param {Uint8Array} other wide @param {number} row */
  alike(one, other, row) {
    for (let y = 0; y < this.side; y++) {
      const from = 3 * (this.places[row] + y * this.stride);
      for (let i = from; i < from + 3 * this.side; i++) if (one[i] !== other[i]) return false;
    }
    return true;
  }
}

/** 1 within `by` pixels of the hole, in squares. @param {Mask} mask @param {number} by */
export function widened({ width, height, data }, by) {
  const found = new Uint8Array(data.length);
  for (let i = 0; i < data.length; i++) {
    if (!data[i]) continue;
    const x = i % width, y = (i - x) / width;
    for (let row = Math.max(0, y - by); row <= Math.min(height - 1, y + by); row++) {
      found.fill(1, row * width + Math.max(0, x - by), row * width + Math.min(width, x + by + 1));
    }
  }
  return found;
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

/** The index inside for one that may be outside. @param {number} index @param {number} count */
function reflected(index, count) {
  return Math.abs(count - 1 - Math.abs(count - 1 - Math.abs(index)));
}
