// What ovs-appctl can ask of connection tracking.
import type { DatapathHandle } from "../datapath/index.js";
import type { UnixctlCommand } from "./unixctl.js";

const PROTOCOLS: Readonly<Record<number, string>> = { 1: "icmp", 6: "tcp", 17: "udp" };

export function connectionCommands(datapath: DatapathHandle): Record<string, UnixctlCommand> {
  return {
    "dpctl/dump-conntrack": {
      usage: "",
      argumentsMin: 0,
      argumentsMax: 0,
      run: async () => {
        const lines = (await datapath.call("connections", {})).map((one) => {
          const tuple = `src=${ipv4(one.source)},dst=${ipv4(one.destination)},sport=${one.sourcePort},dport=${one.destinationPort}`;
          const protocol = PROTOCOLS[one.protocol] ?? String(one.protocol);
          const timeout = Math.ceil(one.expiresInMs / 1000);
          return `${protocol},orig=(${tuple}),zone=${one.zone},mark=${one.mark},timeout=${timeout},state=${one.state},reply=${one.seenReply}\n`;
        });
        return lines.join("");
      },
    },
    "dpctl/flush-conntrack": {
      usage: "[zone=ZONE]",
      argumentsMin: 0,
      argumentsMax: 1,
      run: async ([zone]) => {
        const match = /^zone=(\d{1,5})$/.exec(zone ?? "");
        if (zone !== undefined && match === null) throw new Error(`"${zone}" is not zone=ZONE`);
        await datapath.call("flushConnections", match === null ? {} : { zone: Number(match[1]) });
        return "";
      },
    },
  };
}

function ipv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}
