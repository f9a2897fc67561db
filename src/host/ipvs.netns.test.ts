import assert from "node:assert/strict";
import { test } from "node:test";
import { needsRoot } from "../testing/root.ts";
import { HostError } from "./errors.ts";
import { openIpvs } from "./ipvs.ts";
import { moduleState } from "./modules.ts";

test("a kernel without IPVS is said to be one, with the remedy", (t) => {
  if (!needsRoot(t)) return;
  if (moduleState("ip_vs") !== "missing") {
    t.skip("this kernel has ip_vs");
    return;
  }
  assert.throws(
    () => openIpvs(),
    (error: unknown) =>
      error instanceof HostError && error.code === "ipvs/absent" && error.remedy.includes("modprobe ip_vs"),
  );
});
