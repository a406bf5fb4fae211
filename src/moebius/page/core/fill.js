/** One photo's fill: its regions one by one, each brought to the networks and pasted back. */
import { cropMask, emptyImage, roundHalfEven } from "./arrays.js";
import { blended, featherWeight } from "./blend.js";
import { box, expand, intersection } from "./box.js";
import { FillError } from "./errors.js";
import { emptied, frameAt, framePart, innerPart, prepare, refilled } from "./frame.js";
import { maskToLatent } from "./mask.js";
import { normal } from "./noise.js";
import { isSparse, modelShapes, planRegions, regionScale } from "./regions.js";
import { planOf } from "./settings.js";
import { sample, startLatents } from "./solver.js";
import { textured } from "./texture.js";
import { matchTone } from "./tone.js";

/**
 * @typedef {import("./arrays.js").FloatImage} FloatImage @typedef {import("./arrays.js").Mask} Mask
 * @typedef {import("./arrays.js").Photo} Photo @typedef {import("./arrays.js").Shape} Shape
 * @typedef {import("./box.js").Box} Box @typedef {import("./frame.js").Frame} Frame
 * @typedef {import("./regions.js").Region} Region
 * @typedef {import("./settings.js").FillSettings} FillSettings @typedef {import("./settings.js").Model} Model
 *
 * @typedef {object} Networks  one photo at a time; latents are scaled already
 * @property {(image: Float32Array, shape: Shape) => Promise<Float32Array>} encode  image (3, H, W) in [-1, 1]
 * @property {(noisy: Float32Array, timestep: number, mask: Float32Array, condition: Float32Array, guidance: number,
 *   cells: Shape) => Promise<Float32Array>} predict  latents (c, h, w), mask (h, w)
 * @property {(latents: Float32Array, cells: Shape) => Promise<Float32Array>} decode  gives (3, 8h, 8w), not clipped
 *
 * @typedef {object} FillEvent  a network call done
 * @property {number} fraction  part of the photo's work that is done, 0 to 1
 * @property {number} region @property {number} regions
 * @property {number} step @property {number} steps  network steps of the region, over all the model's sides
 * @property {Box} box  of the region
 * @property {FloatImage | null} preview  the region as it is filled so far, at a side of the model's; when it is new
 */

/** Photo pixels a model pixel from which on a sparse hole loses detail that Python's side refines by tiles. */
const SPARSE_SCALE = 2;
/** Photo pixels a model pixel up to which the fill has the photo's own resolution. */
const REFINED_SCALE = 1.05;
/** Model pixels' sizes, in each direction, that a fill with the photo's own texture has at most; its sides' unit, px. */
const TEXTURE_SCALE = 3, TEXTURE_UNIT = 64;

/** Iterate over `run()`, then take `pasted()`. */
export class Filling {
  /**
   * @param {Photo} photo never written to @param {Mask} hole grown already, of the photo's size
   * @param {FillSettings} settings @param {Model} model @param {Networks} networks
   * @param {string} key mixed into the noise
   */
  constructor(photo, hole, settings, model, networks, key = "") {
    if (hole.width !== photo.width || hole.height !== photo.height) {
      const sizes = `${hole.width} x ${hole.height} for a photo of ${photo.width} x ${photo.height}`;
      throw new FillError("mask", `mask: expected the photo's size, got ${sizes}`);
    }
    this.photo = photo;
    this.hole = hole;
    this.settings = settings;
    this.model = model;
    this.networks = networks;
    this.key = key;
    this.plan = planOf(settings, model);
    const cascade = model.cascade ?? [];
    this.sides = model.detail === "photo" && cascade.length ? cascade : [...cascade, model.size];
    this.shapes = modelShapes(model, model.size);
    this.regions = planRegions(hole, this.shapes, settings.context);
    /** @type {{place: Box, pixels: Uint8Array}[]} */
    this.patches = [];
  }

