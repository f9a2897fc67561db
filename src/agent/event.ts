import { formatIpv4 } from "../base/ipv4.ts";
import type { FailoverEvent } from "../ports/failover.ts";
import type { HealthEvent } from "./health.ts";

/** What people, logs and the journal are told. The host adds the time. */
export interface AgentEvent {
  readonly level: "info" | "warning" | "alarm";
  /** Stable: "failover/transition", "health/server"; the text may be reworded. */
  readonly code: string;
  /** What it is about: an instance, "service server", a link. */
  readonly subject: string;
  readonly text: string;
  /** The rule that decided, where one did. */
  readonly rule?: string;
  readonly remedy?: string;
}

export function failoverEvent(e: FailoverEvent): AgentEvent {
  switch (e.kind) {
    case "transition": {
      const text = `${e.from} -> ${e.to}: ${e.reason}`;
      return { level: "info", code: "failover/transition", subject: e.instance, text, rule: e.rule };
    }
    case "vrrpConflict":
      return { level: "alarm", code: `failover/${e.what}`, subject: e.instance, text: e.reason };
    case "arpConflict": {
      const remedy = "find the machine by this MAC in the switch's table; `vipward who-has VIP` shows every answer";
      return { level: "alarm", code: "failover/vip-claimed", subject: e.instance, text: e.reason, remedy };
    }
    case "note":
      return { level: "info", code: `failover/${e.code}`, subject: e.instance, text: e.reason };
    case "verified": {
      const text = `a neighbour has learned ${formatIpv4(e.vip)} (by ${e.how}, ${Math.round(e.afterMs)} ms after it was asked)`;
      return { level: "info", code: "failover/verified", subject: e.instance, text };
    }
    case "unverified": {
      const remedy = "is the router up, and does it take gratuitous ARP? `vipward who-has` from a neighbour tells";
      return { level: "warning", code: "failover/unverified", subject: e.instance, text: e.reason, remedy };
    }
    case "succeeding": {
      const text = `about to take over from ${formatIpv4(e.predecessor)}: for ${Math.round(e.forMs)} ms it gets what belongs to connections not known here`;
      return { level: "info", code: "failover/succeeding", subject: e.instance, text };
    }
    case "leaving": {
      const text = e.over ? "nothing is forwarded for the VIPs any more" : "the VIPs go to another director";
      return { level: "info", code: e.over ? "failover/left" : "failover/leaving", subject: e.instance, text };
    }
    case "fault":
      return { level: "warning", code: e.code, subject: "host", text: e.reason, remedy: e.remedy };
  }
}

const ownFaultRemedies = {
  means: "this host lacks descriptors, ports or memory: see LimitNOFILE, ip_local_port_range, free",
  program: "this host must have the check's program, what interprets it, and its user, who may execute it",
};
export function healthEvent(e: HealthEvent): AgentEvent {
  switch (e.kind) {
    case "server": {
      const level = e.to === "up" ? "info" : "warning";
      return { level, code: `health/${e.to}`, subject: `${e.service} ${e.server}`, text: e.reason };
    }
    case "ownFault": {
      const remedy = ownFaultRemedies[e.lacks];
      const text = `a check could not be made, and says nothing of its server: ${e.reason}`;
      return { level: "warning", code: "health/own-fault", subject: e.check, text, remedy };
    }
    case "alarm": {
      const remedy = `look whether the checker or the servers are broken; \`vipward release ${e.service}\` lets them go`;
      return { level: "alarm", code: "health/kill-switch", subject: e.service, text: e.reason, remedy };
    }
    case "alarmOver":
      return { level: "info", code: "health/kill-switch-over", subject: e.service, text: e.reason };
    case "quorum": {
      const level = e.to === "held" ? "info" : "alarm";
      return { level, code: `health/quorum-${e.to}`, subject: e.service, text: e.reason };
    }
    case "drain": {
      const code = `drain/${e.to === "none" ? "undone" : e.to}`;
      return { level: "info", code, subject: `${e.service} ${e.server}`, text: e.reason };
    }
  }
}
