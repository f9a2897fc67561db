import type { CommandModule } from "../command.ts";
import { agent } from "./agent.ts";
import { apply } from "./apply.ts";
import { check } from "./check.ts";
import { confirm } from "./confirm.ts";
import { explain } from "./explain.ts";
import { explore } from "./explore.ts";
import { facts } from "./facts.ts";
import { hide } from "./hide.ts";
import { lab } from "./lab.ts";
import { model } from "./model.ts";
import { plan } from "./plan.ts";
import { policies } from "./policies.ts";
import { render } from "./render.ts";
import { sim } from "./sim.ts";
import { status } from "./status.ts";
import { undo } from "./undo.ts";
import { whoHas } from "./whoHas.ts";

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
  undo,
  hide,
  render,
  agent,
  lab,
  sim,
  explore,

  model,
];