  /** What the person should know. @returns {string[]} */
  warnings() {
    const share = this.hole.data.reduce((sum, value) => sum + value, 0) / this.hole.data.length;
    const told = [];
    if (share === 0) told.push("the mask is empty: nothing to fill, the photo is copied unchanged");
    if (share === 1) told.push("the mask covers the whole photo: nothing known to fill from");
    if (this.regions.some((region) => isSparse(region) && regionScale(region) > SPARSE_SCALE)) {
      told.push("thin holes over a large part of the photo are filled with less detail than a server gives");
    }
    return told;
  }

  /** @returns {AsyncGenerator<FillEvent, void, void>} */
  async *run() {
    const regions = this.regions.length;
    for (const region of this.regions) {
      let frame = prepare(this.photo, region.box, this.hole, region.shape), fill = null;
      for await (const event of this._levels(region, frame)) {
        fill = event.fill ?? fill;
        if (event.fill !== null && this.model.detail === "photo") {
          ({ frame, fill } = this._textured(region, frame, event.fill));
          event.preview = innerPart(frame, fill);
        }
        yield { ...event, fraction: (region.index + event.fraction) / regions, regions };
      }
      if (fill !== null) this._paste(region, frame, fill);
    }
  }

  /** The photo with everything pasted in; its pixels are the original's own array, changed. @returns {Photo} */
  pasted() {
    for (const { place, pixels } of this.patches) {
      const wide = 4 * (place.right - place.left);
      for (let y = place.top; y < place.bottom; y++) {
        const from = (y - place.top) * wide;
        this.photo.data.set(pixels.subarray(from, from + wide), 4 * (y * this.photo.width + place.left));
      }
    }
    return this.photo;
  }

  /** Fill a frame at the model's sides, from the smallest to its own. @param {Region} region @param {Frame} frame */
  async *_levels(region, frame) {
    const count = this.plan.steps.length, steps = count * this.sides.length;
    const work = this.sides.map((side) => side * side * (2 + 2 * count)); // a step costs about twice an encoding
    const total = work.reduce((sum, each) => sum + each, 0);
    let done = 0;
    /** @type {FloatImage | null} */
    let fill = null;
    for (const [level, side] of this.sides.entries()) {
      const shape = modelShapes(this.model, side)[this.shapes.indexOf(region.shape)];
      let sized = frameAt(frame, shape);
      if (fill !== null) sized = refilled(sized, fill);
      const part = work[level] / (2 + 2 * count);
      for await (const { step, image } of this._latents(region, sized, side)) {
        if (image === null) done += step === 0 ? part : 2 * part;
        else {
          done += part;
          fill = matchTone(fromNetwork(image, shape), sized.filled, sized.mask);
        }
        const preview = image === null ? null : innerPart(frame, /** @type {FloatImage} */ (fill));
        const last = image !== null && level + 1 === this.sides.length;
        yield {
          fraction: done / total, region: region.index, step: level * count + step, steps, box: region.box, preview,
          fill: last ? fill : null,
        };
      }
    }
  }

  /**
   * The network calls of one side: encode, every step, decode.
   * @param {Region} region @param {Frame} frame @param {number} side
   * @returns {AsyncGenerator<{step: number, image: Float32Array | null}, void, void>}
   */
  async *_latents(region, frame, side) {
    const { networks, model, plan, settings } = this;
    /** @type {Shape} */
    const shape = [frame.mask.height, frame.mask.width];
    /** @type {Shape} */
    const cells = [shape[0] / model.latent_factor, shape[1] / model.latent_factor];
    /** @param {string} kind */
    const encoded = (kind) => networks.encode(toNetwork(kind === "masked" ? emptied(frame) : frame.filled), shape);
    const condition = await encoded(model.feed);
    let known = null;
    if (settings.start !== "noise") {
      known = settings.start === model.feed ? condition : await encoded(settings.start);
      if (model.target === "residual") known = known.map((z, i) => (z - condition[i]) * model.residual_scale);
    }
    const mask = maskToLatent(frame.mask, model.latent_factor, model.mask_mode);
    const noise = normal(condition.length, settings.seed, `${this.key}/${region.index}/${side}`);
    let x = startLatents(noise, known, plan);
    yield { step: 0, image: null };
    /** @param {Float32Array} noisy @param {number} timestep */
    const predict = (noisy, timestep) =>
      networks.predict(noisy, timestep, mask, condition, settings.guidance, cells);
    for await (const state of sample(predict, x, plan)) {
      x = state.x;
      yield { step: state.index + 1, image: null };
    }
    // Known cells keep the photo's own latents; only the hole's are generated.
    const latents = model.target === "image" ? x : x.map((value, i) => (
      condition[i] + mask[i % mask.length] * value * Math.fround(1 / model.residual_scale)
    ));
    yield { step: plan.steps.length, image: await networks.decode(latents, cells) };
  }

