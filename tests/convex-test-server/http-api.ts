/** POST /api/{query,mutation,action,function}, as Convex's HTTP API documents it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { CallFailed, type Caller, type Deployment, type Kind } from "./deployment";
import type { Faults } from "./faults";
import { jsonToConvex, plain, toJson, withFractions } from "./wire";

const LARGEST_BODY = 16 << 20;

/** What was asked of the server since it began. */
export interface Figures {
  calls: Record<string, number>;
  bytes: number;
  /** Size of the largest body of a mutation. */
  largestMutation: number;
  /** Calls that a function, or a limit of it, refused. */
  failed: number;
  unavailable: number;
  dropped: number;
}

export class HttpApi {
  readonly figures: Figures = { calls: {}, bytes: 0, largestMutation: 0, failed: 0, unavailable: 0, dropped: 0 };

  constructor(
    private readonly deployment: Deployment,
    private readonly adminKey: string,
    readonly faults: Faults,
    private readonly chance: () => number,
  ) {}

  /** Answer a request below /api. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const kind = /^\/api\/(query|mutation|action|function)$/.exec(request.url ?? "")?.[1] as Kind | "function" | undefined;
    const body = await read(request);
    this.figures.bytes += body.length;
    if (this.faults.delayMilliseconds > 0) await new Promise((done) => setTimeout(done, this.faults.delayMilliseconds));
    if (this.faults.away) return cut(request);
    if (this.chance() < this.faults.unavailable) {
      this.figures.unavailable += 1;
      return send(response, 503, { code: "ServiceUnavailable", message: "injected: try again" });
    }
    if (request.method !== "POST" || kind === undefined) {
      return send(response, 404, { code: "NotFound", message: "There is nothing at this path." });
    }
    if (body.length > LARGEST_BODY) {
      return send(response, 413, { code: "PayloadTooLarge", message: `The body is larger than ${LARGEST_BODY} bytes.` });
    }
    const caller = this.callerOf(request.headers.authorization ?? "");
    if (caller === null) return send(response, 401, { code: "BadDeployKey", message: "The deploy key is not this deployment's." });
    let asked: { path?: unknown; args?: unknown; format?: unknown };
    try {
      asked = JSON.parse(body.toString()) as typeof asked;
    } catch {
      return send(response, 400, { code: "BadJsonBody", message: "The body is not JSON." });
    }
    const name = String(asked.path);
    const encoded = asked.format === "convex_encoded_json";
    const write = (value: unknown) => (encoded ? toJson(value) : plain(value ?? null));
    if (kind === "mutation") this.figures.largestMutation = Math.max(this.figures.largestMutation, body.length);
    this.figures.calls[name] = (this.figures.calls[name] ?? 0) + 1;
    let answer: object;
    try {
      const args = Array.isArray(asked.args) ? (asked.args as unknown[])[0] : asked.args;
      const value = await this.deployment.call(kind, name, jsonToConvex((args ?? {}) as never), caller);
      answer = { status: "success", value: write(value), logLines: [] };
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      this.figures.failed += 1;
      const data = error.data === undefined ? {} : { errorData: write(error.data) };
      answer = { status: "error", errorMessage: error.message, ...data, logLines: [] };
    }
    if (kind === "mutation" && this.chance() < this.faults.dropAfterCommit) {
      this.figures.dropped += 1;
      return cut(request);
    }
    return send(response, 200, answer);
  }

  private callerOf(authorization: string): Caller | null {
    const [scheme = "", key = ""] = authorization.split(" ");
    if (scheme.toLowerCase() !== "convex") return { admin: false, identity: null };
    return key === this.adminKey ? { admin: true, identity: null } : null;
  }
}

/** The connection ends without an answer. */
export function cut(request: IncomingMessage): void {
  request.socket.destroy();
}

/** The whole body of a request. */
export async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export function send(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { "Content-Type": "application/json", "Access-Control-Allow-Origin": "*" });
  response.end(withFractions(value));
}
