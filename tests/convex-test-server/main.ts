/**
 * convex-test server: the functions of a convex/ folder behind Convex's HTTP API and websocket protocol, for development
 * and tests without a deployment. It is NOT Convex: nothing is kept, nothing is isolated, tokens are not verified.
 *
 *   npx tsx tests/convex-test-server/main.ts [--folder convex] [--port 3210] [--seed 1]
 *
 * Environment: CONVEX_TEST_ADMIN_KEY, and whatever the functions read. HTTP actions are served on the next port.
 * POST /_test/faults {"unavailable": 0.2, "dropAfterCommit": 0.1, "delayMilliseconds": 50, "away": false} makes trouble;
 * GET /_test/figures tells what was asked. The first line of output is JSON with the addresses.
 */
import http from "node:http";
import { parseArgs } from "node:util";
import { Deployment } from "./deployment";
import { chances, NONE, type Faults } from "./faults";
import { HttpApi, read, send } from "./http-api";
import { SyncProtocol } from "./sync-protocol";

const { values: options } = parseArgs({
  options: {
    folder: { type: "string", default: "convex" },
    port: { type: "string", default: "3210" },
    seed: { type: "string", default: "1" },
  },
});
const adminKey = process.env.CONVEX_TEST_ADMIN_KEY ?? "test|admin";
const deployment = await Deployment.of(options.folder);
const faults: Faults = { ...NONE };
const api = new HttpApi(deployment, adminKey, faults, chances(Number(options.seed)));
const sync = new SyncProtocol(deployment, adminKey);

const server = http.createServer((request, response) => {
  void answer(request, response).catch((error: unknown) => {
    console.error(error);
    if (!response.headersSent) send(response, 500, { code: "InternalServerError", message: String(error) });
  });
});

async function answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  switch (request.url) {
    case "/version":
      return send(response, 200, { server: "convex-test server" });
    case "/_test/figures":
      return send(response, 200, api.figures);
    case "/_test/faults":
      Object.assign(faults, NONE, JSON.parse((await read(request)).toString()));
      if (faults.away) sync.breakAll();
      return send(response, 200, faults);
    default:
      return await api.answer(request, response);
  }
}

server.on("upgrade", (request, socket, head) => {
  if (faults.away) socket.destroy();
  else sync.upgrade(request, socket, head);
});

const site = http.createServer((request, response) => {
  void (async () => {
    const body = await read(request);
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const answered = await deployment.fetch(request.url ?? "/", {
      method: request.method ?? "GET",
      headers,
      ...(body.length > 0 ? { body } : {}),
    });
    response.writeHead(answered.status, headersOf(answered));
    response.end(Buffer.from(await answered.arrayBuffer()));
  })();
});

function headersOf(answered: Response): Record<string, string> {
  const headers: Record<string, string> = {};
  answered.headers.forEach((value, name) => (headers[name] = value));
  return headers;
}

const listen = (on: http.Server, port: number) =>
  new Promise<number>((done, failed) => {
    on.once("error", failed);
    on.listen(port, "127.0.0.1", () => done((on.address() as { port: number }).port));
  });
const asked = Number(options.port);
const port = await listen(server, asked);
const sitePort = await listen(site, asked === 0 ? 0 : port + 1);
console.log(JSON.stringify({ url: `http://127.0.0.1:${port}`, siteUrl: `http://127.0.0.1:${sitePort}` }));
