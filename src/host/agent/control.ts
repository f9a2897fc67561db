/**
 * The agent's doors: a unix socket with a line of JSON each way, and where the file says so HTTPS with a token. What a
 * request means is the agent's; here it is read, bounded and answered.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { chmodSync, lstatSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttps } from "node:https";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { createSecureContext } from "node:tls";
import { HostError } from "../errors.ts";
import { limitConnections } from "./connectionLimit.ts";

export interface ControlRequest {
  readonly command: string;
  readonly [name: string]: unknown;
}
/** `follow`: what else is said on this connection, until it closes. */
export interface ControlAnswer {
  readonly ok: boolean;
  readonly value?: unknown;
  readonly error?: { readonly message: string; readonly remedy: string };
  readonly follow?: (say: (value: unknown) => boolean) => () => void;
}
export type ControlHandler = (request: ControlRequest) => Promise<ControlAnswer>;

const requestLimitOctets = 65_536;
const connectionLimit = 64;
const idleMs = 30_000;
/** Of the doors: how often requests that take too long are looked for; how long a handshake may take. */
const patience = { connectionsCheckingInterval: 1_000, handshakeTimeout: 5_000 } as const;
/** A follower that does not read is let go, not remembered for ever. */
const followerLimitOctets = 1_048_576;

const refusal = (message: string, remedy: string): ControlAnswer => ({ ok: false, error: { message, remedy } });

export function parseRequest(text: string): ControlRequest | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    const { command } = value as { command?: unknown };
    return typeof command === "string" ? (value as ControlRequest) : undefined;
  } catch {
    return undefined;
  }
}

async function answerSafely(handle: ControlHandler, request: ControlRequest): Promise<ControlAnswer> {
  try {
    return await handle(request);
  } catch (error) {
    if (error instanceof HostError) return refusal(error.message, error.remedy);
    return refusal(error instanceof Error ? error.message : String(error), "see the agent's log");
  }
}

function serve(socket: Socket, handle: ControlHandler): void {
  let text = "";
  let busy = false;
  let unfollow: (() => void) | undefined;
  socket.setEncoding("utf8");
  socket.setTimeout(idleMs, () => unfollow === undefined && socket.destroy());
  socket.on("error", () => socket.destroy());
  socket.on("close", () => unfollow?.());
  const say = (value: unknown): boolean => {
    if (socket.destroyed || socket.writableLength > followerLimitOctets) {
      socket.destroy();
      return false;
    }
    socket.write(`${JSON.stringify(value)}\n`);
    return true;
  };
  const next = async (): Promise<void> => {
    const end = text.indexOf("\n");
    if (busy || end < 0) return;
    busy = true;
    const request = parseRequest(text.slice(0, end));
    text = text.slice(end + 1);
    const answer =
      request === undefined
        ? refusal("not a request", 'send {"command":"status"} and a newline')
        : await answerSafely(handle, request);
    const { follow, ...said } = answer;
    say(said);
    if (follow !== undefined && !socket.destroyed) unfollow = follow(say);
    busy = false;
    await next();
  };
  socket.on("data", (piece: string) => {
    text += piece;
    if (text.length > requestLimitOctets) socket.destroy();
    else void next();
  });
}

const isAlive = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const probe = connect(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", () => resolve(false));
  });

/** Of an agent that is gone. Anything else at this path is somebody's: error control/usage. */
function removeOldSocket(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found !== undefined && !found.isSocket())
    throw new HostError("control/usage", `${path} is to be the agent's socket, and is a file of somebody else`, {
      remedy: "move it away, or name another place with --socket or the cluster file's agent.socket",
    });
  rmSync(path, { force: true });
}

