/** An nft table of ours, in the calling thread's namespace: replaced as a whole, in one transaction. */
import { HostError } from "../errors.ts";
import { applyNft, listNft } from "../nft.ts";

export const family = "ip";

function stands(name: string): boolean {
  return listNft(["tables"]).some((entry) => {
    const found = entry.table as { family?: string; name?: string } | undefined;
    return found?.family === family && found.name === name;
  });
}

/** `fresh`: the commands that make it; none: it goes away. Errors: those of nft.ts. */
export function replaceTable(name: string, fresh: readonly unknown[]): void {
  // Many clusters need none of ours, and then nft need not be installed.
  if (fresh.length === 0) {
    try {
      if (!stands(name)) return;
    } catch {
      return;
    }
  }
  applyNft([{ add: { table: { family, name } } }, { delete: { table: { family, name } } }, ...fresh]);
}

/** Its rules in nft's words, but for what comes and goes by itself; undefined: not there, or it cannot be read. */
export function tableAsItStands(name: string): string | undefined {
  try {
    return JSON.stringify(listNft(["table", family, name]), (key, value) => {
      const isTimed = Array.isArray(value?.flags) && value.flags.includes("timeout");
      return key === "handle" ? undefined : isTimed ? { ...value, elem: undefined } : value;
    });
  } catch (error) {
    if (error instanceof HostError) return undefined;
    throw error;
  }
}
