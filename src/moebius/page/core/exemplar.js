/**
 * A hole filled with what the photo has elsewhere (Wexler, Shechtman & Irani, 2007, with the offsets of PatchMatch, Barnes
 * et al., 2009). As in Python's imaging/exemplar.py, which says how: whole numbers, and the same ones.
 */
import { clamp } from "./arrays.js";
import { connectedRuns } from "./components.js";
import { padded } from "./frame.js";
import { depth, Level, widened } from "./patches.js";

/** @typedef {import("./arrays.js").FloatImage} FloatImage @typedef {import("./arrays.js").Mask} Mask */

// What they mean: imaging/exemplar.py.
const DEEPEST = 8, LEAST = 24, ENOUGH = 40, SEARCHED = 64, PAIRS = 1 << 23, FIRST_PAIRS = 1 << 26;
const TURNS = 10, FINE_TURNS = 3, MIRROR_TURNS = 3, WORK = 1 << 15, ROUNDS = 3, AROUND = [32, 8, 2], ALIKE = 600;
const VOTES = 1, TURN_VOTES = 2, COARSE_RADIUS = 3, RADIUS = 2, SMALL = 256, SHARES = [1, 5, 10, 10, 5, 1];
/** How far around the hole patches that touch it have a vote, px. */
export const RING = RADIUS + VOTES;

/**
 * What patches of the known part say of the hole and of the `RING` around it, in steps of 1/255; null where too little is
 * known.
 * @param {FloatImage} smooth in [0, 1], filled smoothly already @param {Mask} mask
 * @returns {FloatImage | null}
 */
export function copiedPatches(smooth, mask) {
  if (!mask.data.includes(0) || !mask.data.includes(1)) return null;
  let unit = 1; // what sides have to divide by, to be halved down to the searched scales
  while (Math.max(mask.width, mask.height) > SEARCHED * unit) unit *= 2;
  /** @type {[number, number]} */
  const shape = [Math.ceil(mask.height / unit) * unit, Math.ceil(mask.width / unit) * unit];
  const all = padded(smooth, mask, shape);
  const bytes = new Uint8Array(all.filled.data.map((v) => Math.fround(clamp(v, 0, 1) * 255) + 0.5));
  /** @type {Level | null} */
  let level = null;
  let at = new Int32Array(0);
  /** @type {Int32Array | null} */
  let distances = null;
  let whole = mask; // with its sides padded
  for (const { picture, hole } of pyramidOf(bytes, all.mask)) {
    const before = level, longer = Math.max(hole.width, hole.height), coarse = longer <= SEARCHED;
    whole = hole;
    level = new Level(picture, hole, longer <= SMALL ? COARSE_RADIUS : RADIUS);
    const { places, known, own } = level;
    if (own < ENOUGH) {
      level = null;
      continue;
    }
    const first = before === null;
    const searched = coarse || places.length * known.length <= (first ? FIRST_PAIRS : PAIRS);
    const later = Math.max(Math.min(FINE_TURNS, Math.floor(WORK / places.length)), Number(first));
    const turns = coarse ? TURNS : later;
    at = before === null ? nextKnown(level) : handedOn(before, at, level);
    let fill = first || !turns ? picture : voted(level, at, null, hole.data, TURN_VOTES);
    distances = null;
    if (turns) level.weigh();
    for (let turn = 1; turn <= turns; turn++) {
      if (turn > 1) fill = voted(level, at, distances, hole.data, TURN_VOTES);
      const wide = level.wide(fill, 3);
      if (searched) level.nearest(wide, at, (turn - 1) % MIRROR_TURNS === 0);
      distances = level.distances(wide, at);
      if (turn === turns || !searched) agree(level, wide, at, distances, searched ? [] : AROUND);
    }
  }
  if (level === null) return null;
  const reached = widened(whole, RING), copied = voted(level, at, distances, reached);
  const { width, height, data } = smooth, found = new Float32Array(data);
  for (let i = 0; i < mask.data.length; i++) {
    const from = i + Math.floor(i / width) * (whole.width - width);
    if (reached[from]) for (let c = 0; c < 3; c++) found[3 * i + c] = copied[3 * from + c] / 255;
  }
  return { width, height, data: found };
}

