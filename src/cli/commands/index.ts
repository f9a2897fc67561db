import type { CommandModule } from "../command.ts";

/**
 * In the order of the help: look, plan and change, the lab, the model. Each by the name it registers, so that a command
 * line loads the one it names and no other.
 */
export const commands = {
  "who-has": async () => (await import("./whoHas.ts")).whoHas,
  facts: async () => (await import("./facts.ts")).facts,
  check: async () => (await import("./check.ts")).check,
  explain: async () => (await import("./explain.ts")).explain,
  policies: async () => (await import("./policies.ts")).policies,
  plan: async () => (await import("./plan.ts")).plan,
  apply: async () => (await import("./apply.ts")).apply,
  confirm: async () => (await import("./confirm.ts")).confirm,
  status: async () => (await import("./status.ts")).status,
  guard: async () => (await import("./guard.ts")).guard,
  undo: async () => (await import("./undo.ts")).undo,
  hide: async () => (await import("./hide.ts")).hide,
  render: async () => (await import("./render.ts")).render,
  // as well as its companions: drain, undrain, release, switchover, reload, events
  run: async () => (await import("./agent.ts")).agent,
  lab: async () => (await import("./lab.ts")).lab,
  sim: async () => (await import("./sim.ts")).sim,
  explore: async () => (await import("./explore.ts")).explore,
  model: async () => (await import("./model.ts")).model,
} as const satisfies Readonly<Record<string, () => Promise<CommandModule>>>;

/** The one that `word` names; all of them where it names none, for help, completion and suggestions. */
export function modulesFor(word: string | undefined): Promise<CommandModule[]> {
  const one =
    word !== undefined && Object.hasOwn(commands, word) ? [commands[word as keyof typeof commands]] : undefined;
  return Promise.all((one ?? Object.values(commands)).map((load) => load()));
}
