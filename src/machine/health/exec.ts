import { type Checker, down, up } from "./probe.ts";

export interface ExecQuestion {
  readonly command: readonly string[];
  readonly user: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Up by status 0. The time limit releases, which kills; how much output is kept is bounded where it is read. */
export const execCheck = (question: ExecQuestion): Checker<null> => ({
  name: "exec",
  begin: () => ({ state: null, effects: [{ kind: "run", ...question }] }),
  on(state, event) {
    if (event.kind === "failed")
      return { state, judgement: down("exec/error", `could not be run to its end: ${event.error.slice(0, 100)}`) };
    if (event.kind !== "exited") return { state };
    const said = (event.output ?? "").split("\n")[0]?.slice(0, 100) ?? "";
    const words = said === "" ? "" : `: ${said}`;
    if (event.status === 0) return { state, judgement: up(`status 0${words}`) };
    return {
      state,
      judgement:
        event.status === undefined
          ? down("exec/signal", `ended by ${event.signal ?? "a signal"}${words}`)
          : down("exec/status", `status ${event.status}${words}`),
    };
  },
});
