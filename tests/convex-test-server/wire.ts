/** How values are written on the wire. */
import { convexToJson, jsonToConvex, type JSONValue, type Value } from "convex/values";

export { convexToJson, jsonToConvex };

/** A value as `format: "json"` answers it: 64-bit integers as decimal strings, bytes as base64. */
export function plain(value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof ArrayBuffer) return Buffer.from(value).toString("base64");
  if (typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))) return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(defined(value).map(([name, inner]) => [name, plain(inner)]));
  }
  return value;
}

/** JSON in which whole numbers have a fraction (5.0), as the real backend writes them: clients tell floats by it. */
export function withFractions(value: unknown): string {
  if (typeof value === "number") {
    return Number.isInteger(value) && Math.abs(value) < 1e16 ? value.toFixed(1) : JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(withFractions).join(",")}]`;
  if (value !== null && typeof value === "object") {
    return `{${defined(value)
      .map(([name, inner]) => `${JSON.stringify(name)}:${withFractions(inner)}`)
      .join(",")}}`;
  }
  return JSON.stringify(value ?? null);
}

/** Timestamps travel as base64 of eight bytes, the least one first. */
export function timestamp(value: bigint): string {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes.toString("base64");
}

export function toJson(value: unknown): JSONValue {
  return convexToJson((value ?? null) as Value);
}

function defined(value: object): [string, unknown][] {
  return Object.entries(value).filter(([, inner]) => inner !== undefined);
}