/** The picture at scales of a half each, the coarsest first.
 * @param {Uint8Array} picture @param {Mask} hole */
function pyramidOf(picture, hole) {
  const found = [{ picture, hole }];
  for (;;) {
    const { width, height } = hole;
    const small = Math.max(width, height) <= SEARCHED && Math.max(...depth(hole, DEEPEST + 1)) <= DEEPEST;
    if (small || Math.min(width, height) < LEAST || width % 2 || height % 2) return found;
    ({ picture, hole } = halved(picture, hole));
    found.unshift({ picture, hole });
  }
}

/**
 * At half the scale: each pixel the mean of what is known of 2 x 2, or of 6 x 6; hole where nothing of them is, and in
 * pieces that would vanish so, where any of 2 x 2 is hole.
 * @param {Uint8Array} picture @param {Mask} hole
 */
function halved(picture, { width, height, data }) {
  const half = { width: width / 2, height: height / 2, data: new Uint8Array(data.length / 4) };
  const found = new Uint8Array(picture.length / 4), deep = half.data.slice();
  const shares = Math.max(half.width, half.height) <= SEARCHED ? SHARES : [1, 1], by = shares.length / 2 - 1;
  for (let to = 0; to < deep.length; to++) {
    const x = 2 * (to % half.width), y = 2 * Math.floor(to / half.width), total = [0, 0, 0], guessed = [2, 2, 2];
    let count = 0;
    for (let row = Math.max(0, y - by); row < Math.min(height, y + by + 2); row++) {
      for (let column = Math.max(0, x - by); column < Math.min(width, x + by + 2); column++) {
        const i = row * width + column, inside = row >> 1 === y >> 1 && column >> 1 === x >> 1;
        const share = data[i] ? 0 : shares[row - y + by] * shares[column - x + by];
        count += share;
        if (inside) half.data[to] |= data[i];
        for (let c = 0; c < 3; c++) {
          total[c] += share * picture[3 * i + c];
          if (inside) guessed[c] += picture[3 * i + c];
        }
      }
    }
    deep[to] = Number(!count);
    for (let c = 0; c < 3; c++) found[3 * to + c] = count ? (total[c] + (count >> 1)) / count : guessed[c] >> 2;
  }
  const { rows, starts, ends, pieces } = connectedRuns(half), lasting = new Set();
  /** Its pixels. @param {number} run */
  const runOf = (run) => deep.subarray(rows[run] * half.width + starts[run], rows[run] * half.width + ends[run]);
  pieces.forEach((piece, run) => runOf(run).includes(1) && lasting.add(piece));
  pieces.forEach((piece, run) => lasting.has(piece) || runOf(run).fill(1));
  return { picture: found, hole: { ...half, data: deep } };
}

/**
 * Offsets of the scale before, doubled; else a neighbour's, asked in turns; else the next known patch.
 * @param {Level} coarse @param {Int32Array} from known patches there @param {Level} fine
 */
function handedOn({ stride, index }, from, fine) {
  const { places, beside } = fine;
  let at = places.map((place) => {
    const y = Math.floor(place / fine.stride), x = place % fine.stride, row = index[(y >> 1) * stride + (x >> 1)];
    if (row < 0) return -1;
    return fine.usable(y + 2 * (Math.floor(from[row] / stride) - (y >> 1)), x + 2 * ((from[row] % stride) - (x >> 1)));
  });
  for (let changed = true; changed; ) {
    const given = at.slice();
    changed = false;
    for (let row = 0; row < places.length; row++) {
      for (let k = 4 * row; k < 4 * row + 4 && given[row] < 0; k++) {
        const from = beside[k] < 0 ? -1 : at[beside[k]], to = from + places[row] - places[beside[k]];
        if (from < 0 || fine.kinds[to] !== 2) continue;
        given[row] = to;
        changed = true;
      }
    }
    at = given;
  }
  const next = nextKnown(fine);
  return at.map((to, row) => (to < 0 ? next[row] : to));
}

