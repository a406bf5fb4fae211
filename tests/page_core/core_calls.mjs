/** Calls functions of the page's core as Python asks for them on standard input, and answers on standard output. */

import { pathToFileURL } from "node:url";
import { fillPhoto, runSampler } from "./core_fills.mjs";

const folder = process.env.MOEBIUS_PAGE;
const KINDS = { f4: Float32Array, f8: Float64Array, u1: Uint8Array, i4: Int32Array, u4: Uint32Array };

/** Arrays come as {"$": type, data: base64}, whole numbers of any size as {"$": "big"}. */
function revive(key, value) {
  if (value?.$ === "big") return BigInt(value.data);
  if (!value?.$) return value;
  const bytes = Uint8Array.from(Buffer.from(value.data, "base64"));
  return new KINDS[value.$](bytes.buffer);
}

function replace(key, value) {
  const kind = Object.keys(KINDS).find((name) => value?.constructor === KINDS[name]);
  if (kind) return { $: kind, data: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64") };
  return typeof value === "bigint" ? { $: "big", data: String(value) } : value;
}

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const calls = JSON.parse(Buffer.concat(chunks).toString(), revive);
const answers = [];
for (const { file, name, args } of calls) {
  try {
    const module = file ? await import(pathToFileURL(`${folder}/${file}`).href) : { fillPhoto, runSampler };
    answers.push({ value: (await module[name](...args)) ?? null });
  } catch (error) {
    answers.push({ error: `${error.type ?? error.name}: ${error.message}` });
  }
}
process.stdout.write(JSON.stringify(answers, replace));
