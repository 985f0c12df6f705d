// The probers by the name of their check.
import { HttpProber } from "./http-prober.js";
import { IcmpProber } from "./icmp-prober.js";
import type { Prober, ProbeTarget } from "./prober.js";
import { TcpProber } from "./tcp-prober.js";

export function createProber<T extends ProbeTarget>(protocol: "TCP" | "HTTP" | "ICMP"): Prober<T> {
  if (protocol === "ICMP") return new IcmpProber<T>();
  return protocol === "HTTP" ? new HttpProber<T>() : new TcpProber<T>();
}
