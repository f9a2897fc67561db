/** The work behind the commands that ask the running agent for something. */
import type { StampedEvent } from "../../agent/status.ts";
import { askAgent, type ControlAnswer, type ControlRequest } from "../../host/agent/control.ts";
import { HostError } from "../../host/errors.ts";
import { type Paint, paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";

export interface SocketFlags {
  readonly socket: string;
}

async function ask(
  flags: SocketFlags,
  request: ControlRequest,
  io: Io,
  told: (value: never) => string,
): Promise<number> {
  const answer = await askAgent(flags.socket, request, { signal: io.signal });
  if (!answer.ok) return refused(answer, io);
  io.out(`${told(answer.value as never)}\n`);
  return exitCode("ok");
}
function refused(answer: ControlAnswer, io: Io): number {
  io.err(
    `vipward: ${answer.error?.message ?? "refused"}\n  remedy: ${answer.error?.remedy ?? "see the agent's log"}\n`,
  );
  return exitCode("no");
}

export function drain(
  server: string,
  flags: SocketFlags & { service?: string; timeout?: string },
  io: Io,
): Promise<number> {
  const seconds = flags.timeout === undefined ? undefined : Number(flags.timeout);
  if (seconds !== undefined && !(seconds >= 0 && seconds <= 86_400))
    throw new HostError("drain/usage", `--timeout ${flags.timeout}: not 0 to 86400`, {
      remedy: "give a number of seconds",
    });
  const request = {
    command: "drain",
    server,
    ...(flags.service !== undefined && { service: flags.service }),
    ...(seconds !== undefined && { timeoutMs: seconds * 1000 }),
  };
  return ask(
    flags,
    request,
    io,
    ({ services }: { services: string[] }) => `${server} drains in ${services.join(", ")}`,
  );
}
export function undrain(server: string, flags: SocketFlags & { service?: string }, io: Io): Promise<number> {
  const request = { command: "undrain", server, ...(flags.service !== undefined && { service: flags.service }) };
  return ask(
    flags,
    request,
    io,
    ({ services }: { services: string[] }) => `${server} serves again in ${services.join(", ")}`,
  );
}
export const release = (service: string, flags: SocketFlags, io: Io): Promise<number> =>
  ask(flags, { command: "release", service }, io, () => `the failing servers of ${service} are let go`);

export function switchover(
  instance: string | undefined,
  flags: SocketFlags & { release?: boolean },
  io: Io,
): Promise<number> {
  const request = {
    command: "switchover",
    release: flags.release === true,
    ...(instance !== undefined && { instance }),
  };
  return ask(flags, request, io, ({ instances }: { instances: string[] }) =>
    flags.release === true
      ? `the file's priority counts again for ${instances.join(", ") || "every instance, as before"}`
      : `handed over: ${instances.join(", ")}; \`vipward switchover --release\` makes this director a candidate again`,
  );
}
export const reload = (flags: SocketFlags & { force?: boolean }, io: Io): Promise<number> =>
  ask(
    flags,
    { command: "reload", force: flags.force === true },
    io,
    ({ text }: { text: string }) => `reloaded: ${text}`,
  );

const colours = { info: "dim", warning: "yellow", alarm: "red" } as const;

export function eventText(event: StampedEvent, p: Paint): string {
  const { at, level, code, subject, text, rule, remedy } = event;
  const head = p[colours[level]](`${at.slice(0, 23).replace("T", " ")} ${level.padEnd(7)}`);
  const tail = rule === undefined ? "" : ` (${rule})`;
  return `${head} ${subject}: ${text}${tail} [${code}]${remedy === undefined ? "" : `\n    remedy: ${remedy}`}\n`;
}

export async function events(
  flags: SocketFlags & { last: string; follow: boolean; json?: boolean },
  io: Io,
): Promise<number> {
  const last = Number(flags.last);
  if (!Number.isInteger(last) || last < 0)
    throw new HostError("events/usage", `--last ${flags.last}: not a whole number`, {
      remedy: "for instance --last 50",
    });
  const p = paint(io.colour);
  const show = (event: StampedEvent): void =>
    io.out(flags.json === true ? `${JSON.stringify(event)}\n` : eventText(event, p));
  const request = { command: "events", last };
  const options = flags.follow ? { onMore: (value: unknown) => show(value as StampedEvent), signal: io.signal } : {};
  const onFirst = (answer: ControlAnswer): void => {
    if (answer.ok) for (const event of answer.value as StampedEvent[]) show(event);
  };
  const answer = await askAgent(flags.socket, request, { ...options, onFirst });
  return answer.ok ? exitCode("ok") : refused(answer, io);
}
