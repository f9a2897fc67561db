import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Outcome, run, undoEverything } from "../../apply/run.ts";
import { formatIpv4 } from "../../base/ipv4.ts";
import { parseCluster } from "../../cluster/index.ts";
import { Namespace } from "../../host/namespace.ts";
import { machinePorts } from "../../host/perform/machine.ts";
import { programsHere } from "../../host/perform/readFacts.ts";
import type { HostFacts } from "../../model/facts.ts";
import { worldOf } from "../../plan/host.ts";
import { kernelModel } from "../../plan/kernelModel.ts";
import type { Plan } from "../../plan/plan.ts";
import { planNamed } from "../../policy/auto.ts";
import { type Carrier, carriers, type Wish } from "../../policy/wish.ts";
import { testPrefix } from "../../testing/root.ts";
import { redOf } from "../../testing/verdicts.ts";
import { testsInVm } from "../../testing/vm.ts";
import { builtinCluster } from "../builtin.ts";
import { type Plot, plotOf } from "../plot.ts";
import { specOf } from "../spec.ts";
import type { Stage } from "../stage.ts";
import { tellProof } from "../story.ts";
import { ipvsEngineMaker } from "./engines.ts";
import { netnsStage } from "./stage.ts";

/** What this kernel can have, each on its own real server; all of them serve at once, behind one director. */
const combinations = ["arp-sysctl", "nft-arp", "arptables", "local-route", "redirect"].flatMap((policy) =>
  carriers.map((carrier) => ({ policy, carrier })),
);
const size = { longLived: combinations.length, shortLived: 2 * combinations.length, durationMs: 1500 };

/** The others cannot be had here, and say why; lab/sim/policies.test.ts has them on the kernels that they are for. */
const refused: Readonly<Record<string, RegExp>> = {
  "nature-2.0": /from 2\.2 on an address belongs to the host/,
  hidden: /has no hidden flag/,
  "arp-invisible": /does not carry the arp_invisible patch/,
  fullarpfix: /does not carry the fullarpfix patch/,
  "noarp-carrier": /only the flag of the receiving interface counts/,
};

const still = (facts: HostFacts) => ({ ...facts, neighbours: [], modules: [] });

function plotFor(forwarding: "dr" | "tun"): Plot {
  const read = parseCluster(builtinCluster(forwarding, combinations.length));
  assert.ok(read.ok);
  const spec = specOf(read.cluster, forwarding);
  assert.ok(typeof spec !== "string", String(spec));
  const plot = plotOf(spec, size);
  // On a busy machine the emulated one takes long to answer at all; what is lost never answers.
  return { ...plot, traffic: { ...plot.traffic, patienceMs: 60_000 } };
}

/** One real server with vipward on it. */
class Host {
  readonly name: string;
  readonly #stateDir = mkdtempSync(join(tmpdir(), "vipward-policies-"));
  readonly #namespace: Namespace;
  readonly #ports: ReturnType<typeof machinePorts>;

