// The SDN controller: inventory in, flows to the switch, status and events out. It knows no API and opens no socket:
// start.ts wires it. Invariant: no flow is touched before the inventory and the attachments are complete, so a restart
// never installs half a policy. Thread: one, the controller's.
import type { Logger } from "../base/log/index.js";
import { type FlowStats, OFP_NO_BUFFER, OFPP_CONTROLLER, type PacketIn } from "../base/openflow/index.js";
import type { Clock } from "../base/time/index.js";
import { answerDhcp } from "./apps/dhcp/dhcp-server.js";
import { ETHERTYPE_IPV6 } from "./apps/ethertypes.js";
import { answerRouterSolicitation } from "./apps/router/router-advertisement.js";
import { DropCounters } from "./channel/drop-counters.js";
import { type DropSource, DropSources } from "./channel/drop-sources.js";
import { type ChangeRecord, FlowDriver } from "./channel/flow-driver.js";
import { type Leadership, Mastership, type Standing } from "./channel/mastership.js";
import { PacketInLimit } from "./channel/packet-in-limit.js";
import { isPolicyTable, type PairDrops, type PolicyNews, PolicyNewsDesk } from "./channel/policy-news.js";
import type { SwitchLink, SwitchLinkEvents } from "./channel/switch-link.js";
import { Compiler } from "./compiler.js";
import { FlowTroubles } from "./flow-troubles.js";
import type { InventoryChange, SdnEvent, StatusCondition, StatusPatch } from "./inputs.js";
import { output } from "./pipeline/actions.js";
import { type CookieParts, type CookieSlice, parseCookie } from "./pipeline/cookie.js";
import type { DropReason } from "./pipeline/tables.js";
import { type ChangeReview, reviewChanges } from "./proof/change-review.js";
import { type ExplainQuestion, type Explanation, explain } from "./proof/explain.js";
import { type PlanLine, reachablePairs } from "./proof/plan.js";
import { portStatus } from "./status.js";

export interface SdnOutputs {
  /** Status that changed; to be written to the objects. */
  onStatus(patches: readonly StatusPatch[]): void;
  onEvent(event: SdnEvent): void;
  /** A condition of the Host whose switch this is; of each type the last one holds. */
  onCondition(condition: StatusCondition): void;
}

export interface SdnControllerOptions {
  readonly outputs: SdnOutputs;
  /** Who of several controllers leads; this one alone, and without asking the switch for a role, when absent. */
  readonly leadership?: Leadership;
  readonly auditIntervalMs?: number;
  /** Flows that one audit reads, about; AUDIT_FLOWS_MAX when absent. */
  readonly auditFlowsMax?: number;
}

export interface SdnModules {
  readonly clock: Clock;
  readonly log: Logger;
}

export interface SdnMetrics {
  readonly switchConnected: boolean;
  /** What this controller is to the switch; absent without one. */
  readonly role?: Standing;
  readonly flowsDesired: number;
  readonly flowsInstalled: number;
  /** The latest changes, oldest first. */
  readonly changes: readonly ChangeRecord[];
  /** Flows that an audit found wrong. */
  readonly flowsRepaired: number;
  readonly flowsRefused: number;
  /** Repairs that the switch acknowledged and did not make. */
  readonly flowsDisagreed: number;
  readonly drops: readonly (DropSource & {
    readonly reason: DropReason;
    readonly packets: number;
  })[];
  /** Packets that staged policies would deny or allow. */
  readonly staged: readonly (DropSource & { readonly verdict: "deny" | "allow"; readonly packets: number })[];
  /** Pairs whose packets policy drops, most packets first. */
  readonly pairs: readonly PairDrops[];
  /** Decisions that were logged and connections that were cut, oldest first. */
  readonly policyNews: { readonly items: readonly PolicyNews[]; readonly total: number };
  /** Packets from switches by what became of them. */
  readonly packetIns: Readonly<Record<string, number>>;
}

export class SdnController {
  readonly compiler = new Compiler();
  readonly #outputs: SdnOutputs;
  readonly #leadership: Leadership | undefined;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #driver: FlowDriver;
  readonly #troubles: FlowTroubles;
  readonly #drops = new DropCounters();
  readonly #dropSources = new DropSources();
  readonly #news = new PolicyNewsDesk(this.compiler);
  readonly #limit = new PacketInLimit();
  readonly #packetIns = new Map<string, number>();
  readonly #sentStatus = new Map<string, string>();
  /** Ports that the switch forwards for; undefined until it has been brought up to date once. */
  #ready: Set<string> | undefined;
  /** Ports that may have come, gone or been plugged since readiness was told. */
  #unsettledPorts = new Set<string>();
  #link: SwitchLink | undefined;
  /** Over that link; undefined where nobody else can lead. */
  #mastership: Mastership | undefined;
  #early: InventoryChange[] = [];
  #complete = false;
  #attached = false;
  #waiting: (() => void)[] = [];

