import { test } from "node:test";
import { runTestsInVm } from "../testing/vm.ts";

// The kernel that runs these tests may lack dummy, ipip or vlan; the VM's has all, so nothing may be skipped there.
test("the rtnetlink tests on a distribution's kernel, with every kind of link", () =>
  runTestsInVm(["host/rtnetlink.netns.test.js", "host/netlinkMonitor.netns.test.js"]));
