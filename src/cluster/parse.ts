import type { Cluster } from "./cluster.ts";
import { Context, problemLimit } from "./context.ts";
import { saySctp } from "./labServices.ts";
import type { Memory } from "./memory.ts";
import { byPosition, makeProblem, type Problem, quote } from "./problem.ts";
import { readQuickly } from "./quickYaml.ts";
import { type ReadResult, type ReadText, readYaml } from "./read.ts";
import { resolve } from "./resolve.ts";
import { shape } from "./shape.ts";

/** A cluster of 4,096 VIPs and 1,000 real servers, each with its own service lines, is well below 1 MiB. */
export const sizeLimitOctets = 4 * 1024 * 1024;

export type ClusterResult =
  | { readonly ok: true; readonly cluster: Cluster; readonly warnings: readonly Problem[] }
  | { readonly ok: false; readonly problems: readonly Problem[] };

export interface ParseOptions {
  readonly fileName?: string;
  /** For whoever reads one file again and again. */
  readonly memory?: Memory | undefined;
  /** The file is read to be tried in a lab or on the model: what these cannot do is said, too. */
  readonly forLab?: boolean | undefined;
}

/** To be asked with the file's size before it is read; undefined: go on. */
export function refuseSize(sizeOctets: number): Problem | undefined {
  if (sizeOctets <= sizeLimitOctets) return undefined;
  const size = `${(sizeOctets / 1024 / 1024).toFixed(1)} MiB`;
  return makeProblem("file-too-large", { line: 1, column: 1 }, [], `the file has ${size}; the limit is 4 MiB`);
}

/**
 * Cluster file text (YAML or JSON) to a cluster, or to all that is wrong with it, in the order of the file.
 *
 * Syntax is judged first, then form, then meaning; meaning also where the form's faults can be set aside (a misspelt
 * key, a number out of range). Never throws, whatever the text. Pure.
 */
export function parseCluster(text: string, options: ParseOptions = {}): ClusterResult {
  const tooLarge = refuseSize(text.length);
  if (tooLarge !== undefined) return { ok: false, problems: [tooLarge] };
  const bare = text.startsWith("\ufeff") ? text.slice(1) : text;
  const reading = readText(bare, options.memory);
  if (!reading.ok) return { ok: false, problems: finish(reading.problems) };
  const { read } = reading;
  if (typeof read.data !== "object" || read.data === null || Array.isArray(read.data)) {
    const name = options.fileName === undefined ? "the file" : options.fileName;
    const message = `${name} holds ${quote(read.data)}, and must hold a mapping (key: value)`;
    const remedy = "start with `version: 1`; see examples/lvs-dr.yaml";
    return { ok: false, problems: [makeProblem("wrong-type", read.positionOf([]), [], message, remedy)] };
  }
  const form = shape(read, options.memory);
  const problems = [...reading.problems, ...form.problems];
  let cluster: Cluster | undefined;
  if (form.input !== undefined) {
    const context = new Context(read);
    cluster = resolve(context, form.input);
    if (options.forLab === true) saySctp(context, form.input);
    problems.push(...context.problems);
  }
  if (cluster === undefined || problems.some((p) => p.severity === "error"))
    return { ok: false, problems: finish(problems) };
  return { ok: true, cluster, warnings: finish(problems) };
}

/** A file that says its things plainly is read several times as fast; places are looked up when a problem needs one. */
function readText(text: string, memory: Memory | undefined): ReadResult {
  const data = readQuickly(text, memory);
  if (data === undefined) return readYaml(text);
  let places: ReadText["positionOf"] | undefined;
  const positionOf: ReadText["positionOf"] = (path, of) => {
    if (places === undefined) {
      const again = readYaml(text);
      if (!again.ok) throw new Error("the two readers of YAML differ");
      places = again.read.positionOf;
    }
    return places(path, of);
  };
  return { ok: true, read: { data, positionOf }, problems: [] };
}

function finish(problems: readonly Problem[]): Problem[] {
  const sorted = [...problems].sort(byPosition);
  if (sorted.length <= problemLimit) return sorted;
  const last = sorted[problemLimit] as Problem;
  const rest = makeProblem("too-many-problems", last, [], `more than ${problemLimit} problems; the rest is not shown`);
  return [...sorted.slice(0, problemLimit), rest];
}
