import { test } from "node:test";
import { compareHere, everyFileIsTold } from "../../testing/truthStories.ts";

const isRoot = process.getuid?.() === 0;
test("every file of examples/ is told, or it is said why not", everyFileIsTold);
if (isRoot) compareHere(8);
else test("the stories on the running kernel", { skip: "not root: network namespaces cannot be made" }, () => {});
