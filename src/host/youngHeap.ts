import { setFlagsFromString } from "node:v8";

/**
 * Where V8 puts what was just made grows from 1 to 16 MiB, twice, while modules and a large file are read, and stays so
 * for as long as the program runs: of an agent that is a third of its memory. With this V8 collects that part more often
 * instead. It looks at this whenever the part could grow, in all threads, and forgets it when a thread starts
 * (Heap::ConfigureHeap): so to be said once more after that.
 */
export const keepYoungHeapSmall = (): void => setFlagsFromString("--semi-space-growth-factor=1");
