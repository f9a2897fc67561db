import type { TestContext } from "node:test";
import { leftoverNamespaces, removeNamespace } from "../host/namespace.ts";

/** Skips a test that needs root, saying so. */
export function needsRoot(t: TestContext): boolean {
  if (process.getuid?.() === 0) return true;
  t.skip("not root: network namespaces cannot be made");
  return false;
}

/** What test runs that were killed have left behind. */
let isSwept = false;
function sweep(): void {
  if (isSwept || process.getuid?.() !== 0) return;
  isSwept = true;
  for (const name of leftoverNamespaces({ kept: false, prefix: "vw-t" })) removeNamespace(name);
}

/** A prefix for namespace names that no other test file uses at the same time. */
export function testPrefix(label: string): string {
  sweep();
  return `vw-t${process.pid}-${label}-`;
}
