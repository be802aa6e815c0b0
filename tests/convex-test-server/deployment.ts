/** The functions of a convex/ folder, run by convex-test in the memory of this process. */
import { readdirSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { convexTest } from "convex-test";
import { makeFunctionReference, type FunctionReference } from "convex/server";
import { ConvexError } from "convex/values";
import { installLookups } from "./lookups";

export type Kind = "query" | "mutation" | "action";
interface Registered {
  isQuery?: true;
  isMutation?: true;
  isAction?: true;
  isPublic?: true;
}

/** Why a call did not succeed: the message as the backend words it, and what a ConvexError carries. */
export class CallFailed extends Error {
  constructor(
    message: string,
    readonly data?: unknown,
  ) {
    super(message);
  }
}

type Identity = Parameters<ReturnType<typeof convexTest>["withIdentity"]>[0];

export interface Caller {
  /** Shows a deploy key: internal functions are open to it. */
  admin: boolean;
  /** Claims of whoever signed in. */
  identity: Identity | null;
}

export class Deployment {
  /** Grows with each mutation that was committed. */
  timestamp = 1n;
  private listeners = new Set<() => void>();
  private chain: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly modules: Record<string, () => Promise<unknown>>,
    private readonly backend: ReturnType<typeof convexTest>,
  ) {}

  static async of(folder: string): Promise<Deployment> {
    const root = path.resolve(folder);
    const files = (readdirSync(root, { recursive: true }) as string[]).filter((file) => /(?<!\.d)\.[jt]s$/.test(file));
    const modules = Object.fromEntries(
      files.map((file) => [`./${file}`, () => import(pathToFileURL(path.join(root, file)).href) as Promise<unknown>]),
    );
    const { default: schema } = (await import(pathToFileURL(path.join(root, "schema.ts")).href)) as { default: never };
    const backend = convexTest({ schema, modules, transactionLimits: true });
    installLookups(schema);
    return new Deployment(modules, backend);
  }

  /** Told after each commit. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Run a function as the caller. Raises CallFailed. One call runs at a time: convex-test has one transaction. */
  async call(kind: Kind | "function", name: string, args: unknown, caller: Caller): Promise<unknown> {
    const found = await this.find(name);
    if (found === null || (!found.isPublic && !caller.admin)) {
      throw new CallFailed(
        `[Request ID: test] Server Error\nCould not find public function for '${name}'. Did you forget to run \`npx convex dev\`?`,
      );
    }
    const is: Kind = found.isQuery ? "query" : found.isMutation ? "mutation" : "action";
    if (kind !== "function" && kind !== is) {
      throw new CallFailed(`Trying to execute ${name} as ${kind}, but it is defined as ${is}.`);
    }
    const user = caller.identity === null ? this.backend : this.backend.withIdentity(caller.identity);
    try {
      const run = user[is] as (reference: FunctionReference<Kind>, args: unknown) => Promise<unknown>;
      const result = await this.inTurn(() => run(makeFunctionReference(name), args));
      if (is !== "query") this.committed();
      return result;
    } catch (error) {
      if (error instanceof ConvexError) {
        throw new CallFailed(`[Request ID: test] Server Error\nUncaught ConvexError: ${JSON.stringify(error.data)}`, error.data);
      }
      throw new CallFailed(`[Request ID: test] Server Error\n${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Run an HTTP action. */
  async fetch(url: string, request: { method: string; headers: Record<string, string>; body?: Buffer }): Promise<Response> {
    const answer = await this.inTurn(() => this.backend.fetch(url, request as RequestInit));
    if (request.method !== "GET") this.committed();
    return answer;
  }

  private committed(): void {
    this.timestamp += 1n;
    for (const listener of this.listeners) listener();
  }

  private inTurn<T>(run: () => Promise<T>): Promise<T> {
    const next = this.chain.then(run, run);
    this.chain = next.catch(() => undefined);
    return next;
  }

  private async find(name: string): Promise<Registered | null> {
    const [file = "", exported = "default"] = name.replace(/\.js:/, ":").split(":");
    const load = this.modules[`./${file}.ts`] ?? this.modules[`./${file}.js`];
    if (load === undefined) return null;
    const found = ((await load()) as Record<string, Registered | undefined>)[exported];
    return found?.isQuery || found?.isMutation || found?.isAction ? found : null;
  }
}
