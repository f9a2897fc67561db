import { testLiveCases } from "../testing/liveRun.ts";
import { liveCases } from "./testing/liveCases.ts";

/** Each finding that a namespace can show, on the running kernel. */
testLiveCases(liveCases, "l");
