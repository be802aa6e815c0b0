/** The websocket protocol by which Convex's own clients get live answers, as far as the official JS client uses it. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type WebSocket } from "ws";
import { CallFailed, type Caller, type Deployment } from "./deployment";
import { jsonToConvex, timestamp, toJson, withFractions } from "./wire";

interface Version {
  querySet: number;
  identity: number;
  ts: bigint;
}

interface Query {
  udfPath: string;
  args: unknown[];
  /** What was told last. */
  told?: string;
}

type Message =
  | { type: "Connect" | "Event" }
  | { type: "Authenticate"; tokenType: "Admin" | "User" | "None"; value?: string; baseVersion: number }
  | { type: "ModifyQuerySet"; newVersion: number; modifications: Modification[] }
  | { type: "Mutation" | "Action"; requestId: number; udfPath: string; args: unknown[] };
type Modification = ({ type: "Add"; queryId: number } & Query) | { type: "Remove"; queryId: number };

export class SyncProtocol {
  private readonly server = new WebSocketServer({ noServer: true });

  constructor(
    private readonly deployment: Deployment,
    private readonly adminKey: string,
  ) {}

  /** Take over a connection that asks for the sync protocol; others are closed. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (!/^\/api\/([^/]+\/)?sync$/.test((request.url ?? "").split("?")[0] ?? "")) {
      socket.destroy();
      return;
    }
    this.server.handleUpgrade(request, socket, head, (ws) => new Session(ws, this.deployment, this.adminKey));
  }

  /** Break all connections, as a server that goes away does. */
  breakAll(): void {
    for (const ws of this.server.clients) ws.terminate();
  }
}

class Session {
  private readonly queries = new Map<number, Query>();
  private removed: number[] = [];
  private version: Version = { querySet: 0, identity: 0, ts: 0n };
  private wanted = { querySet: 0, identity: 0 };
  private caller: Caller = { admin: false, identity: null };
  private chain: Promise<unknown> = Promise.resolve();
  private scheduled = false;

  constructor(
    private readonly ws: WebSocket,
    private readonly deployment: Deployment,
    private readonly adminKey: string,
  ) {
    const unsubscribe = deployment.subscribe(() => this.changed());
    ws.on("close", unsubscribe);
    ws.on("message", (data) => this.inTurn(() => this.take(JSON.parse(String(data)) as Message)));
  }

  /** Many commits in a row are told at once. */
  private changed(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.inTurn(() => this.tell());
    });
  }

  private inTurn(run: () => Promise<void>): void {
    this.chain = this.chain.then(run).catch((error: unknown) => {
      this.ws.send(JSON.stringify({ type: "FatalError", error: String(error) }));
      this.ws.close();
    });
  }

  private async take(message: Message): Promise<void> {
    switch (message.type) {
      case "Authenticate":
        this.authenticate(message);
        return await this.tell();
      case "ModifyQuerySet":
        for (const change of message.modifications) {
          if (change.type === "Add") this.queries.set(change.queryId, { udfPath: change.udfPath, args: change.args });
          else if (this.queries.delete(change.queryId)) this.removed.push(change.queryId);
        }
        this.wanted.querySet = message.newVersion;
        return await this.tell();
      case "Mutation":
      case "Action":
        return await this.call(message);
      default:
        return;
    }
  }

  /** A user's token is not checked here: its payload says who it is, as in the tests of an app. */
  private authenticate(message: Extract<Message, { type: "Authenticate" }>): void {
    this.wanted.identity = message.baseVersion + 1;
    const payload = message.tokenType === "User" ? message.value?.split(".")[1] : undefined;
    this.caller = {
      admin: message.tokenType === "Admin" && message.value === this.adminKey,
      identity: payload === undefined ? null : (JSON.parse(Buffer.from(payload, "base64url").toString()) as Caller["identity"]),
    };
  }

  private async call({ type, requestId, udfPath, args }: Extract<Message, { requestId: number }>): Promise<void> {
    const kind = type === "Mutation" ? "mutation" : "action";
    try {
      const value = await this.deployment.call(kind, udfPath, jsonToConvex((args[0] ?? {}) as never), this.caller);
      const ts = type === "Mutation" ? { ts: timestamp(this.deployment.timestamp) } : {};
      this.send({ type: `${type}Response`, success: true, result: toJson(value), logLines: [], ...ts }, { requestId });
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      const data = error.data === undefined ? {} : { errorData: toJson(error.data) };
      this.send({ type: `${type}Response`, success: false, result: error.message, logLines: [], ...data }, { requestId });
    }
    // The client lets go of its optimistic update when a transition has reached the mutation's time.
    await this.tell(true);
  }

  /** Tell what changed of the answers to this session's queries, in one transition. */
  private async tell(always = false): Promise<void> {
    const next: Version = { ...this.wanted, ts: this.deployment.timestamp };
    const changes: string[] = [];
    for (const [queryId, query] of this.queries) {
      const answer = await this.answer(query);
      if (answer === query.told) continue;
      query.told = answer;
      changes.push(`${answer.slice(0, -1)},"queryId":${queryId}}`);
    }
    changes.push(...this.removed.splice(0).map((queryId) => `{"type":"QueryRemoved","queryId":${queryId}}`));
    const same = next.querySet === this.version.querySet && next.identity === this.version.identity;
    if (changes.length === 0 && same && !always) return;
    const [from, to] = [this.version, next].map((version) => JSON.stringify({ ...version, ts: timestamp(version.ts) }));
    this.ws.send(
      `{"type":"Transition","startVersion":${from},"endVersion":${to},"modifications":[${changes.join(",")}]}`,
    );
    this.version = next;
  }

  private async answer({ udfPath, args }: Query): Promise<string> {
    const rest = { logLines: [], journal: null };
    try {
      const value = await this.deployment.call("query", udfPath.replace(/\.js:/, ":"), jsonToConvex((args[0] ?? {}) as never), this.caller);
      return withFractions({ type: "QueryUpdated", value: toJson(value), ...rest });
    } catch (error) {
      if (!(error instanceof CallFailed)) throw error;
      const data = error.data === undefined ? {} : { errorData: toJson(error.data) };
      return withFractions({ type: "QueryFailed", errorMessage: error.message, ...data, ...rest });
    }
  }

  /** Numbers that the protocol has as integers are written apart from values, whose numbers are floats. */
  private send(message: object, integers: Record<string, number>): void {
    this.ws.send(`${withFractions(message).slice(0, -1)},${JSON.stringify(integers).slice(1)}`);
  }
}
