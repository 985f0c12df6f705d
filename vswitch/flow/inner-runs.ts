// Programs that run inside another: buckets of groups, and clones. What they change ends with them.
// Source: OpenFlow 1.3.5, 5.6 and 5.10; ovs-actions(7), clone. Thread: datapath worker. Hot: yes.
import { ActionSet } from "./action-set.js";
import * as D from "./drop-reasons.js";
import type { FlowTables } from "./flow-tables.js";
import { chooseBucket } from "./group-choice.js";
import { GROUP_ALL, GROUP_INDIRECT, type GroupBucket } from "./groups.js";
import type { InHand } from "./in-hand.js";
import { NESTING_MAX, STEPS_MAX } from "./limits.js";
import type { Pauses } from "./pauses.js";
import type { PacketSink } from "./pipeline-modules.js";
import { type Program, SLOT_GROUP, SLOT_SETS } from "./program.js";
import { SavedStates } from "./saved-states.js";
import type { ValueOperations } from "./value-operations.js";
import type { VerdictRecorder } from "./verdict-recorder.js";

export interface InnerRunModules {
  readonly hand: InHand;
  readonly tables: FlowTables;
  readonly sink: PacketSink;
  readonly set: ActionSet;
  readonly values: ValueOperations;
  readonly execute: (program: Program) => void;
  readonly recorder: VerdictRecorder;
  readonly pauses: Pauses;
}

export class InnerRuns {
  readonly #modules: InnerRunModules;
  readonly #saved = new SavedStates();
  /** By nesting: the set of a clone is executed inside the packet's run. */
  readonly #executing = Array.from({ length: NESTING_MAX + 1 }, () => new ActionSet());

  constructor(modules: InnerRunModules) {
    this.#modules = modules;
  }

  /**
   * Executes the action set and empties it: nothing of one that does not send the packet on (ovs-actions(7), Action
   * Sets). What is written meanwhile has no part in it.
   */
  executeSet(): void {
    const { hand, execute, pauses, set: filled } = this.#modules;
    if (filled.last < SLOT_GROUP) {
      filled.clear();
      return;
    }
    const set = this.#executing[hand.nesting]!;
    set.copy(filled);
    filled.clear();
    if (hand.observer !== null) hand.observer.actionSet();
    hand.unowned++;
    for (let slot = set.first; slot <= set.last && !hand.dropped; slot++) {
      if (slot === SLOT_SETS) {
        for (let i = 0; i < set.setCount; i++) execute(set.setAt(i));
        continue;
      }
      const program = set.at(slot);
      if (program !== null) execute(program);
    }
    // Only what sends a packet on can pause it, and it is the last of the set.
    if (pauses.isUnwinding) pauses.end(null);
    hand.unowned--;
    filled.clear();
  }

  /** Does what the buckets of the group say that are for the packet in hand. */
  group(groupId: number): void {
    const { hand, tables, sink, recorder } = this.#modules;
    const group = tables.groups.get(groupId);
    if (group === undefined || hand.nesting >= NESTING_MAX) {
      recorder.giveUp();
      hand.outputs++;
      hand.countDrop(group === undefined ? D.DROP_NO_LIVE_BUCKET : D.DROP_NESTING);
      return;
    }
    const { sizeBytes } = hand;
    if (recorder.active) recorder.group(group, hand.tableId, hand.flow);
    if (hand.observer === null) {
      group.packets++;
      group.bytes += sizeBytes;
    }
    if (group.kind === GROUP_ALL) {
      for (let i = 0; i < group.buckets.length; i++) this.#bucket(group.buckets[i]!, sizeBytes);
      return;
    }
    const bucket = chooseBucket(group, tables.groups, sink, hand.key);
    if (hand.observer !== null && group.kind !== GROUP_INDIRECT)
      hand.observer.chosen(group, bucket, hand.key);
    if (bucket !== null) this.#bucket(bucket, sizeBytes);
    else {
      recorder.giveUp();
      hand.outputs++;
      hand.countDrop(D.DROP_NO_LIVE_BUCKET);
    }
  }

  #bucket(bucket: GroupBucket, sizeBytes: number): void {
    const { hand, recorder } = this.#modules;
    // Groups of groups multiply as resubmits do.
    if (++hand.steps > STEPS_MAX) {
      hand.drop(D.DROP_NESTING);
      return;
    }
    if (hand.observer !== null) hand.observer.enter(bucket);
    else {
      bucket.packets++;
      bucket.bytes += sizeBytes;
    }
    hand.unowned++;
    const entered = recorder.active ? recorder.enterBucket(bucket) : -1;
    this.isolate(bucket.program, false);
    recorder.leaveBucket(entered);
    hand.unowned--;
    if (hand.observer !== null) hand.observer.leave();
  }

  /**
   * Runs the program on a copy: what it changes ends with it. A clone has an action set of its own to execute. Only a
   * bucket keeps an `exit` to itself.
   */
  isolate(program: Program, clone: boolean): void {
    const { hand, set, values, execute, pauses } = this.#modules;
    if (hand.nesting >= NESTING_MAX) {
      hand.drop(D.DROP_NESTING);
      return;
    }
    const { packet, key } = hand;
    const { tagsLimit } = hand.headers;
    if (clone) this.#saved.saveSet(hand.nesting, set);
    this.#saved.save(hand.nesting++, key, values);
    hand.pool.retain(packet);
    execute(program);
    if (pauses.isUnwinding) pauses.end(clone ? set : null);
    // What would have followed is not known.
    if (hand.dropped) this.#modules.recorder.giveUp();
    const { exited } = hand;
    hand.exited = false;
    if (clone) {
      if (set.last >= 0 && !hand.dropped) this.executeSet();
      this.#saved.restoreSet(hand.nesting - 1, set);
    }
    hand.pool.free(hand.packet);
    hand.packet = packet;
    hand.dropped = false;
    hand.exited = exited && clone;
    this.#saved.restore(--hand.nesting, key, values);
    hand.headers.tagsLimit = tagsLimit;
    hand.headers.parse(hand.pool, packet, key);
  }
}