/** Errors: control/busy when another agent has the socket; control/usage when it is none; control/EACCES and such. */
export async function listenControl(path: string, handle: ControlHandler): Promise<{ close(): void }> {
  if (await isAlive(path))
    throw new HostError("control/busy", `another vipward agent runs here: it answers on ${path}`, {
      remedy: "stop that one (systemctl stop vipward), or give this one its own --socket and --state-dir",
    });
  const server: Server = createServer((socket) => serve(socket, handle));
  server.maxConnections = connectionLimit;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    removeOldSocket(path);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
  } catch (error) {
    if (error instanceof HostError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    throw new HostError(`control/${code}`, `cannot listen on ${path}: ${code}`, {
      remedy: "run as root, or name another place with --socket",
      cause: error,
    });
  }
  server.on("error", () => {}); // a connection that could not be taken concerns its client alone
  return {
    close() {
      server.close();
      rmSync(path, { force: true });
    },
  };
}

export interface Door {
  readonly close: () => void;
}
interface Address {
  readonly host: string;
  readonly port: number;
}
function addressOf(text: string): Address {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}
function listening(server: ReturnType<typeof createHttp>, text: string, what: string): Promise<Door> {
  limitConnections(server, { total: connectionLimit, ofOnePeer: connectionLimit / 4 });
  server.requestTimeout = 10_000;
  server.headersTimeout = 5_000;
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        new HostError(`control/${error.code ?? "unknown"}`, `cannot serve ${what} on ${text}: ${error.code}`, {
          remedy: "choose another address and port in the cluster file's agent section",
        }),
      ),
    );
    const { host, port } = addressOf(text);
    server.listen(port, host, () => {
      server.on("error", () => {});
      resolve({
        close() {
          server.close();
          server.closeAllConnections();
        },
      });
    });
  });
}

/** Prometheus' text at /metrics, nothing else. */
export function listenMetrics(address: string, text: () => Promise<string>): Promise<Door> {
  const server = createHttp(patience, (request, response) => {
    response.setTimeout(idleMs, () => response.destroy());
    if (request.method !== "GET" || request.url?.split("?")[0] !== "/metrics") {
      response.writeHead(404).end("see /metrics\n");
      return;
    }
    text().then(
      (body) => response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(body),
      () => response.writeHead(500).end(),
    );
  });
  return listening(server, address, "metrics");
}

export interface HttpsOptions {
  readonly listen: string;
  readonly tokenFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

function readSecret(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown";
    throw new HostError(`control/${code}`, `cannot read ${path}: ${code}`, {
      remedy: "see agent.https in the cluster file",
    });
  }
}

/** Somebody may try for a long time: a token is not a word. */
const shortestToken = 16;

/** Errors: control/token when the file holds none worth the name, or everybody may read it. */
function readToken(path: string): Buffer {
  const token = readSecret(path).toString("utf8").trim();
  const refused = (why: string, remedy: string): HostError =>
    new HostError("control/token", `the token of ${path} is not taken: ${why}`, { remedy });
  if (token.length < shortestToken || token.length > 512 || /[^\x21-\x7e]/.test(token))
    throw refused(
      `it is not one word of ${shortestToken} to 512 printable characters`,
      `make one: head -c 32 /dev/urandom | base64 > ${path}`,
    );
  if ((statSync(path).mode & 0o004) !== 0) throw refused("everybody on this host may read it", `chmod 600 ${path}`);
  return digest(token);
}

interface Secrets {
  readonly token: Buffer;
  readonly pair: { readonly cert: Buffer; readonly key: Buffer };
}
/** Errors: those of the token; control/certificate; control/ENOENT and such. */
export function readSecrets({ tokenFile, certificateFile, keyFile }: HttpsOptions): Secrets {
  const token = readToken(tokenFile);
  const pair = { cert: readSecret(certificateFile), key: readSecret(keyFile) };
  try {
    createSecureContext(pair);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new HostError("control/certificate", `no TLS with ${certificateFile} and ${keyFile}: ${why}`, {
      remedy: "both are PEM, and the key is that of the first certificate",
    });
  }
  return { token, pair };
}

