import type { Command } from "commander";
import type { Io } from "../io.ts";
import { apply } from "./apply.ts";
import { confirm } from "./confirm.ts";
import { hide } from "./hide.ts";
import { plan } from "./plan.ts";
import { policies } from "./policies.ts";
import { render } from "./render.ts";
import { status } from "./status.ts";
import { undo } from "./undo.ts";

/**
 * A command's face: name, options and help. Its work is imported when it runs, so that `--help` and completion cost
 * no more than this table. The action resolves to the exit status.
 */
export interface CommandModule {
  register(program: Command, io: Io, finish: (status: Promise<number>) => void): void;
}

export const commands: readonly CommandModule[] = [plan, apply, undo, status, policies, hide, render, confirm];
