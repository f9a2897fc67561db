import { printable } from "../../cluster/problem.ts";
import { explain, explainable } from "../../doctor/explain.ts";
import { registry } from "../../doctor/registry.ts";
import { paint } from "../colour.ts";
import { exitCode } from "../exitCodes.ts";
import type { Io } from "../io.ts";
import { forReader, wrap } from "./wrap.ts";

/** `vipward explain [ID]`. */
export function runExplain(id: string | undefined, flags: { readonly json?: boolean }, io: Io): number {
  const c = paint(io.colour);
  if (id === undefined) {
    if (flags.json === true) io.out(`${JSON.stringify(explainable(), null, 2)}\n`);
    else
      for (const e of registry)
        io.out(forReader(io, `${c.bold(e.id.padEnd(36))} ${e.severity.padEnd(9)} ${e.title}\n`));
    return exitCode("ok");
  }
  const found = explain(id);
  if (!found.ok) {
    const hint = found.nearest === undefined ? "" : `did you mean ${found.nearest}? `;
    io.err(
      `vipward: no finding or rule is called ${printable(id)}\n  remedy: ${hint}\`vipward explain\` lists all findings\n`,
    );
    return exitCode("usage");
  }
  if (flags.json === true) {
    io.out(`${JSON.stringify(found.value, null, 2)}\n`);
    return exitCode("ok");
  }
  io.out(forReader(io, `${c.bold(found.value.id)}: ${found.value.title}\n`));
  for (const part of found.value.parts) {
    io.out(`\n${c.cyan(part.heading)}\n`);
    for (const line of part.lines) io.out(wrap(line, "  ", io.columns));
  }
  return exitCode("ok");
}