  /** The fill with the photo's own texture, at the photo's own resolution or near it, and its frame.
   * @param {Region} region @param {Frame} frame @param {FloatImage} fill */
  _textured(region, frame, fill) {
    const scale = Math.min(regionScale(region), TEXTURE_SCALE);
    if (scale > REFINED_SCALE) {
      const [height, width] = region.shape.map((side) => roundHalfEven((side * scale) / TEXTURE_UNIT) * TEXTURE_UNIT);
      frame = prepare(this.photo, region.box, this.hole, [height, width]);
    }
    return { frame, fill: textured(refilled(frame, fill).filled, frame.filled, frame.mask) };
  }

  /** Bring a frame to the photo's resolution, where it has weight. @param {Region} region @param {Frame} frame
   * @param {FloatImage} fill */
  _paste(region, frame, fill) {
    const feather = this._feather(region);
    const crop = region.box, place = intersection(expand(region.hole, feather), crop);
    const part = box(place.left - crop.left, place.top - crop.top, place.right - crop.left, place.bottom - crop.top);
    const around = intersection(expand(place, feather), crop);
    const weight = featherWeight(cropMask(this.hole, around), feather);
    const wide = place.right - place.left, tall = place.bottom - place.top;
    const own = new Float32Array(wide * tall);
    for (let y = 0; y < tall; y++) {
      const from = (place.top - around.top + y) * (around.right - around.left) + place.left - around.left;
      own.set(weight.subarray(from, from + wide), y * wide);
    }
    this.patches.push({ place, pixels: blended(this.photo, place, framePart(frame, fill, part), own) });
  }

  /** The feather, but no wider than what the crop shows around the hole; a photo's border is no limit.
   * @param {Region} region */
  _feather({ box: crop, hole }) {
    const { width, height } = this.photo;
    const rooms = [
      [crop.left, 0, hole.left - crop.left], [crop.top, 0, hole.top - crop.top],
      [crop.right, width, crop.right - hole.right], [crop.bottom, height, crop.bottom - hole.bottom],
    ];
    return rooms.reduce((least, [edge, border, room]) => (edge === border ? least : Math.min(least, room)),
      this.settings.feather);
  }
}

/** An image in [0, 1] -> (3, H, W) in [-1, 1]. @param {FloatImage} image */
export function toNetwork({ width, height, data }) {
  const planes = new Float32Array(data.length), area = width * height;
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) planes[c * area + i] = Math.fround(data[3 * i + c] * 2) - 1;
  return planes;
}

/** (3, H, W), about [-1, 1] -> an image clipped to [0, 1]. @param {Float32Array} planes @param {Shape} shape */
export function fromNetwork(planes, [height, width]) {
  const image = emptyImage(width, height), area = width * height;
  for (let i = 0; i < planes.length; i++) {
    if (Number.isNaN(planes[i])) throw new FillError("worker", "decoded picture: expected numbers, got NaN");
    image.data[3 * (i % area) + Math.floor(i / area)] = Math.min(Math.max(planes[i] * 0.5 + 0.5, 0), 1);
  }
  return image;
}
