import type { TestContext } from "node:test";

/** Skips a test that needs root, saying so. */
export function needsRoot(t: TestContext): boolean {
  if (process.getuid?.() === 0) return true;
  t.skip("not root: network namespaces cannot be made");
  return false;
}

/** A prefix for namespace names that no other test file uses at the same time. */
export const testPrefix = (label: string): string => `vw-t${process.pid}-${label}-`;