/** The same requests as POST /v1 with a JSON body, GET /v1/status and GET /v1/events; "Authorization: Bearer TOKEN". */
export async function listenHttps(
  options: HttpsOptions,
  handle: ControlHandler,
  { token, pair }: Secrets = readSecrets(options),
): Promise<Door & { readonly take: (secrets: Secrets) => void }> {
  let taken = token;
  const server = createHttps({ ...pair, minVersion: "TLSv1.2", ...patience }, (request, response) => {
    const given = /^Bearer (.{1,512})$/.exec(request.headers.authorization ?? "")?.[1] ?? "";
    if (!timingSafeEqual(digest(given), taken)) {
      response.writeHead(401, { "www-authenticate": "Bearer" }).end();
      return;
    }
    void respond(request, response, handle);
  });
  const door = await listening(server as unknown as ReturnType<typeof createHttp>, options.listen, "https");
  const take = (fresh: Secrets): void => {
    taken = fresh.token;
    server.setSecureContext({ ...fresh.pair, minVersion: "TLSv1.2" });
  };
  return { ...door, take };
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  let text = "";
  for await (const piece of request) {
    text += String(piece);
    if (text.length > requestLimitOctets) return undefined;
  }
  return text;
}
async function respond(request: IncomingMessage, response: ServerResponse, handle: ControlHandler): Promise<void> {
  const path = request.url?.split("?")[0];
  const asked =
    request.method === "POST" && path === "/v1"
      ? parseRequest((await bodyOf(request).catch(() => undefined)) ?? "")
      : request.method === "GET" && (path === "/v1/status" || path === "/v1/events")
        ? { command: path.slice(4) }
        : undefined;
  if (asked === undefined) {
    response.writeHead(400).end('POST {"command":"status"} to /v1\n');
    return;
  }
  const { follow, ...said } = await answerSafely(handle, asked);
  response.writeHead(said.ok ? 200 : 409, { "content-type": "application/x-ndjson" });
  response.write(`${JSON.stringify(said)}\n`);
  if (follow === undefined) {
    response.end();
    return;
  }
  const unfollow = follow((value) => {
    if (response.destroyed || response.writableLength > followerLimitOctets) {
      response.destroy();
      return false;
    }
    response.write(`${JSON.stringify(value)}\n`);
    return true;
  });
  response.on("close", unfollow);
}

/** Asks the agent of this host. `onMore`: what follows the first answer, until the signal. Errors: control/missing. */
export function askAgent(
  path: string,
  request: ControlRequest,
  options: {
    readonly onFirst?: (answer: ControlAnswer) => void;
    readonly onMore?: (value: unknown) => void;
    readonly signal?: AbortSignal;
    readonly timeoutMs?: number;
  } = {},
): Promise<ControlAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = "";
    let answered = false;
    const failed = (why: string): void =>
      reject(
        new HostError("control/missing", `no vipward agent answers on ${path}: ${why}`, {
          remedy: "start it: systemctl start vipward, or vipward run --config FILE; --socket names another place",
        }),
      );
    const timer = setTimeout(() => socket.destroy(new Error("no answer in time")), options.timeoutMs ?? 15_000);
    const leave = (): void => void socket.destroy();
    options.signal?.addEventListener("abort", leave, { once: true });
    socket.setEncoding("utf8");
    socket.on("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on("error", (error: NodeJS.ErrnoException) => failed(error.code ?? error.message));
    socket.on("close", () => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", leave); // one signal outlives many questions: status --watch
      if (!answered) failed("it closed the connection");
      else if (options.onMore !== undefined) resolve(first);
    });
    let first: ControlAnswer = { ok: false };
    socket.on("data", (piece: string) => {
      text += piece;
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const value: unknown = JSON.parse(text.slice(0, end));
        text = text.slice(end + 1);
        if (answered) options.onMore?.(value);
        else {
          answered = true;
          clearTimeout(timer);
          first = value as ControlAnswer;
          options.onFirst?.(first);
          if (options.onMore === undefined || !first.ok) {
            resolve(first);
            socket.end();
          }
        }
      }
    });
  });
}
