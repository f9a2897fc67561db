/** A file to lay into the VM before the command starts. `path` is absolute. */
export interface VmFile {
  readonly path: string;
  readonly content: string | Uint8Array;
  readonly mode?: number;
}

export interface Order {
  readonly command: readonly [string, ...string[]];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly files: readonly VmFile[];
  /** Ends each output stream; a word that the command's output cannot hold. */
  readonly mark: string;
}

/**
 * The order as the VM's init reads it: a line with its length, NUL-ended fields (which may hold anything else, line
 * ends too), then the files' contents one after the other. Throws RangeError on a NUL inside a field: our own mistake,
 * since neither arguments nor paths can hold one.
 */
export function encodeOrder(order: Order): Buffer {
  const files = order.files.map((file) => ({ ...file, content: Buffer.from(file.content as Uint8Array) }));
  const environment = Object.entries(order.env).map(([name, value]) => `${name}=${value}`);
  const fields = [
    order.mark,
    order.cwd,
    String(order.command.length),
    ...order.command,
    String(environment.length),
    ...environment,
    String(files.length),
    ...files.flatMap(({ path, mode = 0o644, content }) => [path, mode.toString(8), String(content.length)]),
  ];
  if (fields.some((field) => field.includes("\0"))) throw new RangeError("an order's field holds a NUL");
  const head = Buffer.from(fields.map((field) => `${field}\0`).join(""));
  return Buffer.concat([Buffer.from(`${head.length}\n`), head, ...files.map((file) => file.content)]);
}
