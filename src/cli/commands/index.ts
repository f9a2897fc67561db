import type { Command } from "commander";
import type { Io } from "../io.ts";
import { apply } from "./apply.ts";
import { check } from "./check.ts";
import { confirm } from "./confirm.ts";
import { explain } from "./explain.ts";
import { facts } from "./facts.ts";
import { guard } from "./guard.ts";
import { hide } from "./hide.ts";
import { lab } from "./lab.ts";
import { model } from "./model.ts";
import { plan } from "./plan.ts";
import { policies } from "./policies.ts";
import { render } from "./render.ts";
import { status } from "./status.ts";
import { undo } from "./undo.ts";
import { whoHas } from "./whoHas.ts";

/**
 * A command's face: name, options and help. Its work is imported when it runs, so that `--help` and completion cost
 * no more than this table. The action resolves to the exit status.
 */
export interface CommandModule {
  register(program: Command, io: Io, finish: (status: Promise<number>) => void): void;
}

/** In the order of the help: look, plan and change, the lab, the model. */
export const commands: readonly CommandModule[] = [
  whoHas,
  facts,
  check,
  explain,
  policies,
  plan,
  apply,
  confirm,
  status,
  guard,
  undo,
  hide,
  render,
  lab,
  model,
];
