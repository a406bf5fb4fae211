/**
 * The types that the page's modules share. No code.
 *
 * Coordinates are the photo's own pixels, upright: pixel (i, j) covers [i, i + 1) x [j, j + 1). Masks: 1 = fill.
 */

/** @typedef {string | number | boolean | null} SettingValue */

/**
 * @typedef {object} Setting
 * @property {"integer" | "number" | "string" | "boolean"} type
 * @property {SettingValue} default
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {string[]} [choices]
 * @property {boolean} [nullable]   null means "the model's own best value"
 * @property {string} [help]
 */

/**
 * @typedef {object} Info
 * @property {{name: string, title: string, size: number}} model
 * @property {Record<string, Setting>} settings
 * @property {string[]} formats
 * @property {{upload_bytes: number, pixels: number}} limits
 * @property {boolean} token
 */

/** @typedef {{width: number, height: number, data: Uint8Array}} Mask  data: 1 = fill, a byte a pixel, row by row */

/**
 * @typedef {object} FillRequest
 * @property {Blob} file        the photo's file, as it was given
 * @property {string} name
 * @property {Mask} mask        at the photo's own size, upright
 * @property {Record<string, SettingValue>} settings
 * @property {string | null} format   null: the photo's own
 * @property {number | null} quality
 */

/**
 * @typedef {object} FillProgress
 * @property {number} fraction  0 to 1
 * @property {"queued" | "running"} state
 * @property {number} [position]   in the queue
 * @property {number[] | null} [box]   left, top, right, bottom of the region at hand
 * @property {string | ImageBitmap | null} [preview]   how the region stands; a string is a data: URL
 */

/** @typedef {{file: Blob, format: string, seed: string, report: object}} FillAnswer */

/**
 * @typedef {object} Engine
 * @property {string} kind
 * @property {(onProgress?: (progress: {loaded: number, total: number}) => void) => Promise<Info>} open
 * @property {(request: FillRequest, options: {signal?: AbortSignal, onProgress?: (progress: FillProgress) => void})
 *   => Promise<FillAnswer>} fill   rejects with an EngineError or an AbortError
 */

/** @typedef {{x: number, y: number}} Point */
/** @typedef {{width: number, height: number}} Size */
/** @typedef {{zoom: number, x: number, y: number}} View   screen = photo * zoom + (x, y), in CSS pixels */

/** @typedef {{kind: "stroke", erase: boolean, width: number, points: number[]}} Stroke   points: x, y, x, y ... */
/** @typedef {{kind: "area", erase: boolean, points: number[]}} Area   the inside of a polygon */
/** @typedef {{kind: "bits", width: number, height: number, bits: Uint8Array}} Bits   rows padded to whole bytes */
/** @typedef {Stroke | Area | Bits} Mark */

/**
 * @typedef {object} Photo
 * @property {Blob} file
 * @property {string} name      the file name of the photo that was opened
 * @property {number} width
 * @property {number} height
 * @property {string} format    "jpeg", "png", ...
 * @property {Origin | null} origin   null: opened by the user
 */

/** @typedef {{photo: Photo, marks: readonly Mark[], settings: Record<string, SettingValue>}} Origin   makes it again */

/** @typedef {{seed: string, photo: Photo}} Try */

/**
 * One state of the work; never changed, only followed by another.
 * @typedef {object} Doc
 * @property {Photo} photo
 * @property {readonly Mark[]} marks
 * @property {readonly Try[]} tries   fills of this photo with these marks
 * @property {number} shown    which of them is looked at; -1: the photo with its marks
 */

/** @typedef {{past: readonly Doc[], now: Doc, future: readonly Doc[]}} History */

/** @typedef {"brush" | "eraser" | "lasso" | "rectangle"} Tool */

/** @typedef {{text: string, kind: "note" | "error"}} Message */

/**
 * @typedef {object} State
 * @property {History | null} history
 * @property {Tool} tool
 * @property {number} brush    diameter in CSS pixels, whatever the zoom
 * @property {View} view
 * @property {Size} stage      the canvas in CSS pixels
 * @property {Mark | null} live   the mark being drawn
 * @property {number[][]} outline   closed lines x, y, x, y ... around what will be filled
 * @property {Record<string, SettingValue>} settings   those that are not at their default
 * @property {Info | null} info
 * @property {{loaded: number, total: number} | null} loading   the model, where it has to be fetched
 * @property {FillProgress | null} run
 * @property {number | null} compare   where the before / after slider stands, 0 to 1
 * @property {boolean} holding   the photo before is looked at for now
 * @property {Message | null} message
 * @property {Doc | null} saved   the state that was last downloaded
 */

export {};