/** The known patch that comes next to each in reading order, from the first again after the last. @param {Level} level */
function nextKnown({ places, known, own }) {
  let next = 0;
  return places.map((place) => {
    while (next < own && known[next] < place) next++;
    return known[next % own];
  });
}

/**
 * Take better offsets, which change `at` and `distances`: those of neighbours, and others around where they point.
 * @param {Level} level @param {Uint8Array} fill wide @param {Int32Array} at @param {Int32Array} distances
 * @param {number[]} around
 */
function agree(level, fill, at, distances, around) {
  const { places, beside, kinds, stride } = level;
  /** How many neighbours have the offset of place `to`. @param {number} row @param {number} to */
  const same = (row, to) => {
    let found = 0;
    for (let k = 4 * row; k < 4 * row + 4; k++) {
      const other = beside[k];
      if (other >= 0 && at[other] - places[other] === to - places[row]) found++;
    }
    return found;
  };
  /** Take place `to` where it is better. @param {number} row @param {number} to @param {Int32Array} next */
  const consider = (row, to, next) => {
    const most = distances[row] + ALIKE * (same(row, to) - same(row, at[row]));
    const far = level.distance(fill, row, to, most);
    if (far >= most) return;
    next[row] = to;
    distances[row] = far;
  };
  for (let turn = 0; turn < ROUNDS; turn++) {
    for (let step = 0; step < 8; step++) {
      for (let row = 0; row < places.length; row++) {
        const place = places[row], y = Math.floor(place / stride), other = beside[4 * row + (step % 4)];
        if ((y + (place % stride)) % 2 !== step >> 2 || other < 0) continue; // neighbours do not change at once
        const to = at[other] + place - places[other];
        if (to !== at[row] && kinds[to] === 2) consider(row, to, at);
      }
    }
    around.forEach((radius, number) => {
      const next = at.slice(), wide = 2 * radius + 1;
      for (let row = 0; row < places.length; row++) {
        const draw = scrambled(row, turn * AROUND.length + number), y = Math.floor(at[row] / stride);
        const down = ((draw & 65535) % wide) - radius, right = ((draw >>> 16) % wide) - radius;
        const to = level.usable(y + down, (at[row] % stride) + right);
        if (to >= 0) consider(row, to, next);
      }
      at.set(next);
    });
  }
}

/** 32 bits for each row and turn, with nothing to be seen in them. @param {number} row @param {number} turn */
function scrambled(row, turn) {
  let x = Math.imul(row, 0x9e3779b1) ^ Math.imul(turn + 1, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39);
  return x ^ (x >>> 15);
}

/**
 * The picture with the fill: each pixel the mean of what the patches over it say, near ones and their middles most.
 * @param {Level} level @param {Int32Array} at @param {Int32Array | null} distances null where all count alike
 * @param {Uint8Array} reached 1 where it is asked for, at most `RING` from the hole
 * @param {number} radius of the part of a patch that votes
 */
function voted(level, at, distances, reached = level.hole.data, radius = VOTES) {
  const { picture, hole, places, source, stride, radius: inset } = level;
  const total = new Float64Array((4 * source.length) / 3), found = picture.slice();
  const middle = distances === null ? 0 : distances.slice().sort()[distances.length >> 1] + 1;
  for (let row = 0; row < places.length; row++) {
    const near = distances === null ? 0 : Math.floor((64 * middle) / (middle + distances[row]));
    const weight = Math.max(1, Math.floor(Math.floor(near ** 4 / 256) ** 2 / 65536));
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) {
        const share = weight * (radius + 1 - Math.abs(dy)) * (radius + 1 - Math.abs(dx));
        const step = (inset + dy) * stride + inset + dx, to = 4 * (places[row] + step), from = 3 * (at[row] + step);
        for (let c = 0; c < 3; c++) total[to + c] += share * source[from + c];
        total[to + 3] += share;
      }
    }
  }
  for (let i = 0; i < hole.data.length; i++) {
    if (!reached[i]) continue;
    const x = i % hole.width, from = 4 * (((i - x) / hole.width + inset) * stride + x + inset), count = total[from + 3];
    for (let c = 0; c < 3; c++) found[3 * i + c] = (total[from + c] + Math.floor(count / 2)) / count;
  }
  return found;
}
