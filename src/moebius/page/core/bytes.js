/** Bytes: numbers in them, joining them, packing and unpacking them. */

/** A view of just these bytes. @param {Uint8Array} bytes */
export function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** @param {Uint8Array[]} parts @returns {Uint8Array<ArrayBuffer>} */
export function joined(parts) {
  const all = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Latin letters and digits as bytes. @param {string} text */
export function ascii(text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

/** Whether bytes hold `text` at a place. @param {Uint8Array} bytes @param {string} text */
export function startsWith(bytes, text, at = 0) {
  return ascii(text).every((value, index) => bytes[at + index] === value);
}

/**
 * Bytes unpacked. Rejects where they are damaged.
 * @param {Uint8Array} bytes @param {CompressionFormat} format
 */
export function unpacked(bytes, format) {
  return through([bytes], new DecompressionStream(format));
}

/**
 * Parts packed one after the other.
 * @param {Iterable<Uint8Array>} parts @param {CompressionFormat} format
 */
export function packed(parts, format) {
  return through(parts, new CompressionStream(format));
}

/**
 * @param {Iterable<Uint8Array>} parts @param {CompressionStream | DecompressionStream} stream
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function through(parts, stream) {
  const writer = stream.writable.getWriter();
  const writing = (async () => {
    for (const part of parts) await writer.write(/** @type {Uint8Array<ArrayBuffer>} */ (part));
    await writer.close();
  })();
  writing.catch(() => undefined); // what is wrong with the bytes comes out at the reading end
  const read = new Uint8Array(await new Response(stream.readable).arrayBuffer());
  await writing;
  return read;
}