  constructor(options: SdnControllerOptions, modules: SdnModules) {
    this.#outputs = options.outputs;
    this.#leadership = options.leadership;
    this.#clock = modules.clock;
    this.#log = modules.log;
    this.#driver = new FlowDriver(
      {
        store: this.compiler.flows,
        ...(options.auditIntervalMs === undefined ? {} : { auditIntervalMs: options.auditIntervalMs }),
        ...(options.auditFlowsMax === undefined ? {} : { auditFlowsMax: options.auditFlowsMax }),
        events: {
          onReport: (flows, slice) => this.#report(flows, slice),
          onChanged: (record) => this.#changed(record),
          onSettled: () => this.#settled(),
          onRefused: (step, error) => this.#troubles.refuse(step, error),
          onDrift: (steps) => this.#troubles.drift(steps),
          onDisagreement: (steps) => this.#troubles.disagree(steps),
        },
      },
      modules,
    );
    this.#troubles = new FlowTroubles(
      {
        resourceOf: (key) => this.compiler.flows.flow(key)?.origin.resource,
        differing: (keys) => this.#driver.differing(keys),
        onEvent: (event) => this.#outputs.onEvent(event),
        onCondition: (condition) => this.#outputs.onCondition(condition),
      },
      modules,
    );
  }

  /** Takes changes of the inventory. Before `inventoryComplete` they are only collected. */
  update(changes: readonly InventoryChange[]): void {
    if (this.#complete) this.#apply(changes);
    else this.#early.push(...changes);
  }

  /** Everything that was there at first has been given. */
  inventoryComplete(): void {
    if (this.#complete) return;
    this.#complete = true;
    const early = this.#early;
    this.#early = [];
    this.#apply(early);
    if (this.#link === undefined) this.#troubles.awaited();
    if (this.#attached) this.#driver.enable();
  }

  /** iface-id → switch port number, complete. */
  setAttachments(attachments: ReadonlyMap<string, number>): void {
    this.compiler.setAttachments(attachments);
    const ofports = new Set(attachments.values());
    this.#limit.keep(ofports);
    this.#news.keep(ofports);
    this.#attached = true;
    if (this.#complete) {
      this.#apply([]);
      this.#driver.enable();
    }
    this.#driveOrNot();
  }

  /**
   * Nobody tells of attachments any more. A switch that is connected keeps being driven; one that comes now may have
   * numbered its ports anew, so it waits until they are known.
   */
  attachmentsLost(): void {
    this.#attached = false;
  }

  /** What a new channel reports its messages to. */
  switchEvents(): SwitchLinkEvents {
    return {
      onPacketIn: (message) => this.#packetIn(message),
      onFlowRemoved: (message) => this.#drops.takeRemoved(message),
      onError: (xid, name) => this.#driver.refuse(xid, name),
      onSlave: () => this.#mastership?.review(),
    };
  }

  connectSwitch(link: SwitchLink): void {
    this.#log.info({ datapathId: link.datapathId.toString(16) }, "switch connected");
    this.#mastership?.close();
    this.#mastership = undefined;
    this.#link = link;
    if (this.#leadership === undefined) this.#driveOrNot();
    else {
      const events = {
        onStanding: (standing: Standing) => this.#standing(standing),
        onRival: (retryMs: number) => this.#displaced(retryMs),
      };
      this.#mastership = new Mastership(
        { channel: link, leadership: this.#leadership, events },
        { clock: this.#clock, log: this.#log },
      );
      this.#mastership.review();
    }
  }

  disconnectSwitch(link: SwitchLink): void {
    if (this.#link !== link) return;
    this.#log.info("switch disconnected");
    this.#link = undefined;
    this.#mastership?.close();
    this.#mastership = undefined;
    this.#driver.disconnect(link);
    this.#troubles.gone();
  }

  /** Whether the switch, if there is one, is this controller's to change. */
  get #leads(): boolean {
    return this.#mastership === undefined
      ? this.#leadership === undefined
      : this.#mastership.standing !== "slave";
  }

  #driveOrNot(): void {
    const link = this.#link;
    if (link === undefined) return;
    if (!this.#leads) {
      this.#driver.disconnect(link);
      this.#troubles.left();
    } else if (this.#attached && !this.#driver.drives(link)) {
      this.#troubles.driven(this.#switchName);
      this.#driver.connect(link);
    }
  }

  #standing(standing: Standing): void {
    this.#log.info({ standing }, `${this.#switchName} has this controller for its ${standing}`);
    this.#driveOrNot();
  }

  #displaced(retryMs: number): void {
    const message =
      `another controller, which does not share this one's store, has become master of ${this.#switchName}; ` +
      `it is left alone for ${retryMs / 1000} s`;
    this.#log.error(message);
    this.#outputs.onEvent({ kind: "Host", key: "", type: "Warning", reason: "SwitchTakenOver", message });
  }

  /** Resolves when the switch is connected and has every desired flow. */
  whenSettled(): Promise<void> {
    if (this.#driver.isSettled) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  get isSettled(): boolean {
    return this.#driver.isSettled;
  }

  /** Compares the switch with what it should have, now. */
  audit(): void {
    this.#driver.audit();
  }

  explain(question: ExplainQuestion): Explanation {
    return explain(this.compiler, question);
  }

  /** What `changes` would do to reachability. Nothing is changed. */
  review(
    changes: readonly InventoryChange[],
    options: { readonly plan: boolean; readonly groups?: boolean },
  ): ChangeReview {
    return reviewChanges(this.compiler, changes, options);
  }

  /** Everything that machines may reach now, and the machines that there are. */
  reachable(): { readonly pairs: readonly PlanLine[]; readonly machines: readonly string[] } {
    return reachablePairs(this.compiler);
  }

  metrics(): SdnMetrics {
    return {
      switchConnected: this.#link !== undefined,
      ...(this.#link === undefined ? {} : { role: this.#mastership?.standing ?? "equal" }),
      flowsDesired: this.compiler.flows.size,
      flowsInstalled: this.#driver.installedCount,
      changes: this.#driver.records,
      flowsRepaired: this.#troubles.repaired,
      flowsRefused: this.#troubles.refused,
      flowsDisagreed: this.#troubles.disagreed,
      drops: this.#drops
        .list()
        .filter(({ reason }) => !isStaged(reason))
        .map(({ reason, resourceHash, packets }) => ({
          reason,
          ...this.#dropSources.get(resourceHash),
          packets,
        })),
      staged: this.#drops
        .list()
        .filter(({ reason }) => isStaged(reason))
        .map(({ reason, resourceHash, packets }) => ({
          verdict: reason === "would-deny" ? "deny" : "allow",
          ...this.#stagedSource(resourceHash),
          packets,
        })),
      pairs: this.#news.pairs(this.#drops.pairs()),
      policyNews: this.#news.news,
      packetIns: Object.fromEntries(this.#packetIns),
    };
  }

  /** Of an identity, those policies that are only tried. */
  #stagedSource(hash: number): DropSource {
    const source = this.#dropSources.get(hash);
    const number = /^Identity\/(\d+)$/.exec(source.resource)?.[1];
    if (number === undefined) return source;
    const { Ingress, Egress } = this.compiler.policies.stagedIsolationOf(Number(number));
    const policies = [...new Set([...Ingress, ...Egress])].map((key) => key.replace("NetworkPolicy/", ""));
    return { ...source, policies: policies.sort() };
  }

  close(): void {
    this.#mastership?.close();
    this.#driver.close();
    this.#troubles.close();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #apply(changes: readonly InventoryChange[]): void {
    const result = this.compiler.apply(changes);
    this.#publish(result.status);
    this.#forget(changes);
    for (const key of result.ports) this.#unsettledPorts.add(key);
    const touched = this.compiler.flows.takeTouched();
    if (touched.size > 0) {
      this.#troubles.behind();
      this.#driver.touch(touched);
    } else if (this.#driver.isSettled) this.#publishReady();
  }

  /** Sends what differs from what was sent before. Ports also say whether the switch forwards for them. */
  #publish(patches: readonly StatusPatch[]): void {
    const changed: StatusPatch[] = [];
    for (const given of patches) {
      const patch =
        given.kind === "Port"
          ? (portStatus(this.compiler.inventory, given.key, this.#forwards(given.key)) ?? given)
          : given;
      const name = `${patch.kind}/${patch.key}`;
      const text = JSON.stringify(patch.status);
      if (this.#sentStatus.get(name) === text) continue;
      this.#sentStatus.set(name, text);
      changed.push(patch);
    }
    if (changed.length > 0) this.#outputs.onStatus(changed);
  }

  #forget(changes: readonly InventoryChange[]): void {
    for (const { kind, key, value } of changes)
      if (value === undefined) this.#sentStatus.delete(`${kind}/${key}`);
  }

  /** Undefined until the switch has been brought up to date once. */
  #forwards(key: string): boolean | undefined {
    return this.#ready?.has(key);
  }

  #changed(record: ChangeRecord): void {
    const count = record.added + record.changed + record.deleted;
    if (count === 0) return;
    this.#log.info(record, "flows changed");
  }

  #settled(): void {
    this.#publishReady();
    this.#troubles.settled();
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Says of ports that were plugged in or out since the last time whether the switch forwards for them. */
  #publishReady(): void {
    const { inventory } = this.compiler;
    const first = this.#ready === undefined;
    const ready = this.#ready ?? new Set<string>();
    this.#ready = ready;
    const keys = first ? [...inventory.ports()].map((port) => port.key) : this.#unsettledPorts;
    this.#unsettledPorts = new Set();
    const moved: string[] = [];
    for (const key of keys) {
      const forwards = inventory.port(key) !== undefined && this.compiler.ofportOf(key) !== undefined;
      if (first || ready.has(key) !== forwards) moved.push(key);
      if (forwards) ready.add(key);
      else ready.delete(key);
    }
    this.#publish(moved.flatMap((key) => portStatus(inventory, key) ?? []));
  }

  #report(flows: readonly FlowStats[], slice: CookieSlice | undefined): void {
    this.#drops.take(flows, slice);
    this.#news.adopt(flows);
    const hashes = new Set(this.#drops.list().map(({ resourceHash }) => resourceHash));
    this.#dropSources.learn(this.compiler, hashes);
  }

  get #switchName(): string {
    return `switch ${(this.#link?.datapathId ?? 0n).toString(16).padStart(16, "0")}`;
  }

  #packetIn(message: PacketIn): void {
    this.#count(this.#answerPacketIn(message));
  }

  /** Answers it or not; returns the name to count it under. */
  #answerPacketIn(message: PacketIn): string {
    if (!this.#leads) return "not-leading";
    const entry = message.match.find(({ field }) => field === "in_port");
    const ofport = entry === undefined ? 0 : Buffer.from(entry.value).readUIntBE(0, entry.value.byteLength);
    const parts = parseCookie(message.cookie);
    if (parts !== undefined && isPolicyTable(parts)) return this.#policyPacket(message, parts, ofport);
    if (parts?.table !== "dhcp") return "unexpected";
    if (message.data.byteLength < message.totalLength) return "truncated";
    if (!this.#limit.take(ofport, this.#clock.nowMs())) return "rate-limited";
    const port = this.compiler.portAt(ofport);
    if (port === undefined) return "unknown-port";
    if (isIpv6(message.data)) {
      const advertised = answerRouterSolicitation(message.data, port);
      if (advertised.kind === "none") return `router-${advertised.reason}`;
      this.#sendOut(ofport, advertised.frame);
      return "router-advertisement";
    }
    const outcome = answerDhcp(message.data, port);
    if (outcome.kind === "none") return `dhcp-${outcome.reason}`;
    this.#sendOut(ofport, outcome.frame);
    return `dhcp-${outcome.type}`;
  }

  #policyPacket(message: PacketIn, parts: CookieParts, ofport: number): string {
    if (!this.#limit.take(-ofport, this.#clock.nowMs())) return "policy-rate-limited";
    const before = this.#news.news.total;
    const name =
      this.#news.take(message, parts, new Date(this.#clock.wallMs()).toISOString()) ?? "unexpected";
    const { items, total } = this.#news.news;
    if (total > before) this.#log.info({ policy: items.at(-1) }, "policy decision");
    this.#driver.touch(this.compiler.flows.takeTouched());
    return name;
  }

  #sendOut(ofport: number, data: Uint8Array): void {
    this.#link?.send({
      type: "packet_out",
      bufferId: OFP_NO_BUFFER,
      inPort: OFPP_CONTROLLER,
      actions: [output(ofport)],
      data,
    });
  }

  #count(name: string): void {
    this.#packetIns.set(name, (this.#packetIns.get(name) ?? 0) + 1);
  }
}

function isStaged(reason: DropReason): boolean {
  return reason === "would-deny" || reason === "would-allow";
}

function isIpv6(frame: Uint8Array): boolean {
  return frame[12] === ETHERTYPE_IPV6 >> 8 && frame[13] === (ETHERTYPE_IPV6 & 255);
}
