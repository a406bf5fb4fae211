/**
 * EXIF for a photo that has been turned upright: Orientation 1, width and height exchanged where the turn exchanges them,
 * and no thumbnail, which would show what has been removed. Edited in place, as in Python's imaging/exif.py, because
 * makers' notes refer to bytes by their place.
 */
import { startsWith, viewOf } from "./bytes.js";

const ORIENTATION = 0x0112, DETAILS = 0x8769;
/** Pairs of tags that a quarter turn exchanges: ImageWidth/Length, X/YResolution, PixelX/YDimension. */
const SWAPPED = [[0x0100, 0x0101], [0x011a, 0x011b], [0xa002, 0xa003]];
/** Where a thumbnail lies and how long it is: as JPEG, and as a single strip. */
const THUMBNAIL = [[0x0201, 0x0202], [0x0111, 0x0117]];

/**
 * @param {Uint8Array} exif without the leading "Exif\0\0"; not written to
 * @returns {{exif: Uint8Array | null, orientation: number}} null and 1 where it is damaged; the orientation that it had
 */
export function uprightExif(exif) {
  const data = exif.slice();
  try {
    const main = new Directory(data, null);
    const stored = main.value(ORIENTATION) ?? 1;
    const orientation = stored >= 1 && stored <= 8 ? stored : 1;
    main.setValue(ORIENTATION, 1);
    if (orientation >= 5) {
      main.exchange();
      const details = main.value(DETAILS);
      if (details !== null) new Directory(data, details).exchange();
    }
    main.blankThumbnail();
    return { exif: data, orientation };
  } catch {
    return { exif: null, orientation: 1 };
  }
}

/** One TIFF directory in a buffer: 12-byte entries, then where the next directory lies. Throws where it leaves it. */
class Directory {
  /** @param {Uint8Array} data edited in place @param {number | null} offset null reads it from the header */
  constructor(data, offset) {
    this.data = data;
    this.view = viewOf(data);
    this.little = startsWith(data, "II*\0");
    if (!this.little && !startsWith(data, "MM\0*")) throw new Error("expected a TIFF header");
    const start = offset ?? this.long(4);
    this.next = start + 2 + 12 * this.short(start);
    this.long(this.next);
    /** @type {Map<number, number>} */
    this.entries = new Map();
    for (let at = start + 2; at < this.next; at += 12) this.entries.set(this.short(at), at);
  }

  /** @param {number} at */
  short(at) {
    return this.view.getUint16(at, this.little);
  }

  /** @param {number} at */
  long(at) {
    return this.view.getUint32(at, this.little);
  }

  /** A single whole number; null if the tag is absent or something else. @param {number} tag */
  value(tag) {
    const at = this.entries.get(tag);
    if (at === undefined || this.long(at + 4) !== 1) return null;
    const type = this.short(at + 2);
    return type === 3 ? this.short(at + 8) : type === 4 ? this.long(at + 8) : null;
  }

  /** Overwrite a single whole number that is there. @param {number} tag @param {number} value */
  setValue(tag, value) {
    const at = this.entries.get(tag);
    if (at === undefined || this.value(tag) === null) return;
    if (this.short(at + 2) === 3) this.view.setUint16(at + 8, value, this.little);
    else this.view.setUint32(at + 8, value, this.little);
  }

  exchange() {
    for (const [one, other] of SWAPPED) {
      const a = this.entries.get(one), b = this.entries.get(other);
      if (a === undefined || b === undefined) continue;
      const kept = this.data.slice(a + 2, a + 12);
      this.data.copyWithin(a + 2, b + 2, b + 12);
      this.data.set(kept, b + 2);
    }
  }

  /** Zero the thumbnail's bytes and forget its directory, the second one. */
  blankThumbnail() {
    const offset = this.long(this.next);
    this.view.setUint32(this.next, 0, this.little);
    if (offset === 0 || offset + 6 > this.data.length) return;
    const second = new Directory(this.data, offset);
    for (const [place, size] of THUMBNAIL) {
      const start = second.value(place), length = second.value(size);
      if (start !== null && length !== null) this.data.fill(0, start, Math.min(start + length, this.data.length));
    }
  }
}