  constructor(name: string, namespace: string) {
    this.name = name;
    this.#namespace = new Namespace(namespace);
    this.#ports = machinePorts({ namespace: this.#namespace, stateDir: this.#stateDir });
  }
  async facts(): Promise<HostFacts> {
    return still((await this.#ports.reader.read([])).facts);
  }
  apply(policy: string, wish: Wish): Promise<Outcome> {
    return run(this.#ports, {
      direction: "apply",
      paths: [],
      kernel: kernelModel,
      plan: (world, owned): Plan => {
        const choice = planNamed(policy, { world, owned, wish, kernel: kernelModel });
        if (!("plan" in choice)) throw new Error(choice.considered[0]?.why);
        return choice.plan;
      },
    });
  }
  undo(): Promise<Outcome> {
    return run(this.#ports, undoEverything(kernelModel));
  }
  close(): void {
    this.#namespace.close();
    rmSync(this.#stateDir, { recursive: true });
  }
}

interface Told {
  readonly facts: HostFacts;
  readonly applied: Outcome;
  undone?: Outcome;
  after?: HostFacts;
}

/** The whole of it once for each forwarding method; the tests then ask what was seen of each combination. */
function each(forwarding: "dr" | "tun"): void {
  const plot = plotFor(forwarding);
  const { signal } = new AbortController();
  const told = new Map<string, Told>();
  let stage: Stage;
  let hosts: Host[] = [];
  let proof: Awaited<ReturnType<typeof tellProof>>;
  const wishFor = (carrier: Carrier): Wish => ({
    vips: plot.vips.map(formatIpv4),
    forwarding,
    carrier,
    services: plot.services.map(({ service }) => ({ protocol: "tcp", ports: [[service.port, service.port]] })),
    programs: programsHere(),
  });
  const prove = () => {
    for (const { name } of stage.machines) stage.forgetNeighbours(name);
    const options = { cure: "full", nowMs: () => performance.now(), tell: () => {}, signal, asks: 5 } as const;
    return tellProof(plot, stage, { ...options, withCounts: false });
  };

  before(async () => {
    const prefix = testPrefix(`p${forwarding}`);
    stage = await netnsStage(plot, ipvsEngineMaker(), { prefix, signal, progress: () => {}, bareRealServers: true });
    stage.program(plot.services.map((s) => s.service));
    const namespaceOf = new Map(stage.machines.map((m) => [m.name, m.namespace ?? ""]));
    // A strict check in conf/all must go for a tunl0 without addresses, and the write to `default` that stands in for it
    // must not come back through tunl0 (C-2.6-03, S-ALL-03).
    const [strict] = plot.realServers;
    if (forwarding === "tun" && strict !== undefined)
      stage.setSysctls(strict.host.name, [{ link: "all", name: "rp_filter", value: "1" }]);
    hosts = plot.realServers.map(({ host }) => new Host(host.name, namespaceOf.get(host.name) ?? ""));
    for (const [i, { policy, carrier }] of combinations.entries()) {
      const host = hosts[i] as Host;
      const facts = await host.facts();
      told.set(host.name, { facts, applied: await host.apply(policy, wishFor(carrier)) });
    }
    proof = await prove();
    for (const host of hosts) {
      const seen = told.get(host.name) as Told;
      seen.undone = await host.undo();
      seen.after = await host.facts();
    }
  });
  after(async () => {
    for (const host of hosts) host.close();
    await stage?.remove({ keep: false });
  });

  for (const [i, { policy, carrier }] of combinations.entries())
    test(`${policy} on ${carrier}: silent, accepting, no leak, RIP answered; undo gives back the facts`, () => {
      const { name } = hosts[i] as Host;
      const seen = told.get(name) as Told;
      assert.equal(seen.applied.kind, "done", JSON.stringify({ ...seen.applied, plan: undefined }));
      const { whoHas, traffic, leaks, reach } = proof.proof;
      assert.ok(
        whoHas.every((w) => w.shares.every((s) => s.machine !== name)),
        "it answered for the VIP",
      );
      assert.equal(leaks[name] ?? 0, 0, "it asked in the VIP's name");
      assert.equal(traffic.leaks[name] ?? 0, 0, "it asked in the VIP's name");
      assert.ok(
        traffic.services.every((s) => (s.served[name] ?? 0) > 0),
        `it served nothing: ${JSON.stringify(traffic.services)}`,
      );
      const own = reach.find((r) => r.realServer === name);
      assert.deepEqual(own?.answeredBy, [name]);
      assert.deepEqual(own?.reached, own?.asked);
      assert.equal(seen.undone?.kind, "done", JSON.stringify({ ...seen.undone, plan: undefined }));
      assert.deepEqual(seen.after, seen.facts);
    });

  test("and all of them together: one owner, every connection through the director, none broken", () => {
    // How evenly a scheduler spreads is no matter of silence, and a SYN that is sent twice counts twice.
    assert.deepEqual(redOf(proof.verdicts.filter((v) => v.id !== "proof/spread")), []);
    assert.equal(proof.proof.traffic.completed, size.longLived + size.shortLived);
  });

  test("policies of other kernels are refused on every carrier, each with its reason", async () => {
    const world = worldOf(await (hosts[0] as Host).facts());
    for (const [policy, why] of Object.entries(refused))
      for (const carrier of carriers) {
        const choice = planNamed(policy, { world, owned: [], wish: wishFor(carrier), kernel: kernelModel });
        assert.equal(choice.policy, "none");
        assert.match(choice.considered[0]?.why ?? "", why);
      }
  });

  test("the twin: the silence of one real server taken away, and it is seen by name", async () => {
    const host = hosts[0] as Host;
    await host.apply("arp-sysctl", wishFor("lo"));
    stage.setSysctls(host.name, [
      { link: "eth0", name: "arp_ignore", value: "0" },
      { link: "eth0", name: "arp_announce", value: "0" },
    ]);
    const [answers] = await stage.whoHas(plot.client.name, plot.vips.slice(0, 1), 3);
    const names = (answers?.by ?? []).map(({ mac }) => plot.cast.nameOfMac.get(mac));
    assert.ok(names.includes(host.name), names.join());
    await host.undo();
  });
}

testsInVm(
  import.meta.url,
  "each policy of this kernel x dr and tun x lo, dummy and tunl0, all serving at once",
  () => {
    for (const forwarding of ["dr", "tun"] as const) describe(forwarding, () => each(forwarding));
  },
  // some forty machines on an emulated processor
);
