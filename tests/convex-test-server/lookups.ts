/**
 * Answers lookups by all fields of an index from a map, where convex-test reads every document of every table: what makes
 * it possible to show thousands of jobs. Everything else, and the documents themselves, still come from convex-test.
 */
import type { GenericSchema, SchemaDefinition } from "convex/server";

interface Convex {
  syscall(op: string, args: string): string;
  asyncSyscall(op: string, args: string): Promise<string>;
  jsSyscall(op: string, args: unknown): unknown;
}
interface Asked {
  query?: { source: { type: string; indexName?: string; range?: { type: string; fieldPath: string; value: unknown }[] }; operators: { limit?: number; filter?: unknown }[] };
  queryId?: unknown;
  table?: string;
  id?: string;
}
type Document = Record<string, unknown>;
type Index = { indexDescriptor: string; fields: string[] };

/** Put maps in front of convex-test, for the whole process. To be called once it has been set up. */
export function installLookups(schema: SchemaDefinition<GenericSchema, boolean>): void {
  const scope = globalThis as unknown as { Convex: Convex };
  const original = scope.Convex;
  const lookups = new Lookups(schema, (table, id) => original.asyncSyscall("1.0/get", JSON.stringify({ table, id })));
  scope.Convex = {
    syscall(op, args) {
      const id = op === "1.0/queryStream" ? lookups.begin(JSON.parse(args) as Asked) : null;
      return id === null ? original.syscall(op, args) : JSON.stringify({ queryId: id });
    },
    async asyncSyscall(op, args) {
      const asked = JSON.parse(args) as Asked;
      if (op === "1.0/queryStreamNext" && typeof asked.queryId === "string") return await lookups.next(asked.queryId);
      const answer = await original.asyncSyscall(op, args);
      if (op === "1.0/insert") await lookups.put(asked.table, (JSON.parse(answer) as { _id: string })._id);
      if (op === "1.0/replace" || op === "1.0/shallowMerge") await lookups.put(asked.table ?? lookups.table(asked.id), asked.id);
      return answer;
    },
    jsSyscall: (op, args) => original.jsSyscall(op, args),
  };
}

/**
 * The ids that a key ever led to. None is taken out: a transaction that is rolled back gives a document its old key, or its
 * life, back. A document is therefore looked at before it is handed out.
 */
class Lookups {
  private readonly ids = new Map<string, Set<string>>();
  private readonly tables = new Map<string, string>();
  private readonly running = new Map<string, () => Promise<Document | undefined>>();
  private begun = 0;

  constructor(
    private readonly schema: SchemaDefinition<GenericSchema, boolean>,
    private readonly get: (table: string, id: string) => Promise<string>,
  ) {}

  /** The id of a query that is answered from here; null for any other. */
  begin({ query }: Asked): string | null {
    const { type, indexName = "", range = [] } = query?.source ?? { type: "" };
    const [table = "", name] = indexName.split(".");
    const index = this.indexes(table).find((each) => each.indexDescriptor === name);
    const operators = query?.operators ?? [];
    if (type !== "IndexRange" || index === undefined || operators.some((each) => "filter" in each)) return null;
    if (range.length !== index.fields.length || range.some((each) => each.type !== "Eq" || isUndefined(each.value))) return null;
    const ids = this.ids.get(key(indexName, range.map((each) => each.value))) ?? new Set<string>();
    const limit = operators.find((each) => each.limit !== undefined)?.limit ?? Infinity;
    let found: Document[] | undefined;
    const id = `lookup-${(this.begun += 1)}`;
    this.running.set(id, async () => {
      found ??= (await this.read(table, ids))
        .filter((document) => range.every(({ fieldPath, value }) => same(document[fieldPath], value)))
        .slice(0, limit);
      return found.shift();
    });
    return id;
  }

  /** The next document, as convex-test answers. */
  async next(queryId: string): Promise<string> {
    const document = await this.running.get(queryId)?.();
    if (document !== undefined) return JSON.stringify({ value: document, done: false });
    this.running.delete(queryId);
    return JSON.stringify({ value: null, done: true });
  }

  /** Note what a document holds now. */
  async put(table = "", id = ""): Promise<void> {
    const [document] = await this.read(table, [id]);
    if (document === undefined) return;
    this.tables.set(id, table);
    for (const { indexDescriptor, fields } of this.indexes(table)) {
      if (!fields.every((field) => field in document)) continue;
      const found = key(`${table}.${indexDescriptor}`, fields.map((field) => document[field]));
      this.ids.set(found, (this.ids.get(found) ?? new Set()).add(id));
    }
  }

  /** The table of a document. */
  table(id = ""): string {
    return this.tables.get(id) ?? "";
  }

  /** Documents that are there, in the order in which they came. */
  private async read(table: string, ids: Iterable<string>): Promise<Document[]> {
    const read = [];
    for (const id of ids) read.push(JSON.parse(await this.get(table, id)) as Document | null);
    return read
      .filter((document) => document !== null)
      .sort((one, other) => Number(one._creationTime) - Number(other._creationTime));
  }

  private indexes(table: string): Index[] {
    const known = (this.schema.tables as Record<string, { " indexes"(): Index[] } | undefined>)[table];
    return known === undefined ? [] : known[" indexes"]();
  }
}

function key(index: string, values: unknown[]): string {
  return JSON.stringify([index, ...values]);
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function isUndefined(value: unknown): boolean {
  return typeof value === "object" && value !== null && "$undefined" in value;
}
