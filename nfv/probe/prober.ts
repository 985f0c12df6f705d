// A prober checks the endpoints of one function, each in its own rhythm, and reports every outcome. One per kind of
// check: TCP, ICMP, HTTP. All are pure: frames in and out, time is a parameter.
// Thread: the engine's worker. What a prober cannot make sense of it ignores; a probe without an answer is bad in time.

/** Where probes come from, and how often. */
export interface ProbeSource {
  /** IPv4 as u32. */
  readonly address: number;
  readonly mac: Uint8Array;
  readonly intervalMs: number;
  /** A probe without an answer for this long is bad. At most intervalMs. */
  readonly timeoutMs: number;
  /** What an HTTP check asks for; the others do not look at it. Starts with "/", printable ASCII, no blanks. */
  readonly path?: string;
}

/** One endpoint; address and port together are its identity. */
export interface ProbeTarget {
  readonly address: number;
  readonly mac: Uint8Array;
  /** 0 where the check knows no ports. */
  readonly port: number;
}

export type Report<T> = (target: T, good: boolean, reason: string) => void;
/** Takes one Ethernet frame; it may be lost. */
export type Send = (frame: Uint8Array) => void;

export interface Prober<T extends ProbeTarget = ProbeTarget> {
  /** The IP protocol that its answers have. */
  readonly protocol: number;

  /** Takes the new set of targets; those that stay keep their rhythm. */
  configure(source: ProbeSource, targets: readonly T[], report: Report<T>): void;

  /** Ends probes that took too long, sends those that are due. Call at least every few tens of milliseconds. */
  tick(nowMs: number, send: Send): void;

  /**
   * Takes a packet of `protocol` that was sent to the source address. `view` holds its IPv4 header at `ip`; that
   * header's size (`headerSize`) and total length are checked, and behind it is at least a header of the protocol.
   * Sends at most one frame.
   */
  receive(view: DataView, ip: number, headerSize: number, nowMs: number, send: Send): void;
}
